"""Secrets and configs of a service as files in its pod, from Secrets and ConfigMaps."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from provisioners.compose.following import follow_text, named_in
from provisioners.compose.naming import legal, secret_object
from provisioners.compose.records import dataclass
from provisioners.compose.secrecy import file_shows_secret
from provisioners.compose.volumes import PERMISSIONS, READABLE, config_map, mounted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import FileRef, Project, Resource, Service
    from provisioners.compose.nodes import Node
    from provisioners.compose.volumes import Volumes

Object = dict[str, object]

_SECRETS_DIR = "/run/secrets"


@dataclass(frozen=True, slots=True)
class References:
    """Turns what services reference below `secrets` and `configs` into volumes."""

    project: Project
    ledger: Ledger
    namespace: str
    renamed: Mapping[str, str]

    def of(self, service: Service, name: str, found: Volumes) -> None:
        """Add what a service references to the volumes of its pod, whose objects are called `name`."""
        self._secrets(service, found)
        for index, config in enumerate(service.configs):
            self._config(name, index, config, found)

    def note_names(self, at: Node, *contents: bytes) -> None:
        """Tell which renamed services a file of the user's own names, which goes along as it is."""
        texts = [content.decode("utf-8", "replace") for content in contents]
        for old in dict.fromkeys(old for text in texts for old in named_in(text, self.renamed)):
            self.ledger.remark(
                at, f"the file has the word {old}: if it calls the service, write {self.renamed[old]} there"
            )

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
                item["mode"] = ref.mode & PERMISSIONS
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
                body = {"secretName": projected["name"], "defaultMode": READABLE, "items": [item]}
                found.volumes.append({"name": volume, "secret": body})
                found.mounts.append(mounted(volume, ref.target, read_only=True, subpath=name))
            self._note_reference(ref, resource, f"Secret/{projected['name']}")
            self._secret_value(ref, resource, name, found)
        if sources:
            volume = found.own("secrets")
            found.volumes.append({"name": volume, "projected": {"defaultMode": READABLE, "sources": sources}})
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
            content = self._followed(ref.at, resource, content)
            if file_shows_secret(content):
                self._secret_config(name, index, ref, content, found)
                return
            map_name = f"{name}-{key}"
            made = config_map(map_name, self.namespace, {key: content})
            if made not in found.objects:  # one config may be a file in several places
                found.objects.append(made)
        body: Object = {"name": map_name, "items": [{"key": key, "path": key}]}
        if ref.mode is not None:
            body["defaultMode"] = ref.mode & PERMISSIONS
        found.volumes.append({"name": volume, "configMap": body})
        found.mounts.append(mounted(volume, ref.target, read_only=True, subpath=key))
        self._note_reference(ref, resource, f"ConfigMap/{map_name}")

    def _followed(self, at: Node, resource: Resource, content: bytes) -> bytes:
        """Return a config in which renamed hosts have their new names: that of the compose file alone.

        A file beside it is somebody's own: it goes along as it is, and what it names is told.
        """
        if not self.renamed:
            return content
        if resource.content is None:
            self.note_names(at, content)
            return content
        done = follow_text(resource.content, self.renamed)
        if done.text != resource.content:
            self.ledger.remark(at, "its content follows renamed services")
        if done.left:
            self.ledger.remark(at, done.said)
        return done.text.encode()

    def _secret_config(self, name: str, index: int, ref: FileRef, content: bytes, found: Volumes) -> None:
        """A config that shows a password: whoever may read ConfigMaps would read it too."""
        secret, volume = f"{name}-{legal(ref.source)}", found.own(f"config-{index}")
        found.secrets[secret] = content
        item = {"key": secret, "path": legal(ref.source)}
        body: Object = {"secretName": secret_object(secret), "items": [item]}
        body["defaultMode"] = READABLE if ref.mode is None else ref.mode & PERMISSIONS
        found.volumes.append({"name": volume, "secret": body})
        found.mounts.append(mounted(volume, ref.target, read_only=True, subpath=legal(ref.source)))
        self.ledger.approximated(
            ref.at, "it holds a password or a token: it goes as a secret", f"Secret/{secret_object(secret)}"
        )

    def _note_reference(self, ref: FileRef, resource: Resource, target: str) -> None:
        if resource.external:
            self.ledger.approximated(ref.at, f"{target} with the key {ref.source} has to exist", target)
        elif ref.mode is not None and ref.mode > PERMISSIONS:
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
