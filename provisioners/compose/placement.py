"""Placement of Swarm as scheduling of Kubernetes: constraints, preferences, copies per node."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioners.compose.validate_names import label_value, qualified

if TYPE_CHECKING:
    from provisioners.compose.fit import Shape
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Deploy, Given, Service

Object = dict[str, object]

HOSTNAME = "kubernetes.io/hostname"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_CONSTRAINT = re.compile(r"\s*([A-Za-z0-9._/-]+)\s*(==|!=)\s*(.*?)\s*\Z")
_MANAGERS = {"key": CONTROL_PLANE, "operator": "Exists"}
_ARCHES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def placement_of(service: Service, shape: Shape, labels: Object, ledger: Ledger) -> Object:
    """Return the scheduling fields of a pod."""
    spec: Object = {}
    deploy = service.deploy
    if shape.node:
        spec["nodeSelector"] = {HOSTNAME: shape.node}
        for given in (*deploy.constraints, *deploy.preferences):
            ledger.dropped(given.at, f"the service is pinned to {shape.node} on both sides")
    else:
        _affinity(deploy, spec, ledger)
        _preferences(deploy, spec, labels, ledger)
    _copies_per_node(service, shape, spec, labels, ledger)
    # managers run tasks in Swarm; nodes of the control plane may be tainted against pods
    managers = any(requirement(given.value) == _MANAGERS for given in deploy.constraints)
    if service.is_global or (managers and not shape.node):
        spec["tolerations"] = [{"key": CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"}]
    return spec


def requirement(text: str) -> Object | None:
    """Return the node selector requirement for a Swarm constraint; None when there is none."""
    match = _CONSTRAINT.match(text)
    if not match:
        return None
    key, operator, value = match.groups()
    equal = operator == "=="
    if key == "node.role":
        manager = (value == "manager") == equal
        return {"key": CONTROL_PLANE, "operator": "Exists" if manager else "DoesNotExist"}
    label = _label(key)
    if not label or not value or label_value(value):
        return None
    if key == "node.platform.arch":
        value = _ARCHES.get(value, value)
    return {"key": label, "operator": "In" if equal else "NotIn", "values": [value]}


def _label(key: str) -> str:
    fixed = {
        "node.hostname": HOSTNAME,
        "node.platform.os": "kubernetes.io/os",
        "node.platform.arch": "kubernetes.io/arch",
    }
    if key in fixed:
        return fixed[key]
    for prefix in ("node.labels.", "engine.labels."):
        if key.startswith(prefix):
            label = key.removeprefix(prefix)
            return "" if qualified(label) else label
    return ""


def _affinity(deploy: Deploy, spec: Object, ledger: Ledger) -> None:
    found: list[Object] = []
    for given in deploy.constraints:
        wanted = requirement(given.value)
        if wanted is None:
            ledger.refused(
                given.at,
                f"{given.value!r} has no counterpart: label the nodes and ask for the label; "
                "its key and value are letters, digits, - _ and ., at most 63",
            )
            continue
        found.append(wanted)
        _note_constraint(given, wanted, ledger)
    if found:
        terms = {"nodeSelectorTerms": [{"matchExpressions": found}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _note_constraint(given: Given[str], wanted: Object, ledger: Ledger) -> None:
    target = f"nodeAffinity on {wanted['key']}"
    if wanted["key"] == CONTROL_PLANE:
        ledger.approximated(given.at, "managers are the nodes of the control plane", target)
    elif str(wanted["key"]).startswith("kubernetes.io/"):
        ledger.converted(given.at, target)
    else:
        ledger.approximated(given.at, "nodes need the same label in Kubernetes", target)


def _preferences(deploy: Deploy, spec: Object, labels: Object, ledger: Ledger) -> None:
    found: list[Object] = []
    for given in deploy.preferences:
        key = _label(given.value)
        if not key:
            ledger.refused(given.at, f"{given.value!r} is not a label of nodes: spread over one")
            continue
        if any(one["topologyKey"] == key for one in found):
            ledger.dropped(given.at, f"pods are spread over {key} already")
            continue
        found.append(
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            }
        )
        ledger.approximated(given.at, "nodes need the same label in Kubernetes", "topologySpreadConstraints")
    if found:
        spec["topologySpreadConstraints"] = found


def _copies_per_node(service: Service, shape: Shape, spec: Object, labels: Object, ledger: Ledger) -> None:
    given = service.deploy.max_replicas_per_node
    one = shape.spread or (given is not None and given.value == 1)
    if given is not None and given.value == 1:
        ledger.converted(given.at, "podAntiAffinity by host name")
    elif given is not None and given.value > 1:
        ledger.approximated(given.at, "copies are spread evenly; their number on a node is not bounded")
    elif given is not None:
        ledger.converted(given.at, "no bound, the default")
    if one:
        term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": labels}}
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        affinity = spec.get("affinity")
        spec["affinity"] = {**(affinity if isinstance(affinity, dict) else {}), "podAntiAffinity": rule}
