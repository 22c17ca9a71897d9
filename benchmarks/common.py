"""What every benchmark shares: rows against a bar, and rounds in which all peers take part.

A benchmark module has one function, `run(quick: bool) -> list[Row]`; `python -m benchmarks`
finds it by that. Absolute numbers of a shared machine say little, so a peer is measured
in the same round as we are, the order of each round is drawn, and what is reported is
the median of the per-round ratios with its range.

Programs and servers (`tools`) and the machine's description (`machine`) are here by name too.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.machine import Machine, machine, package_version, version_of
from benchmarks.tools import (
    Finished,
    ToolFailed,
    cores,
    free_port,
    installed,
    nginx,
    run_tool,
    server,
    wait_for_port,
)
from loadtests.host import Tick, read_tick

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "MAX_STEAL",
    "ROUNDS",
    "Bar",
    "Finished",
    "Machine",
    "Rounds",
    "Row",
    "Spread",
    "ToolFailed",
    "cores",
    "free_port",
    "installed",
    "machine",
    "nginx",
    "not_measured",
    "package_version",
    "paired_rounds",
    "run_tool",
    "server",
    "spread",
    "steal_between",
    "version_of",
    "wait_for_port",
]

MAX_STEAL = 0.02
ROUNDS = 7
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """What a number has to reach: `>=` or `<=` a limit."""

    relation: str
    limit: float

    def __post_init__(self) -> None:
        if self.relation not in (">=", "<="):
            raise ValueError(f"a bar is >= or <=, not {self.relation!r}")

    def met(self, value: float) -> bool:
        """Return whether a value reaches the bar; a NaN never does."""
        return value >= self.limit if self.relation == ">=" else value <= self.limit

    def __str__(self) -> str:
        return f"{self.relation} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, against which peer, and the goal's bar.

    `goal` is G1 to G15, or empty for a line that is shown and not judged. `peer` is empty
    where the bar is absolute. `value` None says that nothing was measured, and `note` why.
    `low` and `high` are the range over rounds.
    """

    goal: str
    what: str
    value: float | None
    unit: str
    peer: str = ""
    bar: Bar | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where there is no bar, or nothing was measured."""
        if self.bar is None or self.value is None:
            return None
        return self.bar.met(self.value)


def not_measured(goal: str, what: str, unit: str, why: str, *, peer: str = "", bar: Bar | None = None) -> Row:
    """Return the row that says why there is no number: a peer that is missing, a refusal."""
    return Row(goal, what, None, unit, peer, bar, rounds=0, note=why)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, one a round, and their range."""

    median: float
    low: float
    high: float
    rounds: int

    def row(
        self, goal: str, what: str, unit: str = "x", *, peer: str = "", bar: Bar | None = None, note: str = ""
    ) -> Row:
        """Return this spread as a row of the table."""
        return Row(goal, what, self.median, unit, peer, bar, self.low, self.high, self.rounds, note)


def spread(values: Sequence[float]) -> Spread:
    """Return the median and range of one number a round."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


@dataclass(slots=True)
class Rounds:
    """What each tool measured, lined up by round; `unquiet` counts rounds kept in spite of steal."""

    values: dict[str, list[float]] = field(default_factory=dict)
    unquiet: int = 0
    repeated: int = 0

    def of(self, name: str) -> Spread:
        """Return the spread of one tool's own numbers."""
        return spread(self.values[name])

    def ratio(self, name: str, peer: str) -> Spread:
        """Return the spread of the per-round ratios name / peer."""
        pairs = zip(self.values[name], self.values[peer], strict=True)
        return spread([one / other for one, other in pairs])

    @property
    def note(self) -> str:
        """What a reader must know about stolen time; empty when nothing was stolen."""
        said = [f"{self.repeated} rounds repeated for steal over {MAX_STEAL:.0%}"] if self.repeated else []
        said += [f"{self.unquiet} rounds kept with more steal than that"] if self.unquiet else []
        return "; ".join(said)


def paired_rounds(tools: Mapping[str, Callable[[], float]], rounds: int = ROUNDS, *, seed: int = 1) -> Rounds:
    """Run every tool once a round, in an order drawn anew, and return what they measured.

    A round during which the hypervisor took over 2 % of the CPU is repeated, twice at
    most; then it is kept and counted.
    """
    draw = random.Random(seed)
    found = Rounds({name: [] for name in tools})
    for _ in range(rounds):
        for last in (*(False,) * (_TRIES - 1), True):
            order = list(tools)
            draw.shuffle(order)
            before = read_tick()
            measured = {name: tools[name]() for name in order}
            quiet = steal_between(before, read_tick()) <= MAX_STEAL
            if quiet or last:
                break
            found.repeated += 1
        found.unquiet += not quiet
        for name, value in measured.items():
            found.values[name].append(value)
    return found


def steal_between(before: Tick, after: Tick) -> float:
    """Return the share (0..1) of all CPU time that the hypervisor took between two readings."""
    total = after.total_jiffies - before.total_jiffies
    return (after.steal_jiffies - before.steal_jiffies) / total if total > 0 else 0.0
