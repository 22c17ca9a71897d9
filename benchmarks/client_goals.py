"""The load client beside wrk, hey and Locust's FastHttpUser: goals G1 to G5 and G15.

    python -m benchmarks.client_goals g1 [--rounds 7] [--seconds 5]
    python -m benchmarks.client_goals g2 | g3 | g4 | g5 | g15 | all [--out results.json]

An nginx of its own (loopback, no service) is pinned to CPU 0, what sends to CPU 1. Tools take turns in
random order; ratios are taken within a round and their median and range are printed. A round with more
than 2 % steal is marked. A peer that is not installed is skipped, and named. Each line ends
with `ok` or `MISSED`; the exit code is 1 when a goal was missed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.client_tools import (
    CLIENT_CPU,
    ROOT,
    SERVER_CPU,
    Nginx,
    fast_http_user,
    hey,
    ours_closed,
    ours_open,
    stall,
    take_turn,
    truth_ms,
    wrk,
)
from benchmarks.delay_server import SHAPES, read_delay_log
from loadtests.record import read_log
from loadtests.sample import read_samples
from loadtests.summarize import quantile

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_STEAL = 0.02


@dataclass
class Report:
    """Lines as they are found, and what they say as data."""

    missed: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def judge(self, name: str, text: str, *, reached: bool) -> None:
        print(f"{name:<34} {text}  {'ok' if reached else 'MISSED'}", flush=True)
        self.data[name] = {"text": text, "reached": reached}
        if not reached:
            self.missed.append(name)

    def note(self, text: str) -> None:
        print(f"  {text}", flush=True)


def g1(report: Report, nginx: Nginx, options: argparse.Namespace) -> None:
    """Requests per CPU second of the generator, as fast as 32 connections go."""
    base = f"http://127.0.0.1:{nginx.port}"
    secure = f"https://127.0.0.1:{nginx.tls_port}"
    seconds = options.seconds or 5

    def fast() -> tuple[int, float]:
        found = fast_http_user(base, seconds)
        return int(found["requests"]), float(found["cpu_s"])

    tools: dict[str, Callable[[], tuple[int, float]]] = {
        "ours": lambda: ours_closed(base, seconds),
        "wrk": lambda: wrk(base, seconds),
        "hey": lambda: hey(base, seconds),
        "FastHttpUser": fast,
    }
    _compare(report, "G1 2 B", tools, {"wrk": 0.65, "hey": 1.5, "FastHttpUser": 8}, options.rounds)
    for name, url, ca_file in (
        ("G1 2 kB", f"{base}/2k", None),
        ("G1 64 kB", f"{base}/64k", None),
        ("G1 TLS", secure, nginx.ca_file),
    ):
        tools = {
            "ours": partial(ours_closed, url, seconds / 2, ca_file),
            "wrk": partial(wrk, url, seconds / 2),
        }
        _compare(report, name, tools, {"wrk": 0.0}, max(1, options.rounds // 2))


def _compare(
    report: Report,
    name: str,
    tools: dict[str, Callable[[], tuple[int, float]]],
    bars: dict[str, float],
    rounds: int,
) -> None:
    ratios: dict[str, list[float]] = {peer: [] for peer in bars}
    present = [tool for tool in tools if tool in ("ours", "FastHttpUser") or shutil.which(tool)]
    for missing in set(tools) - set(present):
        report.note(f"{missing} is not installed, skipped")
    for number in range(rounds):
        order = random.sample(present, len(present))
        used = {tool: take_turn(tools[tool]) for tool in order}
        told = ", ".join(f"{tool} {used[tool].per_cpu_s:,.0f}" for tool in present)
        steal = max(one.steal for one in used.values())
        report.note(
            f"{name} round {number + 1}: {told} requests/CPU s, steal {steal:.1%}"
            + (" (over 2 %)" if steal > _MOST_STEAL else "")
        )
        for peer, kept in ratios.items():
            if peer in used:
                kept.append(used["ours"].per_cpu_s / used[peer].per_cpu_s)
    for peer, bar in bars.items():
        if ratios[peer]:
            middle = statistics.median(ratios[peer])
            text = f"{middle:.2f}x ({min(ratios[peer]):.2f} to {max(ratios[peer]):.2f}), bar {bar:g}x"
            report.judge(f"{name}, against {peer}", text, reached=middle >= bar)


def g2(report: Report, nginx: Nginx, options: argparse.Namespace) -> None:
    """Error of p50 at 1,000 requests a second; truth: an awake one-connection loop at that pace."""
    url = f"http://127.0.0.1:{nginx.port}"
    seconds = options.seconds or 8
    shares = []
    for number in range(options.rounds):
        truth = truth_ms(nginx.port, 3000)
        folder, _ = ours_open(url, 1000, seconds)
        rows = read_samples(folder / "requests.bin")
        shutil.rmtree(folder)
        ours = quantile((rows["done_ns"] - rows["planned_ns"]) / 1e6, 0.5)
        fast = quantile(fast_http_user(url, seconds, rate=1000)["times_ms"], 0.5)
        report.note(f"G2 round {number + 1}: truth {truth:.3f}, ours {ours:.3f}, FastHttpUser {fast:.3f} ms")
        shares.append(abs(ours - truth) / abs(fast - truth))
    middle = statistics.median(shares)
    text = f"{middle:.3f} of FastHttpUser's ({min(shares):.3f} to {max(shares):.3f}), bar 0.1"
    report.judge("G2 error of p50", text, reached=middle <= 0.1)  # noqa: PLR2004  the bar


def g3(report: Report, nginx: Nginx, options: argparse.Namespace) -> None:
    """A server that stands still for a second: p99 and p99.9 by arithmetic, and as reported."""
    url = f"http://127.0.0.1:{nginx.port}"
    seconds = options.seconds or 20
    worst = {0.99: 0.0, 0.999: 0.0}
    errors: dict[float, list[float]] = {q: [] for q in worst}
    for seed in range(options.rounds):
        with stall(nginx, random.Random(seed).uniform(0.3, 0.8) * seconds) as stalled:
            folder, end = ours_open(url, 1000, seconds)
        rows = read_samples(folder / "requests.bin")
        shutil.rmtree(folder)
        latency = (rows["done_ns"] - rows["planned_ns"]) / 1e6
        length = float(rows["planned_ns"].max() - rows["planned_ns"].min()) / 1e9
        told = []
        for q, kept in errors.items():
            truth = 1000 * stalled[0] * (1 - (1 - q) * length / stalled[0])
            kept.append(abs(quantile(latency, q) - truth) / truth)
            told.append(f"p{100 * q:g} {quantile(latency, q):.1f} of {truth:.1f} ms")
        report.note(f"G3 seed {seed}: {', '.join(told)}; {end['late']} late, {end['dropped']} dropped")
    with stall(nginx, 0.5 * seconds):
        fast = fast_http_user(url, seconds, rate=1000)["times_ms"]
    report.note(f"G3 FastHttpUser: p99 {quantile(fast, 0.99):.1f}, p99.9 {quantile(fast, 0.999):.1f} ms")
    for q, kept in errors.items():
        middle = statistics.median(kept)
        text = f"error {middle:.2%} ({min(kept):.2%} to {max(kept):.2%}), bar 1 %"
        report.judge(f"G3 stall, p{100 * q:g}", text, reached=middle <= 0.01)  # noqa: PLR2004  the bar


def g4(report: Report, _nginx: Nginx, options: argparse.Namespace) -> None:
    """Injected latency against the server's own log: 4 shapes, 3 medians, 3 rates."""
    allowed, parts = [], []
    seconds = options.seconds or 2.5
    for shape in options.shape or SHAPES:
        for median_ms in (0.5, 5.0, 50.0):
            for rate in (200, 1000, 3000):
                for q, truth, seen in _cell(shape, median_ms, rate, seconds):
                    off_us = abs(seen - truth) * 1000
                    allowed.append(off_us / max(0.005 * truth * 1000, 60.0))
                    parts.append((off_us / max(0.02 * truth * 1000, 60.0), off_us, truth, shape, rate, q))
    middle = statistics.median(allowed)
    report.judge("G4 median error", f"{middle:.2f} of max(0.5 %, 60 us)", reached=middle <= 1)
    parts.sort(reverse=True)
    for share, off_us, truth, shape, rate, q in parts[:3]:
        report.note(
            f"G4 worst: {shape} {rate}/s p{100 * q:g} of {truth:.2f} ms: {off_us:.0f} us off, {share:.2f}"
        )
    over = sum(part[0] > 1 for part in parts)
    text = f"{parts[0][0]:.2f} of max(2 %, 60 us); {over} of {len(parts)} over it"
    report.judge("G4 worst cell", text, reached=parts[0][0] <= 1)


