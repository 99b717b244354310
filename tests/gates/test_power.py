from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nct, t

from calibeval.gates.power import power, show_power
from calibeval.metrics.intervals import mean_upper_bound

SYMMETRIC = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])  # sd sqrt(28 / 6), no skewness


def test_without_skewness_it_is_the_power_of_a_t_test():
    chance, needed = power(SYMMETRIC, 2.0, 0.05)
    expected = nct.sf(t.ppf(0.95, 6), 6, 2.0 * np.sqrt(7 / (28 / 6)))
    assert (chance, needed) == (pytest.approx(expected), 9)
    assert chance == pytest.approx(0.6976, abs=5e-5)


def test_the_number_of_cases_is_the_fewest_that_do():
    spread = np.sqrt(28 / 6)
    reached = [nct.sf(t.ppf(0.95, n - 1), n - 1, 2.0 * np.sqrt(n) / spread) >= 0.8 for n in (8, 9)]
    assert reached == [False, True]


def test_a_margin_of_0_is_passed_with_the_level_and_no_number_of_cases_helps():
    chance, needed = power(SYMMETRIC, 0.0, 0.05)
    assert (chance, needed) == (pytest.approx(0.05), 0)
    assert show_power(chance, needed) == "power 5% (80% takes more than 100000 cases)"


@pytest.mark.parametrize(("values", "margin"), [([0.2] * 6, 0.0), ([0.1, 0.9], 1.0)])
def test_it_is_1_where_nothing_varies_or_everything_is_allowed(values, margin):
    assert power(values, margin, 0.05, most=1.0) == (1.0, len(values))


def test_few_cases_that_get_much_worse_cost_power():
    worse = np.array([0.0] * 10 + [0.5, 2.0])
    assert power(worse, 0.5, 0.05)[0] < power(-worse, 0.5, 0.05)[0]


def test_a_spread_of_rounding_errors_is_none():
    assert power(0.009 + np.array([0, 1, -1, 2, 0, 0]) * 1e-18, 0.01, 0.05)[0] == 1


@pytest.mark.parametrize("ratio", np.linspace(0.1, 30, 60))
def test_a_wide_margin_is_passed_for_certain(ratio):
    """Among them noncentralities for which SciPy's distribution is NaN."""
    worse = np.array([0.0] * 18 + [0.5, 2.0])
    chance, needed = power(worse, ratio * worse.std(ddof=1), 0.05)
    assert 0 <= chance <= 1
    assert needed >= 20
    assert chance == pytest.approx(1) or ratio < 3


def test_groups_are_what_is_counted():
    twice = np.repeat(SYMMETRIC, 2)
    groups = [str(i // 2) for i in range(14)]
    assert power(twice, 2.0, 0.05, groups=groups) == power(SYMMETRIC, 2.0, 0.05)


def test_words_never_round_up_to_enough():
    assert show_power(0.7999, 13) == "power 79% (80% takes 13 cases)"
    assert show_power(0.8, 12) == "power 80%"


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_the_mean_power_told_is_the_share_of_samples_that_pass(draw):
    random, centre = np.random.default_rng(5), float(draw == "standard_exponential")
    samples = [getattr(random, draw)(20) - centre for _ in range(1500)]
    passed = np.mean([mean_upper_bound(sample, 0.05) <= 0.6 for sample in samples])
    told = np.mean([power(sample, 0.6, 0.05)[0] for sample in samples])
    assert told == pytest.approx(passed, abs=0.05)
