"""The Locust listener that keeps every request exactly, and the generator's own readings.

Locust rounds to its buckets; the listener writes the Sample that a user put into the
request's context, row by row. Twice a second a line of JSON tells what the generator
and the machine did, so that a log without its end still says how far it came.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.host import Tick, read_tick
from loadtests.plan import SAMPLES_FILE, TICKS_FILE
from loadtests.profile import SIDES
from loadtests.sample import ErrorKind, Sample, SampleWriter

LATE_NS = 1_000_000
FINISHED = "finished"
STOPPED = "stopped"


class RunLog:
    """What one load run leaves in its folder."""

    def __init__(self, folder: Path) -> None:
        self.ticks: list[Tick] = []
        self.closed = False
        self._samples = SampleWriter(folder / SAMPLES_FILE)
        self._lines = (folder / TICKS_FILE).open("w", encoding="utf-8", buffering=1)
        self._sent = dict.fromkeys(SIDES, 0)
        self._errors = dict.fromkeys(SIDES, 0)
        self._late = 0
        self._dropped = 0

    def start(self, start_ns: int, *, exact_timer: bool) -> None:
        """Write when the first slot of the warm-up is due."""
        self._line(start_ns=start_ns, wall=dt.datetime.now(dt.UTC).isoformat(), exact_timer=exact_timer)
        self.tick()

    def on_request(self, context: dict[str, Any] | None = None, **_: Any) -> None:
        """Listen to Locust's request event: keep the exact sample, if one came with it."""
        sample = (context or {}).get("sample")
        if isinstance(sample, Sample) and not self.closed:
            self.append(sample)

    def append(self, sample: Sample) -> None:
        """Keep one request."""
        side = SIDES[sample.side]
        self._samples.append(sample)
        self._errors[side] += sample.error is not ErrorKind.NONE
        if sample.error is ErrorKind.DROPPED:
            self._dropped += 1
            return
        self._sent[side] += 1
        self._late += sample.sent_ns - sample.planned_ns > LATE_NS

    def tick(self) -> None:
        """Read the machine's counters and make what was recorded so far readable."""
        reading = read_tick()
        self.ticks.append(reading)
        self._samples.flush()
        self._line(
            **asdict(reading), sent=self._sent, errors=self._errors, late=self._late, dropped=self._dropped
        )

    def close(self, end: str, *, rounds: int) -> None:
        """Write how the run ended and how many judged rounds were planned; then nothing more."""
        if self.closed:
            return
        self.tick()
        self._line(end=end, rounds=rounds)
        self._samples.close()
        self._lines.close()
        self.closed = True

    def _line(self, **fields: object) -> None:
        self._lines.write(json.dumps(fields) + "\n")
