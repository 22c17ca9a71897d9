"""The summary of synthetic logs: known latencies in, the right windows, curves and counts out."""

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.buckets import LogHistogram
from loadtests.plan import LoadPlan, load_plan
from loadtests.profile import LoadProfile, Server
from loadtests.record import LATE_NS
from loadtests.sample import WARMUP, ErrorKind, Sample, SampleWriter
from loadtests.schedule import Course, Slot
from loadtests.summarize import quantile, quantile_ms, summarize
from loadtests.summary import LoadSummary

START_NS = 1_000_000_000
SERVERS = tuple(Server(f"s{i}", "http://127.0.0.1:1", "http://127.0.0.1:2") for i in range(4))


def plan(**fields: Any) -> LoadPlan:
    values: dict[str, Any] = {
        "name": "test",
        "rate_per_s": 200.0,
        "duration_s": 20.0,
        "warmup_s": 1.0,
    } | fields
    return LoadPlan(LoadProfile(**values), SERVERS, seed=3)


def steady(slot: Slot, draw: random.Random) -> Sample:
    """Swarm about 2 ms, Kubernetes 10 % over it, sent 0.02 ms after the planned time."""
    planned = START_NS + slot.offset_ns
    latency_ms = 2.0 * math.exp(draw.gauss(0, 0.2)) * (1.1 if slot.side else 1.0)
    return Sample(
        planned_ns=planned,
        sent_ns=planned + 20_000,
        done_ns=planned + 20_000 + int(latency_ms * 1e6),
        pair=slot.pair,
        size_bytes=100,
        server=slot.server,
        status=200,
        workload=slot.workload,
        side=slot.side,
        error=ErrorKind.NONE,
        flags=WARMUP if slot.warmup else 0,
    )


def write(
    folder: Path,
    made: LoadPlan | None = None,
    *,
    of: Callable[[Slot, random.Random], Sample] = steady,
    steal: Callable[[int], int] = lambda _second: 0,
    end: str | None = "finished",
) -> LoadSummary:
    """Write a run folder as the generator would; `of` makes each sample."""
    made = made or plan()
    made.save(folder)
    draw = random.Random(1)
    course = Course(made, lambda _rounds: 0)
    slots = sorted((s for side in (0, 1) for s in course.slots(side)), key=lambda s: s.offset_ns)
    writer = SampleWriter(folder / "requests.bin")
    for slot in slots:
        writer.append(of(slot, draw))
    writer.close()
    lines = [
        {"start_ns": START_NS, "wall": "2026-01-01T00:00:00+00:00", "exact_timer": True, "real_time": False}
    ]
    stolen = 0
    for second in range(int(slots[-1].offset_ns / 1e9) + 3):
        tick = {"steal_jiffies": stolen, "total_jiffies": 200 * second, "cpu_ns": int(second * 1e8)}
        lines.append({"at_ns": START_NS + second * 10**9, **tick})
        stolen += steal(second)
    lines += [{"end": end, "rounds": course.rounds}] if end else []
    (folder / "generator.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return summarize(folder)


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.95, 1.0])
def test_a_quantile_is_numpys_for_lists_and_arrays(q):
    values = [random.Random(5).lognormvariate(0, 1) for _ in range(101)]
    expected = float(np.quantile(values, q))
    assert quantile(values, q) == pytest.approx(expected)
    assert quantile(np.array(values), q) == pytest.approx(expected)
    assert quantile([3.0], q) == 3.0


def test_no_values_and_no_quantile_are_errors():
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile([1.0], 95)
    with pytest.raises(ValueError, match="no values"):
        quantile_ms(LogHistogram(), 0.5)


