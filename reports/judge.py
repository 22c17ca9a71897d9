"""From criteria and evidence to findings and a verdict: pure, so an old run is judged again.

Merging is pessimistic: over checks, over sides, over rows of one check. The first attempt
decides. What was expected and left no evidence is INCONCLUSIVE, so a crash, a gap, a skip
or an empty query can never end in GO. Nor can a blocking criterion whose check was never seen
red: a check that nothing has turned red shows nothing by being green.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.limits import breaks, to_unit
from reports.model import (
    Criterion,
    Decision,
    Evidence,
    Finding,
    Level,
    Limit,
    Profile,
    Status,
    Verdict,
    Waiver,
)
from reports.rows import clip
from reports.signoffs import day, ended, signed_off

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

# From what stops a GO hardest to what does not stop it.
_WORST_FIRST = (
    Status.FAIL,
    Status.INVALID,
    Status.INCONCLUSIVE,
    Status.NOT_RUN,
    Status.MANUAL,
    Status.PASS,
)
_NOT_A_NUMBER = frozenset({"nan", "inf", "-inf"})
_MOST_NAMED = 5
_LONGEST_WHY = 2_000
_LONGEST_TAIL = 200


def judge(
    criteria: Sequence[Criterion],
    evidence: Sequence[Evidence],
    waivers: Sequence[Waiver],
    profile: Profile,
    level: Level,
    today: date,
    *,
    doubts: Sequence[str] = (),
) -> Verdict:
    """Return the verdict; `today` is the run's date, `doubts` are reasons why this cannot be a GO.

    `evidence` is in the order of evidence.jsonl: item i is its line i + 1.
    """
    frame = _Frame(tuple(waivers), profile, level, today)
    rows = tuple(_Row(number, one) for number, one in enumerate(evidence, start=1))
    strangers = {one.criterion for one in evidence} - {criterion.id for criterion in criteria}
    findings = [
        _finding(criterion, rows, frame)
        for criterion in (*criteria, *(_stranger(name) for name in sorted(strangers)))
    ]
    doubts = (
        *doubts,
        *(f"evidence for {name}, which is no criterion of this run" for name in sorted(strangers)),
    )
    return _verdict(findings, profile, level, doubts, _waiver_notes(waivers, findings, today))


def worst(statuses: Iterable[Status]) -> Status:
    """Return the status that stops a GO hardest; NOT_RUN if there is none."""
    return min(statuses, key=_WORST_FIRST.index, default=Status.NOT_RUN)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What holds for every criterion of one run."""

    waivers: tuple[Waiver, ...]
    profile: Profile
    level: Level
    today: date


@dataclass(frozen=True, slots=True)
class _Row:
    """One evidence row with its line number, and what the judge makes of it."""

    line: int
    evidence: Evidence

    def judged(self, limit: Limit | None) -> Evidence:
        """Return the row as it counts: a PASS that saw nothing, or broke its limit, is none."""
        row = self.evidence
        if row.status is not Status.PASS:
            return row
        if row.samples <= 0:
            return _instead(row, Status.INCONCLUSIVE, "saw nothing (0 samples)")
        if _is_not_a_number(row.observed):
            return _instead(row, Status.INCONCLUSIVE, f"observed {row.observed}, which is no number")
        if limit is not None and breaks(limit, row.observed, row.unit):
            return _instead(row, Status.FAIL, f"observed {row.observed} {row.unit}, limit {limit}")
        return row


def _instead(row: Evidence, status: Status, why: str) -> Evidence:
    return replace(row, status=status, why=f"{why}; {row.why}" if row.why else why)


def _is_not_a_number(observed: object) -> bool:
    if isinstance(observed, float):
        return not math.isfinite(observed)
    return isinstance(observed, str) and observed in _NOT_A_NUMBER


def _finding(criterion: Criterion, rows: Sequence[_Row], frame: _Frame) -> Finding:
    mine = [row for row in rows if row.evidence.criterion == criterion.id]
    if criterion.owner == "person":
        status, why, counted = _answered(criterion, mine, frame.today)
    elif not mine:
        status, why = _no_evidence(criterion, frame.profile, frame.level)
        counted = []
    else:
        status, why, counted = _merged(criterion, mine)
    if status is Status.PASS and frame.level not in criterion.shown_at:
        status = Status.INCONCLUSIVE
        why = f"simulated: mechanism shown at level {frame.level}, counts at {_levels(criterion)}; {why}"
    blocking = criterion.blocks(frame.profile, frame.level)
    if status is Status.PASS and blocking and criterion.red_proof == "":
        status = Status.INCONCLUSIVE
        why = f"never seen red: nothing has shown that it can fail (gonogo selftest); {why}"
    observed, unit = _observed(criterion.limit, status, counted)
    return Finding(
        criterion=criterion.id,
        status=status,
        blocking=blocking,
        observed=observed,
        limit=str(criterion.limit) if criterion.limit else "",
        unit=unit,
        samples=sum(row.samples for row in counted),
        why=clip(why, _LONGEST_WHY),
        evidence=tuple(row.line for row in mine),
        waived=status is Status.FAIL
        and any(_covers(one, criterion.id, frame.today) for one in frame.waivers),
    )


