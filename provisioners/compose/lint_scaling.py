"""Rules about how many: autoscalers, disruption budgets, objects that are there twice or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.lint_view import (
    SCALED,
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
)
from provisioners.compose.nodes import Leaf, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

# Objects that every namespace has without a manifest.
_GIVEN = frozenset((("ConfigMap", "kube-root-ca.crt"),))


@trap("autoscaler-without-target", "autoscaler-beside-replicas", "autoscaler-without-requests")
def autoscalers(view: View) -> Iterator[Finding]:
    """An autoscaler that scales nothing, is set back by every apply, or has nothing to measure against."""
    for scaler in view.of_kind("HorizontalPodAutoscaler"):
        where = find(scaler.root, "spec.scaleTargetRef") or scaler.root
        kind, name = text(where, "kind"), text(where, "name")
        target = next(
            (one for one in view.of_kind(kind) if one.name == name and one.namespace == scaler.namespace),
            None,
        )
        if target is None:
            message = f"{scaler.name}: there is no {kind} {name} in {scaler.namespace}"
            yield finding("autoscaler-without-target", where, message)
            continue
        replicas = find(target.root, "spec.replicas")
        if replicas is not None:
            yield finding(
                "autoscaler-beside-replicas",
                replicas,
                f"{name}: each apply sets the number back that {scaler.name} has chosen; take it out",
            )
        for metric in items(scaler.root, "spec.metrics"):
            yield from _requests(scaler, target, metric)


def _requests(scaler: Manifest, target: Manifest, metric: Node) -> Iterator[Finding]:
    """A share of a request has no value where there is no request."""
    name = text(metric, "resource.name")
    if not name or not text(metric, "resource.target.averageUtilization"):
        return
    for container in target.main_containers():
        amounts = {
            key for part in ("requests", "limits") for key in texts(find(container, f"resources.{part}"))
        }
        if name not in amounts:
            yield finding(
                "autoscaler-without-requests",
                container,
                f"{target.name}/{text(container, 'name')} requests no {name}, "
                f"so {scaler.name} never scales it",
            )


@trap("budget-blocks-drains", "budget-without-pods")
def budgets(view: View) -> Iterator[Finding]:
    """A disruption budget that no drain can meet, or that protects nothing."""
    for budget in view.of_kind("PodDisruptionBudget"):
        wanted = texts(find(budget.root, "spec.selector.matchLabels"))
        found = [
            one
            for one in view.of_kind(*SCALED)
            if one.namespace == budget.namespace and wanted.items() <= one.pod_labels.items()
        ]
        if not found:
            where = find(budget.root, "spec.selector") or budget.root
            yield finding("budget-without-pods", where, f"{budget.name}: no pods here have its labels")
            continue
        least, most = text(budget.root, "spec.minAvailable"), text(budget.root, "spec.maxUnavailable")
        copies = sum(int(text(one.root, "spec.replicas") or "1") for one in found if _is_count(one))
        blocks = least == "100%" or most in {"0", "0%"} or (least.isdigit() and int(least) >= copies > 0)
        if blocks:
            yield finding(
                "budget-blocks-drains",
                find(budget.root, "spec.minAvailable")
                or find(budget.root, "spec.maxUnavailable")
                or budget.root,
                f"{budget.name}: of {copies} running no pod may ever be evicted, so no node can be drained",
            )


def _is_count(workload: Manifest) -> bool:
    value = text(workload.root, "spec.replicas")
    return not value or value.isdigit()


@trap("duplicate-object")
def duplicate_object(view: View) -> Iterator[Finding]:
    """Two manifests of one object: the one that is applied last wins."""
    seen: dict[tuple[str, str, str], Manifest] = {}
    for manifest in view.manifests:
        key = (manifest.kind, manifest.namespace, manifest.name)
        if not manifest.kind or not manifest.name:
            continue
        first = seen.setdefault(key, manifest)
        if first is not manifest:
            place = f"{first.root.file}:{first.root.line}"
            message = f"{manifest.kind} {manifest.name} is already at {place}"
            yield finding("duplicate-object", manifest.root, message)


@trap("missing-reference")
def missing_reference(view: View) -> Iterator[Finding]:
    """A ConfigMap, claim or governing Service that a pod waits for and that is not here."""
    known = {(one.kind, one.namespace, one.name) for one in view.manifests}
    for workload in view.workloads():
        for kind, node in _references(workload):
            name = node.text if isinstance(node, Leaf) else ""
            if name and (kind, workload.namespace, name) not in known and (kind, name) not in _GIVEN:
                message = f"{workload.name}: no {kind} {name} is here, and its pods wait for it"
                if kind == "Service":
                    message = f"{workload.name}: no Service {name} is here, so its pods have no names"
                yield finding("missing-reference", node, message)


def _references(workload: Manifest) -> Iterator[tuple[str, Node]]:
    """Yield what a workload names and cannot do without: the kind, and the node of the name."""
    volumes = items(workload.template, "spec.volumes")
    found: list[tuple[str, Node | None]] = []
    if workload.kind == "StatefulSet":
        found.append(("Service", find(workload.root, "spec.serviceName")))
    found += [("PersistentVolumeClaim", find(one, "persistentVolumeClaim.claimName")) for one in volumes]
    sources = [source for one in volumes for source in (one, *items(one, "projected.sources"))]
    parts = [find(source, "configMap") for source in sources]
    for container in workload.containers():
        parts += [find(source, "configMapRef") for source in items(container, "envFrom")]
        parts += [find(entry, "valueFrom.configMapKeyRef") for entry in items(container, "env")]
    found += [("ConfigMap", _needed(part)) for part in parts]
    yield from ((kind, node) for kind, node in found if node is not None)


def _needed(part: Node | None) -> Node | None:
    return None if text(part, "optional") == "true" else find(part, "name")


RULES: tuple[Trap, ...] = (autoscalers, budgets, duplicate_object, missing_reference)
