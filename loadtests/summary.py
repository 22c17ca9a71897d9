"""What a load run amounts to: windows, curves, per-server latencies, errors, the generator itself.

Plain data, in milliseconds and shares (0..1). Rows of `windows` have the field names of
the report's Window, so that comparing needs no code of this folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One paired window: a quantile of each side from the planned send time."""

    name: str
    quantile: float
    start_s: float
    duration_s: float
    swarm_ms: float
    kubernetes_ms: float
    n_swarm: int
    n_kubernetes: int
    steal: float


@dataclass(frozen=True, slots=True)
class EmptyWindows:
    """Windows in which a side served nothing, so that no quantile exists; they are no rows."""

    name: str
    quantile: float
    windows: int
    swarm_empty: int
    kubernetes_empty: int


@dataclass(frozen=True, slots=True)
class Curve:
    """The quantile curve of one workload on one side: (quantile, ms) from 0.2 % buckets."""

    name: str
    side: str
    n: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of one workload on one side, of one server or (server empty) of all.

    `p50_ms` and its like count from the planned time, `sent_p50_ms` from the send.
    A quantile is None when nothing was served.
    """

    name: str
    side: str
    server: str
    n: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    sent_p50_ms: float | None
    sent_p95_ms: float | None
    sent_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Requests and errors of one workload on one side; `kinds` by name, `servers` by name."""

    name: str
    side: str
    requests: int
    errors: int
    kinds: Mapping[str, int]
    servers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """What the first error of one kind said, of one server on one side."""

    side: str
    server: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """One side against itself: even rounds over odd rounds, as windows of the same size.

    `ratio` is the geometric mean of the windows' ratios, `sd_log` the spread of their
    logs. It shows sampling noise and drift; it can't show what differs between replicas.
    """

    name: str
    side: str
    quantile: float
    windows: int
    ratio: float | None
    sd_log: float | None


@dataclass(frozen=True, slots=True)
class GeneratorStats:
    """How the generator itself did while it was measured.

    `cpu` is its mean CPU time over wall time, `cpu_max` the same over its busiest second.
    `late` counts sends over 1 ms after their time. `late_p99_ms` and its like are over both
    sides and over what is judged, the windows that are kept; `late_p99_all_ms` is over all.
    `retried` counts requests repeated because the server had closed an idle connection.
    """

    requests: int
    cpu: float
    cpu_max: float
    cpu_ms_per_request: float
    late: int
    late_p50_ms: float | None
    late_p99_ms: float | None
    late_p99_all_ms: float | None
    late_p99_ms_by_side: Mapping[str, float | None]
    dropped: int
    retried: int
    steal: float
    exact_timer: bool
    real_time: bool


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """Everything above of one run; `complete` is whether its schedule was run to the end.

    `lost` is the share of windows over the steal limit, by workload and quantile.
    """

    complete: bool
    profile: str
    seed: int
    rate_per_s: float
    started: str
    planned_s: float
    measured_s: float
    extended_s: float
    servers: tuple[str, ...]
    windows: tuple[WindowRow, ...]
    empty: tuple[EmptyWindows, ...]
    lost: tuple[tuple[str, float, float], ...]
    curves: tuple[Curve, ...]
    latencies: tuple[Latency, ...]
    errors: tuple[ErrorCount, ...]
    examples: tuple[ErrorExample, ...]
    noise: tuple[NoiseFloor, ...]
    generator: GeneratorStats

    def counts(self) -> dict[str, dict[str, int]]:
        """Return requests sent and failed by side; dropped ones are the generator's failure, not theirs."""
        found = {}
        for side in dict.fromkeys(row.side for row in self.errors):
            rows = [row for row in self.errors if row.side == side]
            dropped = sum(row.kinds.get("dropped", 0) for row in rows)
            found[side] = {
                "sent": sum(row.requests for row in rows) - dropped,
                "failed": sum(row.errors for row in rows) - dropped,
            }
        return found

    def window_rows(self) -> list[dict[str, Any]]:
        """Return the rows of windows.jsonl."""
        return [asdict(row) for row in self.windows]

    def quantiles_json(self) -> dict[str, Any]:
        """Return quantiles.json: the curves of both sides, by workload and side."""
        found: dict[str, Any] = {}
        for curve in self.curves:
            found.setdefault(curve.name, {})[curve.side] = {"n": curve.n, "points": curve.points}
        return found

    def summary_json(self) -> dict[str, Any]:
        """Return summary.json: all but windows and curves, which have files of their own."""
        whole = asdict(self)
        del whole["windows"], whole["curves"]
        return whole
