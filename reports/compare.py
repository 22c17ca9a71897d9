"""Is Kubernetes no slower than Swarm? Paired windows, a margin fixed beforehand, four answers.

Pure: windows of quantiles and counts go in, a Comparison comes out; no percentile is
computed here. An endpoint is the mean log ratio of a quantile over paired windows. It
passes if its upper bound lies under the margin, fails if its lower bound lies over it
(Holm over the blocking endpoints), and is otherwise undecided, with the run length that
would decide. A comparison that was measured badly is INVALID and has no winner.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reports.comparison import (
    SIDES,
    Comparison,
    Conditions,
    Endpoint,
    Errors,
    Generator,
    Rules,
    read_inputs,
)
from reports.endpoint import Sight, interval, judged, look_at_all
from reports.error_count import count, count_errors
from reports.judge import worst
from reports.model import Evidence, Status, Window

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
_LARGE_MARGIN = 0.20


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
    sights = look_at_all(windows, rules)
    endpoints = tuple(judged(sights, rules))
    counted = count_errors(errors, rules)
    invalid = [*_badly_made(conditions, rules), *_badly_seen(sights, errors, counted, rules)]
    blurred = _blurred(conditions, sights, rules, endpoints)
    if invalid or blurred:
        # Numbers stay to be looked at; what was measured badly has no winner.
        endpoints = tuple(
            replace(one, outcome=Status.INVALID, outcome_without_floor=Status.INVALID) for one in endpoints
        )
    deciding = [one for one in endpoints if one.blocking]
    fewer = blurred and counted is not None and counted.outcome is Status.FAIL
    if not fewer:
        invalid += blurred
    return Comparison(
        outcome=_outcome(invalid, [one.outcome for one in deciding], counted),
        outcome_without_floor=_outcome(invalid, [one.outcome_without_floor for one in deciding], counted),
        endpoints=endpoints,
        errors=counted,
        why=(*_why(invalid, deciding, counted, rules), *(blurred if fewer else ())),
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


# -- what makes a comparison invalid -----------------------------------------------------


def _badly_made(conditions: Conditions, rules: Rules) -> list[str]:
    """Return why the load itself cannot be trusted."""
    made = conditions.generator
    found = list(conditions.broken)
    if not made.cpu <= rules.max_cpu:
        found.append(f"generator used {100 * made.cpu:.0f} % of its CPU (limit {100 * rules.max_cpu:.0f} %)")
    if made.dropped > rules.max_dropped * max(made.sent + made.dropped, 1):
        found.append(f"generator dropped {made.dropped} of {made.sent + made.dropped} planned requests")
    found += [f"not equal: {one}" for one in conditions.unequal]
    found += [f"clock trouble: {one}" for one in conditions.clock]
    return found


def _blurred(
    conditions: Conditions, sights: Sequence[Sight], rules: Rules, endpoints: Sequence[Endpoint]
) -> list[str]:
    """Return why latencies cannot be compared, though requests and errors were counted rightly."""
    margins = [one.margin_ms for one in endpoints if one.blocking and one.margin_ms is not None]
    found = _late(conditions.generator.late_p99_ms, min(margins), rules) if margins else []
    for sight in sights:
        if rules.blocks(sight.name, sight.quantile) and sight.stolen > rules.max_lost_windows * sight.seen:
            over = f"over {100 * rules.max_steal:g} % steal"
            found.append(f"{sight.label}: {sight.stolen} of {sight.seen} windows had {over}")
    return found


def _late(late_p99_ms: float, margin_ms: float, rules: Rules) -> list[str]:
    """Say that sends were late: lateness is in both sides' latencies and hides what differs."""
    share_ms = rules.max_late_share_of_margin * margin_ms
    limit_ms = max(share_ms, rules.late_floor_ms)
    if late_p99_ms <= limit_ms:  # a NaN is not
        return []
    of = f"{100 * rules.max_late_share_of_margin:.0f} % of the smallest margin"
    if limit_ms > share_ms:
        of = f"the least that is asked of a timer; {of} is {share_ms:.3g} ms"
    return [f"requests were sent late: p99 {late_p99_ms:.3g} ms after plan, over {limit_ms:.3g} ms ({of})"]


def _badly_seen(
    sights: Sequence[Sight], errors: Mapping[str, Mapping[str, int]], counted: Errors | None, rules: Rules
) -> list[str]:
    """Return why what was measured cannot be compared."""
    found = []
    if counted is None or counted.outcome is not Status.FAIL:  # else the errors explain thin windows
        found += [
            f"{one.label}: {one.thin} of {one.seen} windows hold too few samples on a side"
            for one in sights
            if rules.blocks(one.name, one.quantile) and one.thin > rules.max_lost_windows * one.seen
        ]
    n_a, n_b = (count(errors, side, "sent") for side in SIDES)
    if min(n_a, n_b) < rules.min_balance * max(n_a, n_b):
        found.append(f"one side is short of samples: {rules.sides[0]} {n_a}, {rules.sides[1]} {n_b}")
    if max(n_a, n_b) == 0:
        found.append("no request was measured on either side")
    for side, name, sent in zip(SIDES, rules.sides, (n_a, n_b), strict=True):
        if 0 < sent <= count(errors, side, "failed"):
            found.append(f"{name} served none of {sent} requests, so there is nothing to compare")
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
            f" {interval(slowest)}, margin {100 * (slowest.margin or 0.0):.1f} %"
        )
    said += [_wide(one, one.margin, rules) for one in deciding if one.margin and one.margin > _LARGE_MARGIN]
    return said


def _wide(one: Endpoint, margin: float, rules: Rules) -> str:
    """Say that a margin is over 20 %, and whether the floor or the rule itself made it so."""
    if margin > rules.margin_ratio:
        return f"{one.label}: the {rules.margin_floor_ms:g} ms floor makes the margin {100 * margin:.0f} %"
    return f"{one.label}: a margin of {100 * margin:.0f} % was asked for; slowdowns within it do not count"
