"""What the judgement benchmarks share: our decisions over many logs at once, and rows of their shares."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.batch import FAIL, INCONCLUSIVE, PASS, decide
from benchmarks.common import Bar, Row
from reports.statistics import share_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

QUANTILES = (0.5, 0.95, 0.99)
SMOKE = (0.5, 0.95)
SECONDS = 60
RATE_A_SIDE = 500
# The true slowdowns that G7 wants found, by quantile.
POWER = {0.5: 1.02, 0.95: 1.03, 0.99: 1.055}
_BOUND = 0.025


def ours(
    paired: Mapping[float, Floats], quantiles: Sequence[float], ratio: float, margin: float
) -> Counter[int]:
    """Return how often we say PASS, INCONCLUSIVE and FAIL when B is `ratio` times slower."""
    shifted = [paired[q] + math.log(ratio) for q in quantiles]
    return Counter(decide(shifted, margin=margin).tolist())


def share_row(
    goal: str, what: str, hits: int, trials: int, *, peer: str = "", bar: Bar | None = None, note: str = ""
) -> Row:
    """Return the row of a share in per cent with its exact 95 % interval."""
    low, high = share_bounds(hits, trials, _BOUND)
    return Row(goal, what, 100.0 * hits / trials, "%", peer, bar, 100.0 * low, 100.0 * high, trials, note)


def counts_of(found: Counter[int]) -> str:
    return f"go {found[PASS]}, inconclusive {found[INCONCLUSIVE]}, no-go {found[FAIL]}"
