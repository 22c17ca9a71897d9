"""A window's quantile: the weights are the steps of a beta distribution, and they scatter less."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.harrell_davis import weights
from loadtests.summarize import window_quantiles
from loadtests.windows import samples_needed
from reports.statistics import beta_share


@pytest.mark.parametrize(("count", "q"), [(20, 0.5), (21, 0.5), (200, 0.95), (137, 0.95), (1_000, 0.99)])
def test_weights_are_the_steps_of_the_beta_distribution(count, q):
    found = weights(count, q)
    a, b = (count + 1) * q, (count + 1) * (1 - q)
    ends = [beta_share(a, b, place / count) for place in range(found.first, found.end + 1)]
    assert found.values == pytest.approx(np.diff(ends), abs=1e-9)
    assert found.values.sum() == pytest.approx(1.0)
    assert 0 <= found.first < found.end <= count


@pytest.mark.parametrize(("count", "q"), [(1, 0.5), (3, 0.5), (1, 0.95), (7, 0.95), (150, 0.99)])
def test_where_nothing_lies_beyond_the_quantile_it_is_numpy_s(count, q):
    values = np.sort(np.random.default_rng(count).normal(size=count))
    given = weights(count, q)
    assert values[given.first : given.end] @ given.values == pytest.approx(np.quantile(values, q))


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_it_scatters_less_than_one_order_statistic_about_the_same_quantile(q):
    draw = np.random.default_rng(4)
    size = samples_needed(q)
    table = 5.0 * np.exp(0.4 * draw.normal(size=(4_000, size)))
    ours = np.log(window_quantiles(table.ravel(), np.arange(4_001) * size, q)[0])
    plain = np.log(np.quantile(table, q, axis=1))
    assert 0.90 < ours.std() / plain.std() < 0.97
    assert ours.mean() == pytest.approx(np.log(np.quantile(table, q)), abs=0.01)


def test_a_slower_side_is_slower_by_the_same_ratio():
    values = np.random.default_rng(5).lognormal(size=400)
    edges = np.array([0, 200, 400])
    one, _ = window_quantiles(values, edges, 0.95)
    other, _ = window_quantiles(1.07 * values, edges, 0.95)
    assert np.divide(other, one) == pytest.approx([1.07, 1.07])
