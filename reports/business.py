"""Success metrics that are reckoned, not observed: uptime from probes, gains from a user's numbers.

Pure. A gain is in % and positive when Kubernetes is better. What is missing or cannot be
reckoned is an INCONCLUSIVE answer that says what to give; it is never a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.limits import holds
from reports.model import Status
from reports.statistics import share_bounds

if TYPE_CHECKING:
    from reports.model import Limit

TAIL = 0.05  # one-sided: 95 % confidence
_MOST_PROBES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a metric amounts to: `observed` in %, and what it rests on."""

    status: Status
    observed: float | None
    samples: int
    why: str


def uptime(up: int, probes: int, limit: Limit, tail: float = TAIL) -> Answer:
    """Judge uptime by exact (Clopper-Pearson) bounds of the share of probes that were answered.

    PASS if the lower bound holds the limit, FAIL if the upper bound does not; between them
    the answer is INCONCLUSIVE, with the number of probes that would show it if none failed
    from now on. `observed` is the bound that decided, in %.
    """
    if probes <= 0:
        needed = probes_needed(0, limit.value / 100.0, tail)
        return Answer(Status.INCONCLUSIVE, None, 0, f"no probe was made; {_needs(needed, 0, 0)}")
    down = probes - up
    low, high = share_bounds(up, probes, tail)
    said = f"{down} of {probes} probes failed: up between {_floor(low):g} and {_percent(high)} %"
    said += f" ({100 * (1 - tail):g} % confidence on each side)"
    if holds(limit, 100.0 * low):
        return Answer(Status.PASS, _floor(low), probes, said)
    if not holds(limit, 100.0 * high):
        return Answer(Status.FAIL, round(100.0 * high, 4), probes, said)
    needed = probes_needed(down, limit.value / 100.0, tail)
    return Answer(Status.INCONCLUSIVE, _floor(low), probes, f"{said}; {_needs(needed, down, probes)}")


def probes_needed(down: int, share: float, tail: float = TAIL) -> int | None:
    """Return how many probes, `down` of them failed, show a share; None if no number does."""
    if not 0.0 < share < 1.0:
        return None
    if not down:
        return math.ceil(math.log(tail) / math.log(share))
    low, high = down, 2 * down
    while share_bounds(high - down, high, tail)[0] < share:
        low, high = high, 2 * high
        if high > _MOST_PROBES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if share_bounds(middle - down, middle, tail)[0] >= share else (middle, high)
    return high


def saving(before: float, after: float, limit: Limit, what: str, unit: str) -> Answer:
    """Judge a thing that should shrink (cost, hours, lead time): gain = 1 - after / before."""
    return _gain(before, after, limit, f"{what}: {_both(before, after, unit)}", shrinks=True)


def growth(before: float, after: float, limit: Limit, what: str, unit: str) -> Answer:
    """Judge a thing that should grow (output per hour, per core): gain = after / before - 1."""
    return _gain(before, after, limit, f"{what}: {_both(before, after, unit)}", shrinks=False)


def absent(what: str, give: str) -> Answer:
    """Return the answer for an input that nobody gave."""
    return Answer(Status.INCONCLUSIVE, None, 0, f"{what}; give {give}")


def _gain(before: float, after: float, limit: Limit, said: str, *, shrinks: bool) -> Answer:
    if not (math.isfinite(before) and math.isfinite(after)) or before <= 0 or after < 0:
        return Answer(Status.INCONCLUSIVE, None, 0, f"{said}: cannot be compared")
    percent = 100.0 * (1.0 - after / before if shrinks else after / before - 1.0)
    status = Status.PASS if holds(limit, percent) else Status.FAIL
    return Answer(status, round(percent, 4), 2, f"{said}, {percent:+.1f} % better")


def _both(before: float, after: float, unit: str) -> str:
    return f"{_short(before)} {unit} before, {_short(after)} {unit} after"


def _needs(needed: int | None, down: int, probes: int) -> str:
    if needed is None:
        return "no number of probes shows such a limit"
    return f"{needed} probes would show it if {'no more' if down else 'none'} failed, {needed - probes} to go"


def _floor(share: float) -> float:
    """Return a lower bound in %, never rounded up."""
    return math.floor(share * 1e6) / 1e4


def _percent(share: float) -> str:
    return f"{100.0 * share:.3f}".rstrip("0").rstrip(".")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"  # noqa: PLR2004  three digits read well
