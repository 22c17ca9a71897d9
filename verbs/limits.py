"""`limits:` of the config: a criterion's limit tightened or loosened, with its unit.

    limits: {metric.deploy_time: 5 min, performance.network_latency: 15 ms}

The operator stays the guide's. A limit without a unit, negative, NaN or over 100 % is
refused before anything runs; a loosened one stands on page one of the report.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from reports.catalogue import catalogue
from reports.limits import to_unit
from reports.model import Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reports.model import Criterion

_TEXT = re.compile(
    r"^\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?|[-+]?\.?(?:nan|inf(?:inity)?))\s*(.*?)\s*$",
    re.IGNORECASE,
)
_WHOLE = 100.0
_COUNTED = "servers"  # the one exact limit that counts what a user has


@dataclass(frozen=True, slots=True)
class MovedLimit:
    """A limit that differs from the guide's; both in the guide's unit."""

    criterion: str
    guide: Limit
    limit: Limit

    @property
    def loosened(self) -> bool:
        """Whether more passes than under the guide's limit; a count is looser when it is lower."""
        upper = self.guide.op in {"<", "<="}
        return self.limit.value > self.guide.value if upper else self.limit.value < self.guide.value

    def __str__(self) -> str:
        return f"{self.criterion} {self.limit} (guide: {self.guide})"


def check_limits(raw: Any) -> dict[str, str]:
    """Return the texts as they are; ValueError with every problem of every one."""
    if not isinstance(raw, dict):
        message = "is not a mapping; write `limits: {metric.deploy_time: 5 min}`"
        raise ValueError(message)  # noqa: TRY004  pydantic takes ValueError
    problems = []
    for name, text in raw.items():
        try:
            _read(str(name), text)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return {str(name): str(text) for name, text in raw.items()}


LimitTexts = Annotated[dict[str, str], BeforeValidator(check_limits)]


def moved(texts: Mapping[str, str]) -> tuple[MovedLimit, ...]:
    """Return the limits of the config that differ from the guide's, in the config's order."""
    read = [_read(name, text) for name, text in texts.items()]
    return tuple(one for one in read if one.limit.value != one.guide.value)


def with_limits(criteria: Iterable[Criterion], texts: Mapping[str, str]) -> tuple[Criterion, ...]:
    """Return the criteria under the config's limits."""
    by_id = {one.criterion: one.limit for one in moved(texts)}
    return tuple(replace(one, limit=by_id.get(one.id, one.limit)) for one in criteria)


def fitted_limits(texts: Mapping[str, str]) -> dict[str, str]:
    """Return what page one says of moved limits; loosened ones apart, none of them left out."""
    groups: dict[str, list[str]] = {"loosened": [], "tightened": []}
    for one in moved(texts):
        groups["loosened" if one.loosened else "tightened"].append(str(one))
    return {name: "; ".join(said) for name, said in groups.items() if said}


def _read(name: str, text: Any) -> MovedLimit:
    guide = _guide(name)
    found = _TEXT.match(str(text)) if not isinstance(text, bool) else None
    if found is None:
        raise ValueError(f"{name}: {text!r} is no limit; write {guide.value:g} {guide.unit}")
    number, unit = float(found[1].lstrip("+-.") if found[1][-1].isalpha() else found[1]), found[2]
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text!r} is no finite number")
    if not unit:
        raise ValueError(f"{name}: {text!r} has no unit; write {number:g} {guide.unit}")
    if number < 0 or found[1].startswith("-"):
        raise ValueError(f"{name}: {text!r} is negative")
    if unit.startswith("%") and number > _WHOLE:
        raise ValueError(f"{name}: {text!r} is over 100 %")
    value = to_unit(number, unit, guide.unit)
    if value is None:
        raise ValueError(f"{name}: {text!r} is not in {guide.unit}; write {number:g} {guide.unit}")
    if guide.op == "<" and value == 0:
        raise ValueError(f"{name}: nothing is under {text!r}")
    return MovedLimit(name, guide, Limit(guide.op, value, guide.unit))


def _guide(name: str) -> Limit:
    known = {one.id: one for one in catalogue()}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "see `gonogo plan`"
        raise ValueError(f"{name!r} is no criterion; {hint}")
    limit = known[name].limit
    if limit is None:
        raise ValueError(f"{name} has no single limit; its margin is `load.margin` and `load.margin_floor`")
    if known[name].owner == "person" or (limit.op == "==" and limit.unit != _COUNTED):
        raise ValueError(f"{name}: {limit} is exact and is not moved; a failure of it can be waived by name")
    return limit
