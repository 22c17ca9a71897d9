"""G5 and G15: how late the client sends and what that costs, and how soon it says that it cannot."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.client_tools import CLIENT_CPU, Nginx, Sent, ours_open
from benchmarks.common import Bar, Rounds, Row, installed, not_measured, paired_rounds, spread
from loadtests.summarize import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LAG = ((1000, 0.15), (10_000, 0.70))
_TOO_MUCH = 100_000
_QUIET_S = 3.0
_NEVER_S = float("inf")


def run(quick: bool) -> list[Row]:
    """Return the rows of G5 and G15."""
    if installed("nginx") is None:
        return [not_measured(goal, "client", "", "nginx is not installed") for goal in ("G5", "G15")]
    with tempfile.TemporaryDirectory(prefix="gonogo-timing-") as name:
        nginx = Nginx(Path(name))
        try:
            url = f"http://127.0.0.1:{nginx.port}"
            rows = _lags(url, *((2.0, 2) if quick else (5.0, 5)))
            return rows + _flags(url, 1 if quick else 3)
        finally:
            nginx.close()


def _lags(url: str, seconds: float, rounds: int) -> list[Row]:
    """Return G5: send lag and CPU at two rates."""
    kept: dict[int, list[Sent]] = {rate: [] for rate, _ in _LAG}

    def turn(rate: int) -> Callable[[], float]:
        def once() -> float:
            kept[rate].append(ours_open(url, rate, seconds))
            return quantile(kept[rate][-1].lag_us, 0.99)

        return once

    found: Rounds = paired_rounds({str(rate): turn(rate) for rate, _ in _LAG}, rounds)
    rows = []
    for rate, most_cpu in _LAG:
        sent = kept[rate]
        late = f"{sum(one.dropped for one in sent)} dropped in {len(sent)} turns"
        at = f"at {rate:,} req/s"
        p50 = spread([quantile(one.lag_us, 0.5) for one in sent])
        rows.append(p50.row("", f"send lag p50 {at}", "us"))
        rows.append(
            found.of(str(rate)).row("G5", f"send lag p99 {at}", "us", bar=Bar("<=", 120.0), note=late)
        )
        cpu = spread([100 * one.cpu for one in sent])
        rows.append(cpu.row("G5", f"CPU of one core {at}", "%", bar=Bar("<=", 100 * most_cpu)))
    return rows


def _flags(url: str, rounds: int) -> list[Row]:
    """Return G15: a busy loop beside the client, and a rate that no client of this kind can send."""
    bar = Bar("<=", 1.0)
    beside = [_beside_busy_loops(url) for _ in range(rounds)]
    too_much = [_too_much(url) for _ in range(rounds)]
    early = sum(early for _, early in beside)
    return [
        spread([after_s for after_s, _ in beside]).row(
            "G15", "three busy loops on the client's CPU are flagged after", "s", bar=bar,
            note=f"{early} flags of CPU, lag or drops before they began",
        ),
        spread(too_much).row("G15", f"{_TOO_MUCH:,} req/s asked for: flagged after", "s", bar=bar),
        not_measured("G15", "a run under 20 s is flagged", "s", "its CPU warning looks every 10 s, and its "
                     "first look is always 0 %: none in a run under 20 s", peer="Locust"),
    ]  # fmt: skip


def _beside_busy_loops(url: str) -> tuple[float, int]:
    """Return how long after busy loops begin the first flag is up, and how many were up before."""
    began: list[int] = []
    with _busy_loops(_QUIET_S, began):
        sent = ours_open(url, 2000, 2 * _QUIET_S, plain=True)
    causes = [row for row in sent.log.flagged if set(row["flags"]) - {"steal"}]
    after = [row["at_ns"] for row in causes if began and row["at_ns"] > began[0]]
    first_s = (min(after) - began[0]) / 1e9 if after else _NEVER_S
    return first_s, len(causes) - len(after)


@contextlib.contextmanager
def _busy_loops(after_s: float, began: list[int]) -> Iterator[None]:
    """Run three busy loops on the client's CPU from `after_s` after the first send of a second away."""
    stop = threading.Event()

    def disturb() -> None:
        if stop.wait(after_s + 1.0):
            return
        began.append(time.monotonic_ns())
        argv = ["taskset", "-c", str(CLIENT_CPU), sys.executable, "-c", "while True: pass"]
        loops = [subprocess.Popen(argv) for _ in range(3)]
        stop.wait(2 * after_s)
        for loop in loops:
            loop.kill()
            loop.wait()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _too_much(url: str) -> float:
    """Return how long after the first planned send a client is flagged that cannot send what is asked."""
    sent = ours_open(url, _TOO_MUCH, 1.5, drop_after_s=0.5)
    flags = [row["at_ns"] for row in sent.log.flagged if set(row["flags"]) - {"steal"}]
    return (min(flags) - int(sent.log.head["start_ns"])) / 1e9 if flags else _NEVER_S
