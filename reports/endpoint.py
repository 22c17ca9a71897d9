"""One endpoint of a comparison: a quantile's mean log ratio over paired windows, against its margin."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.comparison import Endpoint, Rules
from reports.model import Status, Window
from reports.statistics import Estimate, estimate, t_quantile, t_tail, widened

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_S = 86_400.0
_MOST_LOG = 50.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What the windows of one endpoint show, before it is held against the margin."""

    name: str
    quantile: float
    used: tuple[Window, ...]
    stolen: int
    thin: int
    found: Estimate | None

    @property
    def label(self) -> str:
        return f"{self.name} p{100 * self.quantile:g}"

    @property
    def seen(self) -> int:
        return len(self.used) + self.stolen + self.thin

    def level_ms(self, side: str) -> float:
        """Return the geometric mean over windows of one side's quantile."""
        values = [getattr(window, f"{side}_ms") for window in self.used]
        return math.exp(math.fsum(map(math.log, values)) / len(values))


def asked(windows: Sequence[Window], rules: Rules) -> list[tuple[str, float]]:
    """Return every endpoint seen, and every blocking one that should have been."""
    seen = dict.fromkeys((window.name, window.quantile) for window in windows)
    names = rules.workloads or tuple(dict.fromkeys(name for name, _ in seen if "@" not in name))
    wanted = [(name, quantile) for name in names for quantile in rules.blocking_quantiles]
    wanted += [
        (f"{name}@{server}", quantile)
        for name in names
        for server in rules.servers
        for quantile in rules.server_quantiles
    ]
    return sorted({**seen, **dict.fromkeys(wanted)}, key=lambda one: (not rules.blocks(*one), one))


def look_at_all(windows: Sequence[Window], rules: Rules) -> list[Sight]:
    """Look at every endpoint; slow drift seen in the many windows of a low quantile widens the high ones."""
    sights = [look(name, quantile, windows, rules) for name, quantile in asked(windows, rules)]
    return [_widened(sight, [other for other in sights if other.name == sight.name]) for sight in sights]


def _widened(sight: Sight, same: Sequence[Sight]) -> Sight:
    if sight.found is None:
        return sight
    mine = sight.found
    finer = [one.found for one in same if one.found is not None and one.found.count > mine.count]
    return replace(sight, found=widened(mine, finer))


def look(name: str, quantile: float, windows: Sequence[Window], rules: Rules) -> Sight:
    """Sort the windows of one endpoint into used, stolen (hypervisor) and thin ones, and estimate."""
    mine = sorted((w for w in windows if (w.name, w.quantile) == (name, quantile)), key=lambda w: w.start_s)
    # Half of what a window of this quantile is meant to hold: below, its quantile is a guess.
    fewest = 0.5 * rules.samples_per_tail / (1.0 - quantile)
    full = [window for window in mine if _is_full(window, fewest)]
    used = tuple(window for window in full if window.steal <= rules.max_steal)
    ratios = [math.log(window.kubernetes_ms / window.swarm_ms) for window in used]
    found = estimate(ratios) if len(ratios) >= max(rules.min_windows, 3) else None
    return Sight(name, quantile, used, len(full) - len(used), len(mine) - len(full), found)


def _is_full(window: Window, fewest: float) -> bool:
    values = (window.swarm_ms, window.kubernetes_ms)
    return (
        all(math.isfinite(value) and value > 0.0 for value in values)
        and min(window.n_swarm, window.n_kubernetes) >= fewest
    )


def judged(sights: Sequence[Sight], rules: Rules) -> list[Endpoint]:
    """Hold every endpoint against its margin; failures are corrected by Holm, passes are not.

    All blocking endpoints must pass, so no pass gains from their number; any may fail, so
    failures would. Advisory endpoints are a family of their own.
    """
    drafts = [_draft(sight, rules) for sight in sights]
    found: list[Endpoint] = []
    for blocking in (True, False):
        family = [draft for draft in drafts if draft.endpoint.blocking is blocking]
        over = _holm([draft.p_over for draft in family], rules.alpha)
        over_plain = _holm([draft.p_over_plain for draft in family], rules.alpha)
        found += [draft.decided(*fails) for draft, *fails in zip(family, over, over_plain, strict=True)]
    return found


