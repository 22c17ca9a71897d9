"""What the schemas do not hold of data, storage and policy: ConfigMaps, claims, autoscalers, budgets."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from provisioners.compose.validate_names import (
    Problem,
    Steps,
    amount,
    at,
    data_key,
    labels_problems,
    rows,
    subdomain,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]

_METRICS = frozenset(("Resource", "ContainerResource", "Pods", "Object", "External"))
_SCALED = frozenset(("Deployment", "StatefulSet", "ReplicaSet"))
_MAX_DATA_BYTES = 2**20
_PERCENT = re.compile(r"\d+%\Z")


def data(body: Object) -> Iterator[Problem]:
    """Yield what is wrong with a ConfigMap or Secret."""
    size = 0
    seen: set[object] = set()
    for section in ("data", "binaryData", "stringData"):
        for key, value in table(body, section).items():
            size += len(str(value).encode())
            if wrong := data_key(key):
                yield Problem("data", (section, key), wrong)
            if key in seen and section == "binaryData":
                yield Problem("data", (section, key), "it is in data too")
            seen.add(key)
            encoded = section == "binaryData" or (section == "data" and body.get("kind") == "Secret")
            if encoded and not _is_base64(value):
                yield Problem("data", (section, key), "it is not base64; write plain text under stringData")
    if size > _MAX_DATA_BYTES:
        yield Problem("data", (), f"{size} bytes; an object holds 1 MiB")
    if body.get("type") == "kubernetes.io/tls" and seen and not {"tls.crt", "tls.key"} <= seen:
        yield Problem("data", (), "a Secret of that type has tls.crt and tls.key")


def _is_base64(value: object) -> bool:
    try:
        base64.b64decode("".join(str(value).split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def claim(body: Object) -> Iterator[Problem]:
    """Yield what is wrong with a PersistentVolumeClaim."""
    yield from claim_spec_problems(table(body, "spec"), ("spec",))


def claim_spec_problems(spec: Object, steps: Steps) -> Iterator[Problem]:
    """Yield what is wrong with the spec of a claim, which sets have too."""
    if not spec.get("accessModes"):
        yield Problem("claim", steps, "accessModes are missing")
    size = at(spec, "resources", "requests", "storage")
    if size is None:
        yield Problem("claim", steps, "resources.requests.storage is missing")
    elif (value := amount(size)) is not None and value <= 0:
        yield Problem("claim", (*steps, "resources", "requests", "storage"), f"{size} is not more than 0")
    if spec.get("storageClassName") and (wrong := subdomain(spec["storageClassName"])):
        yield Problem("claim", (*steps, "storageClassName"), wrong)


def autoscaler(body: Object) -> Iterator[Problem]:
    """Yield what is wrong with a HorizontalPodAutoscaler."""
    low, high = at(body, "spec", "minReplicas"), at(body, "spec", "maxReplicas")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield Problem("amount", ("spec", "maxReplicas"), f"{high} is less than minReplicas {low}")
    for key, value in (("minReplicas", low), ("maxReplicas", high)):
        if isinstance(value, int) and value < 1:
            yield Problem("amount", ("spec", key), f"{value} is less than 1")
    target = table(body, "spec", "scaleTargetRef")
    if target.get("kind") in _SCALED and "/" not in str(target.get("apiVersion")):
        steps: Steps = ("spec", "scaleTargetRef")
        yield Problem("amount", steps, f"a {target['kind']} is scaled by its apiVersion, such as apps/v1")
    for index, metric in rows(body, "spec", "metrics"):
        kind = str(metric.get("type"))
        if kind not in _METRICS or f"{kind[0].lower()}{kind[1:]}" not in metric:
            steps = ("spec", "metrics", index)
            yield Problem("amount", steps, f"a metric of type {kind} has no field of that name")


def budget(body: Object) -> Iterator[Problem]:
    """Yield what is wrong with a PodDisruptionBudget."""
    spec = table(body, "spec")
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield Problem("amount", ("spec",), "give minAvailable or maxUnavailable, one of them")
    for key in ("minAvailable", "maxUnavailable"):
        if wrong := pods_amount(spec.get(key)):
            yield Problem("amount", ("spec", key), wrong)
    yield from labels_problems(at(spec, "selector", "matchLabels"), ("spec", "selector", "matchLabels"))


def pods_amount(value: object) -> str:
    """Return what is wrong with a number or a share of pods, or nothing."""
    legal = value is None or _PERCENT.match(str(value)) or (isinstance(value, int) and value >= 0)
    return "" if legal else f"{value!r} is neither a number of pods nor a share such as 50%"
