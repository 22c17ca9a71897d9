"""The peers' rules over logs whose truth is known, and the rows that the benchmark makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.decisions import QUANTILES, ours
from benchmarks.judgement import _smoothed, simulate, simulated
from benchmarks.judges import five_percent, kayenta, mann_whitney
from benchmarks.twins import _live_rows, decisions_of, resampled
from loadtests.summarize import window_quantiles
from loadtests.summary import WindowRow


def test_peers_call_equal_sides_equal_and_a_large_shift_slower():
    draw = np.random.default_rng(1)
    a, b = (5.0 * np.exp(0.05 * draw.normal(size=(40, 60))) for _ in range(2))
    for judge in (kayenta, mann_whitney):
        assert judge(a, b).sum() <= 4
        assert judge(a, 1.1 * b).all()
        assert not judge(a, b / 1.1).any(), "faster is not slower"
    assert five_percent(np.array([1.0, 1.0]), np.array([1.04, 1.06])).tolist() == [False, True]


def test_kayenta_takes_outliers_out():
    draw = np.random.default_rng(2)
    a, b = (5.0 * np.exp(0.05 * draw.normal(size=(5, 60))) for _ in range(2))
    b[:, :10] = 1e6
    assert not kayenta(a, b).all()


def test_windows_cut_many_at_once_are_those_of_a_summary():
    values = np.random.default_rng(6).lognormal(size=(2, 600))
    for q, size in ((0.5, 20), (0.95, 200)):
        found = _smoothed(values, size, q)
        edges = np.arange(600 // size + 1) * size
        for row in range(2):
            assert found[row] == pytest.approx(window_quantiles(values[row], edges, q)[0])


def test_simulated_windows_have_the_lengths_of_the_rule():
    logs = simulate("lognormal", 4, seed=3)
    assert {q: values.shape for q, values in logs.paired.items()} == {
        0.5: (4, 1_500),
        0.95: (4, 150),
        0.99: (4, 30),
    }
    whole, other = logs.whole[0.5]
    assert whole == pytest.approx([5.0] * 4, rel=0.02)
    assert other == pytest.approx(whole, rel=0.02)
    assert ours(logs.paired, QUANTILES, 1.5, 0.1) == {2: 4}
    assert ours(logs.paired, QUANTILES, 0.5, 0.1) == {0: 4}


def test_resampling_keeps_blocks_and_draws_each_window_equally_often():
    windows = np.arange(100.0)
    found = resampled(windows, 1.0, 4_000, np.random.default_rng(1))
    assert found.shape == (4_000, 60)
    assert abs(found.mean()) < 0.5
    steps = np.diff(found[:, :5], axis=1)
    assert np.isin(steps, (1.0, -99.0)).all(), "neighbours stay neighbours within a block"
    peak = np.where(np.arange(100) < 5, 1.0, 0.0)  # at an end, where plain blocks draw less
    assert abs(resampled(peak, 1.0, 4_000, np.random.default_rng(2)).mean()) < 0.005


def test_rows_hold_shares_with_their_bounds():
    rows = simulated(10, ("lognormal",))
    by_goal = {goal: [row for row in rows if row.goal == goal] for goal in ("G6", "G7", "G8")}
    assert all(by_goal.values())
    for row in rows:
        assert row.value is not None
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high
        assert row.rounds == 10


def test_a_recording_is_judged_minute_by_minute():
    def summary(slower: float, minutes: int, failed: int = 0) -> Any:
        draw = np.random.default_rng(8)
        rows = [
            WindowRow(
                "health", q, i * length, length, 5.0, 5.0 * slower * np.exp(0.02 * draw.normal()), n, n, 0.0
            )
            for q, length, n in ((0.5, 0.4, 200), (0.95, 0.4, 200))
            for i in range(round(60 * minutes / 0.4))
        ]
        counts = {side: {"sent": 30_000 * minutes, "failed": 0} for side in ("swarm", "kubernetes")}
        counts["kubernetes"]["failed"] = failed
        made = SimpleNamespace(
            cpu=0.1, late_p99_ms=0.05, late_p99_ms_by_side={}, dropped=0, requests=60_000 * minutes, steal=0.0
        )
        return SimpleNamespace(
            windows=rows,
            measured_s=60.0 * minutes + 5,
            rate_per_s=1000.0,
            generator=made,
            counts=lambda: counts,
        )

    verdicts = [
        [one.to_json()["verdict"] for one in decisions_of(given)]
        for given in (summary(1.0, 3), summary(1.2, 2), summary(1.0, 1, failed=900), summary(1.0, 0))
    ]
    assert verdicts == [["GO"] * 3, ["NO-GO"] * 2, ["NO-GO"], []]
    go, no_go = _live_rows(decisions_of(summary(1.2, 2)))
    assert (go.value, go.met, no_go.value, no_go.met) == (0.0, False, 100.0, False)
    assert _live_rows([])[0].value is None
