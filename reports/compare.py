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

from reports.comparison import Comparison, Conditions, Endpoint, Errors, Generator, Rules, read_inputs
from reports.endpoint import Sight, asked, interval, judged, look
from reports.error_count import SIDES, count, count_errors
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
    sights = [look(name, quantile, windows, rules) for name, quantile in asked(windows, rules)]
    endpoints = tuple(judged(sights, rules))
    counted = count_errors(errors, rules)
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


def _badly_seen(sights: Sequence[Sight], errors: Mapping[str, Mapping[str, int]], rules: Rules) -> list[str]:
    """Return why what was measured cannot be compared."""
    found = []
    for sight in sights:
        if rules.blocks(sight.name, sight.quantile):
            found += _lost(sight, rules)
    n_a, n_b = (count(errors, side, "sent") for side in SIDES)
    if min(n_a, n_b) < rules.min_balance * max(n_a, n_b):
        found.append(f"one side is short of samples: swarm {n_a}, kubernetes {n_b}")
    if max(n_a, n_b) == 0:
        found.append("no request was measured on either side")
    return found


def _lost(sight: Sight, rules: Rules) -> list[str]:
    found = []
    if sight.stolen > rules.max_lost_windows * sight.seen:
        over = f"over {100 * rules.max_steal:g} % steal"
        found.append(f"{sight.label}: {sight.stolen} of {sight.seen} windows had {over}")
    if sight.thin > rules.max_lost_windows * sight.seen:
        found.append(f"{sight.label}: {sight.thin} of {sight.seen} windows hold too few samples on a side")
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
    said += [
        f"{one.label}: the {rules.margin_floor_ms:g} ms floor makes the margin {100 * one.margin:.0f} %"
        for one in deciding
        if one.margin is not None and one.margin > _LARGE_MARGIN
    ]
    return said
