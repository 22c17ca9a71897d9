"""Apply manifests to Kubernetes server-side, prune what left the bundle, and remove it all again.

What was changed is told from the objects before and after, never from what was sent. Only
objects that carry our label are ever pruned or removed; volumes are removed, never pruned.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.base import ApplyResult
from provisioners.errors import CleanupIncomplete, InputError
from provisioners.kube import FIELD_MANAGER, KubeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioners.base import Bundle
    from provisioners.kube import Kube, Object, Resource

RUN_LABEL = "gonogo.dev/run"
CONTENT_ANNOTATION = "gonogo.dev/content"
_FIRST = ("Namespace", "CustomResourceDefinition")
_SECOND = (
    "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "PriorityClass",
    "RuntimeClass", "StorageClass", "Secret", "ConfigMap", "PersistentVolumeClaim", "Service",
    "NetworkPolicy", "LimitRange", "ResourceQuota",
)  # fmt: skip
_PRUNED = (
    ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"), ("batch/v1", "CronJob"), ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"), ("networking.k8s.io/v1", "NetworkPolicy"),
    ("networking.k8s.io/v1", "Ingress"),
)  # fmt: skip
_KEPT = (("v1", "PersistentVolumeClaim"),)
_WORKERS = 6
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class _Item:
    """One object to apply, and where it lives."""

    body: Object
    resource: Resource
    namespace: str | None

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def title(self) -> str:
        return f"{self.resource.kind}/{self.name}"

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)


def apply_object(kube: Kube, body: Object) -> None:
    """Apply one object as it is written, on the server's side; the server has to know its kind."""
    meta = body["metadata"]
    resource = kube.resource(body["apiVersion"], body["kind"])
    kube.apply(resource.path(meta.get("namespace"), meta["name"]), body)


def read_manifests(files: Mapping[str, str]) -> list[Object]:
    """Return all objects of the bundle's YAML files, in file order; raises InputError by file."""
    import yaml

    objects: list[Object] = []
    for name in sorted(files):
        if not name.endswith((".yaml", ".yml", ".json")):
            continue
        try:
            documents = list(yaml.safe_load_all(files[name]))
        except yaml.YAMLError as error:
            raise InputError("not a manifest", where=name, why=str(error)) from error
        for document in documents:
            objects += _flatten(document, name)
    return objects


def secret_object(name: str, value: bytes, namespace: str) -> Object:
    """Return the Secret object for one secret: the key is the name, the object's name made legal."""
    from provisioners.compose import naming

    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": naming.secret_object(name), "namespace": namespace},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode()},
    }


def with_content_id(body: Object, bodies: Sequence[Object]) -> Object:
    """Return a workload whose pods carry the id of the ConfigMaps and Secrets that they name.

    A changed one then replaces the pods, as a changed config replaces the tasks of a Swarm.
    """
    template = (body.get("spec") or {}).get("template")
    if body["kind"] not in {"Deployment", "StatefulSet", "DaemonSet"} or not template:
        return body
    text = json.dumps(template, sort_keys=True)
    named = [one for one in bodies if one["kind"] in {"ConfigMap", "Secret"} and f'"{_name(one)}"' in text]
    if not named:
        return body
    content = json.dumps(sorted(named, key=_name), sort_keys=True).encode()
    # readable by whoever may list pods: a slow hash, so that no secret is guessed from it
    mark = hashlib.scrypt(content, salt=_name(body).encode(), n=2**13, r=8, p=1, dklen=6).hex()
    meta = template.get("metadata") or {}
    annotations = {**(meta.get("annotations") or {}), CONTENT_ANNOTATION: mark}
    template = {**template, "metadata": {**meta, "annotations": annotations}}
    return {**body, "spec": {**body["spec"], "template": template}}


