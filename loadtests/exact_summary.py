"""What an exact log of any locustfile says, by name of request, with its label: open or closed loop.

A closed loop gives no verdict: a user that waits for a slow answer sends less, so the
worst moments are missing from its numbers. Percentiles come from `summarize.quantile`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loadtests.errors import LoadInputError
from loadtests.exact_log import CLOSED, EXACT_FILE, OPEN
from loadtests.host import Tick, cpu_share, steal_share
from loadtests.plan import SAMPLES_FILE
from loadtests.record import FINISHED
from loadtests.sample import WARMUP, ErrorKind, read_samples
from loadtests.summarize import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

MOST_CPU = 0.9
MOST_STEAL = 0.02
MOST_SPOILT = 0.2
_WINDOW_NS = 1_000_000_000
LABELS = {
    CLOSED: "closed loop: a user waits for its answer, so slow moments are asked less; shown, not judged",
    OPEN: "open loop: tasks begin at planned times, and latency counts from them",
}


@dataclass(frozen=True, slots=True)
class ExactRow:
    """One name of request: `n` were served, `errors` were not; latencies in milliseconds of those served.

    `sent_*` count from the send, the others from the planned time; without one they are equal.
    """

    method: str
    name: str
    n: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    sent_p50_ms: float | None
    sent_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class ExactSummary:
    """A whole exact log. `invalid` says why its numbers do not count; empty when they do.

    `cpu_max` is the busiest second of the busiest process, 1.0 is a whole core.
    """

    loop: str
    workers: int
    requests: int
    warmup: int
    duration_s: float
    rate_per_s: float
    cpu: float
    cpu_max: float
    steal: float
    rows: tuple[ExactRow, ...]
    failures: tuple[tuple[str, str], ...]
    invalid: tuple[str, ...]

    @property
    def label(self) -> str:
        """What a reader must know about the loop."""
        return LABELS[self.loop]

    def to_json(self) -> dict[str, Any]:
        """Return it as data, label and all."""
        return {**asdict(self), "label": self.label}


def summarize_exact(folder: Path) -> ExactSummary:
    """Read a folder that `exact` wrote; raises LoadInputError when it holds no such log."""
    head, names, failures, ticks, end = _read(folder / EXACT_FILE)
    rows = read_samples(folder / SAMPLES_FILE)
    judged = rows[(rows["flags"] & WARMUP) == 0]
    begin_ns = int(rows["sent_ns"].min()) if len(rows) else 0
    last_ns = int(rows["done_ns"].max()) if len(rows) else 0
    if len(judged):
        begin_ns = int(judged["sent_ns"].min())
    duration_s = (last_ns - begin_ns) / 1e9
    cpu, cpu_max, steal, spoilt = _machine(ticks)
    invalid = _invalid(end, len(judged), cpu_max, spoilt)
    return ExactSummary(
        loop=head["loop"],
        workers=head["workers"],
        requests=len(judged),
        warmup=len(rows) - len(judged),
        duration_s=duration_s,
        rate_per_s=len(judged) / duration_s if duration_s > 0 else 0.0,
        cpu=cpu,
        cpu_max=cpu_max,
        steal=steal,
        rows=tuple(_row(method, name, judged[judged["server"] == i]) for i, (method, name) in names.items()),
        failures=tuple((" ".join(names[index]), detail) for index, detail in failures if index in names),
        invalid=invalid,
    )


def _read(
    path: Path,
) -> tuple[dict[str, Any], dict[int, tuple[str, str]], list[tuple[int, str]], list[Tick], dict[str, Any]]:
    """Return head, names, failures, readings and end of a log, up to where a kill cut it."""
    head: dict[str, Any] = {}
    end: dict[str, Any] = {}
    names: dict[int, tuple[str, str]] = {}
    failures: list[tuple[int, str]] = []
    ticks: list[Tick] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LoadInputError(f"{path}: no exact log: {error.strerror}") from error
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if "loop" in row:
            head = row
        elif "end" in row:
            end = row
        elif "index" in row:
            names[row["index"]] = (row["method"], row["name"])
        elif "failed" in row:
            failures.append((row["failed"], row["detail"]))
        else:
            ticks.append(Tick(**row))
    if head.get("loop") not in LABELS:
        raise LoadInputError(f"{path}: not an exact log")
    return head, names, failures, ticks, end


def _machine(ticks: Sequence[Tick]) -> tuple[float, float, float, float]:
    """Return mean CPU, that of the busiest second, the stolen share, and the share of seconds it spoils."""
    if len(ticks) < 2:  # noqa: PLR2004  one reading is no interval
        return 0.0, 0.0, 0.0, 0.0
    first, last = ticks[0].at_ns, ticks[-1].at_ns
    cpu = cpu_share(ticks, first, last)
    seconds = range(first, max(first + 1, last - _WINDOW_NS + 1), _WINDOW_NS)
    spoilt = sum(steal_share(ticks, at, at + _WINDOW_NS) > MOST_STEAL for at in seconds) / len(seconds)
    busy = [
        cpu_share(ticks, at, at + _WINDOW_NS) for at in range(first, last - _WINDOW_NS + 1, _WINDOW_NS // 2)
    ]
    return cpu, max(busy, default=0.0), steal_share(ticks, first, last), spoilt


def _invalid(end: dict[str, Any], requests: int, cpu_max: float, spoilt: float) -> tuple[str, ...]:
    found = []
    if not end:
        found.append("the log has no end: Locust was killed, or still runs")
    elif end["end"] != FINISHED:
        found.append(end.get("why") or "the run was cut short")
    if not requests:
        found.append("no request was sent outside the warm-up")
    if cpu_max > MOST_CPU:
        found.append(f"the generator was saturated: {cpu_max:.0%} of a core in its busiest second")
    if spoilt > MOST_SPOILT:
        found.append(
            f"the hypervisor took over {MOST_STEAL:.0%} of the CPU time in {spoilt:.0%} of the seconds"
        )
    return tuple(found)


def _row(method: str, name: str, rows: npt.NDArray[np.void]) -> ExactRow:
    served = rows[rows["error"] == ErrorKind.NONE]
    done = served["done_ns"].astype("i8")
    due_ms = (done - served["planned_ns"].astype("i8")) / 1e6
    sent_ms = (done - served["sent_ns"].astype("i8")) / 1e6
    return ExactRow(
        method=method,
        name=name,
        n=len(served),
        errors=len(rows) - len(served),
        p50_ms=_or_none(due_ms, 0.5),
        p95_ms=_or_none(due_ms, 0.95),
        p99_ms=_or_none(due_ms, 0.99),
        max_ms=_or_none(due_ms, 1.0),
        sent_p50_ms=_or_none(sent_ms, 0.5),
        sent_p99_ms=_or_none(sent_ms, 0.99),
    )


def _or_none(values: npt.NDArray[np.float64], q: float) -> float | None:
    return quantile(values, q) if len(values) else None


def main(argv: Sequence[str]) -> int:
    """Print the summary of each folder as JSON, with its label; 3 when one does not count."""
    import sys

    summaries = {}
    from pathlib import Path

    for name in argv:
        try:
            summaries[name] = summarize_exact(Path(name))
        except LoadInputError as error:
            print(error, file=sys.stderr)  # noqa: T201  a program's message
            return error.exit_code
    print(json.dumps({name: found.to_json() for name, found in summaries.items()}, indent=1))  # noqa: T201
    return 3 if any(found.invalid for found in summaries.values()) else 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
