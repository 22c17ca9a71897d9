"""What the machine under the generator did: stolen time, and the generator's own CPU.

A Tick is a reading of cumulative counters; the share of any interval is read off
between ticks by interpolation.
"""

from __future__ import annotations

import bisect
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.errors import LoadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STAT = Path("/proc/stat")
_STEAL_FIELD = 7
_LAST_REAL_FIELD = 8  # guest times after it are already counted in user and nice


@dataclass(frozen=True, slots=True)
class Tick:
    """Cumulative counters at one moment; times are CLOCK_MONOTONIC."""

    at_ns: int
    steal_jiffies: int
    total_jiffies: int
    cpu_ns: int


def read_tick(stat: Path = _STAT) -> Tick:
    """Read the counters now; a machine without /proc/stat has no stolen time to report."""
    steal, total = 0, 0
    try:
        with stat.open("rb") as source:
            fields = [int(word) for word in source.readline().split()[1:]]
    except (OSError, ValueError):
        fields = []
    if fields:
        total = sum(fields[:_LAST_REAL_FIELD])
        steal = fields[_STEAL_FIELD] if len(fields) > _STEAL_FIELD else 0
    return Tick(time.monotonic_ns(), steal, total, time.process_time_ns())


def steal_share(ticks: Sequence[Tick], start_ns: int, end_ns: int) -> float:
    """Return the share (0..1) of all CPU time that the hypervisor took in the interval."""
    total = _at(ticks, end_ns, "total_jiffies") - _at(ticks, start_ns, "total_jiffies")
    steal = _at(ticks, end_ns, "steal_jiffies") - _at(ticks, start_ns, "steal_jiffies")
    return steal / total if total > 0 else 0.0


def cpu_share(ticks: Sequence[Tick], start_ns: int, end_ns: int) -> float:
    """Return the generator's CPU time over wall time (1.0 is one whole core) in the interval."""
    cpu = _at(ticks, end_ns, "cpu_ns") - _at(ticks, start_ns, "cpu_ns")
    return cpu / (end_ns - start_ns) if end_ns > start_ns else 0.0


def _at(ticks: Sequence[Tick], at_ns: int, name: str) -> float:
    """Interpolate one counter; outside the ticks the nearest one holds."""
    if not ticks:
        return 0.0
    right = bisect.bisect_left(ticks, at_ns, key=lambda tick: tick.at_ns)
    if right == 0:
        return float(getattr(ticks[0], name))
    if right == len(ticks):
        return float(getattr(ticks[-1], name))
    before, after = ticks[right - 1], ticks[right]
    part = (at_ns - before.at_ns) / (after.at_ns - before.at_ns)
    low, high = getattr(before, name), getattr(after, name)
    return float(low + part * (high - low))


def parse_cpus(text: str) -> set[int]:
    """Return the CPUs of a list such as `1` or `0-1,3`; raises LoadInputError for anything else."""
    found: set[int] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found.update(range(int(first), int(last if dash else first) + 1))
    except ValueError as error:
        raise LoadInputError(f"load: {text!r} is not a list of CPUs such as 1 or 0-1") from error
    missing = found - set(range(os.cpu_count() or 1))
    if missing or not found:
        raise LoadInputError(f"load: CPUs {text!r} are not all on this machine, it has {os.cpu_count()}")
    return found