def _no_evidence(criterion: Criterion, profile: Profile, level: Level) -> tuple[Status, str]:
    """Return why there is nothing: not asked for, cannot be shown here, no check yet, or a gap."""
    if criterion.checks:
        return Status.INCONCLUSIVE, _gap(criterion.checks)
    if criterion.owner == "uncovered":
        return Status.NOT_RUN, "no check covers it yet"
    if profile not in criterion.profiles:
        return Status.NOT_RUN, f"not part of profile {profile}"
    if level not in criterion.shown_at:
        return Status.NOT_RUN, f"cannot be shown at level {level}; needs {_levels(criterion)}"
    return Status.NOT_RUN, f"its {criterion.owner} did not run"


def _levels(criterion: Criterion) -> str:
    return ", ".join(one for one in Level if one in criterion.shown_at)


def _gap(checks: Sequence[str]) -> str:
    return f"expected, but left no evidence: {_named(checks)}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _merged(criterion: Criterion, mine: Sequence[_Row]) -> tuple[Status, str, list[Evidence]]:
    """Merge every row of every check, first attempts only, and the gaps between them."""
    by_check: dict[str, list[_Row]] = {}
    for row in mine:
        by_check.setdefault(row.evidence.check, []).append(row)
    counted: list[Evidence] = []
    notes: list[str] = []
    for check, rows in by_check.items():
        firsts, note = _first_attempt(check, rows, criterion.limit)
        counted += firsts
        notes += note
    statuses = [row.status for row in counted]
    missing = [check for check in criterion.checks if check not in by_check]
    if missing:
        statuses.append(Status.INCONCLUSIVE)
        notes.append(_gap(missing))
    if {row.side for row in counted} == {"swarm"}:
        statuses.append(Status.INCONCLUSIVE)
        notes.append("seen on swarm only")
    status = worst(statuses)
    return status, "; ".join([*_reasons(status, counted), *notes]), counted


def _first_attempt(check: str, rows: Sequence[_Row], limit: Limit | None) -> tuple[list[Evidence], list[str]]:
    """Return what counts of one check: its first attempt, with a note if a later one differs."""
    first = min(row.evidence.attempt for row in rows)
    counted = [row.judged(limit) for row in rows if row.evidence.attempt == first]
    status = worst(row.status for row in counted)
    later = worst(row.judged(limit).status for row in rows if row.evidence.attempt > first)
    notes: list[str] = []
    if any(row.evidence.attempt > first for row in rows) and later is not status:
        notes.append(f"flaky: {check} was {status} first and {later} later; the first attempt decides")
    if first > 1:
        lost = f"attempt 1 left no evidence, only attempt {first}"
        counted = [_instead(row, worst([row.status, Status.INCONCLUSIVE]), lost) for row in counted]
    return counted, notes


def _reasons(status: Status, counted: Sequence[Evidence]) -> list[str]:
    """Say why, from the rows that decided: each text once, with the side it was seen on."""
    if status is Status.PASS:
        return [_passed(counted)]
    said: dict[str, list[str]] = {}
    for row in counted:
        if row.status is status:
            said.setdefault(row.why or f"{_short(row.check)} says {status} and gives no reason", []).append(
                row.side
            )
    lines = [_on_sides(why, sides) for why, sides in said.items()]
    more = len(lines) - _MOST_NAMED
    return lines[:_MOST_NAMED] + ([f"and {more} more reasons"] if more > 0 else [])


def _passed(counted: Sequence[Evidence]) -> str:
    checks = len({row.check for row in counted})
    text = f"{checks} {'check' if checks == 1 else 'checks'} passed"
    said = {row.why for row in counted if row.why}
    return f"{text}: {said.pop()}" if len(said) == 1 else text


def _on_sides(why: str, sides: Sequence[str]) -> str:
    named = sorted(set(sides) - {"both"})
    return f"{' and '.join(named)}: {why}" if named and "both" not in sides else why


def _short(check: str) -> str:
    return check.rsplit("/", 1)[-1]


