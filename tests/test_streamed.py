"""Quantiles of a log of any size in one pass: right, with intervals that hold the truth, in little memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.summarize import make_log
from loadtests.columns import chunks, read_columns
from loadtests.harrell_davis import weights
from loadtests.sample import WARMUP, ErrorKind
from loadtests.served import served_between
from loadtests.streamed import stream
from loadtests.summarize import server_quantiles, window_quantiles

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [("health", "swarm", "s0"), ("health", "kubernetes", "s0")]


def test_a_log_gives_what_numpy_gives_and_its_intervals_hold_it(tmp_path: Path):
    make_log(tmp_path, 200_000)
    exact = json.loads((tmp_path / "exact.json").read_text())
    found = [one for one in server_quantiles(tmp_path) if one.quantile == 0.5]
    assert [(one.side, one.server) for one in found] == [
        (side, f"s{index}") for side in ("swarm", "kubernetes") for index in range(16)
    ]
    for one, true in zip(found, exact, strict=True):
        assert one.ms == pytest.approx(true, rel=0.003)
        assert one.n == 200_000 // 32
        assert one.low_ms is not None
        assert one.high_ms is not None
        assert one.low_ms < true < one.high_ms


def test_warm_up_and_failed_requests_are_in_no_quantile(tmp_path: Path):
    make_log(tmp_path, 64_000)
    path = tmp_path / "requests.bin"
    before = server_quantiles(tmp_path, (0.5,))
    rows: Any = np.concatenate(list(chunks(path)))
    slow = rows.copy()
    slow["done_ns"] += 10**10
    slow["flags"][::2] = WARMUP
    slow["error"][1::2] = ErrorKind.TIMEOUT
    mixed = np.stack([rows, slow], axis=1).ravel()
    mixed.tofile(path)
    assert [(one.ms, one.n) for one in server_quantiles(tmp_path, (0.5,))] == [
        (one.ms, one.n) for one in before
    ]
    columns = read_columns(path)
    assert len(columns) == 64_000 + 32_000, "failed requests are kept, the warm-up is not"
    assert columns.due_ms[0] == pytest.approx((rows["done_ns"][0] - rows["planned_ns"][0]) / 1e6)


def test_no_log_is_no_quantile(tmp_path: Path):
    make_log(tmp_path, 64)
    (tmp_path / "requests.bin").unlink()
    assert server_quantiles(tmp_path) == []
    assert len(read_columns(tmp_path / "requests.bin")) == 0
    assert served_between(tmp_path, [0.0, 1.0]) == {"swarm": [0], "kubernetes": [0]}


def pieces(draw: np.random.Generator, count: int, size: int) -> Any:
    for _ in range(count):
        group = draw.integers(0, 2, size)
        yield group, (5.0 * np.exp(0.4 * draw.normal(size=size))).astype(np.float32)


def test_intervals_hold_the_true_quantile_about_as_often_as_they_say():
    draw = np.random.default_rng(4)
    held = {0.5: 0, 0.95: 0}
    true = {0.5: 5.0, 0.95: 5.0 * np.exp(0.4 * 1.6448536)}
    for _ in range(40):
        for one in stream(pieces(draw, 20, 1_000), NAMES, tuple(held)):
            assert one.low_ms is not None
            assert one.high_ms is not None
            held[one.quantile] += one.low_ms <= true[one.quantile] <= one.high_ms
    assert all(count >= 0.95 * 80 for count in held.values()), held


def test_few_windows_have_no_interval_and_few_values_no_quantile():
    draw = np.random.default_rng(4)
    short = stream(pieces(draw, 5, 1_000), NAMES, (0.5,))
    assert [one.low_ms for one in short] == [None, None]
    assert stream(pieces(draw, 1, 4), NAMES, (0.99,)) == []
    assert stream([], NAMES) == []


def test_latencies_beyond_either_end_are_counted_at_it():
    values = np.array([0.0, -1.0, 1e9] * 10, np.float32)
    found = stream([(np.zeros(30, np.int32), values)], NAMES[:1], (0.5,))
    assert found[0].n == 30
    assert found[0].ms < 0.001


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_windows_are_sorted_together_and_each_has_its_own_quantile(q):
    draw = np.random.default_rng(2)
    values = draw.lognormal(size=500).astype(np.float32)
    edges = np.array([3, 10, 10, 11, 200, 500])
    found, counts = window_quantiles(values, edges, q)
    assert counts == [7, 0, 1, 189, 300]
    assert np.isnan(found[1])
    for place in (0, 2, 3, 4):
        window = np.sort(values[edges[place] : edges[place + 1]].astype(np.float64))
        given = weights(len(window), q)
        assert found[place] == pytest.approx(window[given.first : given.end] @ given.values)
        assert window[0] <= found[place] <= window[-1]
