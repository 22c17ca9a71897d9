"""The evaluator of policies: each kind of peer and port, the guide's trap, and pairs chosen to try."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.policy_matrix import End, Pair, bounded, nameless, read_end, read_policies
from tests.test_policy_rules import a_pod, a_policy

WEB = End("10.42.1.2", "web", "a", {"app": "web"}, {("http", "TCP"): 80})
CLI = End("10.42.1.3", "cli", "a", {"app": "cli"})
FAR = End("10.42.2.4", "far", "b", {"app": "cli"})
DNS = End("10.42.0.53", "coredns", "kube-system", {"k8s-app": "kube-dns"})
NOT_CLI = [{"key": "app", "operator": "NotIn", "values": ["cli"]}]
OUTSIDE = End("198.51.100.7")
SPACES = [
    {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
    for name in ("a", "b", "kube-system")
]


def ingress(*rules: Any, **more: Any) -> dict[str, Any]:
    return a_policy("p", "a", policyTypes=["Ingress"], ingress=list(rules), **more)


def may(
    policies: list[dict[str, Any]], source: End, port: int, target: End = WEB, protocol: str = "TCP"
) -> bool:
    return read_policies(policies, SPACES).decide(source, target, port, protocol).allowed


def test_without_a_policy_everything_passes() -> None:
    assert may([], OUTSIDE, 80)


@pytest.mark.parametrize(
    ("rule", "source", "port", "allowed"),
    [
        ({}, OUTSIDE, 1, True),
        ({"from": [{"podSelector": {"matchLabels": {"app": "cli"}}}]}, CLI, 80, True),
        ({"from": [{"podSelector": {"matchLabels": {"app": "cli"}}}]}, FAR, 80, False),
        ({"from": [{"namespaceSelector": {}}]}, FAR, 80, True),
        ({"from": [{"namespaceSelector": {}}]}, OUTSIDE, 80, False),
        (
            {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}},
                        "podSelector": {"matchExpressions": NOT_CLI},
                    }
                ]
            },
            FAR,
            80,
            False,
        ),
        ({"from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}, OUTSIDE, 80, True),
        (
            {"from": [{"ipBlock": {"cidr": "198.51.100.0/24", "except": ["198.51.100.7/32"]}}]},
            OUTSIDE,
            80,
            False,
        ),
        ({"from": [{"ipBlock": {"cidr": "10.42.1.0/24"}}]}, CLI, 80, True),
        ({"ports": [{"port": "http"}]}, CLI, 80, True),
        ({"ports": [{"port": "http"}]}, CLI, 81, False),
        ({"ports": [{"port": "nobody"}]}, CLI, 80, False),
        ({"ports": [{"port": 70, "endPort": 80}]}, CLI, 80, True),
        ({"ports": [{"port": 70, "endPort": 79}]}, CLI, 80, False),
        ({"ports": [{"protocol": "UDP"}]}, CLI, 80, False),
    ],
)  # fmt: skip
def test_each_peer_and_port(rule: dict[str, Any], source: End, port: int, *, allowed: bool) -> None:
    assert may([ingress(rule)], source, port) is allowed


def test_egress_counts_too_and_policies_add_up() -> None:
    out = a_policy("out", "a", policyTypes=["Egress"], podSelector={"matchLabels": {"app": "cli"}})
    assert not may([out], CLI, 80)
    more = a_policy("more", "a", policyTypes=["Egress"], egress=[{"ports": [{"port": 80}]}])
    assert may([out, more], CLI, 80)
    told = read_policies([out], SPACES).decide(CLI, WEB, 80)
    assert told.by == ("a/out",)


def test_types_left_out_are_what_the_api_makes_of_them() -> None:
    only_in = a_policy("p", "a")
    assert not may([only_in], CLI, 80)
    assert may([only_in], WEB, 80, FAR)
    both = a_policy("p", "a", egress=[{"ports": [{"port": 1}]}])
    assert not may([both], WEB, 80, FAR)


def test_a_pod_reaches_itself_and_host_network_is_no_pod() -> None:
    trap = a_policy("trap", "a", policyTypes=["Ingress", "Egress"])
    assert may([trap], WEB, 80, WEB)
    host = read_end(a_pod("kubelet", "a", "10.9.9.9", host=True))
    assert host is not None
    assert not host.name
    assert not may([trap], CLI, 80, host), "the pod's own egress still counts"
    assert may([trap], FAR, 80, host)


def test_the_guides_own_policy_takes_names_away() -> None:
    trap = a_policy("trap", "a", policyTypes=["Ingress", "Egress"])
    assert nameless([WEB, FAR], read_policies([trap], SPACES), [DNS]) == ("a/web cannot ask DNS: a/trap",)
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    let = a_policy(
        "let", "a", policyTypes=["Egress"], egress=[{"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}]}]
    )
    assert nameless([WEB], read_policies([trap, let], SPACES), [DNS]) == ()


def test_chosen_pairs_hold_both_kinds() -> None:
    policies = read_policies([ingress({"from": [{"podSelector": {}}]})], SPACES)
    pairs = [Pair(CLI, WEB, port) for port in range(50)] + [Pair(FAR, WEB, port) for port in range(9)]
    chosen = bounded(pairs, policies, 10)
    denied = [one for one in chosen if not policies.decide(one.source, one.target, one.port).allowed]
    assert (len(chosen), len(denied)) == (10, 5)
    assert len(bounded(pairs[:3], policies, 10)) == 3