def test_buckets_are_right_to_a_fifth_of_a_percent_and_add_up():
    values = np.random.default_rng(1).lognormal(15, 1, 20_000)
    halves = LogHistogram(), LogHistogram()
    halves[0].add(values[:7000])
    halves[1].add(values[7000:])
    halves[0].merge(halves[1])
    assert halves[0].n == 20_000
    for q in (0.01, 0.5, 0.95, 0.999):
        exact = float(np.quantile(values, q, method="inverted_cdf")) / 1e6
        assert quantile_ms(halves[0], q) == pytest.approx(exact, rel=0.002)
    ends = LogHistogram()
    ends.add(np.array([-5, 0, 10**15]))
    assert ends.n == 3


def test_windows_are_paired_whole_and_exact(tmp_path):
    summary = write(tmp_path)
    made = load_plan(tmp_path)
    rows = [row for row in summary.windows if (row.name, row.quantile) == ("health", 0.5)]
    assert {(row.name, row.quantile) for row in summary.windows} == {
        (name, q) for name in ("health", "tools/call") for q in (0.5, 0.95)
    }
    need = made.window_rounds()["health", 0.5]
    assert need == 5, "20 samples at 4 a round"
    assert len(rows) == made.measured_rounds // need
    assert all(row.n_swarm == row.n_kubernetes >= 20 for row in rows)
    assert rows[0].start_s == 0.0
    for before, after in itertools.pairwise(rows):
        assert after.start_s == pytest.approx(before.start_s + before.duration_s)
    ratios = [row.kubernetes_ms / row.swarm_ms for row in summary.windows if row.quantile == 0.5]
    assert 1.05 < math.exp(sum(map(math.log, ratios)) / len(ratios)) < 1.15
    expected = set(WINDOW_FIELDS)
    assert all(set(row) == expected for row in summary.window_rows())
    json.dumps([summary.window_rows(), summary.quantiles_json(), summary.summary_json()], allow_nan=False)


WINDOW_FIELDS = (
    "name",
    "quantile",
    "start_s",
    "duration_s",
    "swarm_ms",
    "kubernetes_ms",
    "n_swarm",
    "n_kubernetes",
    "steal",
)


def test_rows_have_the_fields_of_the_reports_window(tmp_path):
    from dataclasses import fields

    from reports.model import Window

    assert tuple(field.name for field in fields(Window)) == WINDOW_FIELDS
    assert [Window(**row) for row in write(tmp_path).window_rows()]


def test_warm_up_is_recorded_and_not_counted(tmp_path):
    def slow_start(slot, draw):
        one = steady(slot, draw)
        return replace(one, done_ns=one.done_ns + 10**9) if slot.warmup else one

    summary = write(tmp_path, of=slow_start)
    assert max(row.swarm_ms for row in summary.windows) < 10
    made = load_plan(tmp_path)
    assert sum(row.requests for row in summary.errors) == made.measured_rounds * made.pairs_per_round * 2


def test_errors_are_counted_by_kind_and_server_and_have_no_latency(tmp_path):
    def broken(slot, draw):
        one = steady(slot, draw)
        if slot.side == 1 and slot.server == 2:
            return replace(one, error=ErrorKind.REFUSED, done_ns=one.sent_ns + 1)
        if slot.side == 0 and slot.pair % 100 == 0:
            return replace(one, error=ErrorKind.DROPPED, sent_ns=0)
        return one

    summary = write(tmp_path, of=broken)
    kubernetes = [row for row in summary.errors if row.side == "kubernetes"]
    for row in kubernetes:
        assert row.errors == row.requests // 4
        assert row.kinds == {"refused": row.errors}
        assert row.servers == {"s2": row.errors}
    counts = summary.counts()
    assert counts["kubernetes"]["failed"] == counts["kubernetes"]["sent"] // 4
    assert counts["swarm"]["failed"] == 0
    assert counts["swarm"]["sent"] + summary.generator.dropped == counts["kubernetes"]["sent"]
    assert summary.generator.dropped > 0
    assert all(row.kubernetes_ms > 0.5 for row in summary.windows), "a quick refusal is no quick answer"
    dead = [row for row in summary.latencies if row.server == "s2" and row.side == "kubernetes"]
    assert all(row.n == 0 and row.errors and row.p50_ms is None for row in dead)


