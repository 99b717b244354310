"""Intervals over cases: by the formula, sensible at the edges, and covering what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import calibeval
from calibeval.metrics.intervals import LEAST, group_means, mean_interval, mean_upper_bound, resample

SKEWED = np.array([0.1, 0.2, 0.2, 0.3, 0.5, 0.9, 2.0, 7.0])


def undefined(interval):
    return all(math.isnan(end) for end in interval)


def halls(values, level=0.95):
    """The interval as it stands in the docstring, from scipy's skewness."""
    n, g = len(values), float(stats.skew(values, bias=False))
    ends = []
    for t in np.asarray(stats.t.ppf([(1 + level) / 2, (1 - level) / 2], n - 1)):
        h = 3 / g * (np.cbrt(1 + g * (t / math.sqrt(n) - g / (6 * n))) - 1)
        ends.append(values.mean() - values.std(ddof=1) * h)
    return tuple(ends)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_is_halls(level):
    assert mean_interval(SKEWED, level=level) == pytest.approx(halls(SKEWED, level), rel=1e-12)
    assert mean_interval(-SKEWED, level=level) == pytest.approx(halls(-SKEWED, level), rel=1e-12)


def test_without_skewness_it_is_students():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    student = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert mean_interval(values) == pytest.approx(student, rel=1e-12)
    assert mean_upper_bound(values, 0.025) == pytest.approx(student[1], rel=1e-12)


def test_a_long_tail_moves_the_interval_to_its_side():
    low, high = mean_interval(SKEWED)
    student = stats.t.interval(0.95, 7, SKEWED.mean(), stats.sem(SKEWED))
    assert low > student[0]
    assert high > student[1]


def test_undefined_values_are_left_out():
    assert mean_interval([*SKEWED, np.nan]) == mean_interval(SKEWED)


def test_few_or_infinite_values_have_no_interval():
    assert undefined(mean_interval([]))
    assert undefined(mean_interval(SKEWED[: LEAST - 1]))
    assert not undefined(mean_interval(SKEWED[:LEAST]))
    assert undefined(mean_interval([*SKEWED, math.inf]))


def test_groups_are_the_unit():
    values, groups = [1.0, 3.0, 5.0, 2.0, 7.0, 9.0, 4.0], ["a", "a", "b", "c", "d", "e", "e"]
    np.testing.assert_array_equal(group_means(values, groups), [2.0, 5.0, 2.0, 7.0, 6.5])
    assert mean_interval(values, groups) == mean_interval([2.0, 5.0, 2.0, 7.0, 6.5])
    assert undefined(mean_interval(values, ["a"] * 4 + ["b"] * 3))
    np.testing.assert_array_equal(group_means([1.0, np.nan, 5.0], ["x", "x", "y"]), [1.0, 5.0])


def test_no_end_lies_beyond_the_limits():
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    free, held = mean_interval(values), mean_interval(values, limits=(0.0, 1.0))
    assert free[1] > 1
    assert held == (max(free[0], 0.0), 1.0)


def test_equal_values_tell_how_many_others_may_be_unseen():
    """Of 12 cases none differs: at 95% (two-sided) less than 1 - .025^(1/12) = 26.5% of cases do."""
    share = 1 - 0.025 ** (1 / 12)
    assert stats.binom.pmf(0, 12, share) == pytest.approx(0.025)
    assert mean_interval([1.0] * 12, limits=(0, 1)) == pytest.approx((1 - share, 1.0))
    assert mean_interval([0.25] * 12, limits=(0, 1)) == pytest.approx((0.25 * (1 - share), 0.25 + 0.75 * share))
    assert undefined(mean_interval([0.25] * 12))
    assert undefined(mean_interval([3.0] * 12, limits=(0, math.inf)))
    assert mean_upper_bound([0.25] * 12, 0.05) == 0.25


def test_the_bound_follows_the_level():
    values = np.random.default_rng(0).normal(size=20)
    assert mean_upper_bound(values, 0.01) > mean_upper_bound(values, 0.05) > mean_upper_bound(values, 0.2)
    assert mean_upper_bound(values, 0.025) == pytest.approx(mean_interval(values)[1], rel=1e-12)


steps = st.integers(-64, 64).map(lambda k: k / 64)


@settings(max_examples=50, deadline=None)
@given(st.lists(steps, min_size=5, max_size=12), steps)
def test_the_interval_moves_and_turns_with_the_values(values, by):
    low, high = mean_interval(values)
    moved = mean_interval(np.array(values) + by)
    turned = mean_interval(-np.array(values))
    if np.ptp(values) == 0:
        assert undefined((low, high))
        return
    assert low < np.mean(values) < high
    assert moved == pytest.approx((low + by, high + by), abs=1e-9)
    assert turned == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(
    ("draw", "mean", "n", "least"),
    [
        (lambda random, n: random.standard_normal(n), 0.0, 8, 0.93),
        (lambda random, n: np.exp(random.standard_normal(n)), math.exp(0.5), 12, 0.89),
        (lambda random, n: random.random(n) < 0.5, 0.5, 12, 0.93),
    ],
)
def test_the_interval_covers_the_mean_as_often_as_promised(draw, mean, n, least):
    """Measured on 20,000 runs: 94.8%, 91.7% and 99.9%; a percentile bootstrap covers 88, 83 and 93%."""
    random = np.random.default_rng(3)
    intervals = (mean_interval(draw(random, n)) for _ in range(2000))
    assert np.mean([low <= mean <= high for low, high in intervals]) >= least


def test_it_is_public_and_draws_are_seeded():
    assert calibeval.mean_interval is mean_interval
    assert resample(5, 3).shape == (3, 5)
    np.testing.assert_array_equal(resample(5, 3), resample(5, 3))


def test_differences_too_small_to_be_squared_are_none():
    """Values of a metric that differ by 1e-270, as Hypothesis found."""
    assert mean_interval([0.0, 0.0, 0.0, 0.0, 0.0, 1e-270]) == pytest.approx((0, 0))
