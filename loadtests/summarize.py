"""The only place where a percentile is computed: from exact samples, or from 0.2 % buckets.

Quantiles of samples interpolate between order statistics (numpy's default, type 7), so
anyone can check them with `numpy.quantile` on the run's log. A failed request has no
latency: it is counted as an error and is in no quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loadtests.buckets import LogHistogram, bucket_ms
from loadtests.host import cpu_share, steal_share
from loadtests.plan import SAMPLES_FILE, TICKS_FILE, LoadPlan, load_plan
from loadtests.profile import SIDES
from loadtests.record import FINISHED, LATE_NS, read_log
from loadtests.sample import RETRIED, WARMUP, ErrorKind, read_samples
from loadtests.summary import (
    Curve,
    EmptyWindows,
    ErrorCount,
    ErrorExample,
    GeneratorStats,
    Latency,
    LoadSummary,
    NoiseFloor,
    WindowRow,
)
from loadtests.windows import cut

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

_SECOND_NS = 1_000_000_000
_BEYOND_CURVE = 3
_CURVE = (*(i / 100 for i in range(1, 100)), 0.995, 0.998, 0.999, 0.9995, 0.9999)


def quantile(values: Sequence[float] | npt.NDArray[Any], q: float) -> float:
    """Return the q-quantile (0..1) of values in any order, interpolated; ValueError when there are none."""
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
    if len(values) == 0:
        raise ValueError("no values, so no quantile")
    if not isinstance(values, Sequence):
        import numpy as np

        return float(np.quantile(values, q))
    ranked = sorted(values)
    place = q * (len(ranked) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def quantile_ms(histogram: LogHistogram, q: float) -> float:
    """Return the q-quantile in milliseconds of bucketed latencies, right to 0.1 % of its value."""
    import numpy as np

    if not histogram.n:
        raise ValueError("no values, so no quantile")
    rank = max(1, math.ceil(round(q * histogram.n, 6)))
    return bucket_ms(int(np.searchsorted(np.cumsum(histogram.counts), rank)))


def summarize(folder: Path) -> LoadSummary:
    """Return what the load folder of a run holds; a log cut short gives what its prefix says."""
    return _Summary(folder).whole()


class _Summary:
    """The arrays that every part of a summary is taken from."""

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self.plan: LoadPlan = load_plan(folder)
        self.log = read_log(folder / TICKS_FILE)
        self.ticks = self.log.ticks
        rows: npt.NDArray[Any] = read_samples(folder / SAMPLES_FILE)
        rows = rows[(rows["flags"] & WARMUP) == 0]
        self.rows = rows
        self.start_ns = int(self.log.head.get("start_ns", 0)) + self.plan.warmup_rounds * self.plan.round_ns
        self.round = rows["pair"].astype(np.int64) // self.plan.pairs_per_round - self.plan.warmup_rounds
        self.served = rows["error"] == ErrorKind.NONE
        self.sent = rows["error"] != ErrorKind.DROPPED
        self.due_ns = rows["done_ns"].astype(np.int64) - rows["planned_ns"].astype(np.int64)
        self.since_sent_ns = rows["done_ns"].astype(np.int64) - rows["sent_ns"].astype(np.int64)
        self.late_ns = rows["sent_ns"].astype(np.int64) - rows["planned_ns"].astype(np.int64)
        self.rounds = self._whole_rounds()

    def whole(self) -> LoadSummary:
        profile = self.plan.profile
        round_s = self.plan.round_ns / 1e9
        windows, empty, lost = self._windows()
        return LoadSummary(
            complete=self.log.end.get("end") == FINISHED,
            profile=profile.name,
            seed=self.plan.seed,
            rate_per_s=profile.rate_per_s,
            started=str(self.log.head.get("wall", "")),
            planned_s=self.plan.measured_rounds * round_s,
            measured_s=self.rounds * round_s,
            extended_s=max(0, self.rounds - self.plan.measured_rounds) * round_s,
            servers=tuple(server.name for server in self.plan.servers),
            windows=tuple(windows),
            empty=tuple(empty),
            lost=tuple(lost),
            curves=tuple(self._curves()),
            latencies=tuple(self._latencies()),
            errors=tuple(self._errors()),
            examples=tuple(
                ErrorExample(row["side"], row["server"], row["error"], row["detail"])
                for row in self.log.errors
            ),
            noise=tuple(self._noise()),
            generator=self._generator(),
        )

    def _whole_rounds(self) -> int:
        """Count the rounds of which every request is in the log, up to the first that isn't."""
        import numpy as np

        if not len(self.rows):
            return 0
        full = np.bincount(self.round) >= 2 * self.plan.pairs_per_round
        return len(full) if full.all() else int(np.argmin(full))

    def _select(self, workload: int, side: int, server: int | None = None) -> npt.NDArray[np.bool_]:
        chosen = (self.rows["workload"] == workload) & (self.rows["side"] == side)
        if server is not None:
            chosen &= self.rows["server"] == server
        found: npt.NDArray[np.bool_] = chosen
        return found

    def _workloads(self) -> list[tuple[int, str]]:
        return [(index, name) for index, (name, _) in enumerate(self.plan.profile.workloads)]

    def _in_rounds(self, rounds: npt.NDArray[Any], first: int, end: int) -> slice:
        """Return where rounds [first, end) lie in sorted `rounds`."""
        import numpy as np

        return slice(int(np.searchsorted(rounds, first)), int(np.searchsorted(rounds, end)))

    def _by_round(self, workload: int, side: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return round numbers, sorted, and latencies in ms of what one side served of a workload."""
        import numpy as np

        chosen = self._select(workload, side) & self.served
        order = np.argsort(self.round[chosen], kind="stable")
        return self.round[chosen][order], self.due_ns[chosen][order] / 1e6

    def _windows(
        self,
    ) -> tuple[list[WindowRow], list[EmptyWindows], list[tuple[str, float, float]]]:
        rows: list[WindowRow] = []
        empty: list[EmptyWindows] = []
        lost: list[tuple[str, float, float]] = []
        needs = self.plan.window_rounds()
        for workload, name in self._workloads():
            sides = [self._by_round(workload, side) for side in range(len(SIDES))]
            for q in self.plan.profile.quantiles:
                windows = cut(self.rounds, needs[name, q])
                missing = [0, 0]
                over = 0
                for first, end in windows:
                    parts = [values[self._in_rounds(rounds, first, end)] for rounds, values in sides]
                    over += self._steal(first, end) > self.plan.profile.max_window_steal
                    missing = [missing[side] + (not len(part)) for side, part in enumerate(parts)]
                    if all(len(part) for part in parts):
                        rows.append(self._window(name, q, (first, end), parts))
                if any(missing) or not windows:
                    empty.append(EmptyWindows(name, q, len(windows), missing[0], missing[1]))
                if windows:
                    lost.append((name, q, over / len(windows)))
        return rows, empty, lost

    def _window(
        self, name: str, q: float, span: tuple[int, int], parts: Sequence[npt.NDArray[Any]]
    ) -> WindowRow:
        first, end = span
        round_s = self.plan.round_ns / 1e9
        return WindowRow(
            name=name,
            quantile=q,
            start_s=first * round_s,
            duration_s=(end - first) * round_s,
            swarm_ms=quantile(parts[0], q),
            kubernetes_ms=quantile(parts[1], q),
            n_swarm=len(parts[0]),
            n_kubernetes=len(parts[1]),
            steal=self._steal(first, end),
        )

    def _steal(self, first: int, end: int) -> float:
        round_ns = self.plan.round_ns
        return steal_share(self.ticks, self.start_ns + first * round_ns, self.start_ns + end * round_ns)

    def _curves(self) -> list[Curve]:
        curves = []
        for workload, name in self._workloads():
            for side, side_name in enumerate(SIDES):
                histogram = LogHistogram()
                histogram.add(self.due_ns[self._select(workload, side) & self.served])
                n = histogram.n
                points = tuple((q, quantile_ms(histogram, q)) for q in _CURVE if n * (1 - q) >= _BEYOND_CURVE)
                curves.append(Curve(name, side_name, n, points))
        return curves

    def _latencies(self) -> list[Latency]:
        names: list[tuple[int | None, str]] = [(None, "")]
        names += [(index, server.name) for index, server in enumerate(self.plan.servers)]
        return [
            self._latency(name, side_name, server_name, self._select(workload, side, server))
            for workload, name in self._workloads()
            for side, side_name in enumerate(SIDES)
            for server, server_name in names
        ]

    def _latency(self, name: str, side: str, server: str, chosen: npt.NDArray[np.bool_]) -> Latency:
        served = chosen & self.served
        due, sent = self.due_ns[served] / 1e6, self.since_sent_ns[served] / 1e6
        return Latency(
            name=name,
            side=side,
            server=server,
            n=int(served.sum()),
            errors=int((chosen & ~self.served).sum()),
            p50_ms=_or_none(due, 0.5),
            p95_ms=_or_none(due, 0.95),
            p99_ms=_or_none(due, 0.99),
            sent_p50_ms=_or_none(sent, 0.5),
            sent_p95_ms=_or_none(sent, 0.95),
            sent_p99_ms=_or_none(sent, 0.99),
        )

    def _errors(self) -> list[ErrorCount]:
        import numpy as np

        counts = []
        for workload, name in self._workloads():
            for side, side_name in enumerate(SIDES):
                chosen = self._select(workload, side)
                failed = self.rows[chosen & ~self.served]
                kinds = np.bincount(failed["error"], minlength=len(ErrorKind))
                servers = np.bincount(failed["server"], minlength=len(self.plan.servers))
                counts.append(
                    ErrorCount(
                        name=name,
                        side=side_name,
                        requests=int(chosen.sum()),
                        errors=len(failed),
                        kinds={kind.name.lower(): int(kinds[kind]) for kind in ErrorKind if kinds[kind]},
                        servers={
                            server.name: int(servers[index])
                            for index, server in enumerate(self.plan.servers)
                            if servers[index]
                        },
                    )
                )
        return counts

    def _noise(self) -> list[NoiseFloor]:
        needs = self.plan.window_rounds()
        return [
            self._noise_of(workload, name, side, q, 2 * needs[name, q])
            for workload, name in self._workloads()
            for side in range(len(SIDES))
            for q in self.plan.profile.quantiles
        ]

    def _noise_of(self, workload: int, name: str, side: int, q: float, need: int) -> NoiseFloor:
        rounds, values = self._by_round(workload, side)
        logs = []
        for first, end in cut(self.rounds, need):
            place = self._in_rounds(rounds, first, end)
            odd = rounds[place] % 2 == 1
            halves = values[place][~odd], values[place][odd]
            if all(len(half) for half in halves):
                logs.append(math.log(quantile(halves[0], q) / quantile(halves[1], q)))
        if not logs:
            return NoiseFloor(name, SIDES[side], q, 0, None, None)
        mean = sum(logs) / len(logs)
        spread = (
            math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1)) if len(logs) > 1 else None
        )
        return NoiseFloor(name, SIDES[side], q, len(logs), math.exp(mean), spread)

    def _kept(self) -> npt.NDArray[np.bool_]:
        """Return which requests lie in a window that is kept; all of them when there is none."""
        import numpy as np

        kept = np.zeros(self.rounds, np.bool_)
        for need in set(self.plan.window_rounds().values()):
            for first, end in cut(self.rounds, need):
                kept[first:end] |= self._steal(first, end) <= self.plan.profile.max_window_steal
        if not kept.any():
            return np.ones(len(self.rows), np.bool_)
        found: npt.NDArray[np.bool_] = np.isin(self.round, np.flatnonzero(kept))
        return found

    def _generator(self) -> GeneratorStats:
        start_ns = self.start_ns
        end_ns = max([start_ns, *(tick.at_ns for tick in self.ticks)])
        requests = int(self.sent.sum())
        cpu = cpu_share(self.ticks, start_ns, end_ns)
        seconds = range(start_ns, end_ns - _SECOND_NS + 1, _SECOND_NS // 2)
        judged = self.sent & self._kept()
        late_ms = self.late_ns / 1e6
        return GeneratorStats(
            requests=requests,
            cpu=cpu,
            cpu_max=max([cpu, *(cpu_share(self.ticks, at, at + _SECOND_NS) for at in seconds)]),
            cpu_ms_per_request=cpu * (end_ns - start_ns) / 1e6 / requests if requests else 0.0,
            late=int((self.late_ns[self.sent] > LATE_NS).sum()),
            late_p50_ms=_or_none(late_ms[judged], 0.5),
            late_p99_ms=_or_none(late_ms[judged], 0.99),
            late_p99_all_ms=_or_none(late_ms[self.sent], 0.99),
            late_p99_ms_by_side={
                name: _or_none(late_ms[judged & (self.rows["side"] == side)], 0.99)
                for side, name in enumerate(SIDES)
            },
            dropped=int((~self.sent).sum()),
            retried=int(((self.rows["flags"] & RETRIED) != 0).sum()),
            steal=steal_share(self.ticks, start_ns, end_ns),
            exact_timer=bool(self.log.head.get("exact_timer", False)),
            real_time=bool(self.log.head.get("real_time", False)),
        )


def _or_none(values: npt.NDArray[Any], q: float) -> float | None:
    return quantile(values, q) if len(values) else None
