"""Weights of a window's quantile: Harrell and Davis's mean over the order statistics near it.

One order statistic of a window is a noisy guess of its quantile. Harrell and Davis
(Biometrika 69, 1982) weigh all of them by how likely each is to lie at the quantile: the mean
over all resamples of the window, without resampling. Scaling a window scales it, as it does
any quantile, so a ratio of two sides means the same, with 4 to 8 % less scatter.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_POINTS = 8  # of Gauss and Legendre's rule between two order statistics
_NEGLIGIBLE = 1e-12
_FEWEST_BEYOND = 2.0


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the order statistics from the `first` (0-based) on; they add up to 1."""

    first: int
    values: Floats

    @property
    def end(self) -> int:
        """One past the last order statistic that has a weight."""
        return self.first + len(self.values)


@functools.lru_cache(maxsize=4096)
def weights(count: int, q: float) -> Weights:
    """Return the weights of the q-quantile (0 < q < 1) of `count` values, at least one.

    With fewer than two values beyond the quantile there is nothing to weigh: then the
    neighbours of its place share the weight, as in `numpy.quantile`.
    """
    import numpy as np

    if count * min(q, 1.0 - q) < _FEWEST_BEYOND:
        place = q * (count - 1)
        low = min(math.floor(place), count - 1)
        pair = [1.0 - (place - low), place - low][: count - low]
        return Weights(low, np.array(pair))
    a, b = (count + 1) * q, (count + 1) * (1.0 - q)
    points, shares = np.polynomial.legendre.leggauss(_POINTS)
    x = (np.arange(count)[:, None] + (points + 1.0) / 2.0) / count
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    density = np.exp((a - 1.0) * np.log(x) + (b - 1.0) * np.log1p(-x) + scale)
    found = density @ shares / (2.0 * count)
    used = np.flatnonzero(found > _NEGLIGIBLE)
    first, end = int(used[0]), int(used[-1]) + 1
    return Weights(first, found[first:end] / found[first:end].sum())
