"""Network policies: nothing is allowed but DNS, and for each service what the files imply.

One object denies and allows DNS at once, so there is no moment in which names do not resolve.
Each service then has one of its own. A network of the file is a label of the pods that join it.
The kubelet's probes need no rule: a node always reaches its own pods.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING

from provisioners.compose.naming import legal
from provisioners.compose.peers import real_name
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioners.compose.context import Context
    from provisioners.compose.model import Port, Project, Service

Object = dict[str, object]

POLICY_FILE = "policies/default-deny.yaml"
PROBE_LABEL = "gonogo.dev/probe"
_NAME_LABEL = "app.kubernetes.io/name"
_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_JOINED = "joined"
_WHY = "gonogo.dev/why"
_LOCAL_DNS = "169.254.20.10/32"  # the cache that some clusters run on each node
_DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
_LOOPBACK = ("127.", "::1", "localhost")


def network_label(name: str) -> str:
    """Return the label of pods that join a network."""
    return f"network.gonogo.dev/{legal(name)}"


def network_labels(names: Iterable[str]) -> Object:
    """Return the labels of a pod that joins these networks."""
    return {network_label(name): _JOINED for name in names}


def is_outside(port: Port) -> bool:
    """Return whether a published port is for others than programs on the same machine."""
    return not port.host_ip.strip("[]").startswith(_LOOPBACK)


def base_policies(context: Context) -> list[Object]:
    """Return the policies of the whole namespace."""
    dns: list[Object] = [
        _peer(namespaces=["kube-system"], pods={"k8s-app": "kube-dns"}),
        {"ipBlock": {"cidr": _LOCAL_DNS}},
    ]
    found = [
        _policy(
            "default-deny-but-dns",
            context,
            {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{"to": dns, "ports": _DNS}],
            },
            "nothing comes in and only DNS goes out, unless another policy of this namespace allows it",
        )
    ]
    if context.fit.probe_access:
        probes = {"matchExpressions": [{"key": PROBE_LABEL, "operator": "Exists"}]}
        body: Object = {
            "podSelector": probes,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}],
            "egress": [{}],
        }
        found.append(_policy("gonogo-probes", context, body, "pods that measure reach everything"))
        reached: Object = {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": probes}]}],
        }
        found.append(
            _policy("reached-by-gonogo-probes", context, reached, "pods that measure reach everything")
        )
    return found


def policy_of(service: Service, key: str, shown: Sequence[int], context: Context) -> Object:
    """Return the policy of one service; `shown` are the ports that an Ingress shows."""
    peers, name = context.peers, context.names[key]
    incoming = _incoming(service, key, shown, context)
    outgoing = _outgoing(key, context)
    why = "in: networks in common, callers, published ports, monitoring; out: networks in common, callees"
    if peers.has_outside(key):
        why += ", and the outside, which services call by names that no file lists"
    else:
        why += "; not the outside, because its networks are internal"
    spec: Object = {
        "podSelector": {"matchLabels": {_NAME_LABEL: name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": incoming,
        "egress": outgoing,
    }
    _note(service, key, name, context)
    return _policy(name, context, spec, why)


# -- rules ---------------------------------------------------------------------------------------


def _incoming(service: Service, key: str, shown: Sequence[int], context: Context) -> list[Object]:
    peers, name = context.peers, context.names[key]
    ports = _ports(service, context.ports[key])
    rules: list[Object] = []
    near: list[Object] = [_peer(pods={network_label(net): _JOINED}) for net in peers.networks[key]]
    near += [
        _peer(pods={_NAME_LABEL: context.names[one]})
        for one in peers.callers(key)
        if not peers.together(one, key)
    ]
    limit: Object = {"ports": ports} if ports else {}
    rules.append({"from": near, **limit})
    # copies of one service may have ports between them that no file lists
    rules.append({"from": [_peer(pods={_NAME_LABEL: name})]})
    watchers = [_peer(pods={_NAME_LABEL: "prometheus"})]
    if context.fit.monitoring:
        watchers.insert(0, _peer(namespaces=context.fit.monitoring))
    rules.append({"from": watchers, **limit})
    # no `from`: clients outside, whose addresses the node may have replaced by its own
    outer = {(port.target, port.protocol.upper()) for port in service.ports if is_outside(port)}
    outer |= {(port, "TCP") for port in shown}
    if outer:
        rules.append({"ports": [{"port": port, "protocol": protocol} for port, protocol in sorted(outer)]})
    return rules


def _outgoing(key: str, context: Context) -> list[Object]:
    peers = context.peers
    near: list[Object] = [_peer(pods={network_label(net): _JOINED}) for net in peers.networks[key]]
    rules: list[Object] = [{"to": [*near, _peer(pods={_NAME_LABEL: context.names[key]})]}]
    far = dict.fromkeys(
        call.callee for call in peers.calls.get(key, ()) if not peers.together(key, call.callee)
    )
    rules += [{"to": [_peer(pods={_NAME_LABEL: context.names[callee]})]} for callee in far]
    # pods of another namespace may listen on other ports than their Services have: no port is named
    foreign = dict.fromkeys(one.namespace for one in peers.foreign.get(key, ()))
    rules += [{"to": [_peer(namespaces=[namespace])]} for namespace in foreign]
    if peers.has_outside(key):
        outside = _outside(tuple(context.fit.cluster_ranges))
        rules.append({"to": [{"ipBlock": _block(whole, kept)} for whole, kept in outside]})
    return rules


@functools.lru_cache(maxsize=8)
def _outside(ranges: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """All addresses, each kind with its exceptions: pods and Services, whose traffic other rules decide.

    Private addresses stay: databases and hosts beside the cluster have them.
    """
    try:
        networks = [ipaddress.ip_network(text) for text in ranges]
    except ValueError as error:
        raise InputError(
            "a range of the cluster is no network", why=str(error), next_step="write one such as 10.42.0.0/16"
        ) from None
    return tuple(
        (whole, tuple(str(network) for network in networks if network.version == version))
        for whole, version in (("0.0.0.0/0", 4), ("::/0", 6))
    )


def _block(whole: str, kept: Sequence[str]) -> Object:
    """One block of a policy, its own: a patch of one policy changes no other."""
    return {"cidr": whole, "except": list(kept)} if kept else {"cidr": whole}


def _ports(service: Service, tcp: Sequence[int]) -> list[Object]:
    """The ports that its Service has; none where it has none, because then it is reached on any."""
    others = {
        (port.target, port.protocol.upper())
        for port in (*service.ports, *service.expose)
        if port.protocol != "tcp"
    }
    known = [*((port, "TCP") for port in tcp), *sorted(others)]
    return [{"port": port, "protocol": protocol} for port, protocol in known]


def _peer(*, pods: Object | None = None, namespaces: Sequence[str] = ()) -> Object:
    found: Object = {}
    if len(namespaces) == 1:
        found["namespaceSelector"] = {"matchLabels": {_NAMESPACE_LABEL: namespaces[0]}}
    elif namespaces:
        wanted = {"key": _NAMESPACE_LABEL, "operator": "In", "values": list(namespaces)}
        found["namespaceSelector"] = {"matchExpressions": [wanted]}
    if pods:
        found["podSelector"] = {"matchLabels": pods}
    return found


def _policy(name: str, context: Context, spec: Object, why: str) -> Object:
    metadata: Object = {"name": name, "namespace": context.namespace, "annotations": {_WHY: why}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    }


# -- account ---------------------------------------------------------------------------------------


def _note(service: Service, key: str, name: str, context: Context) -> None:
    ledger, peers, target = context.ledger, context.peers, f"NetworkPolicy/{name}"
    for port in service.ports:
        ledger.remark(port.at, "open to everyone, as a published port is", target)
    for call in peers.calls.get(key, ()):
        if call.at is service.at:
            continue
        apart = not peers.together(key, call.callee)
        if apart and call.how not in {"depends_on", "links"}:
            ledger.remark(
                call.at,
                f"it names {call.callee}, with which it has no network in common: Swarm keeps them apart, "
                "here they reach each other",
                target,
            )
    for foreign in peers.foreign.get(key, ()):
        ledger.remark(foreign.at, f"it names the namespace {foreign.namespace}, which it may reach", target)


def note_networks(project: Project, context: Context) -> None:
    """Account for the networks of the file, which are policies here."""
    for key, network in project.networks.items():
        name = real_name(project, key)
        detail = (
            f"pods that join it have the label {network_label(name)}; policies let those reach each other, "
            "and pods of other namespaces only where a value names them"
        )
        if name in context.peers.internal:
            detail += "; internal, so it gives no way to the outside"
        else:
            detail += "; the outside is every address but the cluster's own ranges"
        if network.external:
            detail += "; services of other files that join it have to be in this namespace"
        context.ledger.approximated(network.at, detail, "NetworkPolicy")
