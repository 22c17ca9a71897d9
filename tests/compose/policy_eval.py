"""What NetworkPolicy objects allow, told without a cluster: the rules of the API, applied to labels."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """One end of a connection; `address` is what address blocks are compared with."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    address: str = "10.42.0.9"


def allows(
    policies: list[dict[str, Any]], source: Pod, target: Pod, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether a connection passes both the source's egress and the target's ingress."""
    return _passes(policies, source, target, "egress", "to", port, protocol) and _passes(
        policies, target, source, "ingress", "from", port, protocol
    )


def _passes(
    policies: list[dict[str, Any]], one: Pod, other: Pod, section: str, key: str, port: int, protocol: str
) -> bool:
    bound = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == one.namespace
        and section.capitalize() in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], one.labels)
    ]
    if not bound:
        return True
    rules = [rule for policy in bound for rule in policy["spec"].get(section, [])]
    return any(_rule(rule, key, one.namespace, other, port, protocol) for rule in rules)


def _rule(rule: dict[str, Any], key: str, home: str, other: Pod, port: int, protocol: str) -> bool:
    ports = rule.get("ports", [])
    if ports and not any((item["port"], item["protocol"]) == (port, protocol) for item in ports):
        return False
    peers = rule.get(key, [])
    return not peers or any(_peer(peer, home, other) for peer in peers)


def _peer(peer: dict[str, Any], home: str, other: Pod) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(other.address)
        block = peer["ipBlock"]
        return _within(address, block["cidr"]) and not any(
            _within(address, one) for one in block.get("except", [])
        )
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {NAMESPACE_LABEL: other.namespace}):
            return False
    elif other.namespace != home:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, block: str) -> bool:
    network = ipaddress.ip_network(block)
    return network.version == address.version and address in network


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for item in selector.get("matchExpressions", []):
        has = item["key"] in labels
        if item["operator"] == "Exists" and not has:
            return False
        if item["operator"] == "In" and labels.get(item["key"]) not in item["values"]:
            return False
    return True
