"""Utilisation from DCGM's series: what is measured, and each way of not measuring told from the others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.gpu_load import GpuLoad, LoadWindow, our_pods, read_series, read_window, why_no_series
from fixtures.gpu_series import RATIO, UTIL, Utilisation, Window, read_utilisation
from fixtures.record import Record
from fixtures.security import CannotTell
from suites.gpu import test_gpu_utilization as suite
from tests.test_metrics_prometheus import Session, opened, vector

if TYPE_CHECKING:
    from pathlib import Path

POD = ("sophia-mcp", "ai-memory-1")
LABELS = {
    "UUID": "GPU-a",
    "gpu": "0",
    "Hostname": "node2",
    "pod": POD[1],
    "namespace": POD[0],
    "container": "x",
}
GOOD = Window(LABELS, 82.0, 97.0, 150)
ENGINE = Window(LABELS, 0.8, 0.95, 150)
SPAN = LoadWindow(1_000.0, 1_900.0, 5_000)


def kinds(util: list[Window], ratio: list[Window], xid: list[Window] | None = None) -> list[str]:
    return [one.kind for one in read_utilisation((POD,), util, ratio, xid or []).problems]


def relabelled(one: Window, **labels: str) -> Window:
    return replace(one, labels={key: value for key, value in {**one.labels, **labels}.items() if value})


def test_a_gpu_of_ours_is_read_in_percent():
    seen = read_utilisation((POD,), [GOOD], [ENGINE])
    assert not seen.problems
    assert [(use.percent, use.samples, use.of) for use in seen.uses] == [(82.0, 150, UTIL)]


def test_without_the_first_series_the_ratio_is_read():
    assert [use.percent for use in read_utilisation((POD,), [], [ENGINE]).uses] == [80.0]


@pytest.mark.parametrize(
    ("util", "ratio", "kind"),
    [
        ([], [relabelled(ENGINE, pod="other")], "missing series"),
        ([relabelled(GOOD, UUID="")], [], "missing labels"),
        ([relabelled(GOOD, pod="", namespace="")], [], "missing labels"),
        ([relabelled(GOOD, pod="dcgm-exporter-x1", namespace="monitoring")], [], "missing labels"),
        ([replace(GOOD, mean=0.82, most=0.97)], [ENGINE], "unit mix-up"),
        ([replace(GOOD, mean=0.82, most=0.97)], [], "unit mix-up"),
        ([GOOD], [replace(ENGINE, mean=80.0, most=95.0)], "unit mix-up"),
        ([replace(GOOD, most=8200.0)], [], "unit mix-up"),
        ([relabelled(GOOD, GPU_I_ID="7", GPU_I_PROFILE="1g.5gb")], [], "MIG"),
        ([replace(GOOD, samples=19)], [], "too few samples"),
        ([replace(GOOD, samples=100)], [relabelled(ENGINE, pod="other")], "too few samples"),
    ],
)
def test_each_way_of_not_measuring_has_its_own_name(util: list[Window], ratio: list[Window], kind: str):
    seen = read_utilisation((POD,), util, ratio)
    assert [one.kind for one in seen.problems] == [kind]
    assert not seen.uses


def test_a_slice_is_read_by_its_engine():
    labels = {"GPU_I_ID": "7", "GPU_I_PROFILE": "1g.5gb"}
    seen = read_utilisation((POD,), [], [relabelled(ENGINE, **labels)])
    assert (seen.uses[0].percent, seen.uses[0].of) == (80.0, RATIO)
    assert "slice 7 (1g.5gb)" in seen.uses[0].title


def test_an_exporter_whose_labels_are_not_honoured_is_read_all_the_same():
    labels = {
        "pod": "dcgm-exporter-x1",
        "namespace": "monitoring",
        "exported_pod": POD[1],
        "exported_namespace": POD[0],
    }
    assert not kinds([relabelled(GOOD, **labels)], [])


def test_an_idle_gpu_is_no_unit_mix_up():
    assert not kinds([replace(GOOD, mean=0.0, most=0.0)], [replace(ENGINE, mean=0.0, most=0.0)])
    assert not kinds([replace(GOOD, mean=0.4, most=1.0)], [replace(ENGINE, mean=0.004, most=0.01)])


def test_a_gpu_that_failed_meanwhile_is_said():
    assert kinds([GOOD], [], [replace(GOOD, most=79.0)]) == ["Xid"]
    assert not kinds([GOOD], [], [relabelled(replace(GOOD, most=79.0), UUID="GPU-other")])


def judged(util: list[Window], *, simulated: bool = False) -> Record:
    record = Record()
    seen = read_utilisation((POD,), util, [])
    suite.test_every_gpu_of_ours_is_busy_while_load_runs(
        GpuLoad(SPAN, (POD,), seen, simulated), lambda *_, **options: options["default"], record
    )
    return record


def test_a_busy_gpu_is_green_a_lazy_one_red_and_no_stand_in_is_either():
    assert judged([GOOD]).doubt == ""
    assert judged([GOOD]).observations[0].observed == 82.0
    with pytest.raises(AssertionError, match=r"not over 60 %: GPU 0 of node2 .* 60.0 %"):
        judged([replace(GOOD, mean=60.0)])
    assert judged([GOOD], simulated=True).doubt == "simulated: mechanism shown, lowest 82.0 %"
    assert judged([replace(GOOD, mean=20.0)], simulated=True).doubt.startswith("simulated")
    with pytest.raises(AssertionError, match="idle all through 5000 requests"):
        judged([replace(GOOD, mean=0.0, most=0.0)], simulated=True)
    assert "too few samples" in judged([replace(GOOD, samples=3)]).doubt


def test_the_lowest_of_several_counts():
    other = relabelled(replace(GOOD, mean=55.0), UUID="GPU-b", gpu="1")
    lowest = read_utilisation((POD,), [GOOD, other], []).lowest
    assert lowest is not None
    assert lowest.percent == 55.0
    assert Utilisation((), ()).lowest is None
    with pytest.raises(AssertionError, match=r"GPU 1 of node2"):
        judged([GOOD, other])


# -- the window, the pods, Prometheus ---------------------------------------------------------


def summary(folder: Path, **changes: object) -> Path:
    (folder / "load").mkdir(exist_ok=True)
    whole = {
        "started": "2026-11-24T12:00:00.000+00:00",
        "measured_s": 900,
        "errors": [{"requests": 7}],
        **changes,
    }
    (folder / "load" / "summary.json").write_text(json.dumps(whole))
    return folder


def test_the_window_is_the_loads(tmp_path: Path):
    window = read_window(summary(tmp_path))
    assert (window.length_s, window.requests) == (870.0, 7)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"measured_s": 80}, "the load ran 80 s"),
        ({"errors": []}, "sent nothing"),
        ({"started": "noon"}, "cannot be read"),
    ],
)
def test_a_load_that_shows_nothing_is_said(tmp_path: Path, changes: dict[str, object], why: str):
    with pytest.raises(CannotTell, match=why):
        read_window(summary(tmp_path, **changes))


def test_no_load_is_no_window(tmp_path: Path):
    with pytest.raises(CannotTell, match="no load has run"):
        read_window(tmp_path)


def test_pods_are_ours_by_namespace_or_mark_and_only_while_they_hold_a_gpu():
    def pod(
        namespace: str, name: str, amount: object = 1, phase: str = "Running", **labels: str
    ) -> dict[str, Any]:
        limits = {"nvidia.com/gpu": amount} if amount else {}
        spec = {"nodeName": "n", "containers": [{"resources": {"limits": limits}}]}
        meta = {
            "namespace": namespace,
            "name": name,
            "labels": {f"gonogo.dev/{k}": v for k, v in labels.items()},
        }
        return {"metadata": meta, "spec": spec, "status": {"phase": phase}}

    marked = pod("gpu", "b")
    marked["metadata"]["labels"] = {"gonogo.dev/gpu-load": "true"}
    rows = [
        pod("sophia-mcp", "a"),
        marked,
        pod("x", "c"),
        pod("sophia-mcp", "d", 0),
        pod("sophia-mcp", "e", 1, "Failed"),
    ]
    assert our_pods(rows, ("sophia-mcp",)) == (("sophia-mcp", "a"), ("gpu", "b"))


def test_series_are_read_from_what_was_scraped():
    class Answers(Session):
        def request(self, method: str, url: str, params: Any = None, **rest: Any):
            query = (params or {}).get("query", "")
            for word, value in (("avg", "82"), ("max", "97"), ("count", "150")):
                if query.startswith(f"{word}_over_time({UTIL}[900s] @ "):
                    self.answers[query] = vector((LABELS, value))
            if query == "vector(time())":
                import time

                self.answers[query] = vector(({}, str(time.time())))
            return super().request(method, url, params, **rest)

    metrics = opened(Answers())
    assert read_series(metrics, UTIL, SPAN) == (GOOD,)
    assert read_series(metrics, RATIO, SPAN) == ()


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ([], "no DCGM exporter is scraped"),
        ([("up", "")], "1 DCGM exporters are up, none has"),
        ([("down", "connection refused")], "are down: connection refused"),
    ],
)
def test_no_series_at_all_has_a_reason(targets: list[tuple[str, str]], why: str):
    rows = [
        {"scrapePool": "serviceMonitor/monitoring/dcgm-exporter/0", "health": health, "lastError": error}
        for health, error in targets
    ]
    answer = {"status": "success", "data": {"activeTargets": rows}}
    assert why in why_no_series(opened(Session(targets=answer)))