@dataclass(frozen=True, slots=True)
class _Draft:
    """An endpoint while Holm's correction is still to come: the chances of being over its margins."""

    endpoint: Endpoint
    p_over: float = 1.0
    p_over_plain: float = 1.0

    def decided(self, fails: bool, fails_plain: bool) -> Endpoint:
        """Return the endpoint with its outcomes and its reason."""
        made = replace(
            self.endpoint,
            outcome=Status.FAIL if fails else self.endpoint.outcome,
            outcome_without_floor=Status.FAIL if fails_plain else self.endpoint.outcome_without_floor,
        )
        return replace(made, why=made.why or _why(made))


def _draft(sight: Sight, rules: Rules) -> _Draft:
    """Return the endpoint with passes decided and the chances that Holm's correction needs."""
    found = sight.found
    if found is None:
        return _Draft(_unseen(sight, rules))
    swarm_ms = sight.level_ms("swarm")
    margin = max(rules.margin_ratio, rules.margin_floor_ms / swarm_ms)
    spread = t_quantile(rules.alpha, found.freedom) * found.error
    high = found.mean + spread
    endpoint = Endpoint(
        name=sight.name,
        quantile=sight.quantile,
        blocking=rules.blocks(sight.name, sight.quantile),
        outcome=_passes(high, margin),
        outcome_without_floor=_passes(high, rules.margin_ratio),
        ratio=_ratio(found.mean),
        low=_ratio(found.mean - spread),
        high=_ratio(high),
        swarm_ms=swarm_ms,
        kubernetes_ms=sight.level_ms("kubernetes"),
        margin=margin,
        margin_ms=margin * swarm_ms,
        smallest_detectable=_ratio(_reach(found, rules)) - 1.0,
        deciding_s=_deciding_s(sight, found, margin, rules),
        windows=len(sight.used),
        windows_lost=sight.stolen + sight.thin,
        correlation=found.correlation,
        p_slower=_p_over(found, margin),
        n_a=sum(window.n_swarm for window in sight.used),
        n_b=sum(window.n_kubernetes for window in sight.used),
        why="",
    )
    return _Draft(endpoint, _p_over(found, margin), _p_over(found, rules.margin_ratio))


def _ratio(log_ratio: float) -> float:
    """Return the ratio of a log ratio, kept within what a float can hold."""
    return math.exp(min(max(log_ratio, -_MOST_LOG), _MOST_LOG))


def _passes(high: float, margin: float) -> Status:
    return Status.PASS if high < math.log1p(margin) else Status.INCONCLUSIVE


def _unseen(sight: Sight, rules: Rules) -> Endpoint:
    lost = sight.stolen + sight.thin
    why = f"{sight.label}: {len(sight.used)} of the {rules.min_windows} windows needed"
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


def _deciding_s(sight: Sight, found: Estimate, margin: float, rules: Rules) -> float | None:
    """Return the run length at which the ratio seen would decide; None if over a day."""
    distance = abs(math.log1p(margin) - found.mean)
    if distance <= 0.0:
        return None
    # At least as long as the windows needed for an estimate; the error falls with the root of time.
    seconds = _length_s(sight) * max((_reach(found, rules) / distance) ** 2, rules.min_windows / found.count)
    return seconds if seconds <= _LONGEST_S else None


def _length_for_windows(sight: Sight, rules: Rules) -> float | None:
    if not sight.used:
        return None
    return _length_s(sight) * rules.min_windows / len(sight.used)


def _length_s(sight: Sight) -> float:
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


def _why(one: Endpoint) -> str:
    margin = f"margin {100 * (one.margin or 0.0):.1f} %"
    if one.outcome is Status.PASS:
        return f"{one.label}: {interval(one)}, under the {margin}"
    if one.outcome is Status.FAIL:
        return f"{one.label}: {interval(one)}, over the {margin}"
    longer = (
        f"a run of {one.deciding_s:.0f} s would decide" if one.deciding_s else "no run of a day would decide"
    )
    return (
        f"{one.label}: {interval(one)} does not clear the {margin}; smallest detectable slowdown"
        f" {100 * (one.smallest_detectable or 0.0):.1f} %, {longer}"
    )


def interval(one: Endpoint) -> str:
    ratio, low, high = (100 * ((value or 1.0) - 1.0) for value in (one.ratio, one.low, one.high))
    return f"{ratio:+.1f} % ({low:+.1f} to {high:+.1f} %)"
