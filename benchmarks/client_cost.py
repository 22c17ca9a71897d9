"""G1: requests per CPU-second of the generator, beside wrk, hey and Locust's own users.

Closed loops over 32 connections to an nginx of our own on CPU 0, the generator on CPU 1; what
a tool takes to start counts against it, but for Locust's, which is left out to its advantage.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.client_tools import Nginx, hey, locust_user, ours_closed, wrk
from benchmarks.common import Bar, Row, installed, not_measured, paired_rounds

if TYPE_CHECKING:
    from collections.abc import Callable

_BARS = {"wrk": 0.65, "hey": 1.5, "FastHttpUser": 8.0, "HttpUser": 35.0}


def run(quick: bool) -> list[Row]:
    """Return the rows of G1."""
    if installed("nginx") is None:
        return [not_measured("G1", "requests per CPU-second", "x", "nginx is not installed")]
    seconds, rounds = (1.0, 2) if quick else (3.0, 5)
    with tempfile.TemporaryDirectory(prefix="gonogo-g1-") as name:
        nginx = Nginx(Path(name))
        try:
            base = f"http://127.0.0.1:{nginx.port}"
            rows = _smallest(base, seconds, rounds)
            for what, url, ca_file in (
                ("2 kB", f"{base}/2k", None),
                ("64 kB", f"{base}/64k", None),
                ("2 B over TLS", f"https://127.0.0.1:{nginx.tls_port}", nginx.ca_file),
            ):
                rows += _beside_wrk(what, url, ca_file, max(1.0, seconds / 2), max(2, rounds // 2))
        finally:
            nginx.close()
    return rows


def _smallest(base: str, seconds: float, rounds: int) -> list[Row]:
    """Return the rows that are judged: an answer of 2 bytes."""
    tools: dict[str, Callable[[], float]] = {
        "ours": lambda: _per_cpu_s(*ours_closed(base, seconds)),
        "wrk": lambda: _per_cpu_s(*wrk(base, seconds)),
        "hey": lambda: _per_cpu_s(*hey(base, seconds)),
        "FastHttpUser": lambda: _locust(base, seconds, "FastHttpUser"),
        "HttpUser": lambda: _locust(base, seconds, "HttpUser"),
    }
    present = {name: tool for name, tool in tools.items() if name not in ("wrk", "hey") or installed(name)}
    found = paired_rounds(present, rounds)
    rows = [found.of("ours").row("", "our requests per CPU-second, 2 B", "", note=found.note)]
    for peer, limit in _BARS.items():
        bar = Bar(">=", limit)
        if peer in present:
            ratio = found.ratio("ours", peer)
            rows.append(ratio.row("G1", "requests per CPU-second, 2 B", peer=peer, bar=bar))
        else:
            what = "requests per CPU-second, 2 B"
            rows.append(not_measured("G1", what, "x", "not installed", peer=peer, bar=bar))
    return rows


def _beside_wrk(what: str, url: str, ca_file: Path | None, seconds: float, rounds: int) -> list[Row]:
    """Return how we stand to wrk where answers are longer, or ciphered; shown, not judged."""
    if installed("wrk") is None:
        return []
    tools: dict[str, Callable[[], float]] = {
        "ours": partial(_ours, url, seconds, ca_file),
        "wrk": lambda: _per_cpu_s(*wrk(url, seconds)),
    }
    found = paired_rounds(tools, rounds)
    return [found.ratio("ours", "wrk").row("", f"requests per CPU-second, {what}", peer="wrk")]


def _ours(url: str, seconds: float, ca_file: Path | None) -> float:
    return _per_cpu_s(*ours_closed(url, seconds, ca_file))


def _locust(base: str, seconds: float, user: str) -> float:
    found = locust_user(base, seconds, base=user)
    return _per_cpu_s(int(found["requests"]), float(found["cpu_s"]))


def _per_cpu_s(requests: int, cpu_s: float) -> float:
    return requests / cpu_s
