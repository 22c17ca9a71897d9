"""The comparison: distributions against tables, rules one by one, error rates on simulated twins."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.batch import FAIL, PASS, decide, estimates, widened
from reports.compare import CHECK, Conditions, Generator, Rules, compare, comparison_evidence, read_inputs
from reports.model import RunError, Status, Window
from reports.statistics import estimate, share_bounds, t_quantile, t_tail

CLEAN = {"swarm": {"sent": 12_000, "failed": 0}, "kubernetes": {"sent": 12_000, "failed": 0}}
NARROW = Rules(margin_floor_ms=0.0)


# -- distributions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "freedom", "value"),
    [
        (0.005, 1, 63.657),
        (0.005, 2, 9.925),
        (0.005, 5, 4.032),
        (0.005, 10, 3.169),
        (0.005, 30, 2.750),
        (0.005, 60, 2.660),
        (0.005, 120, 2.617),
        (0.01, 15, 2.602),
        (0.025, 10, 2.228),
        (0.05, 8, 1.860),
        (0.05, 60, 1.671),
        (0.1, 3, 1.638),
    ],
)
def test_t_quantile_is_the_table_s(tail, freedom, value):
    assert t_quantile(tail, float(freedom)) == pytest.approx(value, abs=6e-4)


def test_t_has_its_closed_forms():
    assert t_tail(1.0, 1.0) == pytest.approx(0.25, abs=1e-12)  # Cauchy
    assert t_tail(-1.0, 1.0) == pytest.approx(0.75, abs=1e-12)
    assert t_quantile(0.005, 1e7) == pytest.approx(2.575829, abs=1e-5)  # normal
    for freedom in (1.5, 6.3, 40.0):
        assert t_tail(t_quantile(0.005, freedom), freedom) == pytest.approx(0.005, rel=1e-9)


@pytest.mark.parametrize(
    ("hits", "trials", "tail", "low", "high"),
    [
        (0, 10, 0.025, 0.0, 0.3085),
        (5, 10, 0.025, 0.1871, 0.8129),
        (10, 10, 0.025, 0.6915, 1.0),
        (1, 100, 0.05, 0.0005, 0.0466),
        (0, 3_000, 0.05, 0.0, 0.000998),
    ],
)
def test_share_bounds_are_clopper_and_pearson_s(hits, trials, tail, low, high):
    assert share_bounds(hits, trials, tail) == pytest.approx((low, high), abs=5e-5)


def test_correlated_values_are_worth_fewer():
    wave = [math.sin(index / 5) for index in range(100)]
    swing = [(-1.0) ** index for index in range(100)]
    assert estimate(wave).effective < 10
    assert estimate(swing).effective == 100
    assert estimate([1.0] * 5).error == 0.0


# -- rules -------------------------------------------------------------------------------


def windows(  # a small deterministic scatter, so that bounds lie where the test says
    ratio: float = 1.0,
    name: str = "health",
    quantile: float = 0.5,
    base_ms: float = 20.0,
    count: int = 40,
    scatter: float = 0.02,
    **fields: float,
) -> list[Window]:
    need = math.ceil(round(10 / (1 - quantile), 6))
    made = []
    for index in range(count):
        wobble = scatter * math.cos(2.4 * index)
        values = {"n_swarm": need, "n_kubernetes": need, "steal": 0.0} | fields
        made.append(
            Window(
                name,
                quantile,
                float(index),
                1.0,
                base_ms,
                base_ms * ratio * math.exp(wobble),
                int(values["n_swarm"]),
                int(values["n_kubernetes"]),
                values["steal"],
            )
        )
    return made


def both(ratio: float = 1.0, **fields: float) -> list[Window]:
    return windows(ratio, **fields) + windows(ratio, quantile=0.95, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(0.5, "PASS"), (1.0, "PASS"), (1.08, "PASS"), (1.1, "INCONCLUSIVE"), (1.2, "FAIL")]
)
def test_bounds_against_the_margin_decide(ratio, outcome):
    found = compare(both(ratio), CLEAN, NARROW)
    assert found.outcome == outcome
    for one in found.endpoints:
        assert one.ratio is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.ratio < one.high
        assert one.ratio == pytest.approx(ratio, rel=0.01)
        assert (one.n_a, one.n_b) == (40 * 20, 40 * 20) if one.quantile == 0.5 else (40 * 200, 40 * 200)


def test_one_blocking_endpoint_over_the_margin_is_enough_to_fail():
    found = compare(windows(1.0) + windows(1.3, quantile=0.95), CLEAN, NARROW)
    assert [one.outcome for one in found.endpoints] == [Status.PASS, Status.FAIL]
    assert found.outcome is Status.FAIL
    assert found.why[0].startswith("health p95: +30")


def test_an_advisory_endpoint_is_judged_and_does_not_count():
    found = compare(
        both() + windows(1.5, quantile=0.99) + windows(1.5, name="health@github-v2"), CLEAN, NARROW
    )
    advisory = [one for one in found.endpoints if not one.blocking]
    assert [one.outcome for one in advisory] == [Status.FAIL, Status.FAIL]
    assert found.outcome is Status.PASS


def test_the_floor_widens_the_margin_of_fast_answers_and_both_results_are_kept():
    found = compare(both(1.2, base_ms=2.0), CLEAN, Rules())
    assert found.outcome is Status.PASS
    assert found.outcome_without_floor is Status.FAIL
    assert found.endpoints[0].margin == pytest.approx(0.5)
    assert found.endpoints[0].margin_ms == pytest.approx(1.0)
    assert any("floor makes the margin 50 %" in why for why in found.why)


def test_holm_divides_alpha_among_those_that_may_fail():
    # Each endpoint alone is over the margin at alpha, but not at alpha over four.
    ratio = 1.113
    rules = replace(NARROW, blocking_quantiles=(0.5,))
    alone = compare(windows(ratio, scatter=0.04), CLEAN, rules)
    names = ("a", "b", "c", "d")
    four = [window for name in names for window in windows(ratio, name=name, scatter=0.04)]
    together = compare(four, CLEAN, rules)
    p = alone.endpoints[0].p_slower
    assert p is not None
    assert NARROW.alpha / 4 < p < NARROW.alpha
    assert alone.outcome is Status.FAIL
    assert together.outcome is Status.INCONCLUSIVE


def test_too_few_windows_are_inconclusive_and_say_how_many_are_needed():
    found = compare(both(count=7), CLEAN, NARROW)
    assert found.outcome is Status.INCONCLUSIVE
    assert "health p50: 7 of the 8 windows needed" in found.why[0]
    assert found.endpoints[0].deciding_s == pytest.approx(8.0)


def test_an_endpoint_that_was_asked_for_and_not_measured_is_inconclusive():
    missing = compare(windows(), CLEAN, NARROW)
    assert missing.outcome is Status.INCONCLUSIVE
    named = compare(both(), CLEAN, replace(NARROW, workloads=("health", "tools/call")))
    assert named.outcome is Status.INCONCLUSIVE
    assert compare([], CLEAN, NARROW).outcome is Status.INCONCLUSIVE
    assert compare([], {}, NARROW).outcome is Status.INVALID


def test_undecided_says_what_would_decide():
    found = compare(both(1.09, scatter=0.3), CLEAN, NARROW)
    one = found.endpoints[0]
    assert one.outcome is Status.INCONCLUSIVE
    assert one.smallest_detectable is not None
    assert one.smallest_detectable > 0.05
    assert one.deciding_s is not None
    assert one.deciding_s > 40
    assert f"a run of {one.deciding_s:.0f} s would decide" in one.why


def test_the_run_length_that_would_decide_does():
    short = compare(both(1.05, scatter=0.25, count=16), CLEAN, NARROW).endpoints[0]
    assert short.outcome is Status.INCONCLUSIVE
    assert short.deciding_s is not None
    long = compare(both(1.05, scatter=0.25, count=math.ceil(short.deciding_s)), CLEAN, NARROW).endpoints[0]
    assert long.outcome is Status.PASS


GOOD = Conditions(rate_total=240.0, duration_s=40.0, generator=Generator(0.4, 0.05, 0, 24_000, 0.001))


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        (replace(GOOD, generator=replace(GOOD.generator, cpu=0.91)), "generator used 91 % of its CPU"),
        (replace(GOOD, generator=replace(GOOD.generator, cpu=math.nan)), "generator used"),
        (replace(GOOD, generator=replace(GOOD.generator, late_p99_ms=0.21)), "sent late: p99 0.21 ms"),
        (replace(GOOD, generator=replace(GOOD.generator, dropped=300)), "dropped 300 of 24300"),
        (replace(GOOD, unequal=("redis: memory 1 and 2",)), "not equal: redis: memory 1 and 2"),
        (replace(GOOD, clock=("stepped by 3 s",)), "clock trouble: stepped by 3 s"),
        (replace(GOOD, broken=("Locust was killed by signal 9",)), "Locust was killed by signal 9"),
    ],
)
def test_a_badly_made_comparison_is_invalid_and_has_no_winner(conditions, why):
    found = compare(both(), CLEAN, NARROW, conditions)
    assert found.outcome is Status.INVALID
    assert found.outcome_without_floor is Status.INVALID
    assert any(why in said for said in found.why)
    assert {one.outcome for one in found.endpoints} == {Status.INVALID}
    assert comparison_evidence(found).status is Status.INVALID


def test_a_well_made_one_is_not():
    assert compare(both(), CLEAN, NARROW, GOOD).outcome is Status.PASS


def test_stolen_windows_are_dropped_and_too_many_are_invalid():
    few = both(count=36) + [replace(w, swarm_ms=1.0) for w in both(count=4, steal=0.03)]
    found = compare(few, CLEAN, NARROW)
    assert found.outcome is Status.PASS
    assert found.endpoints[0].windows_lost == 4
    many = compare(both(count=30) + both(count=10, steal=0.03), CLEAN, NARROW)
    assert many.outcome is Status.INVALID
    assert "10 of 40 windows had over 2 % steal" in many.why[0]


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"n_kubernetes": 5}, CLEAN),
        ({}, {"swarm": {"sent": 12_000, "failed": 0}, "kubernetes": {"sent": 9_000, "failed": 0}}),
        ({}, {"swarm": {"sent": 12_000, "failed": 0}}),
    ],
)
def test_one_side_short_of_samples_is_invalid(fields, errors):
    found = compare(both(**fields), errors, NARROW)
    assert found.outcome is Status.INVALID
    assert any("samples" in why for why in found.why)


def test_a_side_that_serves_nothing_has_no_verdict_and_both_counts_are_said():
    dead = {"swarm": {"sent": 12_000, "failed": 0}, "kubernetes": {"sent": 12_000, "failed": 12_000}}
    found = compare([], dead, NARROW)
    assert found.outcome is Status.INVALID
    assert any("kubernetes served none of 12000 requests" in why for why in found.why)
    assert found.errors is not None
    assert (found.errors.n_a, found.errors.n_b) == (12_000, 12_000)


def test_windows_that_are_thin_because_kubernetes_fails_requests_are_a_fail():
    failing = {"swarm": {"sent": 12_000, "failed": 0}, "kubernetes": {"sent": 12_000, "failed": 7_000}}
    assert compare(both(n_kubernetes=5), failing, NARROW).outcome is Status.FAIL
    failing = {"swarm": {"sent": 12_000, "failed": 7_000}, "kubernetes": {"sent": 12_000, "failed": 0}}
    assert compare(both(n_swarm=5), failing, NARROW).outcome is Status.INVALID


def test_late_sends_and_steal_blur_latencies_and_leave_the_errors_their_say():
    failing = {"swarm": {"sent": 12_000, "failed": 0}, "kubernetes": {"sent": 12_000, "failed": 240}}
    late = replace(GOOD, generator=replace(GOOD.generator, late_p99_ms=0.5))
    found = compare(both(), failing, NARROW, late)
    assert found.outcome is Status.FAIL
    assert {one.outcome for one in found.endpoints} == {Status.INVALID}
    assert found.why[0].startswith("errors: swarm 0 of 12000, kubernetes 240 of 12000")
    assert "sent late" in found.why[-1]
    assert compare(both(steal=0.05), failing, NARROW).outcome is Status.FAIL
    assert compare(both(1.3), CLEAN, NARROW, late).outcome is Status.INVALID
    saturated = replace(GOOD, generator=replace(GOOD.generator, cpu=0.95))
    assert compare(both(), failing, NARROW, saturated).outcome is Status.INVALID


def test_nightly_blocks_on_each_server_s_p50_and_on_one_that_is_missing():
    rules = replace(NARROW, server_quantiles=(0.5,), servers=("a", "b"))
    a, b = windows(name="health@a"), windows(name="health@b")
    assert compare(both() + a + b, CLEAN, rules).outcome is Status.PASS
    assert compare(both() + a + windows(1.3, name="health@b"), CLEAN, rules).outcome is Status.FAIL
    missing = compare(both() + a, CLEAN, rules)
    assert missing.outcome is Status.INCONCLUSIVE
    assert any(why.startswith("health@b p50: 0 of the 8 windows") for why in missing.why)
    # A server's own p95 informs.
    advisory = windows(1.5, name="health@a", quantile=0.95)
    assert compare(both() + a + b + advisory, CLEAN, rules).outcome is Status.PASS


def test_a_margin_over_20_percent_is_said_whoever_made_it_so():
    asked = compare(both(), CLEAN, Rules(margin_ratio=0.25, margin_floor_ms=0.0))
    assert any("a margin of 25 % was asked for" in why for why in asked.why)
    assert not any("floor" in why for why in asked.why)
    assert not any("margin of" in why for why in compare(both(), CLEAN, NARROW).why)


def test_unknown_steal_is_no_quiet_window():
    assert compare(both(steal=math.nan), CLEAN, NARROW).outcome is Status.INVALID


def test_wild_values_are_judged_without_overflow():
    wild = [replace(w, kubernetes_ms=10.0 ** (w.start_s % 7 * 40 - 120)) for w in both(count=8)]
    found = compare(wild, CLEAN, NARROW)
    assert found.outcome is Status.INCONCLUSIVE
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_a_window_without_a_value_is_never_used(value):
    broken = [replace(window, kubernetes_ms=value) for window in both()]
    assert compare(broken, CLEAN, NARROW).outcome is Status.INVALID


@pytest.mark.parametrize(
    ("failed_a", "failed_b", "sent", "outcome"),
    [
        (0, 0, 3_600, "PASS"),
        (0, 0, 2_900, "INCONCLUSIVE"),
        (0, 4, 3_600, "INCONCLUSIVE"),
        (0, 72, 3_600, "FAIL"),
        (72, 72, 3_600, "INCONCLUSIVE"),
        (72, 0, 3_600, "PASS"),
        (0, 36, 3_600, "FAIL"),
    ],
)
def test_errors_are_counted_against_their_own_margin(failed_a, failed_b, sent, outcome):
    counts = {"swarm": {"sent": sent, "failed": failed_a}, "kubernetes": {"sent": sent, "failed": failed_b}}
    found = compare(both(), counts, NARROW)
    assert found.errors is not None
    assert found.errors.outcome == outcome
    assert found.outcome == outcome
    assert found.errors.low < found.errors.difference < found.errors.high


@pytest.mark.parametrize(
    "fields",
    [
        {"margin_ratio": -0.1},
        {"margin_ratio": math.nan},
        {"margin_ratio": 1.5},
        {"margin_ratio": 0.0, "margin_floor_ms": 0.0},
        {"alpha": 0.0},
        {"alpha": 0.6},
        {"power": 0.4},
        {"margin_floor_ms": math.inf},
    ],
)
def test_rules_that_mean_nothing_are_refused(fields):
    with pytest.raises(RunError) as refused:
        Rules(**fields)
    assert refused.value.exit_code == 2


def test_json_has_the_documented_form_and_gives_the_same_comparison_again():
    made = both() + windows(1.01, quantile=0.99)
    found = compare(made, CLEAN, Rules(), GOOD)
    text = json.dumps(found.to_json())
    said = json.loads(text)
    assert {
        "verdict",
        "margin",
        "alpha",
        "rate_total",
        "duration_s",
        "endpoints",
        "errors",
        "generator",
        "why",
    } <= set(said)
    assert said["verdict"] == "GO"
    assert set(said["generator"]) == {"cpu", "late", "dropped", "steal"}
    rules, conditions, counts = read_inputs(said)
    assert json.dumps(compare(made, counts, rules, conditions).to_json()) == text


def test_evidence_names_the_slowest_endpoint_and_counts_samples():
    row = comparison_evidence(compare(windows(1.0) + windows(1.05, quantile=0.95), CLEAN, NARROW))
    assert (row.criterion, row.check, row.status) == ("performance.response", CHECK, Status.PASS)
    assert row.unit == "x Swarm (health p95)"
    assert row.observed == pytest.approx(1.05, rel=0.01)
    assert row.samples == 1_600
    assert comparison_evidence(compare([], {}, NARROW)).samples == 0


# -- error rates on simulated twins ------------------------------------------------------
#
# Seeds pin the numbers. Decisions are made many at a time by benchmarks.batch, the same
# arithmetic on arrays, which a test holds against `compare` run by run.

RUNS = 1_000
KINDS = ["drift 2 %", "drift 5 %", "drift 10 %", "own drift", "heavy", "bimodal", "correlated", "stalls"]
SPREAD = {0.5: 0.03, 0.95: 0.06}


@functools.lru_cache(maxsize=len(KINDS))
def twins(kind: str) -> dict[float, tuple[Any, Any]]:
    """Return windows of both sides (runs x windows) by quantile: shared drift, noise, own trouble."""
    draw = np.random.default_rng(KINDS.index(kind))
    shape = (RUNS, 120)
    drift = _ar1(draw, 0.9, float(kind.split()[1]) / 100 if kind.startswith("drift") else 0.10, shape)
    made = {}
    for quantile, spread in SPREAD.items():
        swarm, kubernetes = (_noise(draw, kind, spread, shape) for _ in range(2))
        made[quantile] = (20.0 * np.exp(drift + swarm), 20.0 * np.exp(drift + kubernetes))
    return made


def _ar1(draw: Any, phi: float, spread: float, shape: tuple[int, int]) -> Any:
    steps = draw.normal(0.0, spread * math.sqrt(1 - phi * phi), (shape[1] + 50, shape[0]))
    for index in range(1, len(steps)):
        steps[index] += phi * steps[index - 1]
    return steps[50:].T


def _noise(draw: Any, kind: str, spread: float, shape: tuple[int, int]) -> Any:
    if kind == "heavy":
        return spread * draw.standard_t(3, shape) / math.sqrt(3)
    if kind == "correlated":
        return _ar1(draw, 0.6, spread, shape)
    if kind == "own drift":
        return draw.normal(0.0, spread, shape) + _ar1(draw, 0.9, 0.3 * spread, shape)
    if kind == "bimodal":  # a quantile between two modes jumps from one to the other
        return draw.normal(0.0, spread / 2, shape) + spread * draw.choice([-1.0, 1.0], shape)
    noise = draw.normal(0.0, spread, shape)
    if kind == "stalls":
        noise += (draw.random(shape) < 0.03) * draw.exponential(0.5, shape)
    return noise


def decisions(ratio: float, kind: str, margin: float = 0.1) -> Counter[int]:
    logs = [np.log(b / a) + math.log(ratio) for a, b in twins(kind).values()]
    return Counter(decide(logs, margin=margin).tolist())


@pytest.mark.parametrize(
    ("kind", "ratio", "margin"),
    [("own drift", 1.05, 0.1), ("heavy", 1.10, 0.1), ("stalls", 1.13, 0.1), ("correlated", 1.0, 1e-9)],
)
def test_many_decisions_at_once_are_those_of_compare(kind, ratio, margin):
    made = {quantile: (a[:6], ratio * b[:6]) for quantile, (a, b) in twins(kind).items()}
    many = decide([np.log(b / a) for a, b in made.values()], margin=margin)
    rules = Rules(margin_ratio=margin, margin_floor_ms=0.0)
    for run, decision in enumerate(many):
        rows = [
            Window("health", quantile, float(i), 1.0, float(a[run, i]), float(b[run, i]), 500, 500)
            for quantile, (a, b) in made.items()
            for i in range(a.shape[1])
        ]
        outcome = compare(rows, CLEAN, rules).outcome
        assert outcome == {PASS: "PASS", FAIL: "FAIL"}.get(int(decision), "INCONCLUSIVE")


def own_drift(draw: Any, runs: int, spread: float) -> dict[float, Any]:
    """Return log ratios of 60 s: p50 by 0.04 s, p95 by 0.4 s, under the same drift of about 2 s."""
    drift = _ar1(draw, 0.6, spread, (runs, 60))
    return {
        0.5: drift.repeat(25, axis=1) + draw.normal(0.0, 0.15, (runs, 1_500)),
        0.95: drift.repeat(5, axis=1).reshape(runs, 150, 2).mean(axis=2) + draw.normal(0, 0.08, (runs, 150)),
    }


def test_drift_that_the_many_windows_of_p50_show_widens_p95_too():
    made = own_drift(np.random.default_rng(11), RUNS, 0.04)
    alone = Counter(decide([made[0.95]], margin=0.0).tolist())[FAIL]
    assert alone > 0.015 * RUNS, "the control: its own few windows do not tell drift from noise"
    assert Counter(decide(list(made.values()), margin=0.0).tolist())[FAIL] < 0.01 * RUNS
    quiet = own_drift(np.random.default_rng(12), RUNS, 0.0)
    wide, own = (widened(quiet[0.95], finer)[1] for finer in ([quiet[0.5]], []))
    assert np.median(wide / own) == pytest.approx(1.0), "nothing is added where nothing drifts"
    assert (wide >= own * 0.999_999).all()


def test_many_decisions_at_once_are_those_of_compare_where_p50_has_more_windows():
    made = own_drift(np.random.default_rng(13), 8, 0.04)
    many = decide([values + 0.03 for values in made.values()], margin=0.02)
    rules = Rules(margin_ratio=0.02, margin_floor_ms=0.0)
    for run, decision in enumerate(many):
        rows = [
            Window("health", q, i * 60 / size, 60 / size, 20.0, 20.0 * math.exp(values[run, i] + 0.03), n, n)
            for q, values in made.items()
            for size, n in [(values.shape[1], 20 if q == 0.5 else 200)]
            for i in range(size)
        ]
        found = compare(rows, CLEAN, rules)
        assert found.outcome == {PASS: "PASS", FAIL: "FAIL"}.get(int(decision), "INCONCLUSIVE")
        mean, error, freedom = widened(made[0.95][run : run + 1] + 0.03, [made[0.5][run : run + 1]])
        (p95,) = (one for one in found.endpoints if one.quantile == 0.95)
        assert p95.high == pytest.approx(math.exp(mean[0] + t_quantile(0.005, float(freedom[0])) * error[0]))


def test_slow_drift_under_fast_noise_is_told_in_a_long_run():
    # 1,500 windows are what 60 s at 1,000 requests/s give the p50.
    draw = np.random.default_rng(7)
    values = _ar1(draw, 0.9, 0.5, (300, 1_500)) + draw.normal(0.0, 1.0, (300, 1_500))
    mean, error, freedom = estimates(values)
    for row in range(3):
        one = estimate(values[row].tolist())
        assert (one.mean, one.error, one.freedom) == pytest.approx((mean[row], error[row], freedom[row]))
    true_error = mean.std()
    assert 0.9 * true_error < np.median(error) < 1.6 * true_error
    white = draw.normal(0.0, 1.0, (300, 1_500))
    assert np.median(estimates(white)[1]) == pytest.approx(1 / math.sqrt(1_500), rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_identical_systems_are_never_told_apart_and_mostly_pass(kind):
    found = decisions(1.0, kind)
    assert found[FAIL] == 0
    assert found[PASS] >= 0.9 * RUNS, found


# Drift of one side alone that outlasts many windows looks like a difference to a run this short.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "own drift"])
def test_at_margin_zero_identical_systems_hardly_ever_fail(kind):
    found = decisions(1.0, kind, margin=0.0)
    assert found[FAIL] < 0.01 * RUNS, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_slowdown_at_the_margin_hardly_ever_passes(kind):
    found = decisions(1.1, kind)
    assert found[PASS] <= 0.01 * RUNS, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_slowdown_of_twice_the_margin_is_found(kind):
    found = decisions(1.21, kind)
    assert found[FAIL] >= 0.95 * RUNS, found
    assert found[PASS] == 0
