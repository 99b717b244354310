"""Risk and coverage by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibeval.selective import aurc


def test_by_hand():
    """Surest first: risks .1, .4, .2; kept means .1, .25, .7/3; the best order .1, .15, .7/3."""
    found = aurc([0.9, 0.5, 0.8], [0.1, 0.2, 0.4])
    assert found.aurc == pytest.approx((0.1 + 0.25 + 0.7 / 3) / 3)
    assert found.excess == pytest.approx((0.25 - 0.15) / 3)
    assert found.n == 3


def test_cases_as_sure_as_each_other_count_with_their_mean():
    assert aurc([0.5, 0.5], [0.0, 1.0]).aurc == 0.5
    assert aurc([0.5, 0.5], [1.0, 0.0]).aurc == 0.5


def test_cases_without_a_number_are_left_out():
    assert aurc([0.9, math.nan, 0.8], [0.1, 0.2, math.nan]) == (pytest.approx(0.1), 0, 1)
    assert aurc([], []).n == 0
    assert math.isnan(aurc([], []).aurc)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_no_order_beats_that_of_the_risks(pairs):
    sure, lost = np.transpose(pairs)
    assert aurc(sure, lost).excess >= -1e-12
    assert aurc(-lost, lost).excess == pytest.approx(0, abs=1e-12)
