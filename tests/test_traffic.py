"""The load step of a run: what is equal, which profile is sent, what it judges, and what is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from loadtests.profile import NIGHTLY, SMOKE
from provisioners.base import Node, Replica, Side
from provisioners.shell import Ssh
from provisioners.usage import Meter
from reports.catalogue import catalogue
from reports.comparison import Rules
from reports.model import Profile, Status
from reports.store import Store, create
from verbs.config import load_config
from verbs.resources import record_resources
from verbs.traffic import profile_of, rules_of, unequal_hops

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NODES = tuple(Node(f"node{i}", Ssh(f"node{i}", f"192.0.2.{i}")) for i in (1, 2))


@dataclass
class Entered:
    """A target that is entered at an address and runs a server on a node."""

    address: str
    runs_on: Sequence[str] = field(default_factory=tuple)

    def url(self, _service: str) -> str:
        return f"http://{self.address}:9000"

    def replicas(self, service: str) -> list[Replica]:
        return [Replica("r", service, node, "10.0.0.1", ready=True) for node in self.runs_on]


@pytest.mark.parametrize(
    ("swarm", "kubernetes", "unequal"),
    [
        (("192.0.2.1", ["node1"]), ("192.0.2.2", ["node2"]), False),
        (("192.0.2.1", ["node2"]), ("192.0.2.2", ["node1"]), False),
        (("192.0.2.1", ["node1"]), ("192.0.2.1", ["node2"]), True),
        (("192.0.2.1", ["node1"]), ("198.51.100.9", ["node1"]), True),
        (("198.51.100.8", ["node1"]), ("198.51.100.9", ["node2"]), False),
    ],
)
def test_hops_that_differ_are_named(swarm, kubernetes, unequal):
    targets: Any = {Side.SWARM: Entered(*swarm), Side.KUBERNETES: Entered(*kubernetes)}
    found = unequal_hops(targets, NODES, ["github-v2"])
    assert bool(found) is unequal
    if unequal:
        assert found[0].startswith("github-v2: hops, swarm is entered on a node that runs it and kubernetes")


def store_of(tmp_path: Path, profile: Profile) -> Store:
    store = create(tmp_path, "noop", profile)
    store.criteria(catalogue())
    return store


def test_the_run_s_profile_is_sent_and_judged(tmp_path):
    config = load_config("lab")
    smoke = profile_of(config, store_of(tmp_path / "a", Profile.SMOKE))
    assert (smoke.name, smoke.duration_s) == ("smoke", config.load.duration_s or SMOKE.duration_s)
    rules = rules_of(config, smoke, ("a", "b"))
    assert rules.blocking_quantiles == (0.5, 0.95)
    assert (rules.servers, rules.server_quantiles) == ((), ())
    nightly = profile_of(config, store_of(tmp_path / "b", Profile.NIGHTLY))
    assert nightly.workloads == NIGHTLY.workloads
    rules = rules_of(config, nightly, ("a", "b"))
    assert 0.99 in rules.blocking_quantiles
    assert (rules.server_quantiles, rules.servers) == ((0.5,), ("a", "b"))
    assert rules.blocks("health", 0.99)
    assert rules.blocks("health@a", 0.5)
    assert not rules.blocks("health@a", 0.95)
    assert not rules.blocks("tools/list", 0.5), "advisory workloads inform"
    assert not Rules().blocks("health@a", 0.5)


def test_resources_that_could_not_be_read_are_recorded_and_no_pass(tmp_path):
    store = store_of(tmp_path, Profile.CUTOVER)
    record_resources(store, None, tmp_path, 5.0)
    with Meter({}) as empty:
        pass
    record_resources(store, empty, tmp_path, 5.0)
    rows = store.read_evidence()
    assert [row.criterion for row in rows] == ["performance.resources", "metric.efficiency"] * 2
    assert {row.status for row in rows} == {Status.INCONCLUSIVE}
    record_resources(store_of(tmp_path / "smoke", Profile.SMOKE), None, tmp_path, 5.0)
    smoke = store_of(tmp_path / "smoke2", Profile.SMOKE)
    record_resources(smoke, None, tmp_path, 5.0)
    assert [row.criterion for row in smoke.read_evidence()] == ["performance.resources"]
