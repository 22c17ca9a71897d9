"""Is Kubernetes no slower than Swarm? Paired windows, a margin fixed beforehand, four answers.

Pure: windows of quantiles and counts go in, a Comparison comes out; no percentile is
computed here. An endpoint is the mean log ratio of a quantile over paired windows. It
passes if its upper bound lies under the margin, fails if its lower bound lies over it
(Holm over the blocking endpoints), and is otherwise undecided, with the run length that
would decide. A comparison that was measured badly is INVALID and has no winner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.comparison import Comparison, Conditions, Endpoint, Errors, Generator, Rules, read_inputs
from reports.judge import worst
from reports.model import Evidence, Status, Window
from reports.statistics import Estimate, estimate, share_bounds, t_quantile, t_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CHECK",
    "CRITERION",
    "Comparison",
    "Conditions",
    "Endpoint",
    "Errors",
    "Generator",
    "Rules",
    "compare",
    "comparison_evidence",
    "read_inputs",
]

CHECK = "load::paired"
CRITERION = "performance.response"
_LONGEST_S = 86_400.0
_LARGE_MARGIN = 0.20
_SIDES = ("swarm", "kubernetes")


def compare(
    windows: Sequence[Window],
    errors: Mapping[str, Mapping[str, int]],
    rules: Rules | None = None,
    conditions: Conditions | None = None,
) -> Comparison:
    """Return the comparison of both sides.

    `errors` counts requests by side: {"swarm": {"sent": n, "failed": k}, "kubernetes": ...}.
    """
    rules, conditions = rules or Rules(), conditions or Conditions()
    sights = [_sight(name, quantile, windows, rules) for name, quantile in _asked(windows, rules)]
    endpoints = tuple(_judged(sights, rules))
    counted = _errors(errors, rules)
    invalid = [*_badly_made(conditions, rules, endpoints), *_badly_seen(sights, errors, rules)]
    if invalid:
        # Numbers stay to be looked at; what was measured badly has no winner.
        endpoints = tuple(
            replace(one, outcome=Status.INVALID, outcome_without_floor=Status.INVALID) for one in endpoints
        )
    deciding = [one for one in endpoints if one.blocking]
    outcome = _outcome(invalid, [one.outcome for one in deciding], counted)
    return Comparison(
        outcome=outcome,
        outcome_without_floor=_outcome(invalid, [one.outcome_without_floor for one in deciding], counted),
        endpoints=endpoints,
        errors=counted,
        why=tuple(_why(invalid, deciding, counted, rules)),
        rules=rules,
        conditions=conditions,
        counts=errors,
    )


def comparison_evidence(comparison: Comparison) -> Evidence:
    """Return the comparison as evidence of performance.response (check `load::paired`)."""
    deciding = [one for one in comparison.endpoints if one.blocking and one.ratio is not None]
    slowest = max(deciding, key=lambda one: one.ratio or 0.0, default=None)
    why = "; ".join(comparison.why)
    return Evidence(
        criterion=CRITERION,
        check=CHECK,
        status=comparison.outcome,
        observed=round(slowest.ratio, 4) if slowest and slowest.ratio else None,
        unit=f"x Swarm ({slowest.label})" if slowest else "",
        samples=min((one.n_a + one.n_b for one in deciding), default=0),
        why=why,
        data={"outcome": comparison.outcome, "outcome_without_floor": comparison.outcome_without_floor},
    )


# -- one endpoint ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sight:
    """What the windows of one endpoint show, before it is held against the margin."""

    name: str
    quantile: float
    used: tuple[Window, ...]
    stolen: int
    thin: int
    found: Estimate | None

    @property
    def seen(self) -> int:
        return len(self.used) + self.stolen + self.thin

    def level_ms(self, side: str) -> float:
        """Return the geometric mean over windows of one side's quantile."""
        values = [getattr(window, f"{side}_ms") for window in self.used]
        return math.exp(math.fsum(map(math.log, values)) / len(values))


def _asked(windows: Sequence[Window], rules: Rules) -> list[tuple[str, float]]:
    """Return every endpoint seen, and every blocking one that should have been."""
    seen = dict.fromkeys((window.name, window.quantile) for window in windows)
    names = rules.workloads or tuple(dict.fromkeys(name for name, _ in seen if "@" not in name))
    wanted = dict.fromkeys((name, quantile) for name in names for quantile in rules.blocking_quantiles)
    return sorted({**seen, **wanted}, key=lambda one: (not rules.blocks(*one), one))


