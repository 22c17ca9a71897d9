"""Thousands of comparisons at once: the rule of `reports.compare` over arrays of windows.

A Monte Carlo of the judgement needs thousands of decisions, and one of `reports.compare`
takes milliseconds. This is the same arithmetic on arrays; tests/test_compare.py holds it
against `reports.compare` run by run.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.statistics import t_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

PASS, INCONCLUSIVE, FAIL = 0, 1, 2
_STRONGEST = 0.95
_PLAINLY = 1.5
_SEEN = 1.0
_SURELY = 2.33
_LONG = 100
_BLOCKS = (60, 30)
_SLOW = 1.1


def decide(
    logs: Sequence[Floats], *, margin: float = 0.0, alpha: float = 0.005, min_windows: int = 8
) -> npt.NDArray[np.int8]:
    """Return PASS, INCONCLUSIVE or FAIL of each run.

    `logs` holds one array (runs x windows) of log ratios B / A for each blocking endpoint.
    `margin` is a share (0.1 is 10 %) that holds for all of them.
    """
    runs = len(logs[0])
    passed = np.ones(runs, bool)
    failed = np.zeros(runs, bool)
    for values in logs:
        if values.shape[1] < min_windows:
            passed[:] = False
            continue
        finer = [other for other in logs if other.shape[1] > values.shape[1]]
        mean, error, freedom = widened(values, finer)
        over = mean - math.log1p(margin)
        passed &= over + _quantiles(alpha, freedom) * error < 0.0
        # Holm rejects anything at all exactly if the smallest chance is under alpha / endpoints.
        failed |= over - _quantiles(alpha / len(logs), freedom) * error > 0.0
    return np.where(failed, FAIL, np.where(passed, PASS, INCONCLUSIVE)).astype(np.int8)


def widened(values: Floats, finer: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return mean, standard error and degrees of freedom of each row, as `reports.statistics.widened`."""
    mean, error, freedom = estimates(values)
    own = _scatter(values)
    for other in finer:
        _, error_there, freedom_there = estimates(other)
        there = _scatter(other)
        slow = error_there**2 - there
        total = own + slow
        use = (slow > (_SLOW - 1.0) * there) & (total > error**2)
        parts = own**2 / (values.shape[1] - 1.0) + slow**2 / freedom_there
        error = np.where(use, np.sqrt(np.maximum(total, 0.0)), error)
        freedom = np.where(use, total**2 / np.where(use, parts, 1.0), freedom)
    return mean, error, freedom


def _scatter(values: Floats) -> Floats:
    """Return the variance of each row's mean if its values were independent."""
    return np.asarray(values.var(axis=1, ddof=1) / values.shape[1])


def estimates(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return mean, standard error and degrees of freedom of each row, as `reports.statistics.estimate`."""
    mean, error, freedom = _lag_one(values, _SURELY, _SURELY)
    for count in _BLOCKS if values.shape[1] >= _LONG else ():
        blocks = _means(values, count)
        _, slow, few = _lag_one(blocks, _SEEN, _PLAINLY)
        plainly = _scatter(blocks) > (1.0 + _PLAINLY * math.sqrt(2.0 / (count - 1))) * error**2
        use = plainly & (slow > error)
        error, freedom = np.where(use, slow, error), np.where(use, few, freedom)
    return mean, error, freedom


def _lag_one(values: Floats, least: float, plainly: float) -> tuple[Floats, Floats, Floats]:
    count = values.shape[1]
    mean = values.mean(axis=1)
    centred = values - mean[:, None]
    squares = np.einsum("ij,ij->i", centred, centred)
    lag = np.einsum("ij,ij->i", centred[:, :-1], centred[:, 1:]) / np.where(squares > 0.0, squares, 1.0)
    seen = lag * math.sqrt(count)
    found = np.where(seen > least, lag + (1.0 + 3.0 * lag) / count, 0.0)
    more = found + np.sqrt(np.maximum(1.0 - found * found, 0.0) / count)
    found = np.where((seen > least) & (seen > plainly), more, found)
    correlation = np.clip(found, 0.0, _STRONGEST)
    effective = np.maximum(count * (1.0 - correlation) / (1.0 + correlation), 2.0)
    variance = squares / count / (1.0 - 1.0 / effective)
    return mean, np.sqrt(variance / effective), np.maximum(effective - 1.0, 1.0)


def _means(values: Floats, count: int) -> Floats:
    size = values.shape[1]
    ends = [place * size // count for place in range(count + 1)]
    return np.stack([values[:, a:b].mean(axis=1) for a, b in itertools.pairwise(ends)], axis=1)


def _quantiles(tail: float, freedom: Floats) -> Floats:
    """Return Student's t quantiles by interpolation, right to 1e-5 of their value."""
    places, values = _table(tail)
    found: Any = np.exp(np.interp(1.0 / freedom, places, values))
    return np.asarray(found)


@functools.lru_cache(maxsize=8)
def _table(tail: float) -> tuple[Floats, Floats]:
    places = np.concatenate([[1e-7], np.linspace(0.001, 1.0, 200)])
    values = [math.log(t_quantile(tail, 1.0 / place)) for place in places]
    return places, np.array(values)
