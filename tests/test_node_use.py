"""How busy nodes are: by series of each source, and each way in which they say nothing or too much."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import node_load as module
from fixtures.gpu_load import LoadWindow
from fixtures.node_load import CGROUPS, EXPORTER, NodeLoad, addresses_of, read_load, read_sources
from fixtures.node_use import ClusterUse, NodeUse, Readings, Series, read_use
from fixtures.readings import NoData, Sample, Unanswered
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.target import RunInput
from provisioners.base import Cluster
from suites.observability import test_utilisation as suite
from tests.security_kube import Kube

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024.0**3
WINDOW = LoadWindow(1_000.0, 1_120.0, 900)


def series(value: float, node: str = "node1", samples: int = 8, **labels: str) -> tuple[Series, ...]:
    return (Series(labels or {"node": node}, value, samples),)


SOUND = Readings(CGROUPS, series(1.0), series(2.0), series(4 * GIB), series(16 * GIB))
NODES = {"node1": ("192.0.2.1",)}


def test_a_node_is_measured_against_all_that_it_has():
    (use,) = read_use(NODES, [SOUND]).nodes
    assert (use.cpu_percent, use.memory_percent, use.samples, use.source) == (50.0, 25.0, 8, CGROUPS)


@pytest.mark.parametrize(
    "labels",
    [{"node": "node1"}, {"instance": "192.0.2.1:9100"}, {"instance": "node1"}, {"instance": "node1:1"}],
)
def test_a_node_is_known_by_its_name_or_its_address(labels: dict[str, str]):
    row = (Series(labels, 1.0, 8),)
    assert len(read_use(NODES, [replace(SOUND, cpu=row, cores=row)]).nodes) == 1


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (replace(SOUND, cpu=()), f"missing series: node1: {CGROUPS} has no CPU"),
        (replace(SOUND, memory_bytes=()), "has no memory there is"),
        (replace(SOUND, cpu=series(1.0, "node2")), "has no CPU"),
        (replace(SOUND, cpu=series(1.0, instance="192.0.2.10:9100")), "has no CPU"),
        (replace(SOUND, cpu=series(1.0, samples=3)), "too few samples: node1: 3 of"),
        (replace(SOUND, cpu=series(150.0)), "unit mix-up"),
        (replace(SOUND, memory=series(17 * GIB)), "unit mix-up"),
        (replace(SOUND, cores=series(0.0)), "unit mix-up"),
        (replace(SOUND, cpu=series(-0.1)), "unit mix-up"),
        (replace(SOUND, cpu=series(0.0)), "idle: node1"),
    ],
)
def test_each_way_of_not_measuring_has_its_own_name_and_is_no_verdict(broken: Readings, why: str):
    seen = read_use(NODES, [broken])
    assert not seen.nodes
    assert why in seen.problems[0]
    record = Record()
    suite.test_every_node_is_measured_and_has_room_while_load_runs(
        NodeLoad(WINDOW, seen, 1, shared=False), record
    )
    assert why in record.doubt
    assert (record.observations[0].observed, record.observations[0].samples) == (0.0, 0)


def test_the_second_source_is_read_where_the_first_has_nothing():
    other = replace(SOUND, source=EXPORTER)
    seen = read_use(NODES, [Readings(CGROUPS, (), (), (), ()), other])
    assert [use.source for use in seen.nodes] == [EXPORTER]
    assert "nobody reads it" in read_use(NODES, []).problems[0]


USE = NodeUse("node1", 60.0, 40.0, 8, CGROUPS)


def judged(*uses: NodeUse, expected: int = 0, problems: tuple[str, ...] = (), shared: bool = False) -> Record:
    record = Record()
    load = NodeLoad(WINDOW, ClusterUse(uses, problems), expected or len(uses), shared)
    suite.test_every_node_is_measured_and_has_room_while_load_runs(load, record)
    return record


def test_nodes_with_room_pass_and_the_busiest_is_told():
    record = judged(USE, replace(USE, node="node2", cpu_percent=70.0), shared=True)
    (seen,) = record.observations
    assert (seen.observed, seen.samples, record.doubt) == (100.0, 16, "")
    assert seen.why.startswith("busiest node2: CPU 70.0 %; the nodes share one machine")


@pytest.mark.parametrize(
    ("full", "why"),
    [
        (replace(USE, cpu_percent=95.0), "node1: CPU 95.0 %"),
        (replace(USE, memory_percent=93.0), "node1: memory 93.0 %"),
    ],
)
def test_a_node_without_room_is_red(full: NodeUse, why: str):
    with pytest.raises(AssertionError, match=why):
        judged(full)


def test_one_node_that_is_not_known_is_never_green():
    record = judged(USE, expected=2, problems=("missing series: node2",))
    assert record.doubt == "missing series: node2"
    assert record.observations[0].observed == 50.0


# -- what Prometheus is asked ------------------------------------------------------------------------


class Told:
    """A Prometheus that answers by the metric that a query names; it keeps what was asked."""

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values
        self.asked: list[str] = []

    def clock_offset_s(self) -> float:
        return 3.0

    def ask(self, query: str) -> tuple[Sample, ...]:
        self.asked.append(query)
        for metric, value in self.values.items():
            if metric in query:
                kept = {"__name__": metric} if "last_over_time" in query else {}
                told = 8.0 if "count_over" in query else value
                return (Sample({"node": "node1", **kept}, told),)
        raise NoData(query)


ROOTS = {
    "container_cpu_usage_seconds_total": 1.0,
    "container_memory_working_set_bytes": 4 * GIB,
    "machine_cpu_cores": 2.0,
    "machine_memory_bytes": 16 * GIB,
}


def test_the_window_of_the_load_is_asked_for_by_prometheus_s_clock():
    told = Told(ROOTS)
    (source,) = read_sources(told, WINDOW, machine=False)  # type: ignore[arg-type]
    assert read_use(NODES, [source]).nodes[0].cpu_percent == 50.0
    assert all("[120s] @ 1123" in query for query in told.asked)
    assert not any("node_cpu" in query for query in told.asked)


def test_where_a_node_is_a_machine_node_exporter_is_asked_too():
    told = Told({"node_cpu_seconds_total": 1.0})
    first, second = read_sources(told, WINDOW, machine=True)  # type: ignore[arg-type]
    assert (first.cpu, second.source) == ((), EXPORTER)
    assert len(second.cpu) == 1


def run_of(folder: Path, kind: str = "lab") -> RunInput:
    (folder / "load").mkdir(exist_ok=True)
    started = datetime.fromtimestamp(970, UTC).isoformat()
    summary = {"started": started, "measured_s": 150, "errors": [{"requests": 900}]}
    (folder / "load" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return RunInput(folder, Cluster(kind, "lab-upstream"), ())


def node(name: str, address: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}}


def test_every_node_of_the_cluster_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [node("node1", "192.0.2.1"), node("node2", "192.0.2.2")]
    monkeypatch.setattr(module, "api_of", lambda _: Kube(nodes=rows))
    load = read_load(run_of(tmp_path), Told(ROOTS))  # type: ignore[arg-type]
    assert (load.expected, load.shared, load.window) == (2, True, WINDOW)
    assert [use.node for use in load.seen.nodes] == ["node1"]
    assert "missing series: node2" in load.seen.problems[0]
    assert addresses_of(rows)["node2"] == ("192.0.2.2",)


def test_without_load_without_nodes_or_without_an_answer_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "api_of", lambda _: Kube())
    with pytest.raises(CannotTell, match="no load has run"):
        read_load(RunInput(tmp_path, Cluster("lab", "x"), ()), Told(ROOTS))  # type: ignore[arg-type]
    run = run_of(tmp_path)
    with pytest.raises(CannotTell, match="no node"):
        read_load(run, Told(ROOTS))  # type: ignore[arg-type]

    class Silent(Told):
        def ask(self, query: str) -> tuple[Sample, ...]:
            raise Unanswered(query)

    monkeypatch.setattr(module, "api_of", lambda _: Kube(nodes=[node("node1", "192.0.2.1")]))
    with pytest.raises(Unanswered):
        read_load(run, Silent({}))  # type: ignore[arg-type]