def _observed(
    limit: Limit | None, status: Status, counted: Sequence[Evidence]
) -> tuple[float | str | None, str]:
    """Return the worst observation in the limit's unit, else that of a row that decided."""
    if limit is not None:
        values = [to_unit(row.observed, row.unit, limit.unit) for row in counted]
        numbers = [value for value in values if value is not None]
        if numbers:
            return _farthest(limit, numbers), limit.unit
    for row in counted:
        if row.status is status and row.observed is not None:
            return row.observed, row.unit
    return None, ""


def _farthest(limit: Limit, numbers: Sequence[float]) -> float:
    if limit.op in {"<", "<="}:
        return max(numbers)
    if limit.op in {">", ">="}:
        return min(numbers)
    return max(numbers, key=lambda number: abs(number - limit.value))


def _answered(criterion: Criterion, mine: Sequence[_Row], today: date) -> tuple[Status, str, list[Evidence]]:
    """Return a person's answer; checks of the same criterion must pass as well."""
    checked = [row for row in mine if row.evidence.check in criterion.checks]
    said = [row.evidence for row in mine if row.evidence.check not in criterion.checks]
    status, why, counted = signed_off(criterion.id, said, today)
    if not criterion.checks:
        return status, why, counted
    seen, because, rows = _merged(criterion, checked)
    whys = (because, why) if seen is not Status.PASS else (why, because)
    return worst([seen, status]), "; ".join(whys), [*rows, *counted]


def _covers(waiver: Waiver, criterion: str, today: date) -> bool:
    named = bool(waiver.name.strip() and waiver.reason.strip())
    return waiver.criterion == criterion and named and not ended(waiver.until, today)


def _waiver_notes(waivers: Sequence[Waiver], findings: Sequence[Finding], today: date) -> list[str]:
    """Say what is wrong with each waiver that does not do what its author hoped for."""
    known: Mapping[str, Finding] = {finding.criterion: finding for finding in findings}
    notes = []
    for waiver in waivers:
        finding = known.get(waiver.criterion)
        if finding is None:
            notes.append(f"waiver for {waiver.criterion}, which is no criterion of this run")
        elif not _covers(waiver, waiver.criterion, today):
            notes.append(
                f"waiver of {waiver.criterion} by {waiver.name or 'nobody'} is stale: {_stale(waiver)}"
            )
        elif finding.status is not Status.FAIL:
            notes.append(
                f"waiver of {waiver.criterion} is not used: it is {finding.status}, only a FAIL is waived"
            )
    return notes


def _stale(waiver: Waiver) -> str:
    if day(waiver.until) is None:
        return f"its end {waiver.until!r} is no date (YYYY-MM-DD)"
    if not waiver.name.strip() or not waiver.reason.strip():
        return "it needs a name and a reason"
    return f"it ended on {waiver.until}"


def _stranger(name: str) -> Criterion:
    return Criterion(id=name, title="not in the catalogue of this run", owner="suite")


def _verdict(
    findings: Sequence[Finding],
    profile: Profile,
    level: Level,
    doubts: Sequence[str],
    notes: Sequence[str],
) -> Verdict:
    blocking = [finding for finding in findings if finding.blocking]
    failed = [finding for finding in blocking if finding.status is Status.FAIL and not finding.waived]
    unsure = [finding for finding in blocking if finding.status not in {Status.PASS, Status.FAIL}]
    stops = []
    if level is Level.STUB:
        stops.append(
            "level stub: the no-op target shows that the checks work, it proves nothing about a migration"
        )
    if not blocking:
        stops.append("no criterion blocks in this profile and level, so nothing was shown")
    decision = (
        Decision.NO_GO if failed else Decision.INCONCLUSIVE if unsure or stops or doubts else Decision.GO
    )
    tail = doubts or ([] if failed or unsure else stops)
    return Verdict(
        decision=decision,
        profile=profile,
        level=level,
        headline=f"{decision} ({profile}, {level}): {_headline(blocking, failed, unsure, tail)}",
        findings=tuple(findings),
        reasons=(*map(_said, failed), *doubts, *map(_said, unsure), *stops, *notes),
    )


def _said(finding: Finding) -> str:
    return f"{finding.criterion} {finding.status}: {finding.why}"


def _headline(
    blocking: Sequence[Finding], failed: Sequence[Finding], unsure: Sequence[Finding], tail: Sequence[str]
) -> str:
    waived = [one.criterion for one in blocking if one.waived]
    passed = len(blocking) - len(failed) - len(unsure) - len(waived)
    parts = [f"{passed} of {len(blocking)} blocking criteria shown"]
    if failed:
        parts.append(f"failed: {_named([one.criterion for one in failed])}")
    if unsure:
        parts.append(f"undecided: {_named([one.criterion for one in unsure])}")
    if waived:
        parts.append(f"waived: {_named(waived)}")
    parts += [clip(text, _LONGEST_TAIL) for text in tail[:1]]
    return "; ".join(parts)