def _cell(shape: str, median_ms: float, rate: int, seconds: float) -> list[tuple[float, float, float]]:
    """Return (quantile, truth ms, seen ms) of one cell."""
    with tempfile.NamedTemporaryFile() as log:
        options = [
            "--shape",
            shape,
            "--median-ms",
            str(median_ms),
            "--log",
            log.name,
            "--cpu",
            str(SERVER_CPU),
        ]
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.delay_server", *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            assert server.stdout is not None  # noqa: S101  a pipe was asked for
            port = int(server.stdout.readline().split()[-1])
            folder, _ = ours_open(f"http://127.0.0.1:{port}", rate, seconds, senders=1500)
        finally:
            server.terminate()
            server.wait(10)
        truth = read_delay_log(Path(log.name))
    rows = read_samples(folder / "requests.bin")
    shutil.rmtree(folder)
    if len(truth) != len(rows):
        raise RuntimeError(f"the server logged {len(truth)} requests, the client {len(rows)}")
    true_ms = (truth["reply_ns"] - truth["arrival_ns"]) / 1e6
    seen_ms = (rows["done_ns"] - rows["planned_ns"]) / 1e6
    return [
        (q, quantile(true_ms, q), quantile(seen_ms, q))
        for q in (0.5, 0.99, 0.999)
        if (1 - q) * len(rows) >= 2  # noqa: PLR2004  below that it is one request's luck
    ]


