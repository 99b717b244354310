"""Intervals of pooled numbers: by hand, and of which there is none."""

import json
import math

import numpy as np
import pytest

from calibeval import make_protocol, score_folder
from calibeval.metrics.intervals import effective_number, pooled_interval
from calibeval.scoring.pooled import SMOOTH, pooled_intervals
from tests import SAMPLE


def test_the_effective_number_of_groups_by_hand():
    assert effective_number(np.array([2.0, 2.0, 2.0])) == 3
    assert effective_number(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_number(np.zeros(3)) == 0


def test_of_equal_sizes_it_is_student_s_interval_of_the_mean():
    """Values 1..5, mean 3, sd sqrt(2.5), t of four degrees 2.776445: 3 -+ 2.776445 sqrt(.5)."""
    values = np.arange(1.0, 6.0)
    without = (values.sum() - values) / 4
    low, high = pooled_interval(3.0, without, np.ones(5))
    assert (low, high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-6)
    assert pooled_interval(3.0, without, np.ones(5), limits=(2.0, 4.0)) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("without", "sizes"),
    [([1.0, 2, 3, 4], [1.0] * 4), ([1.0] * 5, [1.0] * 5), ([1.0, 2, 3, 4, math.nan], [1.0] * 5),
     ([1.0, 2, 3, 4, 5], [100.0, 1, 1, 1, 1])],
)  # fmt: skip
def test_where_nothing_can_be_said_there_is_none(without, sizes):
    assert all(map(math.isnan, pooled_interval(2.0, np.array(without), np.array(sizes))))


@pytest.fixture(scope="module")
def sample():
    return score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="all").methods[1]


def test_pooled_numbers_lie_in_their_intervals_and_groups_count_once(sample):
    found = pooled_intervals(sample.bins, sample.class_names, make_protocol(), SMOOTH, {})
    pooled = {(r.metric, r.class_name): r.value for r in sample.rows if r.case == "pooled" and r.metric in SMOOTH}
    assert set(found) == set(pooled)
    for key, (low, high) in found.items():
        assert (key[0] == "NLL" and key[1] != "all") or low < pooled[key] < high, key
    assert found["gap", "all"][0] > 0
    four = {case: case[-1] for case in list(sample.bins)[:4]}
    few = {case: sample.bins[case] for case in four}
    assert pooled_intervals(few, sample.class_names, make_protocol(), SMOOTH, four) == {}


def test_json_gives_null_where_nothing_covers(cli):
    outcome = cli("score", SAMPLE / "preds" / "calibrated", SAMPLE / "labelsTr", "--json")
    (method,) = json.loads(outcome.out)["methods"]
    ends = {(m["metric"], m["class_name"]): (m["pooled_low"], m["pooled_high"]) for m in method["metrics"]}
    assert ends["ECE", "all"] == ends["pECE", "all"] == ends["HD95", "mean"] == (None, None)
    low, high = ends["DSC", "mean"]
    assert low < 0.8743 < high
    assert method["confidence"]["verdict"] == "keeps its word"
