"""When load was judged, and what was served between two moments of it, read off a run's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.columns import chunks
from loadtests.plan import SAMPLES_FILE, TICKS_FILE, load_plan
from loadtests.profile import SIDES
from loadtests.record import read_log
from loadtests.sample import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def measured_span(folder: Path) -> tuple[float, float]:
    """Return from when to when judged requests were planned, in seconds of the monotonic clock."""
    plan, log = load_plan(folder), read_log(folder / TICKS_FILE)
    head_ns = int(log.head.get("start_ns", 0))
    rounds = int(log.end.get("rounds", plan.measured_rounds))
    first, last = (plan.round_start_ns(plan.warmup_rounds + number) for number in (0, rounds))
    return (head_ns + first) / 1e9, (head_ns + last) / 1e9


def served_between(folder: Path, edges_s: Sequence[float]) -> dict[str, list[int]]:
    """Return by side how many requests were served between consecutive moments, by when they ended."""
    import numpy as np

    edges = np.asarray(edges_s) * 1e9
    found = {side: np.zeros(len(edges) - 1, np.int64) for side in SIDES}
    for chunk in chunks(folder / SAMPLES_FILE):
        for place, side in enumerate(SIDES):
            mine = chunk["done_ns"][(chunk["side"] == place) & (chunk["error"] == ErrorKind.NONE)]
            found[side] += np.histogram(mine.astype(np.float64), edges)[0]
    return {side: counts.tolist() for side, counts in found.items()}
