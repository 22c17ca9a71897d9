"""The peers' rules over logs whose truth is known, and the rows that the benchmark makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judgement import QUANTILES, ours, resampled, simulate, simulated
from benchmarks.judges import five_percent, kayenta, mann_whitney


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


def test_simulated_windows_are_numpy_s_quantiles():
    logs = simulate("lognormal", 4, seed=3)
    assert {q: values.shape for q, values in logs.paired.items()} == {
        0.5: (4, 1_500),
        0.95: (4, 150),
        0.99: (4, 30),
    }
    whole, other = logs.whole[0.5]
    assert whole == pytest.approx([5.0] * 4, rel=0.02)
    assert other == pytest.approx(whole, rel=0.02)
    assert ours(logs, QUANTILES, 1.5, 0.1) == {2: 4}
    assert ours(logs, QUANTILES, 0.5, 0.1) == {0: 4}


def test_resampling_keeps_blocks_and_centres_them():
    windows = np.arange(100.0)
    found = resampled(windows, 1.0, 50, np.random.default_rng(1))
    assert found.shape == (50, 60)
    assert abs(found.mean()) < 8
    steps = np.diff(found[:, :5], axis=1)
    assert (steps == 1.0).all(), "neighbours stay neighbours within a block"


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
