"""The enforcer's firewall rules: golden text, and the same answers as the evaluator on random policies."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.policy_matrix import read_end, read_policies
from provisioners.parts.policy_rules import PREFIX, TOP, read_world, restore_text, rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NODE = "node1"


def a_pod(name: str, namespace: str, address: str, **more: Any) -> dict[str, Any]:
    ports = more.get("ports", [])
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": more.get("labels", {})},
        "spec": {
            "nodeName": more.get("node", NODE),
            "hostNetwork": more.get("host", False),
            "containers": [{"ports": ports}],
        },
        "status": {"podIP": address, "phase": more.get("phase", "Running")},
    }


def a_policy(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection."""

    source: str
    target: str
    port: int
    protocol: str = "tcp"


def passes(chains: Mapping[str, Sequence[str]], packet: Packet, chain: str = TOP) -> bool:
    """Walk the rules as the kernel would; True is the end of the chain or RETURN, False is REJECT."""
    for rule in chains[chain]:
        words = rule.split()
        if "conntrack" in words:  # a first packet is neither related nor established
            continue
        options = dict(zip(words[::2], words[1::2], strict=False))
        if not _fits(options, packet):
            continue
        jump = options["-j"]
        if jump == "RETURN":
            return True
        if jump == "REJECT":
            return False
        assert jump.startswith(PREFIX), rule
        if not passes(chains, packet, jump):
            return False
    return True


def _fits(options: Mapping[str, str], packet: Packet) -> bool:
    for word, address in (("-s", packet.source), ("-d", packet.target)):
        if word in options and ipaddress.ip_address(address) not in ipaddress.ip_network(options[word]):
            return False
    if options.get("-p", packet.protocol) != packet.protocol:
        return False
    low, _, high = options.get("--dport", "0:65535").partition(":")
    return int(low) <= packet.port <= int(high or low)


def node_passes(world: Any, packet: Packet, nodes: Mapping[str, str]) -> bool:
    """Return whether a packet passes the source's node and the target's."""
    on = {nodes.get(packet.source, ""), nodes.get(packet.target, "")} - {""}
    return all(passes(rules(node, world), packet) for node in on)


def test_golden_rules_of_a_small_namespace() -> None:
    pods = [
        a_pod("web", "a", "10.42.1.2", labels={"app": "web"}, ports=[{"name": "http", "containerPort": 80}]),
        a_pod("cli", "a", "10.42.1.3", labels={"app": "cli"}),
        a_pod("far", "a", "10.42.2.4", labels={"app": "web"}, node="node2"),
        a_pod("kubelet", "a", "10.9.9.9", host=True),
        a_pod("done", "a", "10.42.1.9", phase="Succeeded"),
    ]
    policy = a_policy(
        "web",
        "a",
        podSelector={"matchLabels": {"app": "web"}},
        policyTypes=["Ingress"],
        ingress=[
            {
                "from": [
                    {"podSelector": {"matchLabels": {"app": "cli"}}},
                    {"ipBlock": {"cidr": "10.0.0.0/30", "except": ["10.0.0.0/31"]}},
                ],
                "ports": [{"port": "http", "protocol": "TCP"}, {"port": 90, "endPort": 99}],
            }
        ],
    )
    found = rules(NODE, read_world(pods, [{"metadata": {"name": "a"}}], [policy]))
    chain = next(name for name in found if name != TOP)
    assert found == {
        TOP: [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            "-s 10.42.1.2/32 -d 10.42.1.2/32 -j RETURN",
            f"-d 10.42.1.2/32 -j {chain}",
        ],
        chain: [
            "-s 10.42.1.3/32 -p tcp --dport 80 -j RETURN",
            "-s 10.0.0.2/31 -p tcp --dport 80 -j RETURN",
            "-s 10.42.1.3/32 -p tcp --dport 90:99 -j RETURN",
            "-s 10.0.0.2/31 -p tcp --dport 90:99 -j RETURN",
            "-j REJECT --reject-with icmp-port-unreachable",
        ],
    }
    assert len(chain) <= 28, "the kernel takes no longer name"


def test_the_trap_policy_leaves_nothing_but_the_end() -> None:
    pods = [a_pod("one", "a", "10.42.1.2"), a_pod("two", "a", "10.42.1.3")]
    trap = a_policy("all", "a", policyTypes=["Ingress", "Egress"])
    found = rules(NODE, read_world(pods, [], [trap]))
    bodies = [body for name, body in found.items() if name != TOP]
    assert bodies == [["-j REJECT --reject-with icmp-port-unreachable"]], "equal chains are one"
    assert not passes(found, Packet("10.42.1.2", "10.42.0.53", 53, "udp"))
    assert passes(found, Packet("10.42.1.2", "10.42.1.2", 80)), "a pod always reaches itself"


def test_no_policy_means_no_rule() -> None:
    found = rules(NODE, read_world([a_pod("one", "a", "10.42.1.2")], [], []))
    assert found == {TOP: []}


