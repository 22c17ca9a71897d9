"""Many pods at once: of each only the fields that are read, decoded straight from the answer's bytes.

Most of a pod's JSON is bookkeeping of the server (managedFields alone are half of it). The types
below name the part that `parse_pod` reads; a typed decoder passes over the rest without
making an object of it, so five thousand pods cost tens of milliseconds instead of seconds.
They are plain dicts afterwards: the rules stay in `kube_objects`, once. A test holds both
ways of reading against each other, so that a field which `parse_pod` learns of is not forgotten here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypedDict

from provisioners.kube import Page
from provisioners.kube_objects import parse_pod

if TYPE_CHECKING:
    from provisioners.kube import Kube
    from provisioners.kube_objects import Pod


class _Probe(TypedDict, total=False):
    failureThreshold: int
    periodSeconds: int
    timeoutSeconds: int
    initialDelaySeconds: int


class _Template(TypedDict, total=False):
    startupProbe: _Probe | None
    readinessProbe: _Probe | None


class _Spec(TypedDict, total=False):
    nodeName: str
    containers: list[_Template] | None


class _Waiting(TypedDict, total=False):
    reason: str
    message: str


class _Running(TypedDict, total=False):
    startedAt: str | None


class _Ended(TypedDict, total=False):
    reason: str
    exitCode: int


class _State(TypedDict, total=False):
    waiting: _Waiting | None
    running: _Running | None
    terminated: _Ended | None


class _Container(TypedDict, total=False):
    name: str
    containerID: str
    image: str
    imageID: str
    ready: bool
    started: bool | None
    restartCount: int
    state: _State | None
    lastState: _State | None


class _Condition(TypedDict, total=False):
    type: str
    status: str
    message: str


class _Status(TypedDict, total=False):
    phase: str
    reason: str
    podIP: str
    startTime: str | None
    conditions: list[_Condition] | None
    initContainerStatuses: list[_Container] | None
    containerStatuses: list[_Container] | None


class _Meta(TypedDict, total=False):
    name: str
    uid: str
    namespace: str
    labels: dict[str, str] | None
    creationTimestamp: str | None
    deletionTimestamp: str | None


class _Row(TypedDict, total=False):
    metadata: _Meta
    spec: _Spec | None
    status: _Status | None


_ListMeta = TypedDict("_ListMeta", {"continue": str, "resourceVersion": str}, total=False)


class _List(TypedDict, total=False):
    metadata: _ListMeta | None
    items: list[_Row] | None


def list_pods(kube: Kube, path: str, *, labels: str = "", fields: str = "") -> list[Pod]:
    """Return all pods of a collection, as `parse_pod` reads them.

    Raises:
        KubeError: no answer, or one that is no list of pods.
        TargetRefused: 401 or 403, with the rule that is missing.
    """
    rows, _ = kube.list_pages(path, read_page, parse_pod, labels=labels, fields=fields)
    return rows


def read_page(data: bytes) -> Page:
    """Return the rows of one page of a list of pods, holding what `parse_pod` reads and no more.

    Raises:
        ValueError: the bytes are no such list.
    """
    import msgspec

    try:
        found = _decoder().decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    meta = found.get("metadata") or {}
    return Page(found.get("items") or (), meta.get("continue", ""), meta.get("resourceVersion", ""))


@functools.cache
def _decoder() -> Any:
    import msgspec

    return msgspec.json.Decoder(_List)