def is_changed(before: Object, after: Object, applied: Object) -> bool:
    """Return whether applying changed the object, as against its controllers writing its status."""
    old, new = before["metadata"], after["metadata"]
    if old.get("resourceVersion") == new.get("resourceVersion"):
        return False
    if old.get("generation") != new.get("generation"):
        return True
    if _owned(before) != _owned(after):
        return True
    return _project(before, applied) != _project(after, applied)


def apply_bundle(kube: Kube, bundle: Bundle, run_id: str) -> ApplyResult:
    """Apply the bundle's objects and secrets and prune what an earlier one left behind."""
    started = time.monotonic()
    bodies = read_manifests(bundle.files)
    bodies += [secret_object(name, value, bundle.namespace) for name, value in bundle.secrets.items()]
    if not bodies:
        raise InputError("the bundle holds no object", where=str(bundle.side), why="its files are empty")
    bodies = [with_content_id(body, bodies) for body in bodies]
    items = [_item(kube, body, bundle.namespace, run_id) for body in bodies]
    created: list[str] = []
    changed: list[str] = []
    unchanged: list[str] = []
    for phase in _phases(items):
        before = _before(kube, phase)
        with ThreadPoolExecutor(_WORKERS) as pool:
            for item, after in zip(phase, pool.map(lambda one: _apply(kube, one), phase), strict=True):
                old = before.get(item.path)
                if old is None:
                    created.append(item.title)
                elif is_changed(old, after, item.body):
                    changed.append(item.title)
                else:
                    unchanged.append(item.title)
    removed = _prune(kube, items, bundle.namespace)
    return ApplyResult(
        created=tuple(created),
        changed=tuple(changed),
        removed=tuple(removed),
        unchanged=tuple(unchanged),
        duration_s=time.monotonic() - started,
    )


def remove_bundle(kube: Kube, bundle: Bundle, timeout_s: float = 180.0) -> None:
    """Delete what `apply_bundle` made and wait until it and its volumes are gone.

    Raises CleanupIncomplete that names each object left and the finalizers that hold it.
    """
    deadline = time.monotonic() + timeout_s
    items = [_item(kube, body, bundle.namespace, "") for body in read_manifests(bundle.files)]
    for item in items:
        if item.namespace is None:  # cluster-wide, the namespace itself among them
            live = kube.get(item.path)
            if live and RUN_LABEL in (live["metadata"].get("labels") or {}):
                kube.delete(item.path)
    for resource, row in _labelled(kube, bundle.namespace, (*_PRUNED, *_KEPT)):
        kube.delete(resource.path(bundle.namespace, row["metadata"]["name"]))
    while _left(kube, items, bundle.namespace, whole=False):
        if time.monotonic() > deadline:
            left = _left(kube, items, bundle.namespace, whole=True)
            raise CleanupIncomplete(
                f"{len(left)} object(s) are still there after {timeout_s:.0f} s",
                where=kube.server,
                why="; ".join(left[:10]),
                next_step="see what holds each finalizer; gonogo never strips one by itself",
            )
        time.sleep(1.0)  # many kinds end at once, and what is left is found by listing, not by one watch


def _name(body: Object) -> str:
    return str(body["metadata"]["name"])


def _flatten(document: object, name: str) -> list[Object]:
    if document is None:
        return []
    if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
        raise InputError("not a Kubernetes object", where=name, why="it has no apiVersion and kind")
    if document["kind"] == "List":
        return [item for part in document.get("items") or [] for item in _flatten(part, name)]
    if not (document.get("metadata") or {}).get("name"):
        raise InputError(f"{document['kind']} without a name", where=name)
    return [document]


def _item(kube: Kube, body: Object, namespace: str, run_id: str) -> _Item:
    resource = kube.resource(body["apiVersion"], body["kind"])
    meta = body["metadata"]
    where = (meta.get("namespace") or namespace) if resource.namespaced else None
    labels = {**(meta.get("labels") or {}), RUN_LABEL: run_id}
    metadata = {**meta, "labels": labels} | ({"namespace": where} if where else {})
    return _Item({**body, "metadata": metadata}, resource, where)


