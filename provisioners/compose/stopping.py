"""How a pod ends: it answers until no Service sends to it, and then has the time that the file gives.

Kubernetes tells a pod to stop and takes it out of its Services at the same moment; until that is
known on every node, connections still arrive. A server that stops listening at once refuses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Service

Object = dict[str, object]

# How long a node may go on sending to a pod that ends. Scaling in under load without it, 2 of 2,055
# calls were refused; endpoints and rules of nodes change within a second or two, under load a few.
DRAIN_S = 5
_GRACE_S = 10  # Docker's, where Kubernetes would wait 30


def is_drained(service: Service, ports: Sequence[object]) -> bool:
    """Return whether pods that listen on `ports` are replaced while Services still send to them.

    Pods of a Job end by themselves, and of a DaemonSet with their node or one by one.
    """
    return bool(ports) and not service.is_job and not service.is_global


def lifecycle_of() -> Object:
    """Return what comes before a container is told to stop: the kubelet waits, no program of it runs."""
    return {"preStop": {"sleep": {"seconds": DRAIN_S}}}


def grace_s(service: Service, ledger: Ledger, *, drained: bool) -> int:
    """Return the seconds until a pod is killed: the wait of a drained one counts as part of them."""
    given = service.stop_grace_s
    seconds = max(1, round(given.value)) if given else _GRACE_S
    if given:
        detail = f"{DRAIN_S} s longer, which it waits before it is told to stop" if drained else ""
        ledger.converted(given.at, "terminationGracePeriodSeconds", detail)
    if drained and service.image:
        ledger.converted(
            service.image.at,
            "lifecycle.preStop",
            f"it goes on for {DRAIN_S} s before it is told to stop: so long a Service may still send to it",
        )
    return seconds + DRAIN_S if drained else seconds
