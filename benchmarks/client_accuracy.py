"""G2 to G4: how far reported latencies are from the truth, beside Locust's users and wrk2.

The truth is a socket's own times on a quiet server (G2), arithmetic where the server stands
still for a second (G3), and the server's log where it delays every answer (G4).
"""

from __future__ import annotations

import random
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.client_tools import (
    CLIENT_CPU,
    ROOT,
    SERVER_CPU,
    Nginx,
    locust_user,
    ours_open,
    stall,
    truth_ms,
)
from benchmarks.common import (
    Bar,
    Row,
    ToolFailed,
    free_port,
    installed,
    not_measured,
    paired_rounds,
    run_tool,
    server,
    spread,
    wait_for_port,
)
from benchmarks.delay_server import SHAPES, read_delay_log
from loadtests.summarize import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_RATE = 1000
_STALLS = (0.99, 0.999)
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_WRK2_CALIBRATES_S = 10
_NO_WRK2 = "not installed"


def run(quick: bool) -> list[Row]:
    """Return the rows of G2, G3 and G4."""
    if installed("nginx") is None:
        rows = [not_measured(goal, "error", "", "nginx is not installed") for goal in ("G2", "G3")]
    else:
        with tempfile.TemporaryDirectory(prefix="gonogo-accuracy-") as name:
            nginx = Nginx(Path(name))
            try:
                rows = _steady(nginx, *((2.0, 2) if quick else (4.0, 5)))
                rows += _stalled(nginx, *((6.0, 2) if quick else (15.0, 5)))
            finally:
                nginx.close()
    return rows + _injected(quick)


def _steady(nginx: Nginx, seconds: float, rounds: int) -> list[Row]:
    """Return G2: the error of p50 on a server that answers in a tenth of a millisecond."""
    url = f"http://127.0.0.1:{nginx.port}"
    tools: dict[str, Callable[[], float]] = {
        "truth": lambda: truth_ms(nginx.port, 2000),
        "ours": lambda: quantile(ours_open(url, _RATE, seconds).latency_ms, 0.5),
        "FastHttpUser": lambda: quantile(locust_user(url, seconds, rate=_RATE)["times_ms"], 0.5),
    }
    if installed("wrk2"):
        tools["wrk2"] = lambda: _wrk2(url, seconds)[0.5]
    found = paired_rounds(tools, rounds)
    truth = found.values["truth"]
    error = {
        name: [abs(one - true) for one, true in zip(found.values[name], truth, strict=True)]
        for name in tools
        if name != "truth"
    }
    rows = [found.of("truth").row("", "true p50 at 1,000 req/s", "ms", note=found.note)]
    rows += [
        spread([1000 * one for one in kept]).row(
            "", "error of p50 at 1,000 req/s", "us", peer="" if name == "ours" else name
        )
        for name, kept in error.items()
    ]
    for peer, limit in (("FastHttpUser", 0.1), ("wrk2", 0.2)):
        what, bar = "error of p50, share of the peer's", Bar("<=", limit)
        if peer not in error:
            rows.append(not_measured("G2", what, "x", _NO_WRK2, peer=peer, bar=bar))
            continue
        shares = [one / max(other, 1e-9) for one, other in zip(error["ours"], error[peer], strict=True)]
        rows.append(spread(shares).row("G2", what, peer=peer, bar=bar))
    return rows


