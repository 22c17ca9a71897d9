"""Mounts of a service as volumes of its pod."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.losses import Outcome
from provisioners.compose.naming import legal, secret_object
from provisioners.compose.nodes import Table
from provisioners.compose.records import dataclass
from provisioners.compose.secrecy import file_shows_secret
from provisioners.compose.volumes import READABLE, Volumes, claim_spec, config_map, mounted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Mount, Project, Service
    from provisioners.compose.references import References

Object = dict[str, object]

_DOCKER_SOCKETS = frozenset(("/var/run/docker.sock", "/run/docker.sock"))
_KEY_SUFFIXES = (".key", ".pem", ".p12", ".pfx", ".jks")
_MAX_CONFIG_BYTES = 900 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_MOUNT_DETAILS = {
    "consistency": "it is for Docker on a desktop",
    "bind": "propagation and creation of the path are matters of the node",
}


@dataclass(frozen=True, slots=True)
class Storage:
    """Turns the mounts of one project's services into volumes."""

    project: Project
    ledger: Ledger
    namespace: str
    volume_size: str
    shared: frozenset[str]
    references: References

    def of(self, service: Service, name: str) -> Volumes:
        """Return the volumes of a service whose objects are called `name`."""
        named = (mount.source for mount in service.mounts if mount.kind == "volume")
        found = Volumes(frozenset(legal(self.project.volumes[name].external_name or name) for name in named))
        for index, mount in enumerate(service.mounts):
            self._mount(service, name, index, mount, found)
            self._note_details(mount)
        self.references.of(service, name, found)
        return found

    def _note_details(self, mount: Mount) -> None:
        """Keys of a long mount that say how Docker should do it on its own host."""
        if isinstance(mount.at, Table):
            for key, why in _MOUNT_DETAILS.items():
                node = mount.at.get(key)
                if node is not None:
                    self.ledger.dropped(node, why)

    # -- mounts ----------------------------------------------------------------------------

    def _mount(self, service: Service, name: str, index: int, mount: Mount, found: Volumes) -> None:
        if not found.takes(mount.target, mount.at, self.ledger):
            return
        if mount.kind == "volume":
            self._volume(service, mount, found)
        elif mount.kind == "tmpfs":
            body: Object = {"medium": "Memory"}
            if mount.size_bytes:
                body["sizeLimit"] = units.memory_quantity(mount.size_bytes)
            self._attach(found.own(f"tmpfs-{index}"), {"emptyDir": body}, mount, found)
            self.ledger.converted(mount.at, "emptyDir of medium Memory")
        elif mount.kind == "anonymous":
            self._attach(found.own(f"scratch-{index}"), {"emptyDir": {}}, mount, found)
            self.ledger.approximated(
                mount.at, "lives as long as the pod, as an anonymous volume does", "emptyDir"
            )
        elif mount.kind == "bind":
            self._bind(name, index, mount, found)
        else:
            self.ledger.refused(mount.at, f"mounts of type {mount.kind} have no counterpart here")

    def _volume(self, service: Service, mount: Mount, found: Volumes) -> None:
        volume = self.project.volumes[mount.source]
        claim = legal(volume.external_name or mount.source)
        empty = "it starts empty, where Docker would copy what the image has there"
        if service.is_global:
            path = f"/var/lib/gonogo/volumes/{claim}"
            self._attach(claim, {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}, mount, found)
            self.ledger.approximated(mount.at, f"a folder of each node, {path}; {empty}", "hostPath")
        elif volume.external:
            self._attach(claim, {"persistentVolumeClaim": {"claimName": claim}}, mount, found)
            self.ledger.approximated(mount.at, f"the claim {claim} has to exist", "PersistentVolumeClaim")
        elif mount.source in self.shared or service.is_job:
            self._attach(claim, {"persistentVolumeClaim": {"claimName": claim}}, mount, found)
            self.ledger.approximated(
                mount.at,
                f"one claim for several services, all on one node; {empty}",
                f"PersistentVolumeClaim/{claim}",
            )
        else:
            found.mounts.append(
                mounted(claim, mount.target, read_only=mount.read_only, subpath=mount.subpath)
            )
            template: Object = {"metadata": {"name": claim}, "spec": claim_spec(self.volume_size)}
            if template not in found.claims:
                found.claims.append(template)
            self.ledger.approximated(
                mount.at,
                f"a claim of {self.volume_size} for each replica (compose gives no size); {empty}",
                f"StatefulSet volumeClaimTemplates/{claim}",
            )

    def _bind(self, name: str, index: int, mount: Mount, found: Volumes) -> None:
        if mount.source in _DOCKER_SOCKETS:
            self.ledger.dropped(
                mount.at,
                "nodes have no Docker socket to read; let the program watch the Kubernetes API instead",
            )
            return
        if mount.source.startswith(("/", "~")):
            self._attach(found.own(f"host-{index}"), {"hostPath": {"path": mount.source}}, mount, found)
            self.ledger.approximated(
                mount.at, "a path of whichever node the pod runs on; it has to be there", "hostPath"
            )
            return
        path = self.project.folder / mount.source
        if not path.exists():
            self.ledger.refused(mount.at, f"{mount.source} is not there: put it beside the compose file")
        elif path.is_dir() or path.is_file():
            self._files(name, index, mount, path, found)
        else:
            self.ledger.refused(mount.at, f"{mount.source} is neither a file nor a folder")

    def _files(self, name: str, index: int, mount: Mount, path: Path, found: Volumes) -> None:
        """A file or folder beside the compose file, whose content goes with the manifests."""
        files = sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]
        if path.is_dir() and any(item.is_dir() for item in path.iterdir()):
            self.ledger.refused(mount.at, f"{mount.source} has folders in it: build it into the image")
            return
        illegal = [item.name for item in files if not _KEY.match(item.name)]
        if illegal:
            self.ledger.refused(
                mount.at, f"rename {', '.join(illegal)}: letters, digits, - . and _ are allowed"
            )
            return
        contents = {item.name: item.read_bytes() for item in files}
        if sum(map(len, contents.values())) > _MAX_CONFIG_BYTES:
            self.ledger.refused(
                mount.at, f"{mount.source} is larger than a ConfigMap may be: build it into the image"
            )
            return
        self.references.note_names(mount.at, *contents.values())
        volume = found.own(f"files-{index}")
        hidden = any(item.suffix in _KEY_SUFFIXES for item in files)
        if hidden or any(file_shows_secret(content) for content in contents.values()):
            self._secret_files(name, volume, contents, found)
            what = "keys" if hidden else "a password or a token"
            self.ledger.approximated(
                mount.at, f"it holds {what}: its files go as secrets, read-only", "Secret"
            )
        else:
            map_name = f"{name}-{volume}"
            found.objects.append(config_map(map_name, self.namespace, contents))
            found.volumes.append({"name": volume, "configMap": {"name": map_name}})
            kept = (
                ""
                if mount.read_only
                else "; read-only there, and later changes of the file need another conversion"
            )
            self.ledger.note(
                mount.at,
                _outcome(read_only=mount.read_only),
                f"its content goes along{kept}",
                f"ConfigMap/{map_name}",
            )
        subpath = "" if path.is_dir() else path.name
        found.mounts.append(mounted(volume, mount.target, read_only=True, subpath=subpath))

    def _secret_files(self, name: str, volume: str, contents: Mapping[str, bytes], found: Volumes) -> None:
        sources: list[Object] = []
        for file_name, content in contents.items():
            secret = f"{name}-{file_name}"
            found.secrets[secret] = content
            sources.append(
                {"secret": {"name": secret_object(secret), "items": [{"key": secret, "path": file_name}]}}
            )
        found.volumes.append({"name": volume, "projected": {"defaultMode": READABLE, "sources": sources}})

    def _attach(self, volume: str, source: Object, mount: Mount, found: Volumes) -> None:
        body = {"name": volume, **source}
        if body not in found.volumes:  # one volume may be mounted at several paths
            found.volumes.append(body)
        found.mounts.append(mounted(volume, mount.target, read_only=mount.read_only, subpath=mount.subpath))


def _outcome(*, read_only: bool) -> Outcome:
    return Outcome.CONVERTED if read_only else Outcome.APPROXIMATED
