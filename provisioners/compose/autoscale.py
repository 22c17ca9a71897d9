"""HorizontalPodAutoscalers: from the tiers file, from `x-gonogo: {autoscale: ...}` and from labels.

Compose has no key for it. Labels of other tools that say the same are read too: kompose's
`kompose.hpa.*` and the Swarm autoscaler's `swarm.autoscaler.*`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.nodes import Leaf, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.scalars import as_bool
from provisioners.tiers import Autoscale

if TYPE_CHECKING:
    from provisioners.compose.context import Context
    from provisioners.compose.model import Service

Object = dict[str, object]

_LABELS = {
    "gonogo.autoscale.min": "min",
    "gonogo.autoscale.max": "max",
    "gonogo.autoscale.cpu_percent": "cpu_percent",
    "gonogo.autoscale.memory_percent": "memory_percent",
    "kompose.hpa.replicas.min": "min",
    "kompose.hpa.replicas.max": "max",
    "kompose.hpa.cpu": "cpu_percent",
    "kompose.hpa.memory": "memory_percent",
    "swarm.autoscaler.minimum": "min",
    "swarm.autoscaler.maximum": "max",
}
_SWITCH = "swarm.autoscaler"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a service asks for, and the nodes that say it."""

    wanted: Autoscale | None
    nodes: tuple[Node, ...]
    problem: str = ""


def is_autoscale_label(name: str) -> bool:
    """Return whether a label asks for automatic scaling."""
    return name == _SWITCH or name in _LABELS


def autoscale_of(service: Service, key: str, context: Context, *, stateful: bool) -> Autoscale | None:
    """Return how a service scales; None when nobody asks, or when it must not.

    The row of the tiers file counts first, then what the service says, then its tier's default.
    """
    tiers = context.tiers
    row = tiers.row(key)
    asked = _asked(service)
    ledger, target = context.ledger, f"HorizontalPodAutoscaler/{context.names[key]}"
    wanted = (row.autoscale if row else None) or asked.wanted
    wanted = wanted or (None if asked.problem else tiers.autoscale.get(tiers.tier_of(key)))
    why = _hindrance(service, key, context, stateful=stateful) if wanted else ""
    for node in asked.nodes:
        if asked.problem:
            ledger.refused(node, asked.problem)
        elif why:
            ledger.approximated(node, why)
        else:
            ledger.converted(node, target)
    if wanted is None or why:
        return None
    if service.deploy.replicas:
        ledger.remark(
            service.deploy.replicas.at, f"{wanted.minimum} to {wanted.maximum} copies, by use of CPU", target
        )
    return wanted


def autoscaler(scale: Autoscale, kind: str, name: str, labels: Object, context: Context) -> Object:
    """Return the object that scales the workload `name`."""
    metrics = [_metric("cpu", scale.cpu_percent)]
    if scale.memory_percent is not None:
        metrics.append(_metric("memory", scale.memory_percent))
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": context.namespace, "labels": labels},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
            "minReplicas": scale.minimum,
            "maxReplicas": scale.maximum,
            "metrics": metrics,
        },
    }


def _metric(name: str, percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def _hindrance(service: Service, key: str, context: Context, *, stateful: bool) -> str:
    if context.fit.fixes_replicas(key):
        return "the fit fixes the number of copies, equal on both sides, so nothing scales them"
    if service.is_global or service.is_job:
        return "it runs on every node, or to its end: there is no number of copies to scale"
    if stateful:
        return (
            "each copy would have volumes of its own, with data that the others do not have: scale it by hand"
        )
    return ""


def _asked(service: Service) -> _Asked:
    given: dict[str, str] = {}
    nodes: list[Node] = []
    for var in (*service.labels, *service.deploy.labels):
        if is_autoscale_label(var.name):
            nodes.append(var.at)
            given.setdefault(_LABELS.get(var.name, _SWITCH), (var.value or "").strip())
    extension = service.others.get("x-gonogo")
    table = extension.get("autoscale") if isinstance(extension, Table) else None
    if table is not None:
        nodes.append(table)
        if not isinstance(table, Table):
            return _Asked(None, tuple(nodes), "autoscale is a table with min, max and cpu_percent")
        unknown = [name for name in table.entries if name not in _LABELS.values()]
        if unknown:
            return _Asked(
                None, tuple(nodes), f"autoscale knows min, max, cpu_percent, memory_percent, not {unknown[0]}"
            )
        given |= {name: node.text if isinstance(node, Leaf) else "" for name, node in table.entries.items()}
    if not nodes or as_bool(given.pop(_SWITCH, "true")) is False:
        return _Asked(None, tuple(nodes))
    wrong = [name for name, text in given.items() if not text.isdigit()]
    if wrong:
        return _Asked(None, tuple(nodes), f"{wrong[0]} is {given[wrong[0]]!r}, not a whole number")
    if "max" not in given:
        return _Asked(None, tuple(nodes), "autoscale needs max, the most copies")
    numbers = {name: int(text) for name, text in given.items()}
    wanted = Autoscale(
        numbers.get("min", 1), numbers["max"], numbers.get("cpu_percent", 80), numbers.get("memory_percent")
    )
    problems = wanted.problems()
    return _Asked(None if problems else wanted, tuple(nodes), "; ".join(problems))
