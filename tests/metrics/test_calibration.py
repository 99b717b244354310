"""Calibration metrics: by hand, by plain loops over voxels, and the traps that other tools fall into."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.metrics import METRICS
from calibeval.metrics.accumulate import Accumulator
from calibeval.metrics.calibration import CALIBRATION_FUNCTIONS, Bins, ace, ece, mce, pece, signed_gap, to_bins
from calibeval.metrics.statistics import Histogram, cell_edges, empty_statistics
from calibeval.protocol import PROTOCOLS, make_protocol
from tests.kernels import examples
from tests.oracles import calibration as oracle

PAPER = PROTOCOLS["paper"]


def values(p, y, protocol=PAPER):
    p = np.ascontiguousarray(p)
    accumulator = Accumulator(y, len(p), protocol, p.dtype, proper=True, fine=True, boundary=y)
    statistics = accumulator.take(lambda c, start: p[c, start : start + (1 << 18)])
    return {name: function(statistics, protocol) for name, function in CALIBRATION_FUNCTIONS.items()}


def bins_of(p, targets, m):
    """Bins of single probabilities against targets."""
    edges = cell_edges(m)
    count, total = np.zeros((2, edges.size), np.int64), np.zeros((2, edges.size))
    for value, target in zip(p, targets, strict=True):
        cell = np.searchsorted(edges, np.float32(value))
        count[target, cell] += 1
        total[target, cell] += value
    return to_bins(Histogram(count, total), edges, m)


def test_two_bins_by_hand():
    bins = bins_of([0.2, 0.4, 0.7, 0.9], [0, 1, 1, 1], 2)
    # (0, .5]: conf .3, acc .5; (.5, 1]: conf .8, acc 1
    assert ece(bins) == pytest.approx(0.5 * 0.2 + 0.5 * 0.2)
    assert ace(bins) == pytest.approx(0.2)
    assert mce(bins) == pytest.approx(0.2)
    assert signed_gap(bins) == pytest.approx(0.55 - 0.75)


def test_pece_by_hand():
    bins = bins_of([0.1, 0.3, 0.8, 0.6], [0, 1, 1, 0], 2)
    # (0, .5]: conf .2, acc .5, FPconf .1; (.5, 1]: conf .7, acc .5, FPconf .6
    assert pece(bins, 2.0) == pytest.approx(0.5 * abs(0.2 - 0.5 + 0.2) + 0.5 * abs(0.7 - 0.5 + 1.2))
    assert pece(bins, 0.0) == pytest.approx(ece(bins))


def test_pece_is_not_zero_for_a_calibrated_map():
    bins = bins_of([0.5, 0.5], [0, 1], 1)
    assert ece(bins) == 0
    assert pece(bins, 2.0) == pytest.approx(1.0)


def test_probability_zero_belongs_to_the_first_bin():
    """900 voxels at p = 0 with 10% positive, 100 at p = .7 with 70%: ECE is .09, not 0."""
    p = [0.0] * 900 + [0.7] * 100
    targets = [1] * 90 + [0] * 810 + [1] * 70 + [0] * 30
    assert ece(bins_of(p, targets, 10)) == pytest.approx(0.09)


def test_probability_one_has_no_bin_of_its_own():
    p = [0.95] * 50 + [1.0] * 50
    targets = [1] * 40 + [0] * 10 + [0] * 10 + [1] * 40
    bins = bins_of(p, targets, 10)
    assert bins.n[-1] == 100
    assert mce(bins) == pytest.approx(0.975 - 0.8)


def test_no_voxel_gives_nan():
    zero = np.zeros(3)
    none = Bins(zero, zero, zero, zero, voxels=0.0)
    for value in (ece(none), ace(none), mce(none), signed_gap(none), pece(none, 2)):
        assert math.isnan(value)
    for name, function in CALIBRATION_FUNCTIONS.items():
        assert math.isnan(function(empty_statistics(3, PAPER), PAPER).overall), name


def test_dropped_zeros_stay_in_the_denominator():
    edges = cell_edges(2)
    histogram = Histogram(np.array([[6, 2, 0], [0, 0, 2]]), np.array([[0.0, 0.6, 0], [0, 0, 1.6]]))
    ours = to_bins(histogram, edges, 2)
    theirs = to_bins(histogram, edges, 2, zero_in_first_bin=False)
    assert ours.n.tolist() == [8, 2]
    assert theirs.n.tolist() == [2, 2]
    assert theirs.voxels == 10
    assert ece(theirs) == pytest.approx((0.6 + 0.4) / 10)


@settings(max_examples=examples(30), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 5), voxels=st.integers(1, 300), edgy=st.booleans())
def test_paper_protocol_equals_plain_loops(seed, classes, voxels, edgy):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(classes, 0.4), voxels).T.astype(np.float32)
    if edgy:
        p[:] = 0
        p[0] = random.integers(0, 31, voxels) / 30
        p[-1] = 1 - p[0]
    y = random.integers(0, classes, voxels).astype(np.uint8)
    y[random.random(voxels) < 0.1] = 255
    expected, found = oracle.paper(p, y), values(p, y)
    for name in ("ECE", "CECE", "pECE"):
        np.testing.assert_allclose(found[name].overall, expected[name], rtol=0, atol=1e-12, err_msg=name)
    by_class = [found["CECE"].by_class[c] for c in range(classes)]
    np.testing.assert_allclose(by_class, expected["CECE by class"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["Brier"].overall, oracle.brier(p, y), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found["NLL"].overall, oracle.nll(p, y, PAPER.nll_clip), rtol=1e-12, atol=1e-12)


@settings(max_examples=examples(30), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 5), name=st.sampled_from(sorted(PROTOCOLS)))
def test_values_stay_in_the_range_that_the_registry_names(seed, classes, name):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(classes, 0.3), 400).T
    y = random.integers(0, classes, 400).astype(np.uint8)
    for metric, value in values(p, y, PROTOCOLS[name]).items():
        high = 3.0 if metric == "pECE" else METRICS[metric].high
        for number in (value.overall, *value.by_class.values()):
            assert math.isnan(number) or METRICS[metric].low <= number <= high + 1e-12, metric


def test_a_sure_and_right_map_is_perfect():
    y = np.array([0, 1, 2, 1, 0], np.uint8)
    found = values(np.eye(3)[y].T, y)
    for name in ("ECE", "CECE", "ACE", "MCE", "gap", "Brier", "NLL", "bECE", "pECE"):
        assert found[name].overall == 0, name


def test_a_sure_and_wrong_map_is_the_worst():
    y = np.array([1, 1, 1, 1], np.uint8)
    p = np.array([[0.0] * 4, [0.0] * 4, [1.0] * 4])
    found = values(p, y)
    assert found["ECE"].overall == 1
    assert found["Brier"].overall == 2
    assert found["NLL"].overall == pytest.approx(-math.log(PAPER.nll_clip))
    assert found["gap"].overall == 1


def test_proper_scores_by_hand():
    p = np.array([[0.7, 0.2], [0.3, 0.8]])
    found = values(p, np.array([0, 1], np.uint8))
    assert found["Brier"].overall == pytest.approx((2 * 0.09 + 2 * 0.04) / 2)
    assert found["NLL"].overall == pytest.approx(-(math.log(0.7) + math.log(0.8)) / 2)
    assert found["NLL"].by_class[1] == pytest.approx(-math.log(0.8))


def test_protocols_differ_as_they_say():
    """Background .95 sure and right, foreground .6 and right in half: each protocol sees another error."""
    p = np.array([[0.95] * 8 + [0.4] * 4, [0.05] * 8 + [0.6] * 4])
    y = np.array([0] * 8 + [1, 1, 0, 0], np.uint8)
    found = {name: values(p, y, protocol) for name, protocol in PROTOCOLS.items()}
    assert found["paper"]["ECE"].overall == pytest.approx(0.4)  # y > 0: two voxels, p = .6, both right
    assert found["paper-text"]["ECE"].overall == pytest.approx(0.1)  # yhat > 0: four voxels, p = .6, half right
    assert found["nacl"]["ECE"].overall == found["paper"]["ECE"].overall
    assert found["guo"]["ECE"].overall == pytest.approx((8 * 0.05 + 4 * 0.1) / 12)
    assert found["sdc-repo"]["ECE"].overall == pytest.approx((8 * 0.05 + 4 * 0.1) / 12)
    assert found["nacl"]["CECE"].by_class == pytest.approx({0: 0.4, 1: 0.4})  # y > 0 only
    assert found["paper"]["CECE"].by_class == pytest.approx({0: 0.8 / 12, 1: 0.8 / 12})
    expected = (8 * (0.05 + 0.1) + 4 * (0.6 - 0.5 + 1.2)) / 12
    for name in PROTOCOLS:
        assert found[name]["pECE"].overall == pytest.approx(expected), name


def test_cece_leaves_out_what_lies_at_or_below_the_threshold():
    p = np.array([[0.999, 0.9995, 0.5], [0.001, 0.0005, 0.5]])
    found = values(p, np.array([0, 0, 1], np.uint8), make_protocol("paper", cece_threshold=0.001))
    assert found["CECE"].by_class[1] == pytest.approx(0.5)  # one voxel only: p = .5, y = 1
    everywhere = values(p, np.array([0, 0, 1], np.uint8), PROTOCOLS["guo"])
    assert everywhere["CECE"].by_class[1] == pytest.approx((abs(0.0015) + 0.5) / 3)


def test_a_threshold_on_classes_drops_classes_and_no_voxels():
    """Mean p of the classes is .6995, .3 and .0005: class 2 is left out at .001, and counts above .0001."""
    p = np.array([[0.999, 0.4], [0.0, 0.6], [0.001, 0.0]])
    found = values(p, np.array([0, 1], np.uint8), make_protocol("paper-text"))["CECE"]
    assert found.by_class[0] == pytest.approx((0.001 + 0.4) / 2)
    assert found.by_class[1] == pytest.approx(0.4 / 2) and math.isnan(found.by_class[2])
    assert found.overall == pytest.approx((0.2005 + 0.2) / 2)
    everywhere = values(p, np.array([0, 1], np.uint8), make_protocol("paper-text", cece_threshold=1e-4))["CECE"]
    assert everywhere.by_class[2] == pytest.approx(0.0005)


def test_classes_up_to_the_reference_maximum():
    p = np.array([[0.5, 0.1], [0.4, 0.8], [0.1, 0.1]])
    found = values(p, np.array([0, 1], np.uint8), PROTOCOLS["nacl"])
    assert sorted(found["CECE"].by_class) == [0, 1]


def test_registry_and_functions_agree():
    assert set(CALIBRATION_FUNCTIONS) == {name for name, m in METRICS.items() if m.needs == "probabilities"}


def test_the_gap_is_of_voxels_that_the_prediction_selects():
    """Labels of a thin structure are drawn from its probabilities: over its own voxels it would seem over-confident."""
    random = np.random.default_rng(0)
    p = np.full(200_000, 0.01, np.float32)
    p[:30_000], p[30_000:60_000], p[60_000:150_000] = 0.35, 0.8, 0.0005
    y = (random.random(p.size) < p).astype(np.uint8)
    found = {name: values(np.stack([1 - p, p]), y, protocol)["gap"] for name, protocol in PROTOCOLS.items()}
    assert {name: abs(gap.overall) < 0.002 for name, gap in found.items()} == dict.fromkeys(PROTOCOLS, True)
    sharp = np.stack([1 - np.rint(p * 0.999), np.rint(p * 0.999)])  # as sure as can be: seen where it says foreground
    assert values(sharp, y)["gap"].overall == pytest.approx(0.2, abs=0.01)


def test_a_gap_counts_what_a_protocol_drops_from_its_bins():
    """Positives at p = 0 left the sum and not the count, so that the sign could turn round."""
    p = np.array([0.5, 0, 0, 0.5, 0, 0, 0, 0, 0, 0])
    y = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], np.uint8)
    found = values(np.stack([1 - p, p]), y, replace(PROTOCOLS["sdc-repo"], cece_threshold=None))["gap"]
    assert found.by_class[1] == pytest.approx(p.mean() - y.mean())
    assert found.overall == pytest.approx(0)  # of the two at .5, one is right


def test_up_to_the_reference_s_maximum_is_no_class_without_a_voxel():
    p = np.full((3, 4), 1 / 3)
    found = values(p, np.full(4, 255, np.uint8), PROTOCOLS["nacl"])["CECE"]
    assert (found.by_class, math.isnan(found.overall)) == ({}, True)