def test_the_transaction_removes_what_is_not_wanted_and_jumps_first() -> None:
    text = restore_text({TOP: ["-s 1.2.3.4/32 -j GONOGO-b"], "GONOGO-b": ["-j REJECT"]},
                        [TOP, "GONOGO-a"], jump=True, jumped=True)  # fmt: skip
    assert text.splitlines() == [
        "*filter",
        f":{TOP} - [0:0]",
        ":GONOGO-b - [0:0]",
        ":GONOGO-a - [0:0]",
        f"-D FORWARD -j {TOP}",
        f"-I FORWARD 1 -j {TOP}",
        f"-A {TOP} -s 1.2.3.4/32 -j GONOGO-b",
        "-A GONOGO-b -j REJECT",
        "-X GONOGO-a",
        "COMMIT",
    ]


# -- agreement with the evaluator -------------------------------------------------------------------

_LABELS = st.dictionaries(st.sampled_from(["app", "net"]), st.sampled_from(["x", "y"]), max_size=2)
_EXPRESSIONS = st.builds(
    lambda key, operator, value: {
        "key": key,
        "operator": operator,
        **({"values": [value]} if operator in {"In", "NotIn"} else {}),
    },
    st.sampled_from(["app", "net"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.sampled_from(["x", "y"]),
)
_SELECTORS = st.one_of(
    st.just({}),
    st.builds(lambda labels: {"matchLabels": labels}, _LABELS),
    st.builds(lambda one: {"matchExpressions": [one]}, _EXPRESSIONS),
)
_BLOCKS = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.42.0.0/16"]},
        {"cidr": "10.42.0.0/16", "except": ["10.42.1.0/24", "10.42.2.2/32"]},
        {"cidr": "10.42.1.2/32"},
        {"cidr": "::/0"},
    ]
)
_PEERS = st.one_of(
    st.builds(lambda one: {"podSelector": one}, _SELECTORS),
    st.builds(lambda one: {"namespaceSelector": one}, _SELECTORS),
    st.builds(lambda a, b: {"namespaceSelector": a, "podSelector": b}, _SELECTORS, _SELECTORS),
    st.builds(lambda one: {"ipBlock": one}, _BLOCKS),
)
_PORTS = st.sampled_from(
    [
        {"port": 80},
        {"port": "http", "protocol": "TCP"},
        {"port": "dns", "protocol": "UDP"},
        {"port": 53, "protocol": "UDP"},
        {"port": 70, "endPort": 85},
        {"protocol": "UDP"},
    ]
)


def _rule(peers: list[Any], ports: list[Any], key: str) -> dict[str, Any]:
    return {**({key: peers} if peers else {}), **({"ports": ports} if ports else {})}


def _rules(key: str) -> st.SearchStrategy[list[Any]]:
    one = st.builds(
        lambda peers, ports: _rule(peers, ports, key),
        st.lists(_PEERS, max_size=2),
        st.lists(_PORTS, max_size=2),
    )
    return st.lists(one, max_size=2)


_POLICIES = st.lists(
    st.builds(
        lambda namespace, select, types, ingress, egress: {
            "metadata": {"name": "p", "namespace": namespace},
            "spec": {"podSelector": select, "policyTypes": types, "ingress": ingress, "egress": egress},
        },
        st.sampled_from(["a", "b"]),
        _SELECTORS,
        st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
        _rules("from"),
        _rules("to"),
    ),
    max_size=4,
)
_HTTP = [{"name": "http", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(policies=_POLICIES, labels=st.lists(_LABELS, min_size=4, max_size=4), home=_LABELS)
def test_rules_and_evaluator_agree(
    policies: list[dict[str, Any]], labels: list[dict[str, str]], home: dict[str, str]
) -> None:
    pods = [
        a_pod("one", "a", "10.42.1.2", labels=labels[0], ports=_HTTP),
        a_pod("two", "a", "10.42.2.2", labels=labels[1], node="node2"),
        a_pod("three", "b", "10.42.1.3", labels=labels[2], ports=_HTTP),
        a_pod("four", "b", "10.42.2.3", labels=labels[3], node="node2"),
    ]
    spaces = [{"metadata": {"name": "a", "labels": home}}, {"metadata": {"name": "b", "labels": {}}}]
    world = read_world(pods, spaces, policies)
    expected = read_policies(policies, spaces)
    nodes = {pod["status"]["podIP"]: pod["spec"]["nodeName"] for pod in pods}
    ends = [end for end in map(read_end, pods) if end]
    for source in ends:
        for target in ends:
            for port, protocol in ((80, "TCP"), (81, "TCP"), (53, "UDP"), (443, "TCP")):
                packet = Packet(source.address, target.address, port, protocol.lower())
                told = expected.decide(source, target, port, protocol)
                assert node_passes(world, packet, nodes) == told.allowed, (packet, told, policies)


def test_the_walk_itself_can_say_no() -> None:
    found = {TOP: ["-d 10.0.0.1/32 -j GONOGO-x"], "GONOGO-x": ["-p tcp --dport 5 -j RETURN", "-j REJECT"]}
    assert passes(found, Packet("1.1.1.1", "10.0.0.1", 5))
    assert not passes(found, Packet("1.1.1.1", "10.0.0.1", 6))
    with pytest.raises(AssertionError):
        passes({TOP: ["-j ELSEWHERE"]}, Packet("1.1.1.1", "10.0.0.1", 6))
