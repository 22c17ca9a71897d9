"""A PodDisruptionBudget where there are several copies: a drain takes as many at once as an update does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioners.compose.context import Context
    from provisioners.compose.model import Service
    from provisioners.tiers import Autoscale

Object = dict[str, object]


def budget_of(
    service: Service, name: str, copies: int, scale: Autoscale | None, labels: Object, context: Context
) -> Object | None:
    """Return the budget of a service with this many copies; None where a budget could only block a drain."""
    fewest = scale.minimum if scale else copies
    if fewest < 2 or service.is_global or service.is_job:  # noqa: PLR2004  one copy has to be taken down
        return None
    given = service.deploy.update.parallelism
    # 0 means all at once, which is no budget; and one copy has to go on serving
    at_once = min(given.value, fewest - 1) if given and given.value > 0 else 1
    if given:
        target = f"PodDisruptionBudget/{name}"
        if at_once == given.value:
            context.ledger.converted(given.at, target)
        else:
            context.ledger.remark(
                given.at, f"a drain takes {at_once} at once, so that one goes on serving", target
            )
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": context.namespace, "labels": labels},
        "spec": {
            "maxUnavailable": at_once,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            # copies that cannot work must not keep a node from being drained
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
