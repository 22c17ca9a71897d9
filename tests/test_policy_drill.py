"""The policy drill and its suite: sound, without an engine, with one that leaks, and without a probe."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from fixtures import policy_drill
from fixtures.faults.journal import Journal
from fixtures.policy_drill import PolicyDrill, read_ages, require_image
from fixtures.policy_matrix import read_end, read_policies
from fixtures.policy_pods import AGES_S, ECHO, OTHER, ageing_pod, echo_pod, policies, trap
from fixtures.policy_workload import WorkloadPolicies
from fixtures.record import Record
from fixtures.security import CannotTell, Engine, api_of
from provisioners.base import Cluster
from suites.security import test_network_policy as suite
from tests.security_kube import Kube
from tests.test_policy_rules import a_pod, a_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fixtures.target import RunInput

    Breaks = Callable[[str, str, int, int], bool]

POLICIES = "/apis/networking.k8s.io/v1"
DNS_POD = a_pod("coredns", "kube-system", "10.42.0.53", labels={"k8s-app": "kube-dns"})
DNS_POD["spec"]["containers"] = [{"name": "coredns", "image": "coredns:1"}]
REAL, STAND_IN, NONE = Engine("kube-router"), Engine("gonogo stand-in"), Engine("none")


class Cloud(Kube):
    """An API server whose pods run at once; `leak(source, target, port, age)` breaks its enforcement."""

    def __init__(self, *, enforces: bool = True) -> None:
        super().__init__()
        self.enforces = enforces
        self.leak: Breaks = lambda _source, _target, _port, _age: False
        self.block: Breaks = lambda _source, _target, _port, _age: False
        self.image = "registry.example/gonogo/net-probe:1"
        self.answer = self._exec
        self.objects["/api/v1/namespaces/kube-system/pods/coredns"] = DNS_POD
        row = a_pod("net-probe", "apps", "10.42.9.9")
        row["spec"]["containers"] = [{"name": "p", "image": self.image}]
        self.objects["/api/v1/namespaces/apps/pods/net-probe"] = row

    def list_all(self, path: str, *, labels: str = "", fields: str = "") -> Any:
        if path == "/api/v1/nodes":
            self.lists["nodes"] = [{"metadata": {"name": name}, "spec": {}} for name in ("n1", "n2")]
        elif path == "/api/v1/namespaces":
            names = {where.split("/")[4] for where in self.objects if where.startswith("/api/v1/namespaces/")}
            self.lists["namespaces"] = [
                {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
                for name in names
            ]
        elif path == f"{POLICIES}/networkpolicies":
            self.lists[path] = self.rows("networkpolicies")
        elif path == "/api/v1/pods":
            self.lists["pods"] = self.rows("pods")
        return super().list_all(path, labels=labels, fields=fields)

    def rows(self, kind: str) -> list[Any]:
        return [row for path, row in self.objects.items() if f"/{kind}/" in path]

    def get(self, path: str, query: Any = None) -> Any:
        if path.endswith("/serviceaccounts/default"):
            return {}
        return super().get(path, query)

    def apply(self, path: str, body: Any) -> Any:
        namespace = path.partition("/namespaces/")[2].partition("/")[0]
        body = json.loads(json.dumps(body))
        if body["kind"] != "Namespace":
            body["metadata"]["namespace"] = namespace
        if body["kind"] == "Pod":
            number = 10 + len(self.rows("pods"))
            state: dict[str, Any] = {"state": {"running": {}}}
            body["spec"]["nodeName"] = body["spec"]["nodeSelector"]["kubernetes.io/hostname"]
            body["status"] = {
                "podIP": f"10.42.1.{number}",
                "phase": "Running",
                "containerStatuses": [state for _ in body["spec"]["containers"]],
            }
        return super().apply(path, body)

    def passes(self, source: Any, target: Any, port: int, protocol: str = "TCP", age: int = 0) -> bool:
        one, other = read_end(source), read_end(target)
        assert one is not None
        assert other is not None
        told = read_policies(self.rows("networkpolicies"), self.list_all("/api/v1/namespaces").items)
        allowed = told.decide(one, other, port, protocol).allowed or not self.enforces
        if allowed:
            return not self.block(one.name, other.name, port, age)
        return self.leak(one.name, other.name, port, age)

    def at(self, address: str) -> Any:
        return next(row for row in self.rows("pods") if row["status"]["podIP"] == address)

    def _exec(self, pod: str, argv: Any) -> bool | None:
        source = next(row for row in self.rows("pods") if row["metadata"]["name"] == pod)
        if argv[1] == "resolve":
            return self.passes(source, DNS_POD, 53, "UDP")
        return self.passes(source, self.at(argv[2]), int(argv[3]))

    def log(self, namespace: str, pod: str, **_: Any) -> str:
        source = self.objects[f"/api/v1/namespaces/{namespace}/pods/{pod}"]
        lines = []
        for age in AGES_S:
            for pair in source["spec"]["containers"][0]["command"][4:]:
                address, _, port = pair.partition(":")
                answer = json.dumps({"ok": self.passes(source, self.at(address), int(port), age=age)})
                lines.append(f"age {age} {pair} {answer}")
        return "\n".join([*lines, "ages done"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_drill, "_CANARY_BOUND_S", 0.1)
    monkeypatch.setattr(policy_drill, "_PODS_BOUND_S", 0.1)


def a_drill(cloud: Cloud, tmp_path: Path, events: list[Any] | None = None) -> PolicyDrill:
    class Recorder:
        def undo(self, undo: Any) -> None:
            if events is not None:
                events.append((undo.done, [path for kind, path, _ in cloud.sent if kind == "apply"]))

    cluster = Cluster("lab", "lab-upstream", namespace="apps")
    run = cast("RunInput", type("Run", (), {"cluster": cluster, "folder": tmp_path}))
    return PolicyDrill(run, cast("Any", Recorder()), cast("Any", cloud))


def hold(check: Any, *args: Any) -> Record:
    record = Record()
    check(*args, record)
    return record


def test_an_engine_that_enforces_is_green_and_a_stand_in_inconclusive(tmp_path: Path) -> None:
    events: list[Any] = []
    drill = a_drill(Cloud(), tmp_path, events)
    record = hold(suite.test_the_trap_policy_stops_everything_names_too, drill, REAL)
    assert events == [(False, [])], "the undo is written before anything is made"
    assert (record.observations[0].observed, record.doubt) == (100.0, "")
    assert "DNS (kubernetes.default.svc)" in str(record.observations[0].data["open_before"])
    record = hold(suite.test_new_pods_meet_the_policies_from_their_start_on, drill, REAL)
    seen = record.observations[0]
    assert (seen.observed, record.doubt, seen.samples) == (100.0, "", 24)
    assert seen.data["denied"] == 15, "five of eight connections, at three ages"
    record = hold(suite.test_the_trap_policy_stops_everything_names_too, drill, STAND_IN)
    assert record.doubt == "simulated: mechanism shown (gonogo stand-in)"
    record = hold(suite.test_new_pods_meet_the_policies_from_their_start_on, drill, STAND_IN)
    assert record.doubt.startswith("simulated")
    record = hold(suite.test_the_trap_policy_stops_everything_names_too, drill, NONE)
    assert "nobody knows by what" in record.doubt, "a fact that was lost makes no PASS of a stand-in"
    assert not Engine("").simulated, "on a cluster that exists, what is seen counts"


def test_where_nothing_enforces_nothing_is_told(tmp_path: Path) -> None:
    drill = a_drill(Cloud(enforces=False), tmp_path)
    record = hold(suite.test_the_trap_policy_stops_everything_names_too, drill, NONE)
    assert record.doubt == "nothing enforces: no policy engine (network_policy_engine: none)"
    with pytest.raises(CannotTell, match="nothing enforces"):
        hold(suite.test_new_pods_meet_the_policies_from_their_start_on, drill, NONE)


def test_an_engine_that_forgets_names_is_red(tmp_path: Path) -> None:
    cloud = Cloud()
    cloud.leak = lambda _source, _target, port, _age: port == 53
    with pytest.raises(AssertionError, match="leaves open: DNS"):
        hold(suite.test_the_trap_policy_stops_everything_names_too, a_drill(cloud, tmp_path), REAL)


def test_a_leak_at_a_pods_start_is_red_but_a_late_allow_is_noted(tmp_path: Path) -> None:
    cloud = Cloud()
    drill = a_drill(cloud, tmp_path)
    drill.trapped()
    cloud.block = lambda _source, _target, _port, age: age == 0
    record = hold(suite.test_new_pods_meet_the_policies_from_their_start_on, drill, REAL)
    assert record.observations[0].why.startswith("not allowed yet at their start")
    cloud.leak = lambda source, target, port, age: (target, port, age) == ("server", OTHER, 0)
    with pytest.raises(AssertionError, match=r"new-friend -> .*/server:7778 gets through at age 0 s, though"):
        hold(suite.test_new_pods_meet_the_policies_from_their_start_on, drill, REAL)


def test_an_allow_that_stays_blocked_is_red(tmp_path: Path) -> None:
    cloud = Cloud()
    drill = a_drill(cloud, tmp_path)
    drill.trapped()
    cloud.block = lambda _source, target, port, age: (target, port) == ("server", ECHO) and age > 0
    with pytest.raises(AssertionError, match=r"/server:7777 is blocked at age 10 s, though .*/server lets"):
        hold(suite.test_new_pods_meet_the_policies_from_their_start_on, drill, REAL)


def test_what_is_blocked_without_a_policy_shows_nothing(tmp_path: Path) -> None:
    cloud = Cloud()
    cloud.block = lambda source, _target, port, _age: port == ECHO and source == "stranger"
    with pytest.raises(CannotTell, match="blocked without any policy: stranger -> server:7777"):
        a_drill(cloud, tmp_path).trapped()


def test_a_probe_that_is_not_there_is_not_called_blocked(tmp_path: Path) -> None:
    cloud = Cloud()
    cloud.answer = lambda _pod, _argv: None
    with pytest.raises(CannotTell, match="said nothing: sh: not found"):
        a_drill(cloud, tmp_path).trapped()
    waiting = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImageNeverPull"}}}]}}
    with pytest.raises(CannotTell, match="x:1 is not on the nodes"):
        require_image(waiting, "x:1")
    cloud = Cloud()
    del cloud.objects["/api/v1/namespaces/apps/pods/net-probe"]
    with pytest.raises(CannotTell, match="deploy the workload first"):
        a_drill(cloud, tmp_path).trapped()
    assert read_ages("age 0 1.2.3.4:5 sh: not found\nage x y z\n") == {}


def test_the_namespaces_are_removed_by_the_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud()
    drill = a_drill(cloud, tmp_path)
    assert drill.close() == [], "nothing was made"
    drill.trapped()
    ran: list[str] = []

    def finish(_: Journal, undo: Any) -> str:
        ran.append(undo.what)
        for word, path in zip(undo.argv, undo.argv[1:], strict=False):
            if word == "--delete":
                cloud.delete(path)
        return ""

    monkeypatch.setattr(Journal, "finish", finish)
    assert drill.close() == []
    assert len(ran) == 1
    assert f"/api/v1/namespaces/{drill.home}" not in cloud.objects


def test_pods_of_the_drill_are_given_no_rights_by_their_labels() -> None:
    for pod in (echo_pod("a", "friend", "x:1", "n"), ageing_pod("b", "friend", "x:1", ["1.2.3.4:5"])):
        assert not [key for key in pod["metadata"]["labels"] if "probe" in key]
        assert pod["spec"]["automountServiceAccountToken"] is False
    kinds = [row["metadata"]["name"] for row in policies("away", "10.42.1.2")]
    assert kinds == ["deny-but-dns", "server", "friend", "stranger"]
    assert trap()["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


# -- the workload ----------------------------------------------------------------------------------


def ready(row: Any, port: int = 80) -> Any:
    row["metadata"]["labels"]["app.kubernetes.io/name"] = row["metadata"]["name"]
    row["spec"]["containers"] = [{"name": "c", "ports": [{"containerPort": port}]}]
    row["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return row


def a_workload(*rows: dict[str, Any], answer: Any = None) -> WorkloadPolicies:
    pods = [
        ready(a_pod("web", "apps", "10.42.1.2")),
        ready(a_pod("db", "apps", "10.42.1.3")),
        ready(a_pod("eyes", "apps", "10.42.1.4", labels={"gonogo.dev/probe": "yes"})),
    ]
    kube = Kube()
    told = read_policies(rows, [{"metadata": {"name": "apps"}}])
    ends = {row["metadata"]["name"]: read_end(row) for row in pods}
    by_address = {end.address: end for end in ends.values() if end}

    def sound(pod: str, argv: Any) -> bool:
        source, target = ends[pod], by_address[argv[2]]
        assert source is not None
        return told.decide(source, target, int(argv[3])).allowed

    kube.answer = answer or sound
    dns = read_end(DNS_POD)
    assert dns is not None
    return WorkloadPolicies(cast("Any", kube), "apps", pods, told, [dns])


EYES = {"podSelector": {"matchExpressions": [{"key": "gonogo.dev/probe", "operator": "Exists"}]}}
CLOSED = a_policy("closed", "apps", policyTypes=["Ingress"], ingress=[{"from": [EYES]}])


def test_services_that_keep_to_their_policies_are_green(tmp_path: Path) -> None:
    drill = a_drill(Cloud(), tmp_path)
    record = hold(suite.test_services_reach_whom_their_policies_say, a_workload(CLOSED), drill, REAL)
    seen = record.observations[0]
    assert (seen.observed, seen.data["denied"], seen.data["allowed"]) == (100.0, 4, 2)
    assert record.doubt == ""


def test_a_denial_of_a_port_where_nobody_listens_shows_nothing(tmp_path: Path) -> None:
    drill = a_drill(Cloud(), tmp_path)
    dead = a_workload(CLOSED, answer=lambda pod, argv: argv[2] != "10.42.1.3" and pod == "eyes")
    record = hold(suite.test_services_reach_whom_their_policies_say, dead, drill, REAL)
    assert record.doubt == "2 of 6 attempts showed nothing"
    tried = {one.title: one.seen for one in dead.tried()}
    assert tried["apps/web -> apps/db:80"] is None
    assert tried["apps/db -> apps/web:80"] is False


def test_a_service_that_gets_through_a_denial_is_red(tmp_path: Path) -> None:
    drill = a_drill(Cloud(), tmp_path)
    leaky = a_workload(CLOSED, answer=lambda _pod, _argv: True)
    with pytest.raises(
        AssertionError, match=r"apps/web -> apps/db:80 gets through, though apps/closed denies"
    ):
        hold(suite.test_services_reach_whom_their_policies_say, leaky, drill, REAL)
    with pytest.raises(pytest.fail.Exception, match="has no NetworkPolicy"):
        hold(suite.test_services_reach_whom_their_policies_say, a_workload(), drill, REAL)


def test_a_run_that_deploys_no_policies_shows_nothing_of_them(tmp_path: Path) -> None:
    drill = a_drill(Cloud(), tmp_path)
    bare = replace(a_workload(), promised=False)
    record = hold(suite.test_services_reach_whom_their_policies_say, bare, drill, REAL)
    assert "deploys no NetworkPolicy" in record.doubt


def test_a_policy_without_names_is_red_with_no_engine_at_all() -> None:
    hold(suite.test_no_policy_keeps_a_service_from_names, a_workload(CLOSED))
    both = a_policy("trap", "apps", policyTypes=["Ingress", "Egress"])
    with pytest.raises(AssertionError, match="apps/web cannot ask DNS: apps/trap"):
        hold(suite.test_no_policy_keeps_a_service_from_names, a_workload(both))


def test_a_target_without_an_api_cannot_be_told_of() -> None:
    with pytest.raises(CannotTell):
        api_of(Cluster("noop", "stub"))
