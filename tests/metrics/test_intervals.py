"""Intervals over cases: seeded, sensible, and covering what they promise."""

import math

import numpy as np

from calibeval.metrics.intervals import mean_interval, resample


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(0).random(12)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)
    assert resample(5, 3).shape == (3, 5)


def test_undefined_values_are_left_out():
    values = np.array([1.0, 2.0, np.nan, 4.0])
    assert mean_interval(values) == mean_interval(np.array([1.0, 2.0, 4.0]))


def test_one_case_says_nothing():
    assert all(math.isnan(end) for end in mean_interval(np.array([3.0])))
    assert all(math.isnan(end) for end in mean_interval(np.array([])))


def test_constant_values_have_no_width():
    assert mean_interval(np.full(9, 0.25)) == (0.25, 0.25)


def test_interval_covers_the_mean_about_as_often_as_promised():
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        low, high = mean_interval(random.normal(0.7, 0.1, 30), resamples=400)
        hits += low <= 0.7 <= high
    assert 0.90 <= hits / 400 <= 0.98  # percentile intervals are a little short at n = 30
