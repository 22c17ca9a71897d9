"""A run that several Locust workers send: each ships its exact rows and readings, the master merges them.

A worker's times are those of its own CLOCK_MONOTONIC. The master maps them onto its own
by the planned start, which both know: a latency is never touched by that, and the place
of a request in the schedule is exact even where two machines' clocks differ.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.host import Tick, cpu_share, steal_share
from loadtests.plan import SAMPLES_FILE, TICKS_FILE, LoadPlan
from loadtests.profile import SIDES
from loadtests.record import FINISHED, LATE_NS, STOPPED, Totals
from loadtests.sample import ROW_FIELDS, TIMES_FIELDS, TIMES_FILE, ErrorKind, SampleWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from loadtests.engine import Engine

    Fields = tuple[tuple[str, str], ...]

_GRID_NS = 500_000_000
_PARTS_OF_A_WHOLE = 10_000


def boot_id() -> str:
    """Return what two processes share when they read the same CLOCK_MONOTONIC."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def worker_cpus() -> dict[str, Any]:
    """Return the machine and the CPUs that this process is bound to: what `busiest` groups by."""
    return {"boot": boot_id(), "cpus": sorted(os.sched_getaffinity(0))}


class Shipper:
    """Sends on what a sender on this machine recorded, as numbered messages, until its log has ended."""

    def __init__(self, engine: Engine, send: Callable[[dict[str, Any]], None]) -> None:
        self.ended = False
        self._engine = engine
        self._send = send
        self._number = 0

    def ship(self) -> npt.NDArray[np.void]:
        """Send what is new, and return the new requests."""
        lines = self._engine.lines()  # before the rows: a log's end is its last line
        rows = self._engine.rows()
        if lines or len(rows):
            times = self._engine.times_of(len(rows))
            self._message(rows=rows.tobytes(), times=times, lines=lines)
        if any("end" in line for line in lines):
            while len(more := self._engine.rows()):
                self._message(rows=more.tobytes(), times=self._engine.times_of(len(more)), lines=[])
            end = next(line["end"] for line in lines if "end" in line)
            self._message(end=end)
            self.ended = True
        return rows

    def fail(self, why: str) -> None:
        """Say that the sender failed."""
        if not self.ended:
            self._message(end=STOPPED, broken=why)
            self.ended = True

    def _message(self, **fields: Any) -> None:
        self._send({"number": self._number, **worker_cpus(), **fields})
        self._number += 1


@dataclass(slots=True)
class Worker:
    """What the master knows of one worker."""

    name: str
    part: int
    head: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    ticks: list[Tick] = field(default_factory=list)
    rows: int = 0
    messages: int = 0
    end: str = ""
    broken: str = ""