def _phases(items: Sequence[_Item]) -> list[list[_Item]]:
    """Return the items in three groups, each of which needs only the ones before it."""
    first = [item for item in items if item.resource.kind in _FIRST]
    second = [item for item in items if item.resource.kind in _SECOND]
    third = [item for item in items if item.resource.kind not in (*_FIRST, *_SECOND)]
    return [phase for phase in (first, second, third) if phase]


def _before(kube: Kube, items: Sequence[_Item]) -> dict[str, Object]:
    """Return the live objects by path: one list request for each kind and namespace."""
    found: dict[str, Object] = {}
    for resource, namespace in {(item.resource, item.namespace) for item in items}:
        for row in kube.list_all(resource.path(namespace)).items:
            found[resource.path(namespace, row["metadata"]["name"])] = row
    return found


def _apply(kube: Kube, item: _Item) -> Object:
    try:
        return kube.apply(item.path, item.body)
    except KubeError as error:
        raise KubeError(
            f"{item.title} was refused",
            status=error.status,
            where=kube.server,
            why=error.why,
            next_step="correct its manifest; a field that cannot change needs the object deleted first",
        ) from error


def _prune(kube: Kube, items: Sequence[_Item], namespace: str) -> list[str]:
    wanted = {item.path for item in items}
    removed = []
    for resource, row in _labelled(kube, namespace, _PRUNED):
        path = resource.path(namespace, row["metadata"]["name"])
        # what an owner made carries its labels at times: only what was applied itself is ours to prune
        if path not in wanted and not row["metadata"].get("ownerReferences") and kube.delete(path):
            removed.append(f"{resource.kind}/{row['metadata']['name']}")
    return removed


def _labelled(kube: Kube, namespace: str, kinds: Iterable[tuple[str, str]]) -> list[tuple[Resource, Object]]:
    resources = []
    for version, kind in kinds:
        try:
            resources.append(kube.resource(version, kind))
        except KubeError as error:
            if error.status != _NOT_FOUND:  # a kind that this cluster does not serve holds no objects
                raise
    with ThreadPoolExecutor(_WORKERS) as pool:
        listings = pool.map(lambda one: kube.list_all(one.path(namespace), labels=RUN_LABEL), resources)
        return [
            (resource, row)
            for resource, listing in zip(resources, listings, strict=True)
            for row in listing.items
        ]


def _left(kube: Kube, items: Sequence[_Item], namespace: str, *, whole: bool) -> list[str]:
    """Return what is still there; without `whole`, stop looking at the first kind that is."""
    left = []
    for item in items:
        live = kube.get(item.path) if item.namespace is None else None
        if live and RUN_LABEL in (live["metadata"].get("labels") or {}):
            left.append(_holds(item.title, live))
    if left and not whole:
        return left
    for resource, row in _labelled(kube, namespace, (*_PRUNED, *_KEPT)):
        left.append(_holds(f"{resource.kind}/{row['metadata']['name']}", row))
    if not left:
        for row in kube.list_all("/api/v1/persistentvolumes").items:
            claim = row["spec"].get("claimRef") or {}
            deleted = row["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
            if claim.get("namespace") == namespace and deleted:
                left.append(_holds(f"PersistentVolume/{row['metadata']['name']}", row))
    return left


def _holds(title: str, row: Object) -> str:
    finalizers = [*(row["metadata"].get("finalizers") or []), *(row.get("spec", {}).get("finalizers") or [])]
    return f"{title} (finalizers: {', '.join(finalizers)})" if finalizers else title


def _owned(row: Object) -> object:
    """Return which fields we own, and since when, by the server's own record."""
    for entry in row["metadata"].get("managedFields") or []:
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            return entry.get("fieldsV1")
    return None


def _project(live: object, applied: object) -> object:
    """Return the part of a live object that the applied one speaks of; lists are taken whole."""
    if isinstance(live, dict) and isinstance(applied, dict):
        return {key: _project(live.get(key), value) for key, value in applied.items()}
    return live
