"""The firewall rules of one node that NetworkPolicies mean, as text for `iptables-restore --noflush`.

Pure, and standard library only: this file runs on the hosts, beside `policy_enforcer`, in the interpreter
of a minimal Debian. IPv4 only, as the pod network of the lab is.

    GONOGO-POLICY      from FORWARD, first of all: one rule for each local pod and direction that is isolated
    GONOGO-<hash>      what may pass in one direction: RETURN for each, and REJECT at the end; named by its
                       content, so that equal ones are one chain and a changed one is another

A packet returns from the source's chain and then meets the target's. OUTPUT and INPUT are left alone: a
node always reaches its own pods (that is how the kubelet probes them), and they reach it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Object = Mapping[str, Any]

TOP = "GONOGO-POLICY"
PREFIX = "GONOGO-"
_ENDED = ("Succeeded", "Failed")
_REJECT = "-j REJECT --reject-with icmp-port-unreachable"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has an address of its own; `ports` are its named ones, by name and protocol."""

    name: str
    namespace: str
    node: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class World:
    """What the API server holds: pods, labels of namespaces, policies."""

    pods: Sequence[Pod]
    namespaces: Mapping[str, Mapping[str, str]]
    policies: Sequence[Object]


def read_world(pods: Iterable[Object], namespaces: Iterable[Object], policies: Iterable[Object]) -> World:
    """Return the world of raw API objects; pods without an address of their own are left out."""
    return World(
        tuple(sorted(filter(None, map(read_pod, pods)), key=lambda pod: (pod.namespace, pod.name))),
        {row["metadata"]["name"]: row["metadata"].get("labels") or {} for row in namespaces},
        tuple(sorted(policies, key=lambda row: (row["metadata"]["namespace"], row["metadata"]["name"]))),
    )


def read_pod(row: Object) -> Pod | None:
    """Return a pod, or None where no policy can bear on it: it ended, has no address, or has the node's."""
    meta, spec, status = row["metadata"], row["spec"], row.get("status") or {}
    address = str(status.get("podIP") or "")
    if spec.get("hostNetwork") or status.get("phase") in _ENDED or not address or ":" in address:
        return None
    ports = {
        (port["name"], port.get("protocol", "TCP")): int(port["containerPort"])
        for container in spec.get("containers") or []
        for port in container.get("ports") or []
        if port.get("name")
    }
    return Pod(
        meta["name"], meta["namespace"], spec.get("nodeName", ""), address, meta.get("labels") or {}, ports
    )


def rules(node: str, world: World) -> dict[str, list[str]]:
    """Return the chains of a node by name, each a list of rules without `-A NAME`; TOP is always there."""
    top: list[str] = []
    chains: dict[str, list[str]] = {}
    for pod in world.pods:
        if pod.node != node:
            continue
        own: list[str] = []
        for egress in (True, False):
            bound = [one for one in world.policies if binds(one, pod, egress=egress)]
            if bound:
                body = list(dict.fromkeys(_allowed(bound, pod, world, egress=egress)))
                name = PREFIX + hashlib.sha256("\n".join(body).encode()).hexdigest()[:16]
                chains[name] = [*body, _REJECT]
                own.append(f"{'-s' if egress else '-d'} {pod.address}/32 -j {name}")
        if own:  # nothing keeps a pod from itself, by its Service's address either
            top += [f"-s {pod.address}/32 -d {pod.address}/32 -j RETURN", *own]
    head = ["-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"] if top else []
    return {TOP: [*head, *top], **chains}


def restore_text(
    chains: Mapping[str, Sequence[str]], there: Iterable[str], *, jump: bool, jumped: bool
) -> str:
    """Return the one transaction that makes these chains of those that are `there`.

    `jumped` says whether FORWARD has the jump already, `jump` whether it has to be (again) its first rule.
    """
    old = sorted(set(there) - set(chains))
    lines = ["*filter", *(f":{name} - [0:0]" for name in (*chains, *old))]
    if jump and jumped:
        lines.append(f"-D FORWARD -j {TOP}")
    if jump:
        lines.append(f"-I FORWARD 1 -j {TOP}")
    lines += [f"-A {name} {rule}" for name, body in chains.items() for rule in body]
    lines += [f"-X {name}" for name in old]
    return "\n".join([*lines, "COMMIT", ""])


