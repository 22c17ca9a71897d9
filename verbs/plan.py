"""`gonogo plan`: every criterion with its owner, limit and where it blocks. Offline."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from provisioners.errors import InputError
from reports.catalogue import catalogue, missing
from reports.criteria_doc import levels_text, limit_text
from reports.model import Level, Profile

if TYPE_CHECKING:
    from reports.model import Criterion


def plan_command(profile: str, *, json_output: bool) -> int:
    """Print the catalogue; returns 0."""
    chosen = parse_profile(profile)
    if json_output:
        json.dump([_row(criterion) for criterion in catalogue()], sys.stdout, indent=1)
        sys.stdout.write("\n")
        return 0
    for line in _table(chosen):
        sys.stdout.write(line + "\n")
    return 0


def parse_profile(text: str) -> Profile:
    """Return the profile, or raise InputError naming the three."""
    try:
        return Profile(text)
    except ValueError:
        names = ", ".join(Profile)
        raise InputError(f"no profile {text!r}", next_step=f"choose one of {names}") from None


def _row(criterion: Criterion) -> dict[str, object]:
    return {
        "id": criterion.id,
        "title": criterion.title,
        "owner": criterion.owner,
        "limit": None
        if criterion.limit is None
        else {"op": criterion.limit.op, "value": criterion.limit.value, "unit": criterion.limit.unit},
        "unit": criterion.limit.unit if criterion.limit else None,
        "profile": sorted(criterion.profiles),
        "blocking": sorted([profile, level] for profile, level in criterion.blocking),
        "level": [level for level in Level if level in criterion.shown_at],
        "missing": missing(criterion) or None,
    }


def _table(profile: Profile) -> list[str]:
    rows = [("criterion", "owner", "limit", f"blocks in {profile}", "what must be shown")]
    for criterion in catalogue():
        levels = [level for level in Level if criterion.blocks(profile, level)]
        blocks = levels_text(levels) or "-"
        title = (
            f"{criterion.title}; waits for {missing(criterion)}" if missing(criterion) else criterion.title
        )
        rows.append((criterion.id, criterion.owner, limit_text(criterion), blocks, title))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)) + "  " + row[4]
        for row in rows
    ]
    uncovered = sum(1 for criterion in catalogue() if criterion.owner == "uncovered")
    lines.append("")
    lines.append(
        f"{len(rows) - 1} criteria; {uncovered} have no check yet (owner `uncovered`)"
        " and are never counted as passed"
    )
    return lines
