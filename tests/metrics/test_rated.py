"""Metrics against several raters: by hand, by integration, and beside what CURVAS' released code does instead."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from calibeval import score_case
from calibeval.metrics.rated import (
    RATED_FUNCTIONS,
    Rated,
    RatedSums,
    consensus_confidence,
    consensus_dsc,
    crps,
    thresholded_dsc,
)
from calibeval.protocol import PROTOCOLS

RATERS = [np.array(row, np.uint8) for row in ([0, 0, 1, 1, 1, 255], [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 1, 1])]
P = np.array([0.125, 0.25, 0.5, 0.75, 0.625, 0.875], np.float32)
LEVELS = (0.3, 0.5)


def rated(order=((1, 0),)):
    sums = RatedSums(RATERS, LEVELS)
    for c, start in order:
        sums.add(P if c else 1 - P, c, start)
    return sums.finish(1, (P > 0.5).astype(np.uint8), 0.5)


def test_sums_by_hand_and_a_chunk_read_twice_counts_once():
    found = rated(((0, 0), (1, 0), (1, 0)))
    assert found.volume == P[:5].sum()
    assert found.volumes.tolist() == [3, 2, 3]
    assert found.inside.tolist() == [2, 1.375, 2]  # the fourth and fifth voxel
    assert found.outside.tolist() == [1, 0.125, 0]
    assert found.levels.tolist() == [[3, 2], [4, 2], [3, 2]]  # shares 0, 1/3, 1/3, 1, 1


def test_numbers_by_hand():
    found = rated()
    assert thresholded_dsc(found.levels) == pytest.approx((6 / 7 + 1) / 2)
    assert thresholded_dsc(np.zeros((3, 2))) == 1
    assert consensus_dsc(found) == 1
    assert consensus_confidence(found) == pytest.approx((1.375 / 2 + 1 - 0.125) / 2)
    mu, sigma = 8 / 3, math.sqrt(2 / 9)
    by_hand = 0.5 * crps_by_sums(float(P[:5].sum()), mu, sigma, 30)
    assert RATED_FUNCTIONS["CRPS"](found, PROTOCOLS["paper"]) == pytest.approx(by_hand, rel=1e-3)


def test_what_has_no_value():
    nothing = Rated(0.0, np.zeros(2), np.zeros(3), np.array([4.0, 1.0, 0.0]), np.zeros((3, 2)))
    assert math.isnan(consensus_dsc(nothing))
    assert math.isnan(consensus_confidence(nothing))
    assert consensus_dsc(nothing._replace(outside=np.array([4.0, 1.0, 1.0]))) == 0
    assert math.isnan(RATED_FUNCTIONS["CRPS"](nothing, PROTOCOLS["paper"]))  # no volume of a voxel


def crps_by_sums(volume, mu, sigma, limit):
    v = np.linspace(mu - limit * sigma, mu + limit * sigma, 400_001)
    return ((norm.cdf((v - mu) / sigma) - (v >= volume)) ** 2).sum() * (v[1] - v[0])


@pytest.mark.parametrize("volume", [1000.0, 1030.0, 1100.0, 0.0, 3000.0])
@pytest.mark.parametrize("limit", [3.0, math.inf])
def test_crps_is_its_integral(volume, limit):
    volumes = np.array([980.0, 1000.0, 1050.0])
    mu, sigma = volumes.mean(), volumes.std()
    if limit == 3:
        expected = crps_by_sums(volume, mu, sigma, 3)
    else:  # beyond the raters' law the integrand is 1 as far as V
        expected = crps_by_sums(volume, mu, sigma, 12) + max(0, abs(volume - mu) - 12 * sigma)
    assert crps(volume, volumes, limit) == pytest.approx(expected, rel=1e-4)


def test_a_missed_organ_costs_its_volume_unless_the_integral_is_cut():
    """Cut at 3 sigma, as CURVAS' code does it, a missed organ costs almost nothing."""
    volumes = np.array([100_000.0, 101_000.0, 102_000.0])
    assert crps(0.0, volumes) == pytest.approx(101_000 - volumes.std() / math.sqrt(math.pi))
    assert crps(0.0, volumes, 3.0) < 0.03 * crps(0.0, volumes)
    assert crps(90.0, np.array([100.0, 100.0]), 3.0) == 10  # its code gives 0 where the raters agree


def test_a_background_just_below_0_is_rounding_and_no_logit():
    """1 - sum p in float32 reaches -1.2e-7; torchmetrics, in CURVAS' code, takes the whole map for logits then."""
    label = np.arange(40).reshape(5, 8) % 4
    p = np.eye(4)[label].transpose(2, 0, 1).astype(np.float32)
    p[0] -= np.where(label > 0, np.float32(1.2e-7), 0)
    rows = score_case(p, label, protocol="curvas24", metrics="ECE").rows
    assert rows[0].value == pytest.approx(0, abs=1e-6)
    torch = pytest.importorskip("torch")
    ece = pytest.importorskip("torchmetrics.functional.classification").multiclass_calibration_error
    theirs = float(ece(torch.from_numpy(p)[None], torch.from_numpy(label)[None], num_classes=4, n_bins=50))
    assert theirs == pytest.approx(1 - math.e / (math.e + 3), abs=1e-4)  # softmax of (1, 0, 0, 0): .475, all right
