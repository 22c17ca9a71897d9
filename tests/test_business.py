"""Success metrics: exact bounds for uptime, gains by hand, and nothing missing that passes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.business import growth, probes_needed, saving, uptime
from reports.model import Limit, Status

UP = Limit(">=", 99.9, "%")


@pytest.mark.parametrize(
    ("up", "probes", "status"),
    [
        (0, 0, Status.INCONCLUSIVE),
        (1_200, 1_200, Status.INCONCLUSIVE),
        (2_994, 2_994, Status.INCONCLUSIVE),
        (2_995, 2_995, Status.PASS),  # ln 0.05 / ln 0.999 = 2994.2: the rule of three
        (2_994, 2_995, Status.INCONCLUSIVE),
        (4_742, 4_743, Status.PASS),
        (900, 1_000, Status.FAIL),
        (0, 1_000, Status.FAIL),
    ],
)
def test_uptime_is_shown_or_refuted_or_neither(up, probes, status):
    answer = uptime(up, probes, UP)
    assert answer.status is status
    assert answer.samples == probes


def test_too_few_probes_say_how_many_are_needed():
    assert "2995 probes would show it if none failed, 1795 to go" in uptime(1_200, 1_200, UP).why
    assert "4742 probes would show it if no more failed" in uptime(1_199, 1_200, UP).why
    assert "no number of probes" in uptime(10, 10, Limit(">=", 100, "%")).why


def test_what_is_observed_is_the_bound_that_decided():
    assert uptime(10_000, 10_000, UP).observed == pytest.approx(100 * 0.05 ** (1 / 10_000), abs=1e-4)
    assert uptime(900, 1_000, UP).observed == pytest.approx(91.52, abs=0.01)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 8), st.sampled_from([0.9, 0.99, 0.999]))
def test_the_needed_number_is_the_smallest_that_shows_it(down, share):
    needed = probes_needed(down, share)
    assert needed is not None
    limit = Limit(">=", 100 * share, "%")
    assert uptime(needed - down, needed, limit).status is Status.PASS
    assert uptime(needed - 1 - down, needed - 1, limit).status is not Status.PASS


@pytest.mark.parametrize(
    ("before", "after", "status", "observed"),
    [(100, 85, Status.PASS, 15), (100, 86, Status.FAIL, 14), (100, 120, Status.FAIL, -20)],
)
def test_a_saving_is_what_is_no_longer_paid(before, after, status, observed):
    answer = saving(before, after, Limit(">=", 15, "%"), "cost", "EUR/month")
    assert answer.status is status
    assert answer.observed == pytest.approx(observed)
    assert "EUR/month before" in answer.why


@pytest.mark.parametrize(("after", "status"), [(125, Status.PASS), (124, Status.FAIL)])
def test_a_growth_is_what_is_had_on_top(after, status):
    assert growth(100, after, Limit(">=", 25, "%"), "deploys", "1/h").status is status


@pytest.mark.parametrize(
    ("before", "after"), [(0, 0), (0, 5), (-1, 5), (5, -1), (math.nan, 1), (1, math.inf)]
)
@pytest.mark.parametrize("reckon", [saving, growth])
def test_what_cannot_be_compared_is_never_a_pass(reckon, before, after):
    answer = reckon(before, after, Limit(">=", 0, "%"), "x", "y")
    assert (answer.status, answer.observed) == (Status.INCONCLUSIVE, None)
