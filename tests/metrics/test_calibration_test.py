"""The test of calibration: signs of groups by hand, when bins are joined, when there is no answer, and known models."""

from __future__ import annotations

import json

import numpy as np
import pytest

import calibeval
from calibeval import make_protocol, score_case, score_folder
from calibeval.metrics import calibration_test as module
from calibeval.metrics.calibration_test import calibration_test, sign_flip_test
from tests import SAMPLE
from tests.kernels import large

PAPER = make_protocol()


def one_bin(values: list[float]) -> tuple[float | None, list[bool]]:
    """The test on one bin of one class, in which every group holds both outcomes."""
    gaps = np.array(values, float).reshape(-1, 1, 1)
    return sign_flip_test(gaps, gaps == gaps, gaps == gaps)


def test_signs_by_hand():
    assert one_bin([1] * 6) == (1 / 32, [True])  # only all + and all - reach it
    assert one_bin([1, 1, 1, -1, -1, -1])[0] == 1
    assert one_bin([3, 1, 1, 1, 0, 0])[0] == 4 / 32  # the zeros may have either sign
    assert one_bin([5, 1, 1, 1, 1, -1])[0] == pytest.approx(6 / 32)  # at most one of the ones against the five


def test_bins_and_classes_are_flipped_together():
    """Two bins whose gaps cancel in each group: |1| + |-1| is 12 for all six, and smaller for other signs."""
    gaps = np.tile([1.0, -1.0], (6, 1)).reshape(6, 1, 2)
    seen = np.ones(gaps.shape, bool)
    assert sign_flip_test(gaps, seen, seen)[0] == 1 / 32
    assert sign_flip_test(gaps.reshape(6, 2, 1), seen.reshape(6, 2, 1), seen.reshape(6, 2, 1))[0] == 1 / 32


def test_bins_are_joined_until_three_groups_hold_each_outcome():
    """Of four bins two groups hold positives in the first and a third in the second: these two are joined."""
    gaps = np.tile([2.0, -1.0, 0.5, 0.25], (6, 1)).reshape(6, 1, 4)
    negative = np.ones(gaps.shape, bool)
    positive = np.zeros(gaps.shape, bool)
    positive[:2, 0, 0] = positive[2, 0, 1] = positive[:3, 0, 2] = True
    joined = module._join(gaps[:, 0], positive[:, 0], negative[:, 0])
    np.testing.assert_allclose(
        joined, np.tile([1.0, 0.75], (6, 1))
    )  # the last bin, without a positive, joins its neighbour
    assert sign_flip_test(gaps, positive, negative)[0] == 1 / 32


def test_a_class_of_one_outcome_says_nothing():
    gaps = np.ones((6, 2, 1))
    both = np.ones(gaps.shape, bool)
    positive = both.copy()
    positive[2:, 1] = False
    assert sign_flip_test(gaps, positive, both) == (1 / 32, [True, False])
    assert sign_flip_test(gaps[:, 1:], positive[:, 1:], both[:, 1:]) == (None, [False])


def test_a_sample_of_flips_is_near_all_of_them(monkeypatch):
    gaps = np.random.default_rng(3).normal(0.4, 1, (10, 1, 4))
    seen = np.ones(gaps.shape, bool)
    exact = sign_flip_test(gaps, seen, seen)[0]
    monkeypatch.setattr(module, "_ALL_FLIPS", 0)
    sampled = sign_flip_test(gaps, seen, seen)[0]
    assert exact is not None
    assert sampled == pytest.approx(exact, abs=0.02)
    assert sampled == sign_flip_test(gaps, seen, seen)[0]  # seeded
    assert sampled != exact


@pytest.fixture(scope="module")
def sample():
    return score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="DSC").bins


@large
def test_the_model_that_tells_the_truth_passes_and_the_others_do_not(sample):
    found = {method: calibeval.calibration_test(cases, PAPER) for method, cases in sample.items()}
    assert {method: (test.n_groups, test.reason) for method, test in found.items()} == dict.fromkeys(sample, (12, ""))
    assert found["calibrated"].p == pytest.approx(0.593, abs=0.001)
    assert found["overconfident"].p == found["underconfident"].p == 1 / 2048


@large
def test_groups_of_cases_are_flipped_as_one(sample):
    pairs = {case: str(i // 2) for i, case in enumerate(sample["overconfident"])}
    found = calibration_test(sample["overconfident"], PAPER, pairs)
    assert (found.n_groups, found.p) == (6, 1 / 32)


@large
def test_no_p_comes_with_its_reason(sample):
    cases = sample["calibrated"]
    five = dict(list(cases.items())[:5])
    assert calibration_test(five, PAPER) == (None, 5, "needs 6 groups with probabilities, found 5")
    found = calibration_test(cases, make_protocol("nacl"))
    assert found == (None, 12, "CECE counts reference-foreground voxels, which the outcome selects")
    labels = {str(i): score_case(None, np.eye(4, dtype=int), predicted=np.eye(4, dtype=int)).bins for i in range(8)}
    assert calibration_test(labels, PAPER) == (None, 0, "needs 6 groups with probabilities, found 0")


def test_a_class_that_few_groups_hold_is_named():
    random, cases = np.random.default_rng(0), {}
    for i in range(8):
        p = np.stack([np.full((20, 20), 0.5), np.full((20, 20), 0.499), np.full((20, 20), 0.001 + 1e-6)])
        label = (random.random((20, 20)) < 0.5).astype(int)
        label[0, 0] = 2 if i < 2 else 0
        cases[str(i)] = score_case(p / p.sum(axis=0), label, metrics="ECE").bins
    found = calibration_test(cases, PAPER)
    assert found.reason == "class 2: fewer than 3 groups hold voxels in it, or out of it"
    assert found.p is not None
    assert found.p > 0.05


@large
def test_json_holds_it(cli):
    outcome = cli("score", SAMPLE / "preds" / "overconfident", SAMPLE / "labelsTr", "--json", "--metrics", "DSC")
    (method,) = json.loads(outcome.out)["methods"]
    assert method["calibration_test"] == {"p": 1 / 2048, "n_groups": 12, "reason": ""}