def binds(policy: Object, pod: Pod, *, egress: bool) -> bool:
    """Return whether a policy isolates a pod in a direction."""
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return (
        ("Egress" if egress else "Ingress") in types
        and policy["metadata"]["namespace"] == pod.namespace
        and fits(spec.get("podSelector") or {}, pod.labels)
    )


def fits(selector: Object, labels: Mapping[str, str]) -> bool:
    """Return whether labels fit a label selector; an empty one fits all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for item in selector.get("matchExpressions") or []:
        has, value = item["key"] in labels, labels.get(item["key"])
        listed = value in (item.get("values") or [])
        held = {"In": has and listed, "NotIn": not listed, "Exists": has, "DoesNotExist": not has}
        if not held.get(item["operator"], False):
            return False
    return True


def _allowed(bound: Sequence[Object], pod: Pod, world: World, *, egress: bool) -> Iterator[str]:
    for policy in bound:
        for rule in policy["spec"].get("egress" if egress else "ingress") or []:
            peers = rule.get("to" if egress else "from") or []
            yield from _one_rule(rule.get("ports") or [], peers, pod, world, egress=egress)


def _one_rule(
    ports: Sequence[Object], peers: Sequence[Object], pod: Pod, world: World, *, egress: bool
) -> Iterator[str]:
    """Yield the rules of one entry of a policy: each peer's address with each port."""
    side = "-d" if egress else "-s"
    near = [one for one in world.pods if any(_is_peer(peer, pod, one, world) for peer in peers)]
    blocks = [block for peer in peers if "ipBlock" in peer for block in _networks(peer["ipBlock"])]
    wheres = [f"{side} {one.address}/32 " for one in near] + [f"{side} {block} " for block in blocks]
    if not peers:
        wheres = [""]
    if not ports:
        yield from (f"{where}-j RETURN" for where in wheres)
    for port in ports:
        protocol = port.get("protocol", "TCP")
        number = port.get("port")
        if not isinstance(number, str):
            words = f"-p {protocol.lower()} {_range(number, port.get('endPort'))}"
            yield from (f"{where}{words}-j RETURN" for where in wheres)
        elif not egress:  # a name means the target's port of that name
            found = pod.ports.get((number, protocol))
            if found is not None:
                yield from (
                    f"{where}-p {protocol.lower()} {_range(found, None)}-j RETURN" for where in wheres
                )
        else:
            yield from _named_out(near if peers else world.pods, blocks, number, protocol, world)


def _named_out(
    near: Sequence[Pod], blocks: Sequence[str], name: str, protocol: str, world: World
) -> Iterator[str]:
    inside = [ipaddress.ip_network(block) for block in blocks]
    more = [
        one
        for one in world.pods
        if one not in near and any(ipaddress.ip_address(one.address) in block for block in inside)
    ]
    for one in (*near, *more):
        found = one.ports.get((name, protocol))
        if found is not None:
            yield f"-d {one.address}/32 -p {protocol.lower()} {_range(found, None)}-j RETURN"


def _range(port: int | None, end: int | None) -> str:
    if port is None:
        return ""
    return f"--dport {port}:{end} " if end else f"--dport {port} "


def _is_peer(peer: Object, home: Pod, other: Pod, world: World) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not fits(peer["namespaceSelector"] or {}, world.namespaces.get(other.namespace, {})):
            return False
    elif other.namespace != home.namespace:
        return False
    return fits(peer.get("podSelector") or {}, other.labels)


def _networks(block: Object) -> list[str]:
    """Return the networks of an address block without its exceptions; none for IPv6."""
    whole = ipaddress.ip_network(block["cidr"], strict=False)
    left: list[Any] = [whole] if whole.version == 4 else []  # noqa: PLR2004 - the IP version
    for text in block.get("except") or []:
        hole = ipaddress.ip_network(text, strict=False)
        if hole.version != whole.version:
            continue
        left = [part for one in left for part in _without(one, hole)]
    return [str(one) for one in sorted(left)]


def _without(network: Any, hole: Any) -> list[Any]:
    if network.subnet_of(hole):
        return []
    return list(network.address_exclude(hole)) if hole.subnet_of(network) else [network]
