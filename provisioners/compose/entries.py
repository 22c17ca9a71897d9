"""The Service objects of a service: its name inside, its ports on the nodes, its aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.naming import legal, port_name
from provisioners.compose.workload import NAME_LABEL

if TYPE_CHECKING:
    from provisioners.compose.context import Context
    from provisioners.compose.model import Port, Service

Object = dict[str, object]


def entries_of(
    service: Service, name: str, labels: Object, http: int | None, context: Context, *, affine: bool
) -> list[Object]:
    """Return the Service objects of a service whose objects are called `name`.

    `affine` keeps a client at one replica, which servers with sessions need.
    """
    inner = _service_ports((*service.ports, *service.expose), http)
    outer = _service_ports(service.ports, http)
    _note_ports(service, name, context)
    whole = not outer or len(outer) == len(inner)
    found = [_entry(name, name, labels, inner, context, published=bool(outer) and whole)]
    if not whole:
        found.append(_entry(f"{name}-entry", name, labels, outer, context, published=True))
    aliases = {legal(alias) for ref in service.networks for alias in ref.aliases} - {name}
    found += [_entry(alias, name, labels, inner, context, published=False) for alias in sorted(aliases)]
    return [_with_affinity(entry) for entry in found] if affine else found


def _entry(
    name: str, target: str, labels: Object, ports: list[Object], context: Context, *, published: bool
) -> Object:
    spec: Object = {"selector": {NAME_LABEL: target}}
    if published:
        policy = "Local" if context.fit.entry == "node" else "Cluster"
        spec = {"type": "NodePort", "externalTrafficPolicy": policy, **spec, "ports": ports}
    elif ports:
        spec = {"type": "ClusterIP", **spec, "ports": ports}
    else:
        spec = {"clusterIP": "None", **spec}  # no port is named, so any is reached by the pods' addresses
    metadata: Object = {"name": name, "namespace": context.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _with_affinity(entry: Object) -> Object:
    spec = entry["spec"]
    return {**entry, "spec": {**(spec if isinstance(spec, dict) else {}), "sessionAffinity": "ClientIP"}}


def _note_ports(service: Service, name: str, context: Context) -> None:
    for port in service.ports:
        context.ledger.approximated(port.at, _words(port), f"Service/{name} port {port.target}")
    for port in service.expose:
        context.ledger.converted(port.at, f"Service/{name} port {port.target}")


def _words(port: Port) -> str:
    inside = f"inside by name on {port.target}"
    outside = "outside on a port of the nodes that the cluster chooses"
    if port.published is None:
        return f"{inside}, {outside}, as Swarm would"
    return f"{inside}, {outside} instead of {port.published}"


def _service_ports(ports: tuple[Port, ...], http: int | None) -> list[Object]:
    found: dict[tuple[int, str], Object] = {}
    for port in ports:
        name = port_name(port.protocol, port.target, http=port.target == http, own=port.name)
        found.setdefault(
            (port.target, port.protocol),
            {"name": name, "port": port.target, "targetPort": name, "protocol": port.protocol.upper()},
        )
    return list(found.values())
