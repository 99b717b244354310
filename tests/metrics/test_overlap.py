"""Overlap metrics: by hand, by brute force, and where each is undefined."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.metrics import METRICS
from calibeval.metrics.overlap import OVERLAP_FUNCTIONS, Overlap, class_overlap, union_overlap
from tests.oracles import calibration as oracle

CONFUSION = np.array([[50, 2, 3], [4, 20, 1], [0, 5, 15]])


def test_counts_of_a_class_by_hand():
    assert class_overlap(CONFUSION, 1) == pytest.approx((20, 7, 5, math.nan), nan_ok=True)
    assert class_overlap(CONFUSION, 2)[:3] == (15, 4, 5)


def test_union_counts_wrong_classes_as_foreground():
    assert union_overlap(CONFUSION)[:3] == (20 + 1 + 5 + 15, 2 + 3, 4 + 0)


def test_values_by_hand():
    overlap = Overlap(20, 7, 5, voxel_ml=0.5)
    found = {name: function(overlap) for name, function in OVERLAP_FUNCTIONS.items()}
    assert found == pytest.approx(
        {"DSC": 40 / 52, "IoU": 20 / 32, "precision": 20 / 27, "recall": 20 / 25, "VD": 1.0, "RVD": 2 / 25}
    )


@pytest.mark.parametrize(
    ("overlap", "status", "undefined"),
    [
        (Overlap(0, 0, 0, 1.0), "both_empty", {"DSC", "IoU", "precision", "recall", "RVD"}),
        (Overlap(0, 3, 0, 1.0), "empty_reference", {"recall", "RVD"}),
        (Overlap(0, 0, 3, 1.0), "empty_prediction", {"precision"}),
        (Overlap(0, 3, 3, 1.0), "ok", set()),
    ],
)
def test_only_a_quotient_of_zeros_is_undefined(overlap, status, undefined):
    assert overlap.status == status
    found = {name: function(overlap) for name, function in OVERLAP_FUNCTIONS.items()}
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


def test_a_missed_structure_has_dsc_zero():
    assert OVERLAP_FUNCTIONS["DSC"](Overlap(0, 0, 9)) == 0


def test_volumes_need_a_spacing():
    assert math.isnan(OVERLAP_FUNCTIONS["VD"](Overlap(1, 2, 3)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_dsc_equals_brute_force(pairs):
    reference, predicted = zip(*pairs, strict=True)
    confusion = np.zeros((4, 4), np.int64)
    np.add.at(confusion, (list(reference), list(predicted)), 1)
    for c in range(4):
        expected = oracle.dsc(reference, predicted, c)
        assert OVERLAP_FUNCTIONS["DSC"](class_overlap(confusion, c)) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_registry_and_functions_agree():
    assert set(OVERLAP_FUNCTIONS) == {name for name, metric in METRICS.items() if metric.needs == "masks"}
