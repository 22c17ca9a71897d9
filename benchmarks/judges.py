"""What others do to tell a slower B from noise, as judges over the same logs.

Each takes windows of both sides, one row a run (runs x windows), or one number a run, and
returns True where it calls B slower. None of them has a third answer.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

_CONFIDENCE = 0.98
_TOLERANCE = 0.25
_OUTLIER_IQRS = 3.0
_SIDES = 2


def kayenta(a: Floats, b: Floats) -> Bools:
    """Return where NetflixACAJudge says High: a Mann-Whitney interval over a quarter of the shift itself.

    The 98 % interval of the Hodges-Lehmann shift must lie over 0.25 x that shift, after
    values outside three interquartile ranges are taken out. No difference seen is a pass.
    """
    z = NormalDist().inv_cdf((1.0 + _CONFIDENCE) / 2.0)
    found = np.zeros(len(a), bool)
    for row in range(len(a)):
        one, other = _without_outliers(a[row]), _without_outliers(b[row])
        shifts = np.sort(np.subtract.outer(other, one), axis=None)
        pairs = len(shifts)
        spread = math.sqrt(pairs * (len(one) + len(other) + 1) / 12.0)
        low = shifts[max(0, int(pairs / 2.0 - z * spread))]
        found[row] = low > _TOLERANCE * abs(float(np.median(shifts)))
    return found


def _without_outliers(values: Floats) -> Floats:
    low, high = np.quantile(values, [0.25, 0.75])
    reach = _OUTLIER_IQRS * (high - low)
    kept: Any = values[(values >= low - reach) & (values <= high + reach)]
    return np.asarray(kept)


def mann_whitney(a: Floats, b: Floats, alpha: float = 0.05) -> Bools:
    """Return where an unpaired two-sided Mann-Whitney test at `alpha` finds B higher."""
    n_a, n_b = a.shape[1], b.shape[1]
    both = np.concatenate([a, b], axis=1)
    ranks = both.argsort(axis=1).argsort(axis=1) + 1.0
    over = ranks[:, n_a:].sum(axis=1) - n_b * (n_b + 1) / 2.0
    spread = math.sqrt(n_a * n_b * (n_a + n_b + 1) / 12.0)
    found: Bools = (over - n_a * n_b / 2.0) / spread > NormalDist().inv_cdf(1.0 - alpha / _SIDES)
    return found


def five_percent(a: Floats, b: Floats) -> Bools:
    """Return where one number a run is over 5 % higher than the other: no test at all."""
    return b > 1.05 * a