def g5(report: Report, nginx: Nginx, options: argparse.Namespace) -> None:
    """How late sends are, and what it costs."""
    url = f"http://127.0.0.1:{nginx.port}"
    for rate, most_cpu in ((1000, 0.15), (10_000, 0.70)):
        lags, cpus = [], []
        for _ in range(options.rounds):
            folder, end = ours_open(url, rate, options.seconds or 8)
            rows = read_samples(folder / "requests.bin")
            shutil.rmtree(folder)
            sent = rows["sent_ns"] > 0
            lag_us = (rows["sent_ns"][sent] - rows["planned_ns"][sent]) / 1e3
            lags.append(quantile(lag_us, 0.99))
            cpus.append(end["cpu"])
            report.note(
                f"G5 {rate}/s: lag p50 {quantile(lag_us, 0.5):.0f}, p99 {lags[-1]:.0f}, "
                f"p99.9 {quantile(lag_us, 0.999):.0f} us; CPU {end['cpu']:.1%}; {end['late']} late, "
                f"{end['dropped']} dropped; steal {end['steal']:.1%}"
            )
        lag, cpu = statistics.median(lags), statistics.median(cpus)
        report.judge(f"G5 lag at {rate}/s", f"p99 {lag:.0f} us, bar 120 us", reached=lag <= 120)  # noqa: PLR2004
        report.judge(
            f"G5 CPU at {rate}/s", f"{cpu:.1%} of a core, bar {most_cpu:.0%}", reached=cpu <= most_cpu
        )


def g15(report: Report, nginx: Nginx, _options: argparse.Namespace) -> None:
    """A busy loop on the generator's CPU from second 3 on: how soon it is flagged."""
    url = f"http://127.0.0.1:{nginx.port}"
    began: list[int] = []
    stop = threading.Event()

    def disturb() -> None:
        stop.wait(4.0)
        began.append(time.monotonic_ns())
        loops = [
            subprocess.Popen(
                ["taskset", "-c", str(CLIENT_CPU), sys.executable, "-c", "while True: pass"],
            )
            for _ in range(3)
        ]
        stop.wait(4.0)
        for loop in loops:
            loop.kill()
            loop.wait()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        folder, end = ours_open(url, 2000, 7, plain=True)
    finally:
        stop.set()
        thread.join()
    flagged = [row for row in read_log(folder / "generator.jsonl").flagged if row["at_ns"] > began[0]]
    early = [row for row in read_log(folder / "generator.jsonl").flagged if row["at_ns"] <= began[0]]
    shutil.rmtree(folder)
    after_s = (flagged[0]["at_ns"] - began[0]) / 1e9 if flagged else float("inf")
    text = f"after {after_s:.2f} s as {flagged[0]['flags'] if flagged else []}, bar 1 s; before: {len(early)}"
    report.note(f"G15 flags of the run: {end['flags']}")
    report.judge("G15 a busy CPU is flagged", text, reached=after_s <= 1)


GOALS: dict[str, Callable[[Report, Nginx, argparse.Namespace], None]] = {
    "g1": g1,
    "g2": g2,
    "g3": g3,
    "g4": g4,
    "g5": g5,
    "g15": g15,
}


def main(argv: list[str]) -> int:
    """Measure the goals that are asked for."""
    parser = argparse.ArgumentParser(prog="client_goals", description="Measures the load client's goals.")
    parser.add_argument("goal", nargs="?", choices=[*GOALS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0, help="length of one turn; 0 is the goal's own")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="of g4; all by default")
    parser.add_argument("--out", type=Path, default=None, help="write the results as JSON")
    options = parser.parse_args(argv)
    if not shutil.which("nginx"):
        print("nginx is not installed; nothing can be measured (apt-get install nginx-light wrk hey)")
        return 2
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        nginx = Nginx(Path(folder))
        try:
            for name in GOALS if options.goal == "all" else [options.goal]:
                GOALS[name](report, nginx, options)
        finally:
            nginx.close()
    if options.out:
        options.out.write_text(json.dumps(report.data, indent=1) + "\n", encoding="utf-8")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
