"""How rounds are cut into windows: as long as it takes to hold 10 / (1 - q) samples a side.

The generator (to know when too many windows were lost to the hypervisor) and the
summary (to fill them) cut by the same function, so they speak of the same windows.
"""

from __future__ import annotations

import math

_SAMPLES_BEYOND_QUANTILE = 10


def samples_needed(quantile: float) -> int:
    """Return how many samples a side a window of this quantile must hold: p50 20, p95 200, p99 1,000."""
    return math.ceil(round(_SAMPLES_BEYOND_QUANTILE / (1 - quantile), 6))


def rounds_needed(quantile: float, samples_per_round: int) -> int:
    """Return how many rounds hold that many samples when a round holds `samples_per_round` a side."""
    return math.ceil(samples_needed(quantile) / samples_per_round)


def cut(rounds: int, need: int) -> list[tuple[int, int]]:
    """Return [first, end) rounds of as many windows of at least `need` rounds as fit, evenly long."""
    count = rounds // need
    return [(i * rounds // count, (i + 1) * rounds // count) for i in range(count)]