def _sight(name: str, quantile: float, windows: Sequence[Window], rules: Rules) -> _Sight:
    """Sort the windows of one endpoint into used, stolen (hypervisor) and thin ones, and estimate."""
    mine = sorted((w for w in windows if (w.name, w.quantile) == (name, quantile)), key=lambda w: w.start_s)
    # Half of what a window of this quantile is meant to hold: below, its quantile is a guess.
    fewest = 0.5 * rules.samples_per_tail / (1.0 - quantile)
    full = [window for window in mine if _is_full(window, fewest)]
    used = tuple(window for window in full if not window.steal > rules.max_steal)
    ratios = [math.log(window.kubernetes_ms / window.swarm_ms) for window in used]
    found = estimate(ratios) if len(ratios) >= max(rules.min_windows, 3) else None
    return _Sight(name, quantile, used, len(full) - len(used), len(mine) - len(full), found)


def _is_full(window: Window, fewest: float) -> bool:
    values = (window.swarm_ms, window.kubernetes_ms)
    return (
        all(math.isfinite(value) and value > 0.0 for value in values)
        and min(window.n_swarm, window.n_kubernetes) >= fewest
    )


def _judged(sights: Sequence[_Sight], rules: Rules) -> list[Endpoint]:
    """Hold every endpoint against its margin; failures are corrected by Holm, passes are not.

    All blocking endpoints must pass, so no pass gains from their number; any may fail, so
    failures would. Advisory endpoints are a family of their own.
    """
    endpoints = [_endpoint(sight, rules) for sight in sights]
    for blocking in (True, False):
        family = [one for one in endpoints if one.blocking is blocking]
        for key, field in (("p_floor", "outcome"), ("p_plain", "outcome_without_floor")):
            failed = _holm([getattr(one, key) for one in family], rules.alpha)
            for one, fails in zip(family, failed, strict=True):
                if fails:
                    setattr(one, field, Status.FAIL)
    return [one.done() for one in endpoints]


@dataclass(slots=True)
class _Draft:
    """An endpoint while Holm's correction is still to come."""

    endpoint: Endpoint
    blocking: bool
    p_floor: float
    p_plain: float
    outcome: Status
    outcome_without_floor: Status

    def done(self) -> Endpoint:
        made = replace(self.endpoint, outcome=self.outcome, outcome_without_floor=self.outcome_without_floor)
        return replace(made, why=made.why or _endpoint_why(made))


def _endpoint(sight: _Sight, rules: Rules) -> _Draft:
    """Return the endpoint with passes decided and the chances that Holm's correction needs."""
    blocking = rules.blocks(sight.name, sight.quantile)
    found = sight.found
    if found is None:
        blank = _unseen(sight, rules)
        return _Draft(blank, blocking, 1.0, 1.0, Status.INCONCLUSIVE, Status.INCONCLUSIVE)
    swarm_ms = sight.level_ms("swarm")
    margin = max(rules.margin_ratio, rules.margin_floor_ms / swarm_ms)
    spread = t_quantile(rules.alpha, found.freedom) * found.error
    high = found.mean + spread
    endpoint = Endpoint(
        name=sight.name,
        quantile=sight.quantile,
        blocking=blocking,
        outcome=Status.INCONCLUSIVE,
        outcome_without_floor=Status.INCONCLUSIVE,
        ratio=math.exp(found.mean),
        low=math.exp(found.mean - spread),
        high=math.exp(high),
        swarm_ms=swarm_ms,
        kubernetes_ms=sight.level_ms("kubernetes"),
        margin=margin,
        margin_ms=margin * swarm_ms,
        smallest_detectable=math.expm1(_reach(found, rules)),
        deciding_s=_deciding_s(sight, found, margin, rules),
        windows=len(sight.used),
        windows_lost=sight.stolen + sight.thin,
        correlation=found.correlation,
        p_slower=_p_over(found, margin),
        n_a=sum(window.n_swarm for window in sight.used),
        n_b=sum(window.n_kubernetes for window in sight.used),
        why="",
    )
    return _Draft(
        endpoint,
        blocking,
        _p_over(found, margin),
        _p_over(found, rules.margin_ratio),
        Status.PASS if high < math.log1p(margin) else Status.INCONCLUSIVE,
        Status.PASS if high < math.log1p(rules.margin_ratio) else Status.INCONCLUSIVE,
    )


def _unseen(sight: _Sight, rules: Rules) -> Endpoint:
    lost = sight.stolen + sight.thin
    why = f"{len(sight.used)} usable windows, {rules.min_windows} are needed"
    why += f" ({sight.stolen} lost to steal, {sight.thin} too thin)" if lost else ""
    return Endpoint(
        name=sight.name,
        quantile=sight.quantile,
        blocking=rules.blocks(sight.name, sight.quantile),
        outcome=Status.INCONCLUSIVE,
        outcome_without_floor=Status.INCONCLUSIVE,
        ratio=None,
        low=None,
        high=None,
        swarm_ms=None,
        kubernetes_ms=None,
        margin=None,
        margin_ms=None,
        smallest_detectable=None,
        deciding_s=_length_for_windows(sight, rules),
        windows=len(sight.used),
        windows_lost=lost,
        correlation=0.0,
        p_slower=None,
        n_a=sum(window.n_swarm for window in sight.used),
        n_b=sum(window.n_kubernetes for window in sight.used),
        why=why,
    )


