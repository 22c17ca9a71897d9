"""`inputs:` of the config: the numbers of success metrics that only their user has, with units.

Prices, hours and deploy counts before (Docker Swarm) and after (K3s), given by a named
person until a date. `measured` stands for what the run itself measured. Every part may be
left out: its metric is then INCONCLUSIVE, and says what to give. docs/tutorial.md has one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from provisioners.errors import InputError
from reports.limits import to_unit

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = "measured"
_HOURS_A_MONTH = 730.5
_PER_MONTH = {"hour": _HOURS_A_MONTH, "day": _HOURS_A_MONTH / 24, "month": 1.0, "year": 1 / 12}
_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(\S.*?)?\s*$")
_PRICE = re.compile(r"^([A-Z]{3})\s*/\s*(hour|day|month|year)$")
_EACH = re.compile(r"^/\s*(hour|day|month|year)$")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount for each month, in one currency (ISO 4217)."""

    amount: float
    currency: str


def _quantity(text: Any, example: str) -> tuple[float, str]:
    found = _QUANTITY.match(str(text)) if isinstance(text, str | int | float) else None
    if found is None or isinstance(text, bool):
        raise ValueError(f"{text!r} is no amount with a unit; write {example}")
    if not found[2]:
        raise ValueError(f"{text!r} has no unit; write {example}")
    return float(found[1]), found[2]


def _money(text: Any) -> Money:
    amount, unit = _quantity(text, "900 EUR/month")
    found = _PRICE.match(unit)
    if not found:
        raise ValueError(f"{text!r} is no price; write 900 EUR/month (hour, day, month or year)")
    return Money(amount * _PER_MONTH[found[2]], found[1])


def _hours(text: Any) -> float | str:
    if text == MEASURED:
        return MEASURED
    amount, unit = _quantity(text, "2 h")
    hours = to_unit(amount, unit, "h")
    if hours is None:
        raise ValueError(f"{text!r} is no time; write 30 min, 2 h or 5 d")
    return hours


def _hours_a_month(text: Any) -> float:
    amount, unit = _quantity(text, "60 h/month")
    time, _, period = unit.partition("/")
    hours = to_unit(amount, time.strip(), "h")
    if hours is None or period.strip() not in _PER_MONTH:
        raise ValueError(f"{text!r} is no time for each period; write 60 h/month")
    return hours * _PER_MONTH[period.strip()]


def _times_a_month(text: Any) -> float:
    amount, unit = _quantity(text, "20 /month")
    found = _EACH.match(unit)
    if not found:
        raise ValueError(f"{text!r} is no count for each period; write 20 /month")
    return amount * _PER_MONTH[found[1]]


def _in(unit: str) -> Any:
    def read(text: Any) -> float:
        amount, given = _quantity(text, f"10 {unit}")
        if given != unit:
            raise ValueError(f"{text!r} is not in {unit}; write 10 {unit}")
        return amount

    return BeforeValidator(read)


MoneyText = Annotated[Money, BeforeValidator(_money)]
Hours = Annotated[float, Field(ge=0), BeforeValidator(_hours)]
HoursOrMeasured = Annotated[float | Literal["measured"], BeforeValidator(_hours)]
HoursAMonth = Annotated[float, BeforeValidator(_hours_a_month)]
TimesAMonth = Annotated[float, BeforeValidator(_times_a_month)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cost(_Strict):
    """Hosts and their price each, and whatever else is paid for the same work."""

    hosts: Annotated[int, Field(ge=1, le=100_000)]
    price: MoneyText
    other: MoneyText | None = None

    @model_validator(mode="after")
    def _one_currency(self) -> Cost:
        if self.other is not None and self.other.currency != self.price.currency:
            message = f"price in {self.price.currency}, other in {self.other.currency}; give one currency"
            raise ValueError(message)
        return self

    @property
    def monthly(self) -> Money:
        """What all of it costs for each month."""
        other = self.other.amount if self.other else 0.0
        return Money(self.hosts * self.price.amount + other, self.price.currency)


class Productivity(_Strict):
    """Changes shipped, and the hours of work behind them, in one period."""

    deploys: Annotated[int, Field(ge=0)]
    work: Hours


class LeadTime(_Strict):
    """From a change that is ready until it is live: waiting, and the deployment itself."""

    wait: Hours
    deploy: HoursOrMeasured


class Overhead(_Strict):
    """Hours of operations work for each month: routine, and hands on each deployment."""

    routine: HoursAMonth
    deploys: TimesAMonth = 0.0
    per_deploy: HoursOrMeasured = 0.0


class Efficiency(_Strict):
    """Requests served, and the cores that were reserved for it."""

    served: Annotated[float, _in("requests/s")]
    cpu: Annotated[float, _in("cores")]


class CostPair(_Strict):
    before: Cost
    after: Cost

    @model_validator(mode="after")
    def _one_currency(self) -> CostPair:
        if self.before.price.currency != self.after.price.currency:
            message = "before and after are in different currencies; give one"
            raise ValueError(message)
        return self


class ProductivityPair(_Strict):
    before: Productivity
    after: Productivity


class LeadTimePair(_Strict):
    before: LeadTime
    after: LeadTime


class OverheadPair(_Strict):
    before: Overhead
    after: Overhead


class EfficiencyPair(_Strict):
    before: Efficiency
    after: Efficiency


class Inputs(_Strict):
    """A user's numbers; who gave them, and until which day they hold."""

    by: Annotated[str, Field(min_length=1, pattern=r"\S")]
    until: date
    cost: CostPair | None = None
    productivity: ProductivityPair | None = None
    time_to_market: LeadTimePair | None = None
    overhead: OverheadPair | None = None
    efficiency: EfficiencyPair | None = None


def read_inputs(path: Path | None) -> Inputs | None:
    """Read an inputs file; None if the config names none.

    Raises:
        InputError: it is missing, or does not fit; every problem at once.
    """
    if path is None:
        return None
    if not path.is_file():
        raise InputError(
            "no inputs file", where=str(path), next_step="correct `inputs:` in the config, or take it out"
        )
    from provisioners.compose import load_yaml

    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise InputError(
            "the inputs are not a mapping", where=str(path), next_step="begin with `by:` and `until:`"
        )
    try:
        return Inputs.model_validate(raw)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {_said(one)}" for one in error.errors()]
        raise InputError(
            f"{len(lines)} problem(s) in the inputs",
            where=str(path),
            why="; ".join(lines),
            next_step="correct these keys; docs/tutorial.md shows a whole file",
        ) from None


def _said(problem: Any) -> str:
    text = str(problem["msg"]).removeprefix("Value error, ")
    return "unknown key" if problem["type"] == "extra_forbidden" else text
