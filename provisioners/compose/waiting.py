"""`depends_on`: what starts before what, as far as pods wait for each other at all.

Swarm ignores it: everything starts at once and is started again until it works. So does this
converter, unless the fit names an image to wait with: a Service accepts connections only when one of
its pods is ready, so an init container that connects to it waits for exactly `service_healthy`. The
service's own image cannot be trusted with that, because nothing tells which programs are in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.nodes import Leaf, Table

if TYPE_CHECKING:
    from provisioners.compose.context import Context
    from provisioners.compose.model import Service

Object = dict[str, object]

_STARTED, _HEALTHY, _COMPLETED = "service_started", "service_healthy", "service_completed_successfully"
_PAUSE_S, _CONNECT_S = 2, 2


def waiting_containers(service: Service, context: Context) -> list[Object]:
    """Return the init containers of a service, and account for all of its `depends_on`."""
    found: list[Object] = []
    for given in service.depends_on:
        condition, detail = _condition(given.at), ""
        other = context.names.get(given.value, given.value)
        ports = context.ports.get(given.value, ())
        if condition == _HEALTHY and context.fit.wait_image and ports:
            found.append(_container(other, ports[0], context.fit.wait_image))
            context.ledger.approximated(
                given.at,
                f"waits until Service/{other} accepts connections, which takes a ready pod",
                "initContainers",
            )
            continue
        if condition == _COMPLETED:
            detail = (
                f"pods start at once and fail until what the Job does is there; for a strict order apply "
                f"it first: kubectl -n {context.namespace} wait --for=condition=complete job/{other}"
            )
            context.ledger.approximated(given.at, detail, f"Job/{other}")
        elif condition == _HEALTHY:
            detail = (
                f"pods start at once, as Swarm starts them; readiness keeps clients away from {other} until "
                "it can work; to wait before the start, name a wait_image with sh and nc in the fit"
            )
            context.ledger.approximated(given.at, detail, "readinessProbe")
        else:
            context.ledger.dropped(
                given.at, "Swarm ignores it too; readiness keeps traffic away until a server can work"
            )
    return found


def _condition(at: object) -> str:
    node = at.get("condition") if isinstance(at, Table) else None
    return node.text if isinstance(node, Leaf) else _STARTED


def _container(other: str, port: int, image: str) -> Object:
    script = f"until nc -z -w {_CONNECT_S} {other} {port}; do sleep {_PAUSE_S}; done"
    small = {"cpu": "10m", "memory": "16Mi"}
    return {
        "name": f"wait-for-{other}"[:63].rstrip("-"),
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
        "resources": {"requests": small, "limits": {"cpu": "100m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
