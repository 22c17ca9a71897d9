"""A person's answer to a criterion: what a sign-off must hold, and when it ends. Pure."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from reports.model import Evidence, Status

if TYPE_CHECKING:
    from collections.abc import Sequence


def signed_off(criterion: str, said: Sequence[Evidence], today: date) -> tuple[Status, str, list[Evidence]]:
    """Return PASS under a sign-off that is valid today; the newest one counts, a FAIL of it is a FAIL."""
    how = f"waits for a person: gonogo signoff {criterion} --by NAME --until DATE"
    if not said:
        return Status.MANUAL, how, []
    last = said[-1]
    if last.status is not Status.PASS:
        status = Status.FAIL if last.status is Status.FAIL else Status.MANUAL
        return status, last.why or how, [last]
    name, until = str(last.data.get("by", "")), str(last.data.get("until", ""))
    if not name.strip() or day(until) is None:
        return Status.MANUAL, f"sign-off without a name and an end date; {how}", [last]
    if ended(until, today):
        return Status.MANUAL, f"the sign-off of {name} ended on {until}; {how}", [last]
    return Status.PASS, f"signed off by {name} until {until}", [last]


def day(text: str) -> date | None:
    """Return an ISO date, or None if the text is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def ended(until: str, today: date) -> bool:
    """Return whether something valid until a date (that day included) is over; no date is over."""
    end = day(until)
    return end is None or end < today
