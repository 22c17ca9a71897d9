"""The log of any locustfile's requests: rows as of every run, and the names they point to.

A row's `server` is the index of (method, name) in the log's lines; `workload`, `side` and
`pair` are 0. A request without a planned time has `planned_ns` = `sent_ns`.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loadtests.host import Tick, read_tick
from loadtests.plan import SAMPLES_FILE
from loadtests.record import FINISHED, STOPPED
from loadtests.remote import Worker, busiest, shifted, worker_cpus
from loadtests.sample import ROW_FIELDS, WARMUP, ErrorKind, Sample, SampleWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

EXACT_FILE = "exact.jsonl"
OPEN, CLOSED = "open", "closed"
_MOST_NAMES = 65_535
_MOST_FAILURES = 100
_DETAIL_LETTERS = 400


@dataclass(frozen=True, slots=True)
class Observed:
    """One request as Locust told of it; `failure` is empty when it counts as served."""

    method: str
    name: str
    planned_ns: int
    sent_ns: int
    done_ns: int
    size_bytes: int
    status: int
    failure: str
    planned: bool


class _Recorder:
    """Turns requests into rows and hands them on, with what is new about names and failures."""

    def __init__(self, warmup_s: float) -> None:
        self.start_ns = read_tick().at_ns
        self.closed = False
        self.why = ""
        self._warm_until_ns = self.start_ns + round(warmup_s * 1e9)
        self._names: dict[tuple[str, str], int] = {}
        self._new_names: list[tuple[int, str, str]] = []
        self._failures: dict[tuple[int, str], None] = {}
        self._new_failures: list[tuple[int, str]] = []
        self._rows = bytearray()

    def observe(self, seen: Observed) -> None:
        """Keep one request until the next reading."""
        if self.closed:
            return
        name = self._index(seen.method, seen.name)
        if seen.failure and len(self._failures) < _MOST_FAILURES:
            key = (name, seen.failure.split("(", 1)[0][:_DETAIL_LETTERS])
            if key not in self._failures:
                self._failures[key] = None
                self._new_failures.append((name, seen.failure[:_DETAIL_LETTERS]))
        self._rows += Sample(
            planned_ns=seen.planned_ns,
            sent_ns=seen.sent_ns,
            done_ns=seen.done_ns,
            pair=0,
            size_bytes=seen.size_bytes,
            server=name,
            status=seen.status if 0 <= seen.status < _MOST_NAMES else 0,
            workload=0,
            side=0,
            error=_kind(seen),
            flags=WARMUP if seen.sent_ns < self._warm_until_ns else 0,
        ).pack()

    def fail(self, why: str) -> None:
        """Say why this run does not count, and end the log."""
        self.why = self.why or why
        self.close()

    def close(self) -> None:
        """End the log."""
        raise NotImplementedError

    def _index(self, method: str, name: str) -> int:
        key = (method, name)
        if key not in self._names:
            if len(self._names) >= _MOST_NAMES:
                return _MOST_NAMES
            self._names[key] = len(self._names)
            self._new_names.append((self._names[key], method, name))
        return self._names[key]

    def _taken(self) -> tuple[bytes, list[tuple[int, str, str]], list[tuple[int, str]]]:
        taken = bytes(self._rows), self._new_names, self._new_failures
        self._rows, self._new_names, self._new_failures = bytearray(), [], []
        return taken


def _kind(seen: Observed) -> ErrorKind:
    """Return the kind of a failure: by its status when there was an answer, else by its words."""
    if not seen.failure:
        return ErrorKind.NONE
    if seen.status:
        return ErrorKind.STATUS
    text = seen.failure.lower()
    words = (("refused", ErrorKind.REFUSED), ("timed", ErrorKind.TIMEOUT), ("timeout", ErrorKind.TIMEOUT))
    return next((kind for word, kind in words if word in text), ErrorKind.OTHER)


class _Files:
    """The two files of an exact log, appended to as it goes."""

    def __init__(self, folder: Path, **head: object) -> None:
        self._samples = SampleWriter(folder / SAMPLES_FILE)
        self._lines = (folder / EXACT_FILE).open("w", encoding="utf-8", buffering=1)
        self.line(wall=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), **head)

    def line(self, **fields: object) -> None:
        self._lines.write(json.dumps(fields) + "\n")

    def rows(self, raw: bytes) -> None:
        self._samples.write(raw)

    def close(self) -> None:
        self._samples.close()
        self._lines.close()


class ExactLog(_Recorder):
    """The log of a Locust that runs alone."""

    def __init__(self, folder: Path, loop: str, warmup_s: float = 0.0) -> None:
        super().__init__(warmup_s)
        self._files = _Files(folder, loop=loop, start_ns=self.start_ns, workers=1)

    def tick(self) -> None:
        """Write what was recorded so far, and the machine's counters."""
        if self.closed:
            return
        rows, names, failures = self._taken()
        for index, method, name in names:
            self._files.line(index=index, method=method, name=name)
        for index, detail in failures:
            self._files.line(failed=index, detail=detail)
        self._files.rows(rows)
        self._files.line(**asdict(read_tick()))

    def close(self) -> None:
        """Write the rest and how it ended."""
        if not self.closed:
            self.tick()
            self._files.line(end=STOPPED if self.why else FINISHED, why=self.why)
            self._files.close()
            self.closed = True


