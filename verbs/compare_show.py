"""What `gonogo compare` says: JSON for machines, a table with reasons and the next step for people."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from reports.model import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.comparison import Comparison

_ENDPOINT_KEYS = ("name", "quantile", "ratio", "low", "high", "smallest_detectable", "n_a", "n_b", "outcome")
_KEYS = ("verdict", "margin", "alpha", "rate_total", "duration_s", "endpoints", "errors", "generator", "why")
_PLAIN_WIDTH = 120


def result_json(comparison: Comparison) -> dict[str, Any]:
    """Return what --json prints: the keys of the documented form and no others."""
    whole: Mapping[str, Any] = comparison.to_json()
    found = {key: whole[key] for key in _KEYS}
    found["endpoints"] = [
        {key: one[key] for key in _ENDPOINT_KEYS} for one in whole["endpoints"] if one["blocking"]
    ]
    return found


def show(comparison: Comparison, beside: Sequence[str]) -> None:
    """Print the table, the reasons and the verdict for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console(
        stderr=True,
        highlight=False,
        markup=False,
        soft_wrap=True,
        width=None if sys.stderr.isatty() else _PLAIN_WIDTH,
    )
    table = Table("endpoint", "B / A", "interval", "margin", "smallest seen", "samples A / B", "outcome")
    for one in comparison.endpoints:
        table.add_row(
            one.label,
            _slower(one.ratio),
            f"{_slower(one.low)} to {_slower(one.high)}",
            "-" if one.margin is None else f"{100 * one.margin:.1f} %",
            "-" if one.smallest_detectable is None else f"{100 * one.smallest_detectable:.1f} %",
            f"{one.n_a} / {one.n_b}",
            str(one.outcome),
        )
    console.print(table)
    made = comparison.conditions.generator
    console.print(
        f"generator: CPU {made.cpu:.0%}, sends late p99 {made.late_p99_ms:.3g} ms,"
        f" {made.dropped} dropped, steal {made.steal:.1%}"
    )
    for line in (*beside, *comparison.why, *next_steps(comparison)):
        console.print(f"  {line}")
    said = comparison.to_json()["verdict"]
    console.print(f"{said}: is B no slower than A?")


def next_steps(comparison: Comparison) -> list[str]:
    """Return what would give a verdict where there is none: a longer run, a lower rate."""
    made, errors = comparison.conditions.generator, comparison.errors
    if comparison.outcome is Status.INVALID and (made.dropped or made.late_p99_ms or not made.sent):
        return ["next: lower --rate, or leave a CPU to the generator"]
    if comparison.outcome is not Status.INCONCLUSIVE:
        return []
    undecided = [one for one in comparison.endpoints if one.blocking and one.outcome is Status.INCONCLUSIVE]
    lengths = [one.deciding_s for one in undecided]
    if errors and errors.outcome is Status.INCONCLUSIVE and not errors.failed_b:
        lengths.append(2 * errors.needed / comparison.conditions.rate_total)
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths) or not known:
        return []
    return [f"next: --duration {math.ceil(1.1 * max(known))}"]


def _slower(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * (ratio - 1):+.1f} %"
