"""Mounts, secrets and configs of a service as volumes of its pod."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.losses import Outcome
from provisioners.compose.naming import legal, secret_object
from provisioners.compose.nodes import Table
from provisioners.compose.secrecy import file_shows_secret
from provisioners.compose.volumes import Volumes, claim_spec, config_map, mounted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import FileRef, Mount, Project, Resource, Service

Object = dict[str, object]

_SECRETS_DIR = "/run/secrets"
_DOCKER_SOCKETS = frozenset(("/var/run/docker.sock", "/run/docker.sock"))
_KEY_SUFFIXES = (".key", ".pem", ".p12", ".pfx", ".jks")
_MAX_CONFIG_BYTES = 900 * 1024
_READABLE = 0o444
_PERMISSIONS = 0o777  # all that Kubernetes takes: no set-id and sticky bits
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

    def of(self, service: Service, name: str) -> Volumes:
        """Return the volumes of a service whose objects are called `name`."""
        named = (mount.source for mount in service.mounts if mount.kind == "volume")
        found = Volumes(frozenset(legal(self.project.volumes[name].external_name or name) for name in named))
        for index, mount in enumerate(service.mounts):
            self._mount(service, name, index, mount, found)
            self._note_details(mount)
        self._secrets(service, found)
        for index, config in enumerate(service.configs):
            self._config(name, index, config, found)
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
        found.volumes.append({"name": volume, "projected": {"defaultMode": _READABLE, "sources": sources}})

    def _attach(self, volume: str, source: Object, mount: Mount, found: Volumes) -> None:
        body = {"name": volume, **source}
        if body not in found.volumes:  # one volume may be mounted at several paths
            found.volumes.append(body)
        found.mounts.append(mounted(volume, mount.target, read_only=mount.read_only, subpath=mount.subpath))

    # -- secrets and configs -----------------------------------------------------------------

    def _secrets(self, service: Service, found: Volumes) -> None:
        sources: list[Object] = []
        paths: set[str] = set()
        for index, ref in enumerate(service.secrets):
            resource = self.project.secrets[ref.source]
            name = secret_key(resource)
            target = posixpath.normpath(ref.target)
            path = target.removeprefix(f"{_SECRETS_DIR}/")
            item: Object = {"key": name, "path": path}
            if ref.mode is not None:
                item["mode"] = ref.mode & _PERMISSIONS
            projected: Object = {"name": secret_object(name), "items": [item]}
            inside = path != target
            if inside and path in paths:
                self.ledger.refused(ref.at, f"two secrets go to {ref.target}: give one another target")
                continue
            if not found.takes(_SECRETS_DIR if inside else ref.target, ref.at, self.ledger):
                continue
            if inside:
                paths.add(path)
                sources.append({"secret": projected})
            else:
                volume = found.own(f"secret-{index}")
                item["path"] = name
                body = {"secretName": projected["name"], "defaultMode": _READABLE, "items": [item]}
                found.volumes.append({"name": volume, "secret": body})
                found.mounts.append(mounted(volume, ref.target, read_only=True, subpath=name))
            self._note_reference(ref, resource, f"Secret/{projected['name']}")
            self._secret_value(ref, resource, name, found)
        if sources:
            volume = found.own("secrets")
            found.volumes.append(
                {"name": volume, "projected": {"defaultMode": _READABLE, "sources": sources}}
            )
            found.mounts.append(mounted(volume, _SECRETS_DIR, read_only=True))

    def _secret_value(self, ref: FileRef, resource: Resource, name: str, found: Volumes) -> None:
        if resource.external:
            return
        value = content_of(resource, self.project)
        if value is None:
            self.ledger.refused(ref.at, f"the value of secret {ref.source} is not there: {missing(resource)}")
        else:
            found.secrets[name] = value

    def _config(self, name: str, index: int, ref: FileRef, found: Volumes) -> None:
        resource = self.project.configs[ref.source]
        if not found.takes(ref.target, ref.at, self.ledger):
            return
        volume = found.own(f"config-{index}")
        key = legal(ref.source)
        if resource.external:
            map_name = legal(resource.external_name or ref.source)
        else:
            content = content_of(resource, self.project)
            if content is None:
                self.ledger.refused(
                    ref.at, f"the content of config {ref.source} is not there: {missing(resource)}"
                )
                return
            if file_shows_secret(content):
                self._secret_config(name, index, ref, content, found)
                return
            map_name = f"{name}-{key}"
            made = config_map(map_name, self.namespace, {key: content})
            if made not in found.objects:  # one config may be a file in several places
                found.objects.append(made)
        body: Object = {"name": map_name, "items": [{"key": key, "path": key}]}
        if ref.mode is not None:
            body["defaultMode"] = ref.mode & _PERMISSIONS
        found.volumes.append({"name": volume, "configMap": body})
        found.mounts.append(mounted(volume, ref.target, read_only=True, subpath=key))
        self._note_reference(ref, resource, f"ConfigMap/{map_name}")

    def _secret_config(self, name: str, index: int, ref: FileRef, content: bytes, found: Volumes) -> None:
        """A config that shows a password: whoever may read ConfigMaps would read it too."""
        secret, volume = f"{name}-{legal(ref.source)}", found.own(f"config-{index}")
        found.secrets[secret] = content
        item = {"key": secret, "path": legal(ref.source)}
        body: Object = {"secretName": secret_object(secret), "items": [item]}
        body["defaultMode"] = _READABLE if ref.mode is None else ref.mode & _PERMISSIONS
        found.volumes.append({"name": volume, "secret": body})
        found.mounts.append(mounted(volume, ref.target, read_only=True, subpath=legal(ref.source)))
        self.ledger.approximated(
            ref.at, "it holds a password or a token: it goes as a secret", f"Secret/{secret_object(secret)}"
        )

    def _note_reference(self, ref: FileRef, resource: Resource, target: str) -> None:
        if resource.external:
            self.ledger.approximated(ref.at, f"{target} with the key {ref.source} has to exist", target)
        elif ref.mode is not None and ref.mode > _PERMISSIONS:
            self.ledger.approximated(ref.at, "its mode is kept but for set-id and sticky bits", target)
        elif ref.uid not in {"", "0"} or ref.gid not in {"", "0"}:
            self.ledger.approximated(ref.at, "its files belong to root and are readable by all", target)
        else:
            self.ledger.converted(ref.at, target)


def content_of(resource: Resource, project: Project) -> bytes | None:
    """Return the content of a secret or config, byte by byte; None when it is not there."""
    if resource.content is not None:
        return resource.content.encode()
    if resource.variable:
        value = project.variables.get(resource.variable)
        return None if value is None else value.encode()
    if resource.file is not None and resource.file.is_file():
        return resource.file.read_bytes()
    return None


def secret_key(resource: Resource) -> str:
    """Return the name that a secret's value goes by on both sides."""
    return resource.external_name if resource.external and resource.external_name else resource.name


def missing(resource: Resource) -> str:
    """Return what a user does about a secret or config whose content is not there."""
    if resource.variable:
        return f"set {resource.variable}"
    return f"put it into {resource.file}" if resource.file else "give it `file`, `environment` or `content`"


def _outcome(*, read_only: bool) -> Outcome:
    return Outcome.CONVERTED if read_only else Outcome.APPROXIMATED
