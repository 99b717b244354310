"""dCE: by hand, exact for a constant gap, and on average 0 for a calibrated model of few cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

import calibeval
from calibeval.metrics.debiased import debiased_error, debiased_gap
from calibeval.protocol import make_protocol


def test_two_groups_by_hand():
    """Bin 1: d = 3, 1 of n = 10, 10: w = 2, [16 - 10] / 20 * 2 = .6; bin 2 holds one group alone; N = 25."""
    gaps = np.array([[3.0, 2.0], [1.0, 0.0]])
    counts = np.array([[10.0, 5.0], [10.0, 0.0]])
    assert debiased_gap(gaps, counts) == pytest.approx(math.sqrt(0.6 / 25))
    assert debiased_gap(gaps * [[1], [-1]], counts) == pytest.approx(-math.sqrt(0.6 / 25))
    assert math.isnan(debiased_gap(gaps[:1], counts[:1]))


@pytest.mark.parametrize("sizes", [(10, 10, 10, 10), (3, 50, 700, 20), (0, 5, 9, 100)])
def test_a_constant_gap_is_found_exactly_whatever_the_sizes(sizes):
    counts = np.array(sizes, float)[:, None] * [[1.0, 2.0, 0.5]]
    assert debiased_gap(0.025 * counts, counts) == pytest.approx(0.025)


def test_few_calibrated_cases_are_not_called_miscalibrated():
    """Lesions of 65 voxels, three cases, labels drawn from the probabilities: ECE is .03 or more, dCE centres on 0."""
    random = np.random.default_rng(0)
    squares, eces = [], []
    for _ in range(300):
        p = random.beta(1, 1, (12, 65))
        y = random.random(p.shape) < p
        step = np.minimum((p * 15).astype(int), 14)
        gaps, counts = np.zeros((12, 15)), np.zeros((12, 15))
        np.add.at(gaps, (np.arange(12)[:, None], step), p - y)
        np.add.at(counts, (np.arange(12)[:, None], step), 1)
        found = debiased_gap(gaps, counts)
        squares.append(math.copysign(found**2, found))
        eces.append(np.abs(gaps.sum(axis=0)).sum() / counts.sum())
    assert np.mean(eces) > 0.04
    assert abs(np.mean(squares)) < 3 * np.std(squares) / math.sqrt(len(squares)) < 3e-4


def test_it_comes_from_the_statistics_of_cases_and_knows_groups():
    random = np.random.default_rng(1)
    protocol = make_protocol()
    cases, gaps, counts = {}, np.zeros((3, 15)), np.zeros((3, 15))
    for i in range(3):
        foreground = random.uniform(0.01, 0.99, (6, 7))
        label = (random.random(foreground.shape) < foreground**2).astype(np.uint8)
        scored = calibeval.score_case(np.stack([1 - foreground, foreground]), label, metrics="gap", case=f"c{i}")
        cases[f"c{i}"] = scored.bins
        top, right = np.maximum(foreground, 1 - foreground), (foreground > 0.5) == label
        step = np.ceil(top.astype(np.float32) * 15).astype(int) - 1
        np.add.at(gaps[i], step, top - right)
        np.add.at(counts[i], step, 1)
    assert debiased_error(cases, protocol) == pytest.approx(debiased_gap(gaps, counts))
    grouped = debiased_gap(np.stack([gaps[0] + gaps[1], gaps[2]]), np.stack([counts[0] + counts[1], counts[2]]))
    assert debiased_error(cases, protocol, {"c0": "a", "c1": "a", "c2": "b"}) == pytest.approx(grouped)
    assert math.isnan(debiased_error({}, protocol))