def _wrk2(url: str, seconds: float) -> dict[float, float]:
    """Return wrk2's p50, p99 and p99.9 in ms; its first 10 s are its own calibration."""
    argv = [
        "wrk2",
        "-t1",
        "-c32",
        f"-R{_RATE}",
        f"-d{_WRK2_CALIBRATES_S + round(seconds)}s",
        "--latency",
        url,
    ]
    text = run_tool(argv, timeout_s=seconds + 30.0, cpu=CLIENT_CPU).output
    found = re.findall(r"^ *([\d.]+)% +([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    return {float(share) / 100: float(value) * _UNITS[unit] for share, value, unit in found}


def _stalled(nginx: Nginx, seconds: float, rounds: int) -> list[Row]:
    """Return G3: p99 and p99.9 when the server stands still for a second."""
    url = f"http://127.0.0.1:{nginx.port}"
    errors: dict[float, list[float]] = {q: [] for q in _STALLS}
    for seed in range(rounds):
        with stall(nginx, random.Random(seed).uniform(0.3, 0.7) * seconds) as stalled:
            sent = ours_open(url, _RATE, seconds, senders=_RATE)
        planned = sent.rows["planned_ns"]
        length_s = float(planned.max() - planned.min()) / 1e9
        for q, kept in errors.items():
            truth = _stall_truth_ms(q, stalled[0], length_s)
            kept.append(100 * abs(quantile(sent.latency_ms, q) - truth) / truth)
    with stall(nginx, 0.5 * seconds) as stalled:
        fast = locust_user(url, seconds, rate=_RATE)["times_ms"]
    rows = []
    for q, kept in errors.items():
        what = f"server stopped for 1 s: error of p{100 * q:g}"
        rows.append(spread(kept).row("G3", what, "%", bar=Bar("<=", 1.0)))
        truth = _stall_truth_ms(q, stalled[0], seconds)
        theirs = 100 * abs(quantile(fast, q) - truth) / truth
        rows.append(Row("", what, theirs, "%", "FastHttpUser"))
    rows.append(not_measured("G3", "server stopped for 1 s: error, of wrk2's", "x", _NO_WRK2, peer="wrk2",
                             bar=Bar("<=", 1.0)) if installed("wrk2") is None
                else _stalled_wrk2(nginx, url, seconds, errors[0.99]))  # fmt: skip
    return rows


def _stalled_wrk2(nginx: Nginx, url: str, seconds: float, ours: Sequence[float]) -> Row:
    """Return our error of p99 as a share of wrk2's; the stall falls after its calibration."""
    with stall(nginx, _WRK2_CALIBRATES_S + 0.5 * seconds) as stalled:
        found = _wrk2(url, seconds)
    truth = _stall_truth_ms(0.99, stalled[0], seconds)
    theirs = 100 * abs(found[0.99] - truth) / truth
    what = "server stopped for 1 s: error of p99, of wrk2's"
    return Row("G3", what, statistics.median(ours) / theirs, "x", "wrk2", Bar("<=", 1.0))


def _stall_truth_ms(q: float, stalled_s: float, length_s: float) -> float:
    """Return the quantile by arithmetic: what was planned in the stall waits evenly from 0 to its length."""
    return 1000 * (stalled_s - (1 - q) * length_s)


def _injected(quick: bool) -> list[Row]:
    """Return G4: against the log of a server that delays answers, by shape, median and rate."""
    seconds, rates = (1.0, (1000,)) if quick else (2.0, (200, 1000, 3000))
    allowed, cells = [], []
    for shape in SHAPES:
        for median_ms in (0.5, 5.0, 50.0):
            for rate in rates:
                for q, truth, seen in _cell(shape, median_ms, rate, seconds):
                    off_us = abs(seen - truth) * 1000
                    allowed.append(off_us / max(0.005 * truth * 1000, 60.0))
                    label = f"{shape} {rate}/s p{100 * q:g} of {truth:.2f} ms, {off_us:.0f} us off"
                    cells.append((off_us / max(0.02 * truth * 1000, 60.0), label))
    cells.sort(reverse=True)
    over = sum(share > 1 for share, _ in cells)
    note = f"{over} of {len(cells)} over it; worst: {'; '.join(label for _, label in cells[:3])}"
    return [
        Row("G4", "injected latency: median error, of max(0.5 %, 60 us)", statistics.median(allowed), "x",
            bar=Bar("<=", 1.0), note=f"{len(cells)} cells"),
        Row("G4", "injected latency: worst cell, of max(2 %, 60 us)", cells[0][0], "x", bar=Bar("<=", 1.0),
            note=note),
    ]  # fmt: skip


def _cell(shape: str, median_ms: float, rate: int, seconds: float) -> Iterator[tuple[float, float, float]]:
    """Yield (quantile, truth ms, seen ms) of one cell, where at least two requests lie beyond."""
    port = free_port()
    with tempfile.NamedTemporaryFile() as log:
        argv = [sys.executable, "-m", "benchmarks.delay_server", "--port", str(port), "--shape", shape]
        argv += ["--median-ms", str(median_ms), "--log", log.name, "--cpu", str(SERVER_CPU)]
        with server(argv, cwd=ROOT):
            wait_for_port(port)
            sent = ours_open(f"http://127.0.0.1:{port}", rate, seconds, senders=1500)
        truth = read_delay_log(Path(log.name))
    if len(truth) != len(sent.rows):
        raise ToolFailed(f"the server logged {len(truth)} requests, the client {len(sent.rows)}")
    true_ms = (truth["reply_ns"] - truth["arrival_ns"]) / 1e6
    for q in (0.5, 0.99, 0.999):
        if (1 - q) * len(sent.rows) >= 2:  # noqa: PLR2004  below that it is one request's luck
            yield q, quantile(true_ms, q), quantile(sent.latency_ms, q)
