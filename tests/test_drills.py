"""fixtures.faults: drills on scripted targets, each red when nothing comes back or nothing is taken back."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from fixtures.fault import Drill
from fixtures.faults import canary, clocks, control_units, drill, host, node
from fixtures.faults.canary import SERVICE, Canary, bundle
from fixtures.faults.client import Client
from fixtures.faults.clocks import AskedView, Recovery
from fixtures.faults.drill import Drills, Outcome, TooSlowBySettings
from fixtures.faults.journal import Journal, program
from fixtures.faults.node import CannotReach, choose_node, control_of, not_whole
from fixtures.faults.verdict import hold
from fixtures.record import Record
from fixtures.target import RunInput
from provisioners.base import Cluster, Node, Replica, Service, ServiceSpec, Side
from provisioners.errors import ProvisionError
from provisioners.eviction import (
    Failover,
    default_grace_s,
    duration_s,
    grace_flag_s,
    kubernetes_failover,
    toleration_s,
)
from provisioners.lab import nodes_control
from provisioners.lab.nodes_control import NodesControl
from provisioners.shell import CommandResult, Ssh
from provisioners.targets import save_cluster, save_workload
from reports.model import Undo
from tests.test_fixtures_fault import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provisioners.base import Target
    from provisioners.lab.engine import Engine

NODES = tuple(
    Node(f"node{i}", Ssh(f"node{i}", "127.0.0.1"), control_plane=i == 1, index=i - 1) for i in (1, 2, 3)
)
SPECS = (
    ServiceSpec("asana-v2", "secondary", 1, (9004,), mcp=True),
    ServiceSpec("postgres", "", 1, (5432,)),
    ServiceSpec("redis", "", 1, (6379,)),
)
SOON = Failover(50, 30, "asana-v2", "default of Kubernetes 1.34")


class Side1:
    """One side: its workload, its canary, and what a fault does to that for `outage_s` (None: for good)."""

    def __init__(self, side: Side, outage_s: float | None = 0.3) -> None:
        self.side = side
        self.nodes = NODES
        self.places = {"asana-v2": "node2", "postgres": "node3", "redis": "node1"}
        self.states = {one.name: "ready" for one in NODES}
        self.canary = Replica("a", SERVICE, "node2", "127.0.0.1", ready=True)
        self.outage_s = outage_s
        self.port = 0
        self.server: Any = None
        self.serve()

    def serve(self) -> None:
        from http.server import ThreadingHTTPServer

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Page)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def hush(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def lose(self) -> None:
        self.hush()
        self.canary = replace(self.canary, ready=False)
        if self.outage_s is not None:
            threading.Timer(self.outage_s, self.back).start()

    def back(self) -> None:
        self.serve()
        self.canary = replace(self.canary, id="b", node="node3", ready=True)

    def node_states(self) -> Mapping[str, str]:
        return self.states

    def services(self) -> list[Service]:
        return [Service(name, "", 1, 1, (1,), image="gonogo/mcp-x:1") for name in self.places]

    def replicas(self, service: str) -> list[Replica]:
        if service == SERVICE:
            return [self.canary]
        return [Replica(service, service, self.places[service], "", ready=True)]


class Log:
    """A journal's recorder, and the order in which things happened."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.rows: list[Undo] = []

    def expect(self, criterion: str, check: str) -> None: ...

    def evidence(self, evidence: Any) -> None: ...

    def undo(self, undo: Undo) -> None:
        self.events.append(f"{'done' if undo.done else 'written'} {undo.id}")
        self.rows.append(undo)


class Scripted:
    """A fault of all sides at once, whose undo ends with `code`."""

    def __init__(self, log: Log, sides: Mapping[Side, Side1], code: int = 0) -> None:
        self.log, self.sides, self.code = log, sides, code

    def undo(self) -> Undo:
        script = f"import sys; sys.stderr.write('the host does not start'); sys.exit({self.code})"
        return Undo("fault", "node2 was stopped", "localhost", (sys.executable, "-c", script))

    def inject(self) -> None:
        self.log.events.append("fault")
        for one in self.sides.values():
            one.lose()


