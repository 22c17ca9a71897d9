"""What a load run leaves behind: every request exactly, and the generator's own readings.

The client hands over rows that are packed already. Some times a second a line of JSON tells
what the generator and the machine did, so that a log without its end still says how far it came.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from loadtests.host import Tick, read_tick
from loadtests.plan import SAMPLES_FILE, TICKS_FILE
from loadtests.profile import SIDES
from loadtests.sample import TIMES_FILE, ErrorKind, SampleWriter

if TYPE_CHECKING:
    from pathlib import Path

LATE_NS = 1_000_000
FINISHED = "finished"
STOPPED = "stopped"
_MOST_EXAMPLES = 100
_DETAIL_LETTERS = 400


@dataclass(slots=True)
class Totals:
    """What was counted so far; dropped sends are errors of their side, and not sent."""

    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    late: int = 0
    dropped: int = 0


class RunLog:
    """What one load run leaves in its folder; `rounds` is how many judged rounds are planned by now."""

    def __init__(self, folder: Path) -> None:
        self.ticks: list[Tick] = []
        self.closed = False
        self.rounds = 0
        self._samples = SampleWriter(folder / SAMPLES_FILE)
        self._lines = (folder / TICKS_FILE).open("w", encoding="utf-8", buffering=1)
        self._times = SampleWriter(folder / TIMES_FILE)
        self.totals = Totals()
        self._seen: set[tuple[str, str, str]] = set()

    def start(self, start_ns: int, *, exact_timer: bool) -> None:
        """Write when the first slot of the warm-up is due, and how exactly sends can be timed."""
        self._line(
            start_ns=start_ns,
            wall=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            exact_timer=exact_timer,
            real_time=os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR,
        )
        self.tick()

    def write(self, rows: bytearray, times: bytearray) -> None:
        """Keep requests whose rows and timings are packed already; who packs them counts them."""
        self._samples.write(rows)
        self._times.write(times)

    def first_error(self, side: str, server: str, error: ErrorKind, detail: str) -> None:
        """Keep what the first error of each kind, server and side said; the rest are counted."""
        key = (side, server, error.name.lower())
        if key not in self._seen and len(self._seen) < _MOST_EXAMPLES and not self.closed:
            self._seen.add(key)
            self._line(error=key[2], side=side, server=server, detail=detail[:_DETAIL_LETTERS])

    def tick(self, reading: Tick | None = None, **more: object) -> None:
        """Note the machine's counters and make what was recorded so far readable.

        `more` are fields of the line besides: what the generator saw of itself.
        """
        reading = reading or read_tick()
        self.ticks.append(reading)
        self._samples.flush()
        self._line(
            **asdict(reading),
            **asdict(self.totals),
            rounds=self.rounds,
            **more,
        )

    def close(self, end: str) -> None:
        """Write how the run ended; then nothing more."""
        if self.closed:
            return
        self.tick()
        self._line(end=end, rounds=self.rounds)
        self._samples.close()
        self._times.close()
        self._lines.close()
        self.closed = True

    def _line(self, **fields: object) -> None:
        self._lines.write(json.dumps(fields) + "\n")


@dataclass(frozen=True, slots=True)
class LogLines:
    """The lines of one run's log, read back: its start, the readings, first errors, its end.

    `flagged` are the readings at which the generator flagged itself: `flags` and their shares.
    """

    head: dict[str, Any]
    ticks: tuple[Tick, ...]
    errors: tuple[dict[str, Any], ...]
    end: dict[str, Any]
    flagged: tuple[dict[str, Any], ...] = ()


def read_log(path: Path) -> LogLines:
    """Read a log; one that a kill cut short is read up to the cut."""
    head: dict[str, Any] = {}
    end: dict[str, Any] = {}
    ticks: list[Tick] = []
    errors: list[dict[str, Any]] = []
    flagged: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if "start_ns" in row:
            head = row
        elif "end" in row:
            end = row
        elif "error" in row:
            errors.append(row)
        else:
            ticks.append(Tick(row["at_ns"], row["steal_jiffies"], row["total_jiffies"], row["cpu_ns"]))
            if row.get("flags"):
                flagged.append(row)
    return LogLines(head, tuple(ticks), tuple(errors), end, tuple(flagged))
