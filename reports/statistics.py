"""The few distributions that a comparison needs, by hand: Student t, binomial bounds.

Written out because importing a statistics library costs more than the whole judgement.
Both rest on the regularized incomplete beta function (continued fraction, Lentz).
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TINY = 1e-300
_MOST_TERMS = 2_000
_MOST_HALVINGS = 200
_STRONGEST = 0.95
_PLAINLY = 1.5
_MOST_STEPS = 60
_SEEN = 1.0
_SURELY = 2.33
_LONG = 100
_BLOCKS = (60, 30)
_SLOW = 1.1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error, the degrees of freedom of that error, and what it rests on.

    `effective` is how many independent values the correlated ones are worth; `scatter` is the
    error that as many independent values of this spread would have.
    """

    mean: float
    error: float
    freedom: float
    count: int
    effective: float
    correlation: float
    scatter: float


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of equally spaced values, allowing for correlation between neighbours.

    Neighbouring windows share drift, so n of them are worth n (1 - r) / (1 + r) independent
    ones; r is the lag-1 correlation, corrected for the downward bias that it has in short
    series. It is 0 unless it is over 2.33 of its own standard errors (1 % of independent
    series), and then one standard error is added: too low costs more than too high.

    Slow drift under fast noise hardly shows at lag 1. In long series (100 values and more)
    the means of 60 and of 30 blocks are looked at too, and where they scatter plainly more
    (1.5 standard errors) than lag 1 says, the error is theirs. Needs at least 3 values.
    """
    found = _lag_one(values, _SURELY, _SURELY)
    for count in _BLOCKS if len(values) >= _LONG else ():
        blocks = _means(values, count)
        slow = _lag_one(blocks, _SEEN, _PLAINLY)
        plainly = 1.0 + _PLAINLY * math.sqrt(2.0 / (count - 1))
        if slow.scatter**2 > plainly * found.error**2 and slow.error > found.error:
            found = replace(found, error=slow.error, freedom=slow.freedom, effective=slow.effective)
    return found


def widened(found: Estimate, finer: Sequence[Estimate]) -> Estimate:
    """Return an estimate whose error is at least its own scatter and what drifts slowly in `finer` ones.

    A high quantile has few windows, in which drift cannot be told from noise. The same load's
    lower quantiles have many, and what drifts them drifts the high one too: the variance that
    correlation adds to their means is added to the scatter here. Degrees of freedom are
    Welch and Satterthwaite's.
    """
    for other in finer:
        slow = other.error**2 - other.scatter**2
        if not slow > (_SLOW - 1.0) * other.scatter**2:
            continue
        total = found.scatter**2 + slow
        if total > found.error**2:
            parts = found.scatter**4 / (found.count - 1.0) + slow**2 / other.freedom
            found = replace(
                found,
                error=math.sqrt(total),
                freedom=total**2 / parts,
                effective=max(found.count * found.scatter**2 / total, 1.0),
            )
    return found


def _lag_one(values: Sequence[float], seen: float, plainly: float) -> Estimate:
    count = len(values)
    mean = math.fsum(values) / count
    centred = [value - mean for value in values]
    squares = math.fsum(value * value for value in centred)
    if squares <= 0.0:
        return Estimate(mean, 0.0, count - 1.0, count, float(count), 0.0, 0.0)
    lag = math.fsum(a * b for a, b in itertools.pairwise(centred)) / squares
    correlation = _corrected(lag, count, seen, plainly)
    effective = max(count * (1.0 - correlation) / (1.0 + correlation), 2.0)
    variance = squares / count / (1.0 - 1.0 / effective)
    return Estimate(
        mean=mean,
        error=math.sqrt(variance / effective),
        freedom=max(effective - 1.0, 1.0),
        count=count,
        effective=effective,
        correlation=correlation,
        scatter=math.sqrt(squares / (count - 1) / count),
    )


def _means(values: Sequence[float], count: int) -> list[float]:
    """Return the means of `count` consecutive blocks, as equal as can be."""
    ends = [place * len(values) // count for place in range(count + 1)]
    return [math.fsum(values[first:end]) / (end - first) for first, end in itertools.pairwise(ends)]


def _corrected(lag: float, count: int, seen: float, plainly: float) -> float:
    """Return the lag-1 correlation to reckon with, from the one seen in a short series.

    `seen` and `plainly` are in standard errors: below the first there is none, over the second one
    standard error is added.
    """
    errors = lag * math.sqrt(count)
    if errors <= seen:
        return 0.0
    found = lag + (1.0 + 3.0 * lag) / count
    if errors > plainly:
        found += math.sqrt(max(1.0 - found * found, 0.0) / count)
    return min(max(found, 0.0), _STRONGEST)


def t_tail(value: float, freedom: float) -> float:
    """Return the probability that Student's t with `freedom` degrees exceeds `value`."""
    half = 0.5 * beta_share(freedom / 2.0, 0.5, freedom / (freedom + value * value))
    return half if value >= 0.0 else 1.0 - half


@functools.lru_cache(maxsize=4096)
def t_quantile(tail: float, freedom: float) -> float:
    """Return the value that Student's t exceeds with probability `tail` (0 < tail < 0.5)."""
    low, high = 0.0, 2.0
    while t_tail(high, freedom) > tail:
        low, high = high, 2.0 * high
    # Newton on the logarithm of the tail, which is nearly straight; halving where it leaves the bracket.
    value = (low + high) / 2.0
    for _ in range(_MOST_STEPS):
        share = t_tail(value, freedom)
        low, high = (value, high) if share > tail else (low, value)
        step = math.log(share / tail) * share / _t_density(value, freedom)
        after = value + step if low <= value + step <= high else (low + high) / 2.0
        if abs(after - value) <= 1e-13 * high:
            break
        value = after
    return value


def _t_density(value: float, freedom: float) -> float:
    scale = (
        math.lgamma((freedom + 1.0) / 2.0) - math.lgamma(freedom / 2.0) - 0.5 * math.log(freedom * math.pi)
    )
    return math.exp(scale - (freedom + 1.0) / 2.0 * math.log1p(value * value / freedom))


@functools.lru_cache(maxsize=1024)
def share_bounds(hits: int, trials: int, tail: float) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) lower and upper bound of a share, each one-sided at `tail`."""
    low = 0.0
    high = 1.0
    if hits > 0:
        low = _bisect(lambda p: tail - beta_share(hits, trials - hits + 1, p), 0.0, 1.0)
    if hits < trials:
        high = _bisect(lambda p: (1.0 - tail) - beta_share(hits + 1, trials - hits, p), 0.0, 1.0)
    return low, high


def beta_share(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function by Lentz's method."""
    c = 1.0
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    found = d
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a - 1.0 + 2 * m) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 1.0 + 2 * m)),
        ):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            found *= c * d
        if abs(c * d - 1.0) < 1e-15:  # noqa: PLR2004 - double precision reached
            return found
    return found


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _bisect(falls: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function crosses 0 between `low` and `high`."""
    for _ in range(_MOST_HALVINGS):
        middle = (low + high) / 2.0
        if middle in {low, high}:
            break
        if falls(middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