class Stage:
    """Drills over scripted sides."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, failover: Failover = SOON) -> None:
        self.log = Log()
        self.sides = {side: Side1(side) for side in Side}
        self.run = RunInput(folder, Cluster("lab", "lab-upstream", nodes=NODES), SPECS)
        self.journal = Journal(cast("Any", self.log))
        targets = cast("Mapping[Side, Target]", self.sides)
        self.drills = Drills(self.run, targets, self.journal, 1.5, lambda _: failover)
        monkeypatch.setattr(self.drills, "_place", self.place)

    def place(self, name: str, sides: list[Side]) -> tuple[dict[Side, Canary], list[Undo]]:
        self.log.events.append(f"canary on {name}")
        undo = Undo("canary", "the canary", "localhost", (sys.executable, "-c", "pass"))
        self.journal.begin(undo)
        found = {}
        for side in sides:
            one = self.sides[side]
            found[side] = Canary(cast("Target", one), one.canary, (f"http://127.0.0.1:{one.port}/health",))
        return found, [undo]

    def lose_node(self, code: int = 0) -> Outcome:
        fault = Scripted(self.log, self.sides, code)
        expected = dict.fromkeys(Side, SOON)
        return self.drills.drill("node stopped", list(Side), lambda *_: fault, drill._node_view, expected)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(clocks, "POLL_S", 0.02)
    monkeypatch.setattr(clocks, "SETTLE_S", 0.3)
    one = Stage(tmp_path, monkeypatch)
    yield one
    for side in one.sides.values():
        side.hush()


def test_a_drill_times_both_sides_at_once(stage: Stage) -> None:
    stage.sides[Side.KUBERNETES].outage_s = 0.6
    outcome = stage.lose_node()
    assert outcome.node == "node2"
    swarm, kubernetes = outcome.sides[Side.SWARM], outcome.sides[Side.KUBERNETES]
    assert 0.3 <= cast("float", swarm.slowest_s) < cast("float", kubernetes.slowest_s)
    assert stage.log.events == [
        "canary on node2", "written canary", "written fault", "fault", "done fault", "done canary",
    ]  # fmt: skip
    record = Record()
    hold(outcome, record, 300)
    assert [one.data["of_side"] for one in record.observations] == ["swarm", "kubernetes"]
    assert "expected 80 s: 50 s until a node is given up" in record.observations[1].why
    assert all(one.samples > 0 and one.unit == "min" for one in record.observations)


def test_one_side_that_stays_away_is_red(stage: Stage) -> None:
    stage.sides[Side.KUBERNETES].outage_s = None
    outcome = stage.lose_node()
    record = Record()
    with pytest.raises(AssertionError, match=r"kubernetes: node stopped .*not back"):
        hold(outcome, record, limit_s=1.0)
    assert [one.observed is None for one in record.observations] == [False, True]
    assert stage.log.events[-2:] == ["done fault", "done canary"], "it is taken back all the same"


def test_nobody_waited_for_the_limit_is_no_verdict(stage: Stage) -> None:
    stage.sides[Side.KUBERNETES].outage_s = None
    record = Record()
    hold(stage.lose_node(), record, limit_s=300)
    assert "nobody waited for the limit" in record.doubt


def test_slower_than_the_limit_is_red(stage: Stage) -> None:
    with pytest.raises(AssertionError, match=r"swarm: node stopped .*limit 0 s"):
        hold(stage.lose_node(), Record(), limit_s=0.2)


def test_an_undo_that_fails_is_red_and_left_to_sweep(stage: Stage) -> None:
    outcome = stage.lose_node(code=5)
    with pytest.raises(AssertionError, match="not taken back: node2 was stopped: exit status 5: the host"):
        hold(outcome, Record(), 300)
    assert {row.id for row in stage.log.rows if row.done} == {"canary"}


class GivenUp(Side1):
    """A side whose `redis` ended well when its engine was stopped: nobody starts it again."""

    def __init__(self, side: Side) -> None:
        super().__init__(side)
        self.down = ["redis"]
        self.hush()

    def ended(self) -> list[str]:
        return self.down

    def revive(self, services: Sequence[str]) -> None:
        self.down = [name for name in self.down if name not in services]

    def services(self) -> list[Service]:
        return [replace(one, ready=int(one.name not in self.down)) for one in super().services()]


def test_what_was_given_up_is_told_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_POLL_S", 0.01)
    monkeypatch.setattr(node, "_GIVEN_UP_S", 0.05)
    targets = cast("Mapping[Side, Target]", {Side.SWARM: GivenUp(Side.SWARM)})
    assert node.ended(targets) == {Side.SWARM: ("redis",)}
    assert node.not_whole(targets) == "swarm: redis 0 of 1"
    assert node.await_whole(targets, 5.0) == ""
    assert node.ended(targets) == {}


def test_the_verdict_names_what_was_left_down() -> None:
    record = Record()
    seen = Recovery(0.1, 0.2, 0.3, requests=9, failed_requests=1, waited_s=1.0)
    outcome = Outcome("x", "node1", {Side.SWARM: seen}, {}, 0.0, (), {Side.SWARM: ("redis", "gong-v2")})
    hold(outcome, record, 300)
    assert "swarm left down for good: redis, gong-v2" in record.observations[0].why


def test_interfaces_that_an_engine_left_behind_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_units, "_MOVED_S", 0.0)
    stale = "19: vx-001001-je554: <BROADCAST> mtu 1450 qdisc noop state DOWN mode DEFAULT\n"
    moving = "20: vx-001002-abcde: <BROADCAST> mtu 1450 qdisc noop state DOWN mode DEFAULT\n"
    used = "21: vx-001003-fghij: <BROADCAST,UP> mtu 1450 qdisc noqueue state UNKNOWN mode DEFAULT\n"
    others = "22: flannel.1: <BROADCAST> mtu 1450 qdisc noqueue state DOWN mode DEFAULT\n"
    shown = [stale + moving + used + others, stale + used + others, used + others]
    removed: list[str] = []

    def run(host: Ssh, argv: Sequence[str], **_: object) -> CommandResult:
        if list(argv[:3]) == ["ip", "link", "del"]:
            removed.append(argv[3])
            return CommandResult(tuple(argv), host.host, 0, "", "", 0.0)
        return CommandResult(tuple(argv), host.host, 0, shown.pop(0), "", 0.0)

    monkeypatch.setattr(Ssh, "run", run)
    assert control_units.remove_stranded(NODES[0]) == ("vx-001001-je554",)
    assert removed == ["vx-001001-je554"]
    assert control_units.remove_stranded(NODES[0]) == ()


def test_no_side_is_no_pass() -> None:
    with pytest.raises(AssertionError, match="nobody watched"):
        hold(Outcome("x", "node2", {}, {}, 0.0), Record(), 300)


def test_a_broken_target_is_not_broken_further(stage: Stage) -> None:
    stage.sides[Side.SWARM].states = {"node1": "ready", "node2": "down"}
    with pytest.raises(RuntimeError, match=r"before the fault: swarm: node2 is down"):
        stage.lose_node()
    assert stage.log.events == []


def test_cut_short_takes_all_back_the_last_first(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Recovery:
        raise KeyboardInterrupt

    monkeypatch.setattr(drill, "watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stage.lose_node()
    assert stage.journal.close() == []
    assert stage.log.events[-2:] == ["done fault", "done canary"]


def test_settings_over_the_limit_are_said_before_the_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Stage(tmp_path, monkeypatch, Failover(50, 300, "asana-v2", "default"))
    monkeypatch.setattr(drill, "control_of", lambda _: object())
    for broken in (one.drills.pause_node, one.drills.partition_node):
        with pytest.raises(TooSlowBySettings, match="not drilled: settings alone make it 350 s: 50 s until"):
            broken(300)
    assert one.log.events == []
    for side in one.sides.values():
        side.hush()


@pytest.mark.parametrize("kind", ["noop", "existing"])
def test_only_the_lab_s_hosts_are_broken(kind: str, stage: Stage) -> None:
    stage.run = replace(stage.run, cluster=replace(stage.run.cluster, kind=kind))
    stage.drills._run = stage.run
    check = Drill(stage.drills, Record(), 300)
    broken: list[Callable[[], None]] = [
        check.stop_node,
        check.pause_node,
        check.partition_node,
        check.kill_store,
    ]
    for one in broken:
        with pytest.raises(pytest.skip.Exception, match="only the lab's"):
            one()
    assert stage.log.events == []


def test_a_store_that_does_not_come_back_has_not_healed(stage: Stage) -> None:
    lives = iter(["1", "1", *["2"] * 500])

    def refuse() -> str:
        raise ProvisionError("the API server does not answer")

    one = stage.sides[Side.KUBERNETES]
    with Client([f"http://127.0.0.1:{one.port}/health"], rate_per_s=20) as client:
        clocks.until_answered(client)
        seen = clocks.watch(AskedView(lambda: next(lives) != "1", refuse), client, time.monotonic(), 0.8)
    assert seen.detected_s is not None
    assert seen.running == ("ready",)
    assert seen.trouble == "the API server does not answer"


def test_control_lacks_a_write() -> None:
    class Half:
        side = Side.KUBERNETES

        def node_states(self) -> Mapping[str, str]:
            return {"node1": "ready"}

        def mark(self, *_: object) -> None:
            raise ProvisionError("the store does not answer")

    found = Canary(cast("Target", Half()), Replica("a", SERVICE, "node2", "", ready=True), ())
    with pytest.raises(ProvisionError, match="store"):
        drill.control_lacks(found)


# -- which node ----------------------------------------------------------------------------


def test_the_node_without_a_database_is_chosen() -> None:
    sides = {side: Side1(side) for side in Side}
    for one in sides.values():
        one.hush()
    targets = cast("Mapping[Side, Target]", sides)
    assert choose_node(targets, SPECS) == "node2"
    sides[Side.SWARM].places["postgres"] = "node2"
    with pytest.raises(CannotReach, match="holds a database: node2, node3"):
        choose_node(targets, SPECS)
    assert not_whole(targets) == ""


# -- settings ------------------------------------------------------------------------------


def row(key: str, seconds: int | None, effect: str = "NoExecute") -> dict[str, Any]:
    bound = {} if seconds is None else {"tolerationSeconds": seconds}
    return {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect, **bound}


@pytest.mark.parametrize(
    ("rows", "seconds"),
    [
        ([row("unreachable", 300), row("not-ready", 300)], 300),
        ([row("unreachable", 30), row("not-ready", 30)], 30),
        ([row("unreachable", 30), row("not-ready", 300)], 300),
        ([row("unreachable", 30), row("unreachable", 300), row("not-ready", 5)], 30),
        ([row("unreachable", None), row("not-ready", 30)], math.inf),
        ([{"operator": "Exists"}], math.inf),
        ([row("unreachable", 300, "NoSchedule")], 0),
        ([], 0),
    ],
)
def test_what_a_pod_tolerates(rows: list[dict[str, Any]], seconds: float) -> None:
    assert toleration_s(rows) == seconds


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("kube-controller-manager --node-monitor-grace-period=20s --leader-elect=false", 20),
        ("k3s server --kube-controller-manager-arg=node-monitor-grace-period=1m0s", 60),
        ('  - "node-monitor-grace-period=16s"', 16),
        ("kube-controller-manager --leader-elect=false", None),
    ],
)
def test_grace_on_a_command_line(line: str, seconds: float | None) -> None:
    assert grace_flag_s([line]) == seconds


def test_durations_and_defaults() -> None:
    assert duration_s("1m30s") == 90
    with pytest.raises(ValueError, match="no duration"):
        duration_s("50")
    assert [default_grace_s(minor) for minor in ("34", "34+", "31", "")] == [50, 50, 40, 50]


def pod(name: str, rows: list[dict[str, Any]], owner: str = "ReplicaSet") -> dict[str, Any]:
    meta = {"name": name, "labels": {"app": name}, "ownerReferences": [{"kind": owner}]}
    return {"metadata": meta, "spec": {"tolerations": rows}}


def test_the_slowest_service_counts_and_daemons_do_not() -> None:
    class Fake:
        namespace = "sophia-mcp"
        nodes = ()

        def __init__(self, pods: list[dict[str, Any]]) -> None:
            self.pods = pods

        @property
        def kube(self) -> Any:
            return self

        def list_all(self, _: str) -> Any:
            return type("Listing", (), {"items": self.pods})

        def get(self, _: str) -> dict[str, str]:
            return {"minor": "34"}

    quick = pod("quick", [row("unreachable", 30), row("not-ready", 30)])
    forgotten = pod("forgotten", [row("unreachable", 300), row("not-ready", 300)])
    found = kubernetes_failover(cast("Any", Fake([quick, forgotten, pod("probe", [{}], "DaemonSet")])))
    assert (found.expected_s, found.slowest) == (350, "forgotten")
    assert str(found).startswith("350 s: 50 s until a node is given up (default of Kubernetes 1.34)")
    with pytest.raises(ProvisionError, match="no pod"):
        kubernetes_failover(cast("Any", Fake([])))


def test_the_check_of_settings_is_red_over_the_limit() -> None:
    from suites.resilience.test_eviction_settings import test_settings_leave_time_to_come_back as check

    target = cast("Target", Side1(Side.KUBERNETES))
    cast("Side1", target).hush()
    record = Record()
    limit = cast("Any", lambda *_, unit, default: default)
    check(target, lambda _: SOON, limit, record)
    assert record.observations[0].observed == pytest.approx(80 / 60, abs=1e-3)
    with pytest.raises(AssertionError, match="350 s"):
        check(target, lambda _: Failover(50, 300, "x", "default"), limit, Record())
    with pytest.raises(AssertionError, match="never moved"):
        check(target, lambda _: Failover(50, math.inf, "x", "default"), limit, Record())


# -- the canary ----------------------------------------------------------------------------


def test_a_canary_may_move_and_tolerates_what_the_services_do() -> None:
    bodies = [json.loads(text) for text in bundle(Side.KUBERNETES, "gonogo/mcp-x:1", 30).files.values()]
    assert [body["kind"] for body in bodies] == ["Namespace", "Deployment", "Service"]
    spec = bodies[1]["spec"]["template"]["spec"]
    assert toleration_s(spec["tolerations"]) == 30
    assert "nodeSelector" not in spec
    [body] = [json.loads(text) for text in bundle(Side.SWARM, "gonogo/mcp-x:1", None).files.values()]
    deploy = body["services"][SERVICE]["deploy"]
    assert deploy["placement"] == {"constraints": [f"node.labels.{canary.AWAY} != yes"]}
    assert toleration_s(canary._tolerations(math.inf)) == math.inf  # type: ignore[arg-type]


class Placing(Side1):
    """A side that applies a canary and notes the labels."""

    def __init__(self, lands: str) -> None:
        super().__init__(Side.SWARM)
        self.marks: list[tuple[str, str, str | None]] = []
        self.canary = replace(self.canary, node=lands)
        self.removed = False

    def mark(self, name: str, label: str, value: str | None) -> None:
        self.marks.append((name, label, value))

    def apply(self, one: Any) -> None:
        assert one.namespace == canary.NAMESPACE

    def wait_ready(self, *_: object) -> Any:
        return type("Readiness", (), {"failed": ()})

    def url(self, _: str) -> str:
        return "http://127.0.0.1:18473"

    def remove(self, _: Any) -> None:
        self.removed = True


def test_a_canary_is_placed_by_labels_that_go_again() -> None:
    one = Placing("node2")
    one.hush()
    found = canary.place(cast("Target", one), "gonogo/mcp-x:1", "node2", None, lambda _: None)
    assert len(found.urls) == 3
    assert [mark for mark in one.marks if mark[2]] == [
        (name, canary.AWAY, "yes") for name in ("node1", "node3")
    ]
    assert one.marks[2:] == [(name, canary.AWAY, None) for name in ("node1", "node3")]
    canary.take_away(cast("Target", one))
    assert one.removed
    elsewhere = Placing("node3")
    elsewhere.hush()
    with pytest.raises(RuntimeError, match="runs on node3, not on node2"):
        canary.place(cast("Target", elsewhere), "gonogo/mcp-x:1", "node2", None, lambda _: None)


def test_only_an_image_of_ours_is_copied() -> None:
    one = Side1(Side.SWARM)
    one.hush()
    assert canary.image_of(cast("Target", one), SPECS) == "gonogo/mcp-x:1"
    one.services = lambda: [Service("asana-v2", "", 1, 1, (1,), image="example/asana:3")]  # type: ignore[method-assign]
    with pytest.raises(CannotReach, match="no image of ours"):
        canary.image_of(cast("Target", one), SPECS)


def test_a_client_goes_on_with_the_node_that_answers() -> None:
    one = Side1(Side.SWARM)
    dead = "http://127.0.0.1:9/health"
    with Client([dead, f"http://127.0.0.1:{one.port}/health"], rate_per_s=50) as client:
        clocks.until_answered(client)
        assert client.asked[0].ok
        one.hush()
        time.sleep(0.3)
    assert not client.asked[-1].ok
    assert "127.0.0.1:9" in client.asked[-1].why
    with pytest.raises(ValueError, match="needs a URL"):
        Client([])


# -- hosts ---------------------------------------------------------------------------------


class FakeEngine:
    """The outer engine's answers to what controls the hosts."""

    host = "unix:///nowhere"

    def __init__(self, state: str) -> None:
        self.state = state
        self.asked: list[str] = []

    def labelled(self, _: str) -> tuple[str, ...]:
        return ("gonogo-lab-node1", "gonogo-lab-node2")

    def run(self, argv: list[str], **_: object) -> CommandResult:
        if argv[0] == "container":
            rows = json.dumps({"Names": "gonogo-lab-node2", "State": self.state})
            return CommandResult(tuple(argv), "", 0, rows, "", 0.0)
        self.asked.append(" ".join(argv))
        return CommandResult(tuple(argv), "", 0, "", "", 0.0)


