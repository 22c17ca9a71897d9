"""CPU and memory per 1,000 served requests, Kubernetes against Swarm, with intervals over windows.

Pure, as the comparison of latencies is: windows of counters go in, evidence comes out. The
workloads are compared with each other; the orchestrators' own cost stands beside them and
enters only what `metric.efficiency` asks, the whole system's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.limits import holds
from reports.model import Evidence, Limit, Status
from reports.statistics import Estimate, estimate, t_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECK = "load::resources"
RESOURCES = "performance.resources"
EFFICIENCY = "metric.efficiency"
RESOURCES_LIMIT = Limit("<=", 1.10, "x Swarm")
EFFICIENCY_LIMIT = Limit(">=", 25.0, "%")
ALPHA = 0.005
MIN_WINDOWS = 8
_MOST_LOST = 0.2
_LEAST_CPU_S = 1e-6


@dataclass(frozen=True, slots=True)
class Spent:
    """What one side spent in a window: CPU seconds and mean working set, its requests, its overhead."""

    cpu_s: float
    memory_bytes: float
    served: int
    overhead_cpu_s: float = 0.0
    overhead_memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class UsageWindow:
    """Both sides over the same seconds; `shared_cpu_s` is what neither can be charged with alone.

    `broken` says why the window cannot be used, such as a container that was replaced in it.
    """

    start_s: float
    duration_s: float
    swarm: Spent
    kubernetes: Spent
    shared_cpu_s: float = 0.0
    broken: str = ""

    @property
    def usable(self) -> bool:
        """Whether both sides served and spent something."""
        sides = (self.swarm, self.kubernetes)
        return not self.broken and all(
            side.served > 0 and side.cpu_s > _LEAST_CPU_S and side.memory_bytes > 0 for side in sides
        )


@dataclass(frozen=True, slots=True)
class Ratio:
    """Kubernetes / Swarm of one resource per served request, with one-sided bounds at `ALPHA`.

    `swarm` and `kubernetes` are per 1,000 served requests: CPU in seconds, memory in MiB held
    for a second.
    """

    name: str
    status: Status
    ratio: float | None
    low: float | None
    high: float | None
    swarm: float
    kubernetes: float
    windows: int
    why: str


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What resources say: the two ratios that decide, the whole system's, and what was lost."""

    cpu: Ratio
    memory: Ratio
    system: Ratio
    requests: int
    lost: int
    problems: tuple[str, ...]
    overhead: Mapping[str, Mapping[str, float]]

    @property
    def status(self) -> Status:
        """The worse of both resources; INVALID when too much was lost."""
        found = {self.cpu.status, self.memory.status}
        for status in (Status.INVALID, Status.FAIL, Status.INCONCLUSIVE):
            if status in found:
                return status
        return Status.PASS


def efficiency(
    windows: Sequence[UsageWindow], problems: Sequence[str] = (), limit: Limit = RESOURCES_LIMIT
) -> Efficiency:
    """Return CPU and memory per served request against the limit.

    PASS: the upper bound of both ratios holds the limit. FAIL: a lower bound breaks it, at
    half of alpha, as two may. INVALID: a reading failed, or over a fifth of the windows is lost.
    """
    used = [window for window in windows if window.usable]
    invalid = list(problems)
    lost = len(windows) - len(used)
    if lost > _MOST_LOST * len(windows):
        broken = next(
            (window.broken for window in windows if window.broken), "a side served or spent nothing"
        )
        invalid.append(f"{lost} of {len(windows)} windows cannot be used: {broken}")
    cpu = _ratio("CPU", used, lambda _, side: side.cpu_s, "s", limit, invalid)
    memory = _ratio(
        "memory", used, lambda length_s, side: length_s * side.memory_bytes / 2**20, "MiB s", limit, invalid
    )
    system = _ratio(
        "CPU with overhead", used, lambda _, side: side.cpu_s + side.overhead_cpu_s, "s", limit, invalid
    )
    requests = sum(window.swarm.served + window.kubernetes.served for window in used)
    return Efficiency(cpu, memory, system, requests, lost, tuple(invalid), _overhead(used))


