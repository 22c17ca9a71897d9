"""Comparing an observation with a limit: units that convert, and the five operators."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reports.model import Limit

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def to_unit(observed: object, unit: str, wanted: str) -> float | None:
    """Return a finite observation in the wanted unit, or None if it cannot be told in it."""
    if isinstance(observed, bool) or not isinstance(observed, int | float) or not math.isfinite(observed):
        return None
    if unit == wanted:
        return float(observed)
    if unit in _SECONDS and wanted in _SECONDS:
        return observed * _SECONDS[unit] / _SECONDS[wanted]
    return None


def breaks(limit: Limit, observed: object, unit: str) -> bool:
    """Return whether an observation in a comparable unit lies outside the limit."""
    value = to_unit(observed, unit, limit.unit)
    return value is not None and not holds(limit, value)


def holds(limit: Limit, value: float) -> bool:
    """Return whether a value in the limit's own unit lies inside the limit."""
    return _OPERATORS[limit.op](value, limit.value)
