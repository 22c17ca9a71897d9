"""docs/criteria.md, made from the catalogue: `python -m reports.criteria_doc > docs/criteria.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reports.catalogue import catalogue, missing
from reports.model import Level, Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.model import Criterion

_HEAD = """\
# Criteria

Every line of the migration guide as something that can be shown. Made from `reports/catalogue.py` by
`python -m reports.criteria_doc > docs/criteria.md`; `gonogo plan` prints the same, offline.

*Owner* says who answers: a `suite` of checks, the `load`, a `measurement` of the run, or a `person` by
`gonogo signoff`. `uncovered` has no check yet: it is shown, never passed, and stops a GO wherever it blocks.
*Blocks* names the profiles and levels in which anything but PASS stops a GO. *Shown at* names the levels
at which a PASS is believed; anywhere else it becomes INCONCLUSIVE, "simulated: mechanism shown".

A config can move a limit, with its unit (`limits: {metric.deploy_time: 5 min}`); a loosened one stands on
page one of the report.
"""
_PARTS = {
    "cutover": "Checklist before cutover",
    "technical": "Checklist after migration: technical",
    "performance": "Checklist after migration: performance",
    "operational": "Checklist after migration: operational",
    "metric": "Success metrics",
    "phase1": "Phase 1",
    "phase2": "Phase 2",
    "phase3": "Phase 3",
    "phase4": "Phase 4",
    "rollback": "Rollback",
}
_LAB = (Level.LAB_UPSTREAM, Level.LAB_K3S)


def criteria_doc() -> str:
    """Return the whole document."""
    criteria = catalogue()
    parts = [_HEAD, _counts(criteria)]
    for prefix, title in _PARTS.items():
        rows = [one for one in criteria if one.id.partition(".")[0] == prefix]
        parts.append(f"## {title}\n\n{_table(rows)}")
    return "\n".join(parts)


def limit_text(criterion: Criterion) -> str:
    """Return the limit with its unit; the comparison has margins of the config instead."""
    return str(criterion.limit) if criterion.limit else "margin: larger of 10 % and 1 ms"


def levels_text(levels: Sequence[Level]) -> str:
    """Return levels as people read them."""
    named = [level for level in Level if level in levels]
    if len(named) == len(Level):
        return "every level"
    if named and named == list(Level)[-len(named) :] and len(named) > 1:
        return f"{named[0]} and up"
    return ", ".join(named)


def blocks_text(criterion: Criterion) -> str:
    """Return where a criterion blocks: profiles with the same levels together."""
    found: dict[str, list[str]] = {}
    for profile in Profile:
        levels = [level for level in Level if criterion.blocks(profile, level)]
        if levels:
            found.setdefault(levels_text(levels), []).append(profile)
    return "; ".join(f"{', '.join(profiles)}: {levels}" for levels, profiles in found.items()) or "nowhere"


def _counts(criteria: Sequence[Criterion]) -> str:
    open_ones = sum(one.owner == "uncovered" for one in criteria)
    smoke = sum(one.blocks(Profile.SMOKE, Level.LAB_UPSTREAM) for one in criteria)
    nightly = sum(one.blocks(Profile.NIGHTLY, Level.LAB_UPSTREAM) for one in criteria)
    cutover = sum(one.blocks(Profile.CUTOVER, Level.HOSTS) for one in criteria)
    return (
        f"{len(criteria)} criteria, {open_ones} of them uncovered. In the lab {smoke} block in profile smoke"
        f" and {nightly} in nightly; on hosts {cutover} block in cutover.\n"
    )


def _table(criteria: Sequence[Criterion]) -> str:
    rows = ["| id | what must be shown | owner | limit | blocks | shown at |", "|---|---|---|---|---|---|"]
    for one in criteria:
        owner = f"{one.owner}: waits for {missing(one)}" if missing(one) else one.owner
        cells = (
            f"`{one.id}`",
            one.title,
            owner,
            limit_text(one),
            blocks_text(one),
            levels_text(tuple(one.shown_at)),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(criteria_doc())