def _p_over(found: Estimate, margin: float) -> float:
    """Return the chance of a mean this high or higher if the true slowdown were the margin."""
    over = found.mean - math.log1p(margin)
    if found.error <= 0.0:
        return 0.0 if over > 0.0 else 1.0
    return t_tail(over / found.error, found.freedom)


def _reach(found: Estimate, rules: Rules) -> float:
    """Return the log slowdown that a run like this finds with the wanted power, at margin 0."""
    both = t_quantile(rules.alpha, found.freedom) + t_quantile(1.0 - rules.power, found.freedom)
    return both * found.error


def _deciding_s(sight: _Sight, found: Estimate, margin: float, rules: Rules) -> float | None:
    """Return the run length at which the ratio seen would decide; None if over a day."""
    distance = abs(math.log1p(margin) - found.mean)
    if distance <= 0.0:
        return None
    # At least as long as the windows needed for an estimate; the error falls with the root of time.
    seconds = _length_s(sight) * max((_reach(found, rules) / distance) ** 2, rules.min_windows / found.count)
    return seconds if seconds <= _LONGEST_S else None


def _length_for_windows(sight: _Sight, rules: Rules) -> float | None:
    if not sight.used:
        return None
    return _length_s(sight) * rules.min_windows / len(sight.used)


def _length_s(sight: _Sight) -> float:
    """Return how much load the used windows cover, in seconds."""
    return math.fsum(window.duration_s for window in sight.used)