def _ratio(
    name: str,
    used: Sequence[UsageWindow],
    spent: Callable[[float, Spent], float],
    unit: str,
    limit: Limit,
    invalid: Sequence[str],
) -> Ratio:
    a, b = (_per_thousand(used, side, spent) for side in ("swarm", "kubernetes"))
    if len(used) < MIN_WINDOWS:
        why = f"{name}: {len(used)} of the {MIN_WINDOWS} windows needed"
        status = Status.INVALID if invalid else Status.INCONCLUSIVE
        return Ratio(name, status, None, None, None, a, b, len(used), why)
    logs = [
        math.log(
            spent(window.duration_s, window.kubernetes)
            / window.kubernetes.served
            / (spent(window.duration_s, window.swarm) / window.swarm.served)
        )
        for window in used
    ]
    found = estimate(logs)
    low, high = (math.exp(found.mean + sign * _spread(found, ALPHA)) for sign in (-1, 1))
    surely_low = math.exp(found.mean - _spread(found, ALPHA / 2))
    status = Status.INCONCLUSIVE
    if holds(limit, high):
        status = Status.PASS
    elif not holds(limit, surely_low):
        status = Status.FAIL
    ratio = math.exp(found.mean)
    why = (
        f"{name} per 1,000 served requests: swarm {a:.3g} {unit}, kubernetes {b:.3g} {unit},"
        f" {ratio:.3f} x ({low:.3f} to {high:.3f}), limit {limit}"
    )
    return Ratio(name, Status.INVALID if invalid else status, ratio, low, high, a, b, len(used), why)


def _spread(found: Estimate, alpha: float) -> float:
    return t_quantile(alpha, found.freedom) * found.error


def _per_thousand(used: Sequence[UsageWindow], side: str, spent: Callable[[float, Spent], float]) -> float:
    served = sum(getattr(window, side).served for window in used)
    total = math.fsum(spent(window.duration_s, getattr(window, side)) for window in used)
    return 1_000.0 * total / served if served else 0.0


def _overhead(used: Sequence[UsageWindow]) -> dict[str, dict[str, float]]:
    """Return mean CPU (cores) and memory (MiB) of each orchestrator, and of what both share."""
    seconds = math.fsum(window.duration_s for window in used)
    if seconds <= 0.0:
        return {}
    found = {
        side: {
            "cores": math.fsum(getattr(window, side).overhead_cpu_s for window in used) / seconds,
            "memory_mib": math.fsum(getattr(window, side).overhead_memory_bytes for window in used)
            / len(used)
            / 2**20,
        }
        for side in ("swarm", "kubernetes")
    }
    return {**found, "shared": {"cores": math.fsum(window.shared_cpu_s for window in used) / seconds}}


def resources_evidence(found: Efficiency) -> Evidence:
    """Return the row of performance.resources: the worse of both ratios."""
    ratios = [one for one in (found.cpu, found.memory) if one.ratio is not None]
    worse = max(ratios, key=lambda one: one.ratio or 0.0, default=None)
    why = [*found.problems, found.cpu.why, found.memory.why, *_said_overhead(found)]
    return Evidence(
        RESOURCES,
        CHECK,
        found.status,
        # The judge holds an observation of a PASS against the limit again; others are told by why.
        observed=round(worse.ratio, 4) if worse and worse.ratio else None,
        unit=RESOURCES_LIMIT.unit,
        samples=found.requests,
        why="; ".join(why),
    )


def efficiency_evidence(found: Efficiency) -> Evidence:
    """Return the row of metric.efficiency: how much less CPU the whole system needs per request."""
    system = found.system
    status, observed = Status.INCONCLUSIVE, None
    why = system.why
    if system.ratio is not None and system.low is not None and system.high is not None:
        observed, least, most = (100.0 * (1.0 - one) for one in (system.ratio, system.high, system.low))
        why = f"{observed:+.1f} % less CPU per request, overhead included ({least:+.1f} to {most:+.1f} %)"
        if holds(EFFICIENCY_LIMIT, least):
            status = Status.PASS
        elif not holds(EFFICIENCY_LIMIT, most):
            status = Status.FAIL
    if found.problems:
        status = Status.INVALID
    return Evidence(
        EFFICIENCY,
        CHECK,
        status,
        observed=None if observed is None else round(observed, 2),
        unit=EFFICIENCY_LIMIT.unit,
        samples=found.requests,
        why="; ".join([*found.problems, why]),
    )


def _said_overhead(found: Efficiency) -> list[str]:
    parts = [
        f"{side} {cost['cores']:.3f} cores"
        + (f" and {cost['memory_mib']:.0f} MiB" if "memory_mib" in cost else "")
        for side, cost in found.overhead.items()
    ]
    return [f"orchestrators apart: {', '.join(parts)}"] if parts else []
