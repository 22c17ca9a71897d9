"""Rules about data: volumes of one node, claims that promise too much, backups that save nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.lint_view import (
    Finding,
    Manifest,
    Trap,
    View,
    find,
    finding,
    items,
    text,
    texts,
    trap,
    words,
)
from provisioners.compose.nodes import Leaf, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGE_BYTES = 50 * 2**30
_LOCAL_PATH = "local-path"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_MANY = "ReadWriteMany"
_SAVING = ("defaultVolumesToFsBackup", "defaultVolumesToRestic", "snapshotMoveData")
_AGENTS = frozenset(("node-agent", "restic"))


@trap("large-local-volume", "local-volume-shared")
def local_volumes(view: View) -> Iterator[Finding]:
    """local-path checks no size and ties the pod to the node: a large claim promises what is not there."""
    for name, spec in _claims(view):
        if not _is_local(view, spec):
            continue
        size = find(spec, "resources.requests.storage")
        if isinstance(size, Leaf) and _bytes(size.text) >= _LARGE_BYTES:
            yield finding(
                "large-local-volume",
                size,
                f"{name}: local-path checks no size, and its pod stays on one node; "
                "measure the free space there",
            )
        if _MANY in words(spec, "accessModes"):
            message = f"{name}: local-path has no {_MANY}; the claim stays Pending"
            yield finding("local-volume-shared", find(spec, "accessModes") or spec, message)


def _claims(view: View) -> Iterator[tuple[str, Node]]:
    for manifest in view.of_kind("PersistentVolumeClaim"):
        spec = find(manifest.root, "spec")
        if spec is not None:
            yield manifest.name, spec
    for manifest in view.of_kind("StatefulSet"):
        for claim in items(manifest.root, "spec.volumeClaimTemplates"):
            spec = find(claim, "spec")
            if spec is not None:
                yield f"{manifest.name}/{text(claim, 'metadata.name')}", spec


def _is_local(view: View, spec: Node) -> bool:
    """Whether local-path serves a claim: it is K3s's default class where no other one is made here."""
    given = find(spec, "storageClassName")
    if given is not None:
        return text(spec, "storageClassName") == _LOCAL_PATH
    return not any(
        texts(find(one.root, "metadata.annotations")).get(_DEFAULT_CLASS) == "true"
        for one in view.of_kind("StorageClass")
    )


def _bytes(size: str) -> int:
    try:
        return units.parse_bytes(size)
    except units.UnitError:
        return 0


@trap("one-node-volume-shared")
def one_node_volume_shared(view: View) -> Iterator[Finding]:
    """Several copies with one claim of a single node: those on other nodes never start."""
    claims = {
        (one.namespace, one.name): words(one.root, "spec.accessModes")
        for one in view.of_kind("PersistentVolumeClaim")
    }
    for workload in view.of_kind("Deployment", "ReplicaSet"):
        copies = view.copies(workload)
        for volume in items(workload.template, "spec.volumes") if copies > 1 else ():
            name = text(volume, "persistentVolumeClaim.claimName")
            modes = claims.get((workload.namespace, name), [])
            if modes and not {_MANY, "ReadOnlyMany"} & set(modes):
                message = (
                    f"{workload.name}: {copies} copies share {name}, which one node mounts; "
                    "those on other nodes never start"
                )
                yield finding("one-node-volume-shared", volume, message)


@trap("velero-without-bucket", "velero-without-volume-data", "velero-without-node-agent")
def velero_saves_nothing(view: View) -> Iterator[Finding]:
    """A backup without a bucket, or one that leaves volume data out."""
    for location in view.of_kind("BackupStorageLocation"):
        if not text(location.root, "spec.objectStorage.bucket"):
            message = f"{location.name}: there is no bucket to save into"
            yield finding("velero-without-bucket", location.root, message)
    for backup in view.of_kind("Backup", "Schedule"):
        spec = find(backup.root, "spec.template" if backup.kind == "Schedule" else "spec")
        if not any(text(spec, way) == "true" for way in _SAVING):
            message = (
                f"{backup.name}: volume data is saved only with defaultVolumesToFsBackup and a node agent"
            )
            yield finding("velero-without-volume-data", spec or backup.root, message)
    for server in view.of_kind("Deployment"):
        if _is_velero(server) and not any(one.name in _AGENTS for one in view.of_kind("DaemonSet")):
            message = f"{server.name}: without the DaemonSet node-agent no volume's files are read"
            yield finding("velero-without-node-agent", server.root, message)


def _is_velero(server: Manifest) -> bool:
    images = (text(container, "image") for container in server.main_containers())
    return any(image.partition(":")[0].rpartition("/")[2] == "velero" for image in images)


RULES: tuple[Trap, ...] = (local_volumes, one_node_volume_shared, velero_saves_nothing)