def _holm(chances: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses Holm's step-down rejects at a family-wise alpha."""
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    rejected = [False] * len(chances)
    for rank, index in enumerate(order):
        if chances[index] > alpha / (len(chances) - rank):
            break
        rejected[index] = True
    return rejected


# -- errors ------------------------------------------------------------------------------


def _errors(errors: Mapping[str, Mapping[str, int]], rules: Rules) -> Errors | None:
    """Test that Kubernetes fails at most `error_margin` more of its requests than Swarm."""
    n_a, n_b = (_count(errors, side, "sent") for side in _SIDES)
    if min(n_a, n_b) <= 0:
        return None
    failed_a, failed_b = (_count(errors, side, "failed") for side in _SIDES)
    low = _difference(n_a, failed_a, n_b, failed_b, rules.alpha)[0]
    high = _difference(n_a, failed_a, n_b, failed_b, rules.error_alpha)[1]
    difference = failed_b / n_b - failed_a / n_a
    outcome = Status.INCONCLUSIVE
    if high < rules.error_margin:
        outcome = Status.PASS
    elif low > rules.error_margin:
        outcome = Status.FAIL
    needed = (
        math.ceil(math.log(rules.error_alpha) / math.log1p(-rules.error_margin)) if rules.error_margin else 0
    )
    why = f"errors: swarm {failed_a} of {n_a}, kubernetes {failed_b} of {n_b}"
    why += f", difference {100 * difference:+.3f} points ({100 * low:+.3f} to {100 * high:+.3f})"
    why += f", margin {100 * rules.error_margin:g} points"
    if outcome is Status.INCONCLUSIVE and n_b < needed:
        why += f"; {needed} requests a side would show it if none failed"
    return Errors(
        n_a, failed_a, n_b, failed_b, difference, low, high, rules.error_margin, needed, outcome, why
    )


def _difference(n_a: int, failed_a: int, n_b: int, failed_b: int, tail: float) -> tuple[float, float]:
    """Return bounds of a difference of shares from exact bounds of its parts (square-and-add)."""
    low_a, high_a = share_bounds(failed_a, n_a, tail)
    low_b, high_b = share_bounds(failed_b, n_b, tail)
    share_a, share_b = failed_a / n_a, failed_b / n_b
    return (
        share_b - share_a - math.hypot(share_b - low_b, high_a - share_a),
        share_b - share_a + math.hypot(high_b - share_b, share_a - low_a),
    )


def _count(errors: Mapping[str, Mapping[str, int]], side: str, key: str) -> int:
    return int(errors.get(side, {}).get(key, 0))


# -- what makes a comparison invalid -----------------------------------------------------


def _badly_made(conditions: Conditions, rules: Rules, endpoints: Sequence[Endpoint]) -> list[str]:
    """Return why the load itself cannot be trusted."""
    made = conditions.generator
    found = list(conditions.broken)
    if not made.cpu <= rules.max_cpu:
        found.append(f"generator used {100 * made.cpu:.0f} % of its CPU (limit {100 * rules.max_cpu:.0f} %)")
    margins = [one.margin_ms for one in endpoints if one.blocking and one.margin_ms is not None]
    if margins and not made.late_p99_ms <= (limit := rules.max_late_share_of_margin * min(margins)):
        found.append(
            f"requests were sent late: p99 {made.late_p99_ms:.3g} ms after plan, over {limit:.3g} ms"
            f" ({100 * rules.max_late_share_of_margin:.0f} % of the smallest margin)"
        )
    if made.dropped > rules.max_dropped * max(made.sent + made.dropped, 1):
        found.append(f"generator dropped {made.dropped} of {made.sent + made.dropped} planned requests")
    found += [f"not equal: {one}" for one in conditions.unequal]
    found += [f"clock trouble: {one}" for one in conditions.clock]
    return found


def _badly_seen(sights: Sequence[_Sight], errors: Mapping[str, Mapping[str, int]], rules: Rules) -> list[str]:
    """Return why what was measured cannot be compared."""
    found = []
    for sight in sights:
        if rules.blocks(sight.name, sight.quantile):
            found += _lost(sight, rules)
    n_a, n_b = (_count(errors, side, "sent") for side in _SIDES)
    if min(n_a, n_b) < rules.min_balance * max(n_a, n_b):
        found.append(f"one side is short of samples: swarm {n_a}, kubernetes {n_b}")
    if max(n_a, n_b) == 0:
        found.append("no request was measured on either side")
    return found


def _lost(sight: _Sight, rules: Rules) -> list[str]:
    label = f"{sight.name} p{100 * sight.quantile:g}"
    found = []
    if sight.stolen > rules.max_lost_windows * sight.seen:
        found.append(
            f"{label}: {sight.stolen} of {sight.seen} windows had over {100 * rules.max_steal:g} % steal"
        )
    if sight.thin > rules.max_lost_windows * sight.seen:
        found.append(f"{label}: {sight.thin} of {sight.seen} windows hold too few samples on a side")
    return found


# -- saying it ---------------------------------------------------------------------------


def _outcome(invalid: Sequence[str], deciding: Sequence[Status], errors: Errors | None) -> Status:
    if invalid:
        return Status.INVALID
    if not deciding or errors is None:
        return Status.INCONCLUSIVE
    return worst([*deciding, errors.outcome])


def _why(
    invalid: Sequence[str], deciding: Sequence[Endpoint], errors: Errors | None, rules: Rules
) -> list[str]:
    """Return the reasons, those that decide first, then what a reader must know of a PASS."""
    said = list(invalid)
    said += [one.why for one in deciding if one.outcome is Status.FAIL]
    said += [one.why for one in deciding if one.outcome is Status.INCONCLUSIVE]
    if not deciding:
        said.append("no blocking endpoint was measured")
    if errors is not None and errors.outcome is not Status.PASS:
        said.append(errors.why)
    passed = [one for one in deciding if one.outcome is Status.PASS]
    if passed and not said:
        slowest = max(passed, key=lambda one: one.high or 0.0)
        said.append(
            f"every blocking endpoint stays under its margin; nearest is {slowest.label}:"
            f" {_interval(slowest)}, margin {100 * (slowest.margin or 0.0):.1f} %"
        )
    said += [
        f"{one.label}: the {rules.margin_floor_ms:g} ms floor makes the margin {100 * one.margin:.0f} %"
        for one in deciding
        if one.margin is not None and one.margin > _LARGE_MARGIN
    ]
    return said


def _endpoint_why(one: Endpoint) -> str:
    margin = f"margin {100 * (one.margin or 0.0):.1f} %"
    if one.outcome is Status.PASS:
        return f"{one.label}: {_interval(one)}, under the {margin}"
    if one.outcome is Status.FAIL:
        return f"{one.label}: {_interval(one)}, over the {margin}"
    longer = (
        f"a run of {one.deciding_s:.0f} s would decide" if one.deciding_s else "no run of a day would decide"
    )
    return (
        f"{one.label}: {_interval(one)} does not clear the {margin}; smallest detectable slowdown"
        f" {100 * (one.smallest_detectable or 0.0):.1f} %, {longer}"
    )


def _interval(one: Endpoint) -> str:
    ratio, low, high = (100 * ((value or 1.0) - 1.0) for value in (one.ratio, one.low, one.high))
    return f"{ratio:+.1f} % ({low:+.1f} to {high:+.1f} %)"