class ShippedExactLog(_Recorder):
    """The log of a worker: what was recorded goes to the master as numbered messages."""

    def __init__(self, send: Callable[[dict[str, Any]], None], warmup_s: float = 0.0) -> None:
        super().__init__(warmup_s)
        self._send = send
        self._number = 0

    def tick(self) -> None:
        """Ship what was recorded so far, and the machine's counters."""
        self._ship("")

    def close(self) -> None:
        """Ship the rest and how it ended."""
        if not self.closed:
            self._ship(STOPPED if self.why else FINISHED)
            self.closed = True

    def _ship(self, end: str) -> None:
        if self.closed:
            return
        rows, names, failures = self._taken()
        fields: dict[str, Any] = {"rows": rows, "names": names, "failures": failures, "end": end}
        fields |= {"number": self._number, "start_ns": self.start_ns, "tick": asdict(read_tick())}
        fields |= {"why": self.why, "head": worker_cpus()}
        self._send(fields)
        self._number += 1


class MergedExactLog:
    """The log of a master, from the messages of its workers: one table of names, one time line.

    The workers' clocks are joined at their test starts, which are a few milliseconds apart.
    """

    def __init__(self, folder: Path, loop: str, workers: Sequence[str]) -> None:
        self.why = ""
        self._start_ns = read_tick().at_ns
        self._files = _Files(folder, loop=loop, start_ns=self._start_ns, workers=len(workers))
        self._workers = {name: Worker(name, part) for part, name in enumerate(workers)}
        self._names: dict[tuple[str, str], int] = {}
        self._of: dict[str, dict[int, int]] = {name: {} for name in workers}
        self._busy_ns = 0.0
        self._seen_ns = self._start_ns
        self._closed = False

    @property
    def open(self) -> list[str]:
        """The workers that have not said how they ended."""
        return [name for name, worker in self._workers.items() if not worker.end and not worker.broken]

    def take(self, name: str, message: Mapping[str, Any]) -> None:
        """Take a worker's message: its rows, moved to this clock and to this table of names."""
        worker = self._workers.get(name)
        if worker is None or self._closed:
            return
        if message["number"] != worker.messages:
            worker.broken = f"{message['number'] - worker.messages} of its messages are missing"
        worker.messages = message["number"] + 1
        worker.machine = message["head"]
        for index, method, title in message["names"]:
            self._of[name][index] = self._index(method, title)
        for index, detail in message["failures"]:
            self._files.line(failed=self._of[name][index], detail=detail)
        shift_ns = self._start_ns - message["start_ns"]
        self._rows(name, shifted(message["rows"], ROW_FIELDS, shift_ns))
        tick = Tick(**message["tick"])
        worker.ticks.append(Tick(tick.at_ns + shift_ns, tick.steal_jiffies, tick.total_jiffies, tick.cpu_ns))
        self._reading(worker.ticks[-1])
        worker.end = message["end"] or worker.end
        self.why = self.why or message["why"]

    def lose(self, name: str, why: str) -> None:
        """Note that a worker is gone before its end."""
        worker = self._workers[name]
        worker.broken = f"worker {worker.part + 1} of {len(self._workers)} ({name}) {why}"
        self.why = self.why or worker.broken

    def close(self) -> None:
        """Write how the run ended."""
        if self._closed:
            return
        if not self.why and self.open:
            self.why = f"{len(self.open)} of {len(self._workers)} workers did not say how they ended"
        self._files.line(end=STOPPED if self.why else FINISHED, why=self.why)
        self._files.close()
        self._closed = True

    def _index(self, method: str, title: str) -> int:
        key = (method, title)
        if key not in self._names:
            self._names[key] = len(self._names)
            self._files.line(index=self._names[key], method=method, name=title)
        return self._names[key]

    def _rows(self, name: str, rows: Any) -> None:
        import numpy as np

        table = self._of[name]
        if len(rows) and table:
            new = np.zeros(max(table) + 1, "u2")
            for old, index in table.items():
                new[old] = index
            rows["server"] = new[rows["server"]]
        self._files.rows(rows.tobytes())

    def _reading(self, tick: Tick) -> None:
        """Write a reading whose CPU time is that of the busiest worker's core."""
        if tick.at_ns <= self._seen_ns or not all(worker.ticks for worker in self._workers.values()):
            return
        until_ns = min(worker.ticks[-1].at_ns for worker in self._workers.values())
        if until_ns > self._seen_ns:
            share = busiest(list(self._workers.values()), self._seen_ns, until_ns)
            self._busy_ns += share * (until_ns - self._seen_ns)
            self._seen_ns = until_ns
            self._files.line(
                **asdict(Tick(until_ns, tick.steal_jiffies, tick.total_jiffies, round(self._busy_ns)))
            )