def test_a_side_that_serves_nothing_has_empty_windows_not_rows(tmp_path):
    def dead(slot, draw):
        one = steady(slot, draw)
        return replace(one, error=ErrorKind.TIMEOUT) if slot.side else one

    summary = write(tmp_path, of=dead)
    assert summary.windows == ()
    assert all(row.kubernetes_empty == row.windows > 0 and not row.swarm_empty for row in summary.empty)
    assert [curve.points for curve in summary.curves if curve.side == "kubernetes"] == [(), ()]


def test_a_log_that_a_kill_cut_gives_what_its_prefix_says(tmp_path):
    write(tmp_path, end=None)
    path = tmp_path / "requests.bin"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 7])
    summary = summarize(tmp_path)
    assert not summary.complete
    assert 8 < summary.measured_s < 11
    assert summary.windows
    assert all(row.n_swarm == row.n_kubernetes for row in summary.windows)
    path.unlink()
    (tmp_path / "generator.jsonl").unlink()
    nothing = summarize(tmp_path)
    assert (nothing.windows, nothing.generator.requests, nothing.measured_s) == ((), 0, 0)
    json.dumps(nothing.summary_json(), allow_nan=False)


def test_stolen_time_is_told_by_window_and_late_sends_in_it_are_not_judged(tmp_path):
    def late_while_stolen(slot, draw):
        one = steady(slot, draw)
        if 5e9 <= slot.offset_ns < 7e9:
            return replace(one, sent_ns=one.sent_ns + 3 * LATE_NS, done_ns=one.done_ns + 3 * LATE_NS)
        return one

    made = plan(quantiles=(0.5,))
    summary = write(tmp_path, made, of=late_while_stolen, steal=lambda second: 40 if second in (5, 6) else 0)
    stolen = [row for row in summary.windows if row.steal > 0.02]
    assert stolen
    # Measured time begins after the warm-up, about a second in.
    assert all(row.start_s + row.duration_s > 3 and row.start_s < 7 for row in stolen)
    for _name, _q, share in summary.lost:
        assert share == pytest.approx(len(stolen) / len(summary.windows))
    assert summary.generator.late > 100
    assert summary.generator.late_p99_ms == pytest.approx(0.02)
    assert summary.generator.late_p99_all_ms == pytest.approx(3.02)


def test_lateness_cpu_and_noise_are_told(tmp_path):
    summary = write(tmp_path)
    made = summary.generator
    assert made.late_p50_ms == pytest.approx(0.02)
    assert made.cpu == pytest.approx(0.1)
    assert made.cpu_max == pytest.approx(0.1)
    assert made.cpu_ms_per_request == pytest.approx(0.5, rel=0.15)
    noise = [row for row in summary.noise if row.quantile == 0.5]
    assert len(noise) == 4
    for row in noise:
        assert row.windows >= 8
        assert row.ratio == pytest.approx(1.0, abs=0.1), "one side against itself"
        assert row.sd_log == pytest.approx(0.08, abs=0.07), "two halves of 20 samples, sigma 0.2"


def test_sent_time_latency_is_kept_beside_due_time_latency(tmp_path):
    def late(slot, draw):
        one = steady(slot, draw)
        return replace(one, sent_ns=one.sent_ns + 4_000_000, done_ns=one.done_ns + 4_000_000)

    row = write(tmp_path, of=late).latencies[0]
    assert row.sent_p50_ms == pytest.approx(2.0, abs=0.1)
    assert row.p50_ms == pytest.approx(6.0, abs=0.1)


def test_curves_rise_and_stop_where_samples_end(tmp_path):
    for curve in write(tmp_path).curves:
        values = [ms for _, ms in curve.points]
        assert values == sorted(values)
        assert curve.points[0][0] == 0.01
        assert curve.n * (1 - curve.points[-1][0]) >= 3
