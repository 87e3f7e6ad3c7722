"""Intervals: determinism, coverage, and what happens with too few values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.statistics import (
    bootstrap_interval,
    paired_difference,
    percentiles,
    resampled_means,
    seed_interval,
)


def test_the_same_arguments_give_the_same_interval():
    values = np.random.default_rng(0).random(100)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_interval_lies_within_the_values(values):
    interval = bootstrap_interval(values, resamples=50)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.n == len(values)


def test_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        interval = bootstrap_interval(rng.exponential(size=60), resamples=400, seed=trial)
        covered += interval.low <= 1.0 <= interval.high
    # Nominal 95 %; the percentile bootstrap of a skewed mean at n = 60 falls a little short.
    assert 0.88 <= covered / 300 <= 0.98


def test_is_as_wide_as_the_normal_approximation_where_that_holds():
    values = np.random.default_rng(0).standard_normal(2000)
    interval = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.08)


def test_resampling_in_chunks_draws_n_of_n(monkeypatch):
    monkeypatch.setattr("kivuko.evaluation.statistics._CHUNK_DRAWS", 12)
    values = np.column_stack([np.ones(5), np.eye(5)[0]])
    means = resampled_means(values, 7, np.random.default_rng(0))
    assert means.shape == (7, 2)
    np.testing.assert_allclose(means[:, 0], 1)
    np.testing.assert_allclose(means[:, 1] * 5, np.round(means[:, 1] * 5), atol=1e-12)


def test_cuts_the_same_share_off_either_end():
    assert percentiles(np.arange(1001.0)) == pytest.approx((25, 975))


def test_pairing_sees_what_two_intervals_hide():
    difficulty = np.random.default_rng(0).random(200)
    a, b = difficulty + 0.01, difficulty
    assert bootstrap_interval(a).low < bootstrap_interval(b).high
    difference = paired_difference(a, b)
    assert difference.low > 0
    assert difference.mean == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("degrees", "quantile"),  # t(0.975) from the tables
    [(1, 12.706204736), (2, 4.302652730), (4, 2.776445105), (9, 2.262157163), (29, 2.045229642)],
)
def test_seed_intervals_have_the_quantiles_of_the_tables(degrees, quantile):
    values = np.random.default_rng(0).random(degrees + 1)
    interval = seed_interval(values)
    half = quantile * values.std(ddof=1) / np.sqrt(degrees + 1)
    assert interval.high - interval.mean == pytest.approx(half, rel=1e-8)
    assert interval.mean - interval.low == pytest.approx(half, rel=1e-8)


def test_seed_interval_by_hand():
    interval = seed_interval([0.4, 0.5, 0.6])
    half = 4.302652729911275 * 0.1 / np.sqrt(3)  # t(0.975, 2) from the tables
    assert interval.mean == pytest.approx(0.5)
    assert interval.low == pytest.approx(0.5 - half)
    assert interval.high == pytest.approx(0.5 + half)


@pytest.mark.parametrize("make", [bootstrap_interval, seed_interval])
def test_one_value_gives_a_degenerate_interval_that_says_so(make):
    interval = make([0.25])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.25, 0.25, 0.25, 1)
    assert interval.degenerate
    assert not make([0.25, 0.5]).degenerate


@pytest.mark.parametrize("make", [bootstrap_interval, seed_interval])
@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_values_that_cannot_be_averaged(make, values):
    with pytest.raises(DataError):
        make(values)


def test_arguments_out_of_range():
    with pytest.raises(DataError, match="3 values cannot be paired with 2"):
        paired_difference([1, 2, 3], [1, 2])
    with pytest.raises(UsageError, match="resamples"):
        bootstrap_interval([1.0], resamples=0)
