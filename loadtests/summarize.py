"""The only place where a percentile is computed: from exact samples, or from 0.2 % buckets.

Quantiles of a whole run interpolate between order statistics (numpy's default, type 7), so
anyone can check them with `numpy.quantile` on the run's log. Those of windows, which sides are
compared by, are Harrell and Davis's, which scatter less (`harrell_davis`). A failed request
has no latency: it is counted as an error and is in no quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loadtests.buckets import LogHistogram, bucket_ms
from loadtests.columns import Columns, read_columns
from loadtests.failures import error_counts
from loadtests.harrell_davis import weights
from loadtests.host import cpu_share, steal_share
from loadtests.plan import SAMPLES_FILE, TICKS_FILE, LoadPlan, load_plan
from loadtests.profile import SIDES
from loadtests.record import FINISHED, LATE_NS, read_log
from loadtests.sample import RETRIED, ErrorKind
from loadtests.streamed import ServerQuantile, server_quantiles
from loadtests.summary import (
    Curve,
    EmptyWindows,
    ErrorExample,
    GeneratorStats,
    Latency,
    LoadSummary,
    NoiseFloor,
    WindowRow,
)
from loadtests.windows import cut

__all__ = [
    "ServerQuantile",
    "quantile",
    "quantile_ms",
    "server_quantiles",
    "summarize",
    "window_quantiles",
]

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

_SECOND_NS = 1_000_000_000
_BEYOND_CURVE = 3
_MOST_WINDOWS = 5_000  # of one endpoint; a very long run gets longer windows, not more of them
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


def window_quantiles(
    values: npt.NDArray[Any], edges: npt.NDArray[Any], q: float
) -> tuple[list[float], list[int]]:
    """Return the q-quantile and the count of each window: window i holds values[edges[i]:edges[i + 1]].

    The quantile is Harrell and Davis's. All at once: windows are rows of a table, padded with
    infinity, and sorted together. An empty window has quantile NaN.
    """
    import numpy as np

    counts = np.diff(edges)
    width = max(1, int(counts.max(initial=0)))
    table = np.full((len(counts), width), np.inf, values.dtype)
    table[np.arange(width) < counts[:, None]] = values[edges[0] : edges[-1]]
    table.sort(axis=1)
    found = np.full(len(counts), np.nan)
    for count in np.unique(counts[counts > 0]).tolist():
        rows, given = counts == count, weights(count, q)
        found[rows] = table[rows, given.first : given.end] @ given.values
    return found.tolist(), counts.tolist()


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
        self.rows: Columns = read_columns(folder / SAMPLES_FILE)
        self.head_ns = int(self.log.head.get("start_ns", 0))
        self.start_ns = self._round_ns(0)
        pairs = self.plan.pairs_per_round
        self.round = (self.rows.pair // pairs).astype(np.int32) - self.plan.warmup_rounds
        self.served = self.rows.error == ErrorKind.NONE
        self.sent = self.rows.error != ErrorKind.DROPPED
        self.rounds = self._whole_rounds()

    def _round_ns(self, number: int) -> int:
        """Return when judged round `number` (from 0) was planned to begin, on the machine's clock."""
        return self.head_ns + self.plan.round_start_ns(self.plan.warmup_rounds + number)

    def _round_s(self, number: int) -> float:
        """Return the same in seconds from the first judged round."""
        return (self._round_ns(number) - self.start_ns) / 1e9

    def whole(self) -> LoadSummary:
        profile = self.plan.profile
        windows, empty, lost = self._windows()
        planned = self.plan.measured_rounds
        return LoadSummary(
            complete=self.log.end.get("end") == FINISHED,
            profile=profile.name,
            seed=self.plan.seed,
            rate_per_s=profile.rate_per_s,
            started=str(self.log.head.get("wall", "")),
            planned_s=self._round_s(planned),
            measured_s=self._round_s(self.rounds),
            extended_s=max(0.0, self._round_s(self.rounds) - self._round_s(planned)),
            servers=tuple(server.name for server in self.plan.servers),
            windows=tuple(windows),
            empty=tuple(empty),
            lost=tuple(lost),
            curves=tuple(self._curves()),
            latencies=tuple(self._latencies()),
            errors=tuple(error_counts(self.plan, self.rows)),
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
        chosen = (self.rows.workload == workload) & (self.rows.side == side)
        if server is not None:
            chosen &= self.rows.server == server
        found: npt.NDArray[np.bool_] = chosen
        return found

    def _workloads(self) -> list[tuple[int, str]]:
        return [(index, name) for index, (name, _) in enumerate(self.plan.profile.workloads)]

    def _by_round(
        self, workload: int, side: int, server: int | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return round numbers, sorted, and latencies in ms of what one side served of a workload."""
        import numpy as np

        chosen = self._select(workload, side, server) & self.served
        order = np.argsort(self.round[chosen], kind="stable")
        return self.round[chosen][order], self.rows.due_ms[chosen][order]

    def _endpoints(self) -> list[tuple[str, int, int | None, float, int]]:
        """Return (name, workload, server or None for all, quantile, rounds a window) of every endpoint."""
        needs = self.plan.window_rounds()
        own = self.plan.server_window_rounds()
        found: list[tuple[str, int, int | None, float, int]] = []
        for workload, name in self._workloads():
            found += [(name, workload, None, q, needs[name, q]) for q in self.plan.profile.quantiles]
            for place, server in enumerate(self.plan.servers):
                found += [
                    (f"{name}@{server.name}", workload, place, q, need)
                    for (of, what, q), need in own.items()
                    if (of, what) == (server.name, name)
                ]
        return found

    def _windows(
        self,
    ) -> tuple[list[WindowRow], list[EmptyWindows], list[tuple[str, float, float]]]:
        rows: list[WindowRow] = []
        empty: list[EmptyWindows] = []
        lost: list[tuple[str, float, float]] = []
        for name, workload, server, q, need in self._endpoints():
            spans = cut(self.rounds, max(need, math.ceil(self.rounds / _MOST_WINDOWS)))
            if not spans:
                empty.append(EmptyWindows(name, q, 0, 0, 0))
                continue
            sides = [self._side_windows(spans, workload, side, server, q) for side in range(len(SIDES))]
            steal = [self._steal(first, end) for first, end in spans]
            for place, span in enumerate(spans):
                (a_ms, n_a), (b_ms, n_b) = ((values[place], counts[place]) for values, counts in sides)
                if n_a and n_b:
                    rows.append(self._window(name, q, span, (a_ms, b_ms), (n_a, n_b), steal[place]))
            missing = [sum(not n for n in counts) for _, counts in sides]
            if any(missing):
                empty.append(EmptyWindows(name, q, len(spans), missing[0], missing[1]))
            over = sum(one > self.plan.profile.max_window_steal for one in steal)
            lost.append((name, q, over / len(spans)))
        return rows, empty, lost

    def _side_windows(
        self, spans: Sequence[tuple[int, int]], workload: int, side: int, server: int | None, q: float
    ) -> tuple[list[float], list[int]]:
        """Return one side's quantile and count in each window."""
        import numpy as np

        rounds, values = self._by_round(workload, side, server)
        edges = np.searchsorted(rounds, [spans[0][0], *(end for _, end in spans)])
        return window_quantiles(values, edges, q)

    def _window(
        self,
        name: str,
        q: float,
        span: tuple[int, int],
        values: tuple[float, float],
        counts: tuple[int, int],
        steal: float,
    ) -> WindowRow:
        start_s, end_s = (self._round_s(number) for number in span)
        return WindowRow(name, q, start_s, end_s - start_s, *values, *counts, steal)

    def _steal(self, first: int, end: int) -> float:
        return steal_share(self.ticks, self._round_ns(first), self._round_ns(end))

    def _curves(self) -> list[Curve]:
        curves = []
        for workload, name in self._workloads():
            for side, side_name in enumerate(SIDES):
                histogram = LogHistogram()
                histogram.add(self.rows.due_ms[self._select(workload, side) & self.served] * 1e6)
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
        due, sent = self.rows.due_ms[served], self.rows.since_sent_ms[served]
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

    def _noise(self) -> list[NoiseFloor]:
        needs = self.plan.window_rounds()
        return [
            self._noise_of(workload, name, side, q, 2 * needs[name, q])
            for workload, name in self._workloads()
            for side in range(len(SIDES))
            for q in self.plan.profile.quantiles
        ]

    def _noise_of(self, workload: int, name: str, side: int, q: float, need: int) -> NoiseFloor:
        import numpy as np

        rounds, values = self._by_round(workload, side)
        spans = cut(self.rounds, max(need, math.ceil(self.rounds / _MOST_WINDOWS)))
        logs: list[float] = []
        if spans:
            halves = []
            for half in (0, 1):
                mine = rounds % 2 == half
                edges = np.searchsorted(rounds[mine], [spans[0][0], *(end for _, end in spans)])
                halves.append(window_quantiles(values[mine], edges, q))
            logs = [
                math.log(even / odd)
                for even, odd, n_even, n_odd in zip(
                    halves[0][0], halves[1][0], halves[0][1], halves[1][1], strict=True
                )
                if n_even and n_odd
            ]
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
        late_ms = self.rows.late_ms
        return GeneratorStats(
            requests=requests,
            cpu=cpu,
            cpu_max=max([cpu, *(cpu_share(self.ticks, at, at + _SECOND_NS) for at in seconds)]),
            cpu_ms_per_request=cpu * (end_ns - start_ns) / 1e6 / requests if requests else 0.0,
            late=int((late_ms[self.sent] > LATE_NS / 1e6).sum()),
            late_p50_ms=_or_none(late_ms[judged], 0.5),
            late_p99_ms=_or_none(late_ms[judged], 0.99),
            late_p99_all_ms=_or_none(late_ms[self.sent], 0.99),
            late_p99_ms_by_side={
                name: _or_none(late_ms[judged & (self.rows.side == side)], 0.99)
                for side, name in enumerate(SIDES)
            },
            dropped=int((~self.sent).sum()),
            retried=int(((self.rows.flags & RETRIED) != 0).sum()),
            steal=steal_share(self.ticks, start_ns, end_ns),
            exact_timer=bool(self.log.head.get("exact_timer", False)),
            real_time=bool(self.log.head.get("real_time", False)),
        )


def _or_none(values: npt.NDArray[Any], q: float) -> float | None:
    return quantile(values, q) if len(values) else None
