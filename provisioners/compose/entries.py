"""The Service objects of a service: its name inside, its ports on the nodes, its aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.aliases import alike
from provisioners.compose.naming import port_names
from provisioners.compose.policy import is_outside
from provisioners.compose.workload import NAME_LABEL, http_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.context import Context
    from provisioners.compose.model import Port, Service

Object = dict[str, object]
_Names = dict[tuple[int, str], str]  # of ports, by number and protocol

# How a port came to a service that does not list it: a caller names it, or an Ingress shows it.
IMPLIED, SHOWN = "implied", "shown"


def entries_of(
    service: Service,
    name: str,
    labels: Object,
    http: int | None,
    context: Context,
    *,
    affine: bool,
    annotations: Mapping[str, str],
) -> list[Object]:
    """Return the Service objects of a service whose objects are called `name`.

    `affine` keeps a client at one replica, which servers with sessions need; `annotations` are what
    an ingress controller reads of the first one.
    """
    names = port_names((*service.ports, *service.expose), http)
    inner = _service_ports((*service.ports, *service.expose), names)
    outer = _service_ports(tuple(port for port in service.ports if is_outside(port)), names)
    _note_ports(service, name, names, context)
    whole = not outer or len(outer) == len(inner)
    found = [_entry(name, name, labels, inner, context, published=bool(outer) and whole)]
    if annotations:
        metadata = found[0]["metadata"]
        held = metadata if isinstance(metadata, dict) else {}
        found[0]["metadata"] = {**held, "annotations": dict(annotations)}
    if not whole:
        found.append(_entry(f"{name}-entry", name, labels, outer, context, published=True))
    found += [
        _entry(alias, name, labels, inner, context, published=False)
        for alias in context.aliases.own.get(service.name, ())
    ]
    return [_with_affinity(entry) for entry in found] if affine else found


def shared_entries(
    key: str, labels: Object, services: Mapping[str, Service], context: Context
) -> list[Object]:
    """Return the Services of names that several services have, if this one is the first of them.

    Their pods call the same port differently, so it is reached by its number. Where ports differ,
    no Service port would lead to all of the pods: the name then has the addresses of each.
    """
    found = []
    for alias in context.aliases.made_by(key):
        behind = [services[one] for one in context.aliases.shared[alias]]
        ports: list[Object] = []
        if alike(behind):
            names = port_names((*behind[0].ports, *behind[0].expose), http_port(behind[0].healthcheck))
            ports = [
                {**port, "targetPort": port["port"]}
                for port in _service_ports((*behind[0].ports, *behind[0].expose), names)
            ]
        own = {**labels, NAME_LABEL: alias}
        entry = _entry(alias, alias, own, ports, context, published=False)
        spec = entry["spec"]
        body = {**(spec if isinstance(spec, dict) else {}), "selector": context.aliases.selector(alias)}
        found.append({**entry, "spec": body})
    return found


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


def _note_ports(service: Service, name: str, names: _Names, context: Context) -> None:
    for port in service.ports:
        words, given = _words(port), names[port.target, port.protocol]
        if port.name and port.name != given:
            words += f"; its name there is {given}: 15 small letters, digits and -, no two alike"
        context.ledger.approximated(port.at, words, f"Service/{name} port {port.target}")
    for port in service.expose:
        target = f"Service/{name} port {port.target}"
        if port.mode == IMPLIED:
            detail = (
                f"it calls {service.name} on {port.target}, which is not listed there; its Service gets it"
            )
            context.ledger.remark(port.at, detail, target)
        elif port.mode != SHOWN:
            context.ledger.converted(port.at, target)


def _words(port: Port) -> str:
    inside = f"inside by name on {port.target}"
    if not is_outside(port):
        return f"{inside}, not outside: {port.host_ip} is for programs of the same machine alone"
    outside = "outside on a port of the nodes that the cluster chooses"
    if port.published is None:
        return f"{inside}, {outside}, as Swarm would"
    return f"{inside}, {outside} instead of {port.published}"


def _service_ports(ports: tuple[Port, ...], names: _Names) -> list[Object]:
    found: dict[tuple[int, str], Object] = {}
    for port in ports:
        name = names[port.target, port.protocol]
        found.setdefault(
            (port.target, port.protocol),
            {"name": name, "port": port.target, "targetPort": name, "protocol": port.protocol.upper()},
        )
    return list(found.values())
