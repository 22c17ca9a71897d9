"""The table of all rows: printed, kept as docs/performance.json, and written as docs/performance.md.

The file of data lets one module be measured again without the others: a page is always
rendered from all that is kept, each part with the machine and date it was measured on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.common import Bar, Row
from benchmarks.goals import GOALS, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_FORMAT = 1
_PLAIN_BELOW = 1000
_INTRO = """\
# Performance

Written by `make bench`; do not edit. Ratios hold, absolute numbers do not: peers run in the same rounds, in
an order drawn anew, and a ratio is the median over rounds with its range. A round with more than 2 % stolen
CPU time is repeated. `docs/performance.json` holds the same as data.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one module, and where and when they were measured."""

    module: str
    machine: str
    seconds: float
    rows: tuple[Row, ...]


def read_parts(path: Path) -> dict[str, Part]:
    """Return what is kept from earlier runs by module; nothing when there is no readable file."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT:
            return {}
        return {part["module"]: _part(part) for part in raw["parts"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_parts(path: Path, parts: Mapping[str, Part]) -> None:
    """Keep all parts as data."""
    rows = {"format": _FORMAT, "parts": [asdict(parts[name]) for name in sorted(parts)]}
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _part(raw: dict[str, Any]) -> Part:
    rows = [{**row, "bar": Bar(**row["bar"]) if row["bar"] else None} for row in raw["rows"]]
    return Part(raw["module"], raw["machine"], raw["seconds"], tuple(Row(**row) for row in rows))


def cells(row: Row) -> tuple[str, ...]:
    """Return goal, what, peer, measured, range, bar, met and note of one row as text."""
    span = ""
    if row.low is not None and row.high is not None and row.rounds > 1:
        span = f"{figure(row.low)} to {figure(row.high)} ({row.rounds})"
    return (
        row.goal or "-",
        row.what,
        row.peer or "-",
        "not measured" if row.value is None else f"{figure(row.value)} {row.unit}".strip(),
        span or "-",
        str(row.bar) if row.bar else "-",
        {True: "met", False: "NOT MET", None: "-"}[row.met],
        row.note,
    )


HEAD = ("goal", "measured", "peer", "value", "range (rounds)", "bar", "", "note")


def figure(value: float) -> str:
    """Return a number with three figures; whole ones from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= _PLAIN_BELOW else f"{value:.3g}"


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by goal; those of one goal stay as they came."""
    return sorted(rows, key=lambda row: number(row.goal))


def plain(rows: Sequence[Row]) -> str:
    """Return the table as lines of text, columns lined up."""
    table = [HEAD[:-1], *(cells(row)[:-1] for row in in_order(rows))]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD) - 1)]
    notes = ["", *(row.note for row in in_order(rows))]
    lines = []
    for line, note in zip(table, notes, strict=True):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        lines.append(f"{text}  {note}".rstrip())
    return "\n".join(lines)


def page(parts: Mapping[str, Part]) -> str:
    """Return docs/performance.md: goals, then every module's table with its machine and date."""
    rows = [row for name in sorted(parts) for row in parts[name].rows]
    lines = [_INTRO, "## Goals", "", "| goal | what | state |", "|---|---|---|"]
    lines += [f"| {goal} | {_cell(text)} | {_state(goal, rows)} |" for goal, text in GOALS.items()]
    for name in sorted(parts):
        part = parts[name]
        lines += ["", f"## {name}", "", f"{part.machine}. Took {part.seconds:.0f} s.", ""]
        lines += ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
        lines += ["| " + " | ".join(map(_cell, cells(row))) + " |" for row in in_order(part.rows)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _state(goal: str, rows: Sequence[Row]) -> str:
    """Return how a goal stands: every bar counts, and what was not measured is said."""
    judged = [row for row in rows if row.goal == goal and row.bar is not None]
    if not judged:
        return "not measured"
    met = sum(row.met is True for row in judged)
    missed = sum(row.met is False for row in judged)
    open_ = len(judged) - met - missed
    if missed:
        return f"NOT MET ({missed} of {len(judged)} bars missed)"
    return f"met ({met} bars)" if not open_ else f"met where measured ({met} of {len(judged)} bars)"
