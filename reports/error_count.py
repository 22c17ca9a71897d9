"""The count test of errors: does Kubernetes fail more of its requests than Swarm, beyond a margin?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.comparison import SIDES, Errors, Rules
from reports.model import Status
from reports.statistics import share_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping


def count_errors(errors: Mapping[str, Mapping[str, int]], rules: Rules) -> Errors | None:
    """Test that Kubernetes fails at most `error_margin` more of its requests than Swarm."""
    n_a, n_b = (count(errors, side, "sent") for side in SIDES)
    if min(n_a, n_b) <= 0:
        return None
    failed_a, failed_b = (count(errors, side, "failed") for side in SIDES)
    low = _difference(n_a, failed_a, n_b, failed_b, rules.alpha)[0]
    high = _difference(n_a, failed_a, n_b, failed_b, rules.error_alpha)[1]
    difference = failed_b / n_b - failed_a / n_a
    outcome = Status.INCONCLUSIVE
    if high < rules.error_margin:
        outcome = Status.PASS
    elif low > rules.error_margin:
        outcome = Status.FAIL
    needed = (
        math.ceil(math.log(rules.error_alpha) / math.log1p(-rules.error_margin)) if rules.error_margin else 0
    )
    one, other = rules.sides
    why = f"errors: {one} {failed_a} of {n_a}, {other} {failed_b} of {n_b}"
    why += f", difference {100 * difference:+.3f} points ({100 * low:+.3f} to {100 * high:+.3f})"
    why += f", margin {100 * rules.error_margin:g} points"
    if outcome is Status.INCONCLUSIVE and n_b < needed:
        why += f"; {needed} requests a side would show it if none failed"
    return Errors(
        n_a, failed_a, n_b, failed_b, difference, low, high, rules.error_margin, needed, outcome, why
    )


def _difference(n_a: int, failed_a: int, n_b: int, failed_b: int, tail: float) -> tuple[float, float]:
    """Return bounds of a difference of shares from exact bounds of its parts (square-and-add)."""
    low_a, high_a = share_bounds(failed_a, n_a, tail)
    low_b, high_b = share_bounds(failed_b, n_b, tail)
    share_a, share_b = failed_a / n_a, failed_b / n_b
    return (
        share_b - share_a - math.hypot(share_b - low_b, high_a - share_a),
        share_b - share_a + math.hypot(high_b - share_b, share_a - low_a),
    )


def count(errors: Mapping[str, Mapping[str, int]], side: str, key: str) -> int:
    return int(errors.get(side, {}).get(key, 0))