@pytest.mark.parametrize(
    ("state", "verb", "asked"),
    [
        ("exited", "start", ["start gonogo-lab-node2"]),
        ("running", "start", []),
        ("paused", "resume", ["unpause gonogo-lab-node2"]),
        ("running", "resume", []),
        ("running", "stop", ["kill gonogo-lab-node2"]),
        ("running", "pause", ["pause gonogo-lab-node2"]),
    ],
)
def test_a_host_is_brought_back_from_any_state(
    state: str, verb: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(state)
    monkeypatch.setattr(nodes_control, "run", lambda *_, **__: None)
    monkeypatch.setattr(Ssh, "run", lambda *_, **__: CommandResult((), "", 0, "", "", 0.0))
    getattr(NodesControl(cast("Engine", engine), NODES), verb)("node2")
    assert engine.asked == asked


def test_the_way_back_is_on_the_host_before_it_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fake(_: Ssh, argv: list[str], **__: object) -> CommandResult:
        asked.append(" ".join(argv))
        return CommandResult(tuple(argv), "", 0, "", "", 0.0)

    monkeypatch.setattr(Ssh, "run", fake)
    NodesControl(cast("Engine", FakeEngine("running")), NODES).partition("node2", expires_s=300)
    assert "systemd-run" in asked[1]
    assert "--on-active=300" in asked[1]
    assert "-j DROP" in asked[2]


@pytest.mark.skipif(
    subprocess.run(
        ["unshare", "-n", "iptables", "-t", "mangle", "-S"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="needs root and iptables",
)
def test_cutting_and_healing_leave_no_rule() -> None:
    parts = [
        "ip link add eth9 type veth; ip address add 192.0.2.7/24 dev eth9; ip link set eth9 up",
        'before=$(iptables -t mangle -S); cut() { sh -c "$CUT" cut 192.0.2.7; }; cut && cut || exit 3',
        'iptables -t mangle -S | grep -c GONOGO-CUT; sh -c "$HEAL" || exit 4; sh -c "$HEAL" || exit 5',
        '[ "$before" = "$(iptables -t mangle -S)" ] || exit 6; ! sh -c "$CUT" cut 192.0.2.9 || exit 7',
    ]
    environment = {**os.environ, "CUT": nodes_control._CUT, "HEAL": nodes_control._HEAL}
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", "\n".join(parts)],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8"], "two chains, two rules each, one jump each"


# -- the undo as a program -------------------------------------------------------------------


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    cluster = Cluster("lab", "lab-upstream", kubeconfig=tmp_path / "gone", nodes=NODES)
    (tmp_path / "cluster.json").write_text(save_cluster(cluster), encoding="utf-8")
    (tmp_path / "workload.json").write_text(save_workload(SPECS), encoding="utf-8")
    return tmp_path


def undos(folder: Path) -> list[Undo]:
    one = cast("Any", Side1(Side.SWARM))
    one.hush()
    control = cast("NodesControl", None)
    from fixtures.faults.delete_pod import DeletePod
    from fixtures.faults.drain_node import DrainNode

    return [
        *(host.BrokenHost(fault, control, "node2", folder).undo() for fault in host.HostFault),
        DrainNode(one, "node2", folder).undo(),
        DeletePod(one, one.canary, folder).undo(),
        control_units.ControlUnits(Side.SWARM, NODES[0], ("kine",), kill=True, run_folder=folder).undo(),
        canary.canary_undo(Side.SWARM, folder),
    ]


def test_every_undo_is_a_program_that_is_done_where_the_target_is_gone(run_folder: Path) -> None:
    started = [
        subprocess.Popen(one.argv, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for one in undos(run_folder)
    ]
    ended = [(one.communicate(timeout=60)[0], one.returncode) for one in started]
    assert ended == [("", 0)] * len(started)
    assert all(one.host == "localhost" for one in undos(run_folder))


def test_sweep_finishes_an_interrupted_drill(run_folder: Path, tmp_path: Path) -> None:
    from reports.store import create
    from verbs.screen import Screen
    from verbs.sweep import sweep_run

    store = create(tmp_path / "runs", "lab", cast("Any", __import__("reports.model").model.Profile.NIGHTLY))
    for name in ("cluster.json", "workload.json"):
        (store.path / name).write_text((run_folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    Journal(store).begin(canary.canary_undo(Side.SWARM, store.path))
    stopped = host.BrokenHost(host.HostFault.STOP, cast("NodesControl", None), "node2", store.path)
    Journal(store).begin(stopped.undo())
    broken = program(str(Path("/nowhere/gone.py")), "something else", store.path)
    store.undo(broken)
    screen = Screen()
    try:
        left = sweep_run(store, screen)
    finally:
        screen.close()
    assert len(left) == 1
    assert "something else" in left[0]
    assert [one.id for one in store.read_undo()] == [broken.id], "what was not undone stays open"


@pytest.mark.parametrize("mended", [True, False])
def test_an_undo_ends_when_all_is_whole(
    mended: bool, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "gone").touch()
    sides = {side: Side1(side) for side in Side}
    for one in sides.values():
        one.hush()
        one.states = {"node1": "ready", "node2": "down"}
    monkeypatch.setattr("provisioners.targets.open_targets", lambda *_: sides)
    monkeypatch.setattr(node, "_POLL_S", 0.01)

    def mend(*_: object) -> None:
        for one in sides.values():
            one.states = {"node2": "ready" if mended else "down"}

    code = node.restore(["--run", str(run_folder), "--wait", "0.05"], "x", mend)
    assert code == (0 if mended else node.NOT_BACK)
    assert ("node2 is down after 0.05 s" in capsys.readouterr().err) is not mended


def test_a_mend_that_fails_is_told(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "gone").touch()
    monkeypatch.setattr("provisioners.targets.open_targets", lambda *_: {})
    argv = ["--run", str(run_folder), "--node", "node2", "--fault", "stop"]
    assert host.main(argv) == node.NOT_BACK
    assert "only the lab's are" in capsys.readouterr().err
    with pytest.raises(CannotReach):
        control_of(Cluster("existing", "existing"))
