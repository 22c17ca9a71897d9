"""The alert drill: each link of the way of an alert, broken, turns it red; and its undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import alerts
from fixtures.alerts import ALERT, AlertDrill, donor, drill_home, drill_objects, pointed_at
from fixtures.faults import put_back
from fixtures.monitors import parse_monitor
from fixtures.readings import Absent, MetricsError
from fixtures.record import Record
from fixtures.target import RunInput
from provisioners.base import Cluster
from provisioners.kube import KubeError, Listing, Resource
from provisioners.targets import save_cluster
from suites.observability import test_alert_drill as drill_suite

if TYPE_CHECKING:
    from pathlib import Path


class World:
    """A cluster, its Prometheus and its receiver in one: an alert lives while the target is dead.

    `broken` names what does not work: wire, always, pending, firing, send, resolve.
    """

    where = "monitoring/prometheus-operated:web"

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.applied: list[tuple[str, Any]] = []
        self.undone: list[Any] = []
        self.sent: list[dict[str, Any]] = []

    def undo(self, undo: Any) -> None:
        assert undo.done or not self.applied, "the undo is written first"
        self.undone.append(undo)

    def list_all(self, path: str, **_: str) -> Listing:
        spec = {"serviceMonitorSelector": {"matchLabels": {"release": "x"}}, "ruleSelector": {}}
        return Listing(({"metadata": {"namespace": "monitoring", "name": "main"}, "spec": spec},), "1")

    def resource(self, version: str, kind: str) -> Resource:
        return Resource(version, kind, f"{kind.lower()}s", namespaced=True)

    def apply(self, path: str, body: Any) -> Any:
        self.applied.append((path, body))
        return body

    @property
    def dead(self) -> bool:
        subsets = [body["subsets"] for _, body in self.applied if body["kind"] == "Endpoints"]
        return bool(subsets) and subsets[-1][0]["ports"][0]["port"] == 1

    def targets(self) -> list[Any]:
        from fixtures.readings import ScrapeTarget

        one = ScrapeTarget("p", "http://10.1.0.7:9090/metrics", "up", "", {"instance": "10.1.0.7:9090"})
        wired = bool(self.applied) and not self.dead and self.broken != "wire"
        return [one, *([replace(one, labels={**one.labels, "job": alerts.NAME})] if wired else [])]

    def rules(self) -> list[Any]:
        from fixtures.readings import Rule

        return [Rule("gonogo-drill", ALERT, "alerting", "ok", "", evaluated=True)]

    def alerts(self, name: str) -> list[Any]:
        if self.broken == "always":
            return [{"state": "firing"}]
        if not self.dead or self.broken == "pending":
            return []
        return [{"state": "pending" if self.broken == "firing" else "firing"}]

    def after(self, number: int) -> tuple[int, list[Any]]:
        row = {"labels": {"alertname": ALERT}}
        if self.broken == "send":
            return 0, []
        if self.dead and self.alerts(ALERT) == [{"state": "firing"}] and not self.sent:
            self.sent.append({**row, "status": "firing"})
        if self.sent and not self.dead and self.broken != "resolve":
            self.sent.append({**row, "status": "resolved"})
        return len(self.sent), self.sent[number:]


def drilled(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("WIRED_S", "FIRING_S", "RESOLVED_S"):
        monkeypatch.setattr(alerts, name, 0.15)
    monkeypatch.setattr(alerts, "_POLL_S", 0.02)
    (tmp_path / "cluster.json").write_text(save_cluster(Cluster("noop", "stub")))
    run_input = RunInput(tmp_path, Cluster("noop", "stub", run_id="r1"), ())
    drill = AlertDrill(world, world, world, run_input, world)
    try:
        drill_suite.test_an_alert_fires_arrives_and_resolves(drill, Record())
    except AssertionError as error:
        return str(error)
    return ""


def test_the_drill_passes_and_takes_back_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World()
    assert not drilled(world, tmp_path, monkeypatch)
    assert not world.dead
    first, last = world.undone
    assert (first.done, last.done) == (False, True)
    assert first.argv.count("--delete") == 4
    assert all(body["metadata"]["labels"]["release"] == "x" for _, body in world.applied)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("wire", "did not scrape the drill's target"),
        ("always", "1 alerts of the drill were there before anything was broken"),
        ("pending", "did not become pending"),
        ("firing", "the alert did not fire"),
        ("send", "the receiver did not get the alert"),
        ("resolve", "the receiver was not told"),
    ],
)
def test_each_link_that_is_broken_turns_the_drill_red(
    broken: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = World(broken)
    assert why in drilled(world, tmp_path, monkeypatch)
    assert not world.dead, "it is repaired, whatever was seen"
    assert world.undone[-1].done


def test_a_prometheus_that_takes_nothing_is_no_place_for_a_drill():
    row: dict[str, Any] = {"metadata": {"namespace": "a", "name": "p"}, "spec": {"ruleSelector": {}}}
    with pytest.raises(Absent, match="Prometheus p takes no ServiceMonitors"):
        drill_home([row], "a/b:c")
    with pytest.raises(Absent, match="no Prometheus object"):
        drill_home([], "a/b:c")


def test_only_a_plain_healthy_target_is_a_donor():
    from fixtures.readings import ScrapeTarget

    def at(url: str, health: str = "up") -> ScrapeTarget:
        return ScrapeTarget("p", url, health, "", {})

    bad = [
        at("https://10.0.0.1:9/metrics"),
        at("http://10.0.0.2:9/metrics", "down"),
        at("http://name:9/metrics"),
    ]
    with pytest.raises(MetricsError, match="no target of Prometheus is up"):
        donor([*bad, at("http://127.0.0.1:9/metrics"), at("http://10.0.0.3:9/other")])
    assert donor([*bad, at("http://10.0.0.4:8/metrics")]) == ("10.0.0.4", 8)


def test_the_drills_objects_find_each_other():
    service_, endpoints, watching, _ = drill_objects(("monitoring", {"a": "b"}), "10.0.0.1", 9, "r")
    assert parse_monitor(watching).selects(service_)
    assert endpoints["metadata"]["name"] == service_["metadata"]["name"]
    assert pointed_at(endpoints, 1)["subsets"][0]["ports"][0]["port"] == 1
    assert endpoints["subsets"][0]["ports"][0]["port"] == 9


# -- the undo ------------------------------------------------------------------------------------


class Shelf:
    """Objects that can be deleted and patched; `stuck` cannot."""

    def __init__(self, stuck: str = "") -> None:
        self.stuck = stuck
        self.did: list[tuple[str, str]] = []

    def _do(self, verb: str, path: str) -> None:
        if path == self.stuck:
            raise KubeError("no", status=500, where="api", why="stuck")
        if path == "gone":
            raise KubeError("no", status=404, where="api", why="gone")
        self.did.append((verb, path))

    def delete(self, path: str) -> bool:
        self._do("delete", path)
        return True

    def patch(self, path: str, body: Any) -> Any:
        self._do("patch", path)
        return body


def test_everything_that_can_be_put_back_is():
    shelf: Any = Shelf("b")
    problems = put_back.put_back(shelf, ["a", "b", "c"], {"d": {}, "gone": {}})
    assert shelf.did == [("delete", "a"), ("delete", "c"), ("patch", "d")]
    assert len(problems) == 1
    assert problems[0].startswith("b: ")


def test_the_undo_of_a_cluster_that_is_gone_is_done(tmp_path: Path):
    gone = Cluster("lab", "lab-upstream", kubeconfig=tmp_path / "gone")
    (tmp_path / "cluster.json").write_text(save_cluster(gone))
    undo = put_back.PutBack("x", tmp_path, ("/a",), {"/b": {"spec": {"replicas": 1}}}).undo()
    assert put_back.main(undo.argv[2:]) == 0
