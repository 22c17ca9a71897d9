"""The nouns of a comparison: rules fixed beforehand, what the generator did, what came out.

All of it is written to load/comparison.json and read back, so that `gonogo verify` can
compute the comparison again from load/windows.jsonl and find the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports.model import Json, RunError, Status
from reports.rows import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDES = ("swarm", "kubernetes")
_VERDICT = {Status.PASS: "GO", Status.FAIL: "NO-GO"}


@dataclass(frozen=True, slots=True)
class Rules:
    """How a comparison is judged; fixed before anything is measured.

    The margin is the larger of `margin_ratio` and `margin_floor_ms`. An endpoint blocks if
    its quantile is in `blocking_quantiles` and its workload is in `workloads` (empty: every
    workload measured over all servers together). A name such as `health@redis` is one
    server's alone; it blocks at `server_quantiles`, and is missed for each of `servers`.
    Sends may be late by a share of the margin, and by `late_floor_ms` where that is less
    than a timer can do. `sides` are what messages call them.
    Errors pass at `error_alpha` (3,000 clean requests a side show 0.1 point) and fail at `alpha`.
    """

    margin_ratio: float = 0.10
    margin_floor_ms: float = 1.0
    alpha: float = 0.005
    power: float = 0.95
    error_margin: float = 0.001
    error_alpha: float = 0.05
    workloads: tuple[str, ...] = ()
    blocking_quantiles: tuple[float, ...] = (0.5, 0.95)
    server_quantiles: tuple[float, ...] = ()
    servers: tuple[str, ...] = ()
    sides: tuple[str, str] = SIDES
    min_windows: int = 8
    samples_per_tail: float = 10.0
    max_cpu: float = 0.90
    max_late_share_of_margin: float = 0.10
    late_floor_ms: float = 0.12
    max_steal: float = 0.02
    max_lost_windows: float = 0.20
    min_balance: float = 0.90
    max_dropped: float = 0.01

    def __post_init__(self) -> None:
        """Refuse numbers that no comparison can mean (exit code 2)."""
        for name in ("margin_ratio", "alpha", "error_margin", "max_steal", "max_lost_windows", "max_dropped"):
            _require(name, getattr(self, name), 0.0, 1.0)
        _require("margin_floor_ms", self.margin_floor_ms, 0.0, math.inf)
        if not 0.0 < self.alpha < 0.5 or not 0.0 < self.error_alpha < 0.5 or not 0.5 < self.power < 1.0:  # noqa: PLR2004 - halves of a whole
            raise RunError(f"alpha {self.alpha:g} or power {self.power:g} is outside (0, 0.5) and (0.5, 1)")
        if self.margin_ratio == 0.0 and self.margin_floor_ms == 0.0:
            raise RunError("a margin of 0 % and 0 ms can never be shown to hold; give one of them")

    def blocks(self, name: str, quantile: float) -> bool:
        """Return whether this endpoint decides, rather than informs."""
        workload, _, server = name.partition("@")
        quantiles = self.server_quantiles if server else self.blocking_quantiles
        return quantile in quantiles and (not self.workloads or workload in self.workloads)


@dataclass(frozen=True, slots=True)
class Generator:
    """How well the load was made: shares are 0..1, `late_p99_ms` is send time after plan."""

    cpu: float = 0.0
    late_p99_ms: float = 0.0
    dropped: int = 0
    sent: int = 0
    steal: float = 0.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What else a comparison rests on; anything in `unequal`, `clock` or `broken` makes it INVALID.

    `unequal` names inequalities between the sides (replicas, limits, image digests, hops);
    `broken` says what ended the load early, such as a generator that was killed.
    """

    rate_total: float = 0.0
    duration_s: float = 0.0
    generator: Generator = field(default_factory=Generator)
    unequal: tuple[str, ...] = ()
    clock: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Errors:
    """The count test of errors: shares of failed requests and bounds of their difference (points)."""

    n_a: int
    failed_a: int
    n_b: int
    failed_b: int
    difference: float
    low: float
    high: float
    margin: float
    needed: int
    outcome: Status
    why: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One quantile of one workload: ratio Kubernetes / Swarm with its one-sided bounds.

    `margin` and `smallest_detectable` are shares over 1 (0.1 is 10 % slower). `n_a` and
    `n_b` count samples of Swarm and Kubernetes. `deciding_s` is the run length after which
    this ratio would decide, or None if it lies too near the margin for any run of a day.
    """

    name: str
    quantile: float
    blocking: bool
    outcome: Status
    outcome_without_floor: Status
    ratio: float | None
    low: float | None
    high: float | None
    swarm_ms: float | None
    kubernetes_ms: float | None
    margin: float | None
    margin_ms: float | None
    smallest_detectable: float | None
    deciding_s: float | None
    windows: int
    windows_lost: int
    correlation: float
    p_slower: float | None
    n_a: int
    n_b: int
    why: str

    @property
    def label(self) -> str:
        """The endpoint's name for people, such as `tools/call p95`."""
        return f"{self.name} p{100 * self.quantile:g}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a comparison, and everything that it was computed from but the windows."""

    outcome: Status
    outcome_without_floor: Status
    endpoints: tuple[Endpoint, ...]
    errors: Errors | None
    why: tuple[str, ...]
    rules: Rules
    conditions: Conditions
    counts: Mapping[str, Mapping[str, int]]

    def to_json(self) -> dict[str, Json]:
        """Return the object that `gonogo compare --json` prints and load/comparison.json holds."""
        made = self.conditions.generator
        return {
            "verdict": _VERDICT.get(self.outcome, str(self.outcome)),
            "margin": self.rules.margin_ratio,
            "margin_floor_ms": self.rules.margin_floor_ms,
            "alpha": self.rules.alpha,
            "rate_total": plain(self.conditions.rate_total),
            "duration_s": plain(self.conditions.duration_s),
            "outcome": self.outcome,
            "outcome_without_floor": self.outcome_without_floor,
            "endpoints": [plain(endpoint) for endpoint in self.endpoints],
            "errors": plain(self.errors) if self.errors else {},
            "generator": {
                "cpu": plain(made.cpu),
                "late": plain(made.late_p99_ms),
                "dropped": made.dropped,
                "steal": plain(made.steal),
            },
            "why": list(self.why),
            "inputs": {
                "rules": plain(self.rules),
                "conditions": plain(self.conditions),
                "counts": plain(self.counts),
            },
        }


def read_inputs(row: Mapping[str, Any]) -> tuple[Rules, Conditions, Mapping[str, Mapping[str, int]]]:
    """Return what a comparison.json says that it was computed with."""
    try:
        inputs = row["inputs"]
        rules = dict(inputs["rules"])
        for name in ("workloads", "blocking_quantiles", "server_quantiles", "servers"):
            rules[name] = tuple(rules.get(name, ()))
        rules["sides"] = tuple(rules.get("sides", SIDES))
        given = dict(inputs["conditions"])
        for name in ("unequal", "clock", "broken"):
            given[name] = tuple(given[name])
        made = given["generator"]
        given["generator"] = Generator(
            cpu=float(made["cpu"]),
            late_p99_ms=float(made["late_p99_ms"]),
            dropped=int(made["dropped"]),
            sent=int(made["sent"]),
            steal=float(made["steal"]),
        )
        return Rules(**rules), Conditions(**given), inputs["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"load/comparison.json cannot be read: {error!r}", exit_code=3) from error


def _require(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise RunError(f"{name} is {value}; it must be a number from {low:g} to {high:g}")