class MergedLog:
    """The run log of a master: the files of one generator, from the messages of several."""

    def __init__(self, folder: Path, plan: LoadPlan, names: Sequence[str]) -> None:
        self.workers = {name: Worker(name, part) for part, name in enumerate(names)}
        self.closed = False
        self.why = ""
        self._rounds = plan.measured_rounds
        self._start_ns = 0
        self._samples = SampleWriter(folder / SAMPLES_FILE)
        self._times = SampleWriter(folder / TIMES_FILE)
        self._lines = (folder / TICKS_FILE).open("w", encoding="utf-8", buffering=1)
        self._totals = Totals()
        self._merged: Tick | None = None

    def start(self, start_ns: int) -> None:
        """Remember when the schedule starts, by the clock of this process."""
        self._start_ns = start_ns

    def take(self, name: str, message: Mapping[str, Any]) -> None:
        """Take a worker's message; one that is missing before it breaks the run, and is said."""
        worker = self.workers.get(name)
        if worker is None or self.closed:
            return
        if message["number"] != worker.messages:
            worker.broken = f"{message['number'] - worker.messages} of its messages are missing"
        worker.messages = message["number"] + 1
        worker.machine = {"boot": message["boot"], "cpus": message["cpus"]}
        for line in message.get("lines", ()):
            self._take_line(worker, line)
        if message.get("rows"):
            self._take_rows(worker, message["rows"], message["times"])
        self._merge_ticks()
        worker.end = message.get("end", worker.end)
        worker.broken = worker.broken or message.get("broken", "")

    def lose(self, name: str, why: str) -> None:
        """Note that a worker is gone before it had sent everything."""
        worker = self.workers[name]
        worker.broken = worker.broken or why

    @property
    def ended(self) -> bool:
        """Whether every worker said how it ended."""
        return all(worker.end for worker in self.workers.values())

    @property
    def broken(self) -> str:
        """Which workers failed, and how; empty when none did."""
        return "; ".join(
            f"worker {worker.part + 1} of {len(self.workers)} ({worker.name}): {worker.broken}"
            for worker in self.workers.values()
            if worker.broken
        )

    def close(self) -> None:
        """Write how the run ended: finished only when every worker sent all of its part."""
        if self.closed:
            return
        self.why = self.broken
        if not self.why and not self.ended:
            silent = [str(worker.part + 1) for worker in self.workers.values() if not worker.end]
            self.why = f"worker {' and '.join(silent)} of {len(self.workers)} did not say how it ended"
        finished = not self.why and all(worker.end == FINISHED for worker in self.workers.values())
        self._line(
            end=FINISHED if finished else STOPPED,
            rounds=self._rounds,
            why=self.why,
            workers=[self._facts(worker) for worker in self.workers.values()],
        )
        self._samples.close()
        self._times.close()
        self._lines.close()
        self.closed = True

    def _take_line(self, worker: Worker, line: dict[str, Any]) -> None:
        """Take a line of a worker's own log: its start, a reading, or what a first error said."""
        if "start_ns" in line:
            worker.head = line
            heads = [one.head for one in self.workers.values()]
            if all(heads):
                self._line(
                    start_ns=self._start_ns,
                    wall=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                    exact_timer=all(one["exact_timer"] for one in heads),
                    real_time=all(one["real_time"] for one in heads),
                    workers=len(heads),
                )
        elif "error" in line:
            self._line(**line)
        elif "at_ns" in line:
            counters = (line["steal_jiffies"], line["total_jiffies"], line["cpu_ns"])
            worker.ticks.append(Tick(line["at_ns"] + self._shift_ns(worker), *counters))
            worker.flags |= set(line.get("flags", ()))

    def _shift_ns(self, worker: Worker) -> int:
        return self._start_ns - int(worker.head.get("start_ns", self._start_ns))

    def _take_rows(self, worker: Worker, raw: bytes, times: bytes) -> None:
        shift_ns = self._shift_ns(worker)
        rows = shifted(raw, ROW_FIELDS, shift_ns)
        worker.rows += len(rows)
        self._samples.write(rows.tobytes())
        self._times.write(shifted(times, TIMES_FIELDS, shift_ns).tobytes())
        sent = rows["sent_ns"] > 0
        totals = self._totals
        for side, name in enumerate(SIDES):
            mine = rows["side"] == side
            totals.sent[name] += int((mine & sent).sum())
            totals.errors[name] += int((mine & (rows["error"] != ErrorKind.NONE)).sum())
        totals.dropped += int((~sent).sum())
        late_ns = rows["sent_ns"][sent].astype("i8") - rows["planned_ns"][sent].astype("i8")
        totals.late += int((late_ns > LATE_NS).sum())

    def _merge_ticks(self) -> None:
        """Write readings up to the moment of which every worker has told."""
        every = [worker.ticks for worker in self.workers.values()]
        if not all(every):
            return
        until_ns = min(ticks[-1].at_ns for ticks in every)
        if self._merged is None:
            self._merged = Tick(max(ticks[0].at_ns for ticks in every), 0, 0, 0)
            self._reading(self._merged)
        while self._merged.at_ns + _GRID_NS <= until_ns:
            self._merged = self._next(self._merged, self._merged.at_ns + _GRID_NS)
            self._reading(self._merged)

    def _next(self, before: Tick, at_ns: int) -> Tick:
        """Return counters that grew by the worst machine's stolen time and the busiest core's CPU time."""
        steal = max(steal_share(worker.ticks, before.at_ns, at_ns) for worker in self.workers.values())
        busy = busiest(list(self.workers.values()), before.at_ns, at_ns)
        return Tick(
            at_ns,
            before.steal_jiffies + round(steal * _PARTS_OF_A_WHOLE),
            before.total_jiffies + _PARTS_OF_A_WHOLE,
            before.cpu_ns + round(busy * (at_ns - before.at_ns)),
        )

    def _reading(self, tick: Tick) -> None:
        flags = sorted(set().union(*(worker.flags for worker in self.workers.values())))
        for worker in self.workers.values():
            worker.flags.clear()
        self._line(**asdict(tick), **asdict(self._totals), rounds=self._rounds, flags=flags)

    def _facts(self, worker: Worker) -> dict[str, Any]:
        ticks = worker.ticks
        cpu = cpu_share(ticks, ticks[0].at_ns, ticks[-1].at_ns) if ticks else 0.0
        return {
            "part": worker.part,
            "name": worker.name,
            "rows": worker.rows,
            "end": worker.end,
            "broken": worker.broken,
            "cpu": round(cpu, 4),
            "cpus": worker.machine.get("cpus", []),
        }

    def _line(self, **fields: object) -> None:
        self._lines.write(json.dumps(fields) + "\n")


def shifted(raw: bytes, fields: Fields, shift_ns: int) -> npt.NDArray[np.void]:
    """Return packed rows with every time moved by `shift_ns`; what has no time (0) keeps none."""
    import numpy as np

    dtype: Any = np.dtype(list(fields))
    rows = np.frombuffer(raw, dtype).copy()
    for name, _ in fields if shift_ns else ():
        if name.endswith("_ns"):
            there = rows[name] > 0
            rows[name][there] = (rows[name][there].astype("i8") + shift_ns).astype("u8")
    return rows


def busiest(workers: Sequence[Worker], start_ns: int, end_ns: int) -> float:
    """Return the CPU share (1.0 is a whole core) of the busiest core that workers are bound to.

    Workers that share cores are added up, over as many cores as they can use at once.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[Worker]] = {}
    for worker in workers:
        key = (str(worker.machine.get("boot", "")), tuple(worker.machine.get("cpus", ())))
        groups.setdefault(key, []).append(worker)
    shares: list[float] = []
    for (_, cpus), members in groups.items():
        each = [cpu_share(worker.ticks, start_ns, end_ns) for worker in members]
        shares += [*each, sum(each) / max(1, min(len(cpus), len(members)))]
    return max(shares)
