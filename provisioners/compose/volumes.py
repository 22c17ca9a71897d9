"""The volumes of a pod and where they are mounted, each path once; and the small objects around them."""

from __future__ import annotations

import posixpath
from dataclasses import field
from typing import TYPE_CHECKING

from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.losses import Ledger
    from provisioners.compose.nodes import Node

Object = dict[str, object]

READABLE = 0o444
PERMISSIONS = 0o777  # all that Kubernetes takes: no set-id and sticky bits


@dataclass(frozen=True, slots=True)
class Volumes:
    """What a pod mounts, and the objects and secret values that it needs for that.

    `named` are the names of the volumes that the file names itself; no other is called so.
    """

    named: frozenset[str] = frozenset()
    volumes: list[Object] = field(default_factory=list)
    mounts: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    objects: list[Object] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict)

    def own(self, name: str) -> str:
        """Return a name for a volume that the file does not name."""
        while name in self.named:
            name += "-own"
        return name

    def takes(self, path: str, at: Node, ledger: Ledger) -> bool:
        """Return whether something can be mounted at a path; where not, the node is refused."""
        wrong = path_problem(path, self.mounts)
        if wrong:
            ledger.refused(at, wrong)
        return not wrong


def path_problem(path: str, mounts: list[Object]) -> str:
    """Return why nothing more can be mounted at a path, or nothing."""
    if ":" in path:
        return f"{path}: Kubernetes mounts at no path with a `:`"
    if any(posixpath.normpath(str(one["mountPath"])) == posixpath.normpath(path) for one in mounts):
        return f"{path} is mounted at already: take one of them out"
    return ""


def claim_spec(size: str) -> Object:
    """Return the spec of a claim for a volume that one node mounts."""
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def config_map(name: str, namespace: str, contents: Mapping[str, bytes]) -> Object:
    """Return a ConfigMap; content that is not UTF-8 goes as binary data."""
    import base64

    text: Object = {}
    binary: Object = {}
    for key, content in contents.items():
        try:
            text[key] = content.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(content).decode()
    body: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
    }
    return body | ({"data": text} if text else {}) | ({"binaryData": binary} if binary else {})


def checksum(objects: list[Object]) -> str:
    """Return a short hash of a pod's ConfigMaps: a changed one rolls the pods, as Swarm would."""
    import hashlib

    return hashlib.sha256(repr(objects).encode()).hexdigest()[:16]


def mounted(volume: str, path: str, *, read_only: bool, subpath: str = "") -> Object:
    """Return a mount of a volume, or of what is at a path in it."""
    body: Object = {"name": volume, "mountPath": path}
    if read_only:
        body["readOnly"] = True
    if subpath:
        body["subPath"] = subpath
    return body
