"""Metrics against brute force on cases that nobody chose."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import differential
from tests.fuzz.differential import disagreements, draw_case
from tests.kernels import large
from tests.oracles.metrics import FORMULAS

pytestmark = large


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_random_tiny_cases_have_the_numbers_of_brute_force(number):
    differing, compared = disagreements(draw_case(random.Random(number)))
    assert compared > 10
    assert differing == {}


def test_a_number_that_is_wrong_differs(monkeypatch):
    monkeypatch.setitem(FORMULAS, "ECE", lambda scene: {"all": 2.0})
    _, _, differing = differential.search(0)
    assert len(differing) == 1
    assert differing[0].startswith("draw_case(random.Random(0)): ECE of all: (")
