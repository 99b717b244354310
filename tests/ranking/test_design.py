from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from calibeval.errors import TableError
from calibeval.ranking.design import (
    by_data_set,
    case_blocks,
    drop_method,
    lower_is_better,
    make_design,
    metric_blocks,
    worst_bound,
)
from calibeval.ranking.scores import ABSENT, FAILED, OK, UNDEFINED, Scores, Unit
from tests.ranking.helpers import design_of


def scores_of(values, states=None, better=None):
    values = np.asarray(values, dtype=float)
    states = np.full(values.shape, OK, dtype=np.int8) if states is None else np.asarray(states, dtype=np.int8)
    u, m, k = values.shape
    names = ("ECE", "HD95", "DSC")[:m]
    units = tuple(Unit("A", f"c{i}") for i in range(u))
    better = better or ("lower", "lower", "higher")[:m]
    return Scores(tuple("pqrs"[:k]), names, better, units, values, states, True, np.zeros((u, m), dtype=bool))


def test_directions():
    values = np.array([[[0.2, -0.3], [1.0, 2.0], [0.9, 0.8]]])
    turned = lower_is_better(values, ("zero", "lower", "higher"))
    assert turned.tolist() == [[[0.2, 0.3], [1.0, 2.0], [-0.9, -0.8]]]


def test_worst_bounds():
    assert worst_bound("DSC") == 0
    assert worst_bound("ECE") == 1
    assert worst_bound("gap") == 1
    assert worst_bound("HD95") == worst_bound("unheard") == np.inf


def test_ties_are_averaged():
    design, warnings = make_design(scores_of([[[0.1, 0.1, 0.3]]]), "error")
    assert design.ranks[0, 0].tolist() == [1.5, 1.5, 3]
    assert warnings == []


def test_a_failed_case_ranks_below_a_tie_and_below_infinity():
    states = [[[OK, OK, OK, FAILED]]]
    design, warnings = make_design(scores_of([[[0.1, np.inf, np.inf, np.nan]]], states), "error")
    assert design.ranks[0, 0].tolist() == [1, 2.5, 2.5, 4]
    assert warnings == ["Failed or missing cases, ranked below all others: s 1."]


def test_a_case_that_all_failed_compares_nothing():
    states = [[[FAILED, FAILED]], [[OK, OK]]]
    design, _ = make_design(scores_of([[[np.nan, np.nan]], [[1, 2]]], states), "error")
    assert design.complete.tolist() == [[False], [True]]


def test_a_gap_is_an_error_that_names_it():
    states = [[[OK, ABSENT, OK]], [[OK, OK, OK]]]
    with pytest.raises(TableError, match=r"'q' has no ECE of 'A/c0'.*q 1.*--missing worst.*--missing drop"):
        make_design(scores_of([[[1, np.nan, 3]], [[1, 2, 3]]], states), "error")


def test_a_gap_ranks_worst_or_leaves_for_all():
    states = [[[OK, ABSENT, OK]], [[OK, OK, OK]]]
    scores = scores_of([[[1, np.nan, 3]], [[1, 2, 3]]], states)
    worst, warned = make_design(scores, "worst")
    assert worst.ranks[0, 0].tolist() == [1, 3, 2]
    assert "q 1" in warned[0]
    dropped, _ = make_design(scores, "drop")
    assert dropped.complete.tolist() == [[False], [True]]


def test_failed_cases_leave_under_drop():
    states = [[[OK, FAILED]], [[OK, OK]]]
    design, warnings = make_design(scores_of([[[1, np.nan]], [[1, 2]]], states), "drop")
    assert design.complete.tolist() == [[False], [True]]
    assert warnings == ["Failed or missing cases, left out for every method: q 1."]


def test_undefined_values_leave_and_are_counted():
    states = [[[OK, UNDEFINED]], [[OK, OK]], [[UNDEFINED, UNDEFINED]]]
    design, warnings = make_design(scores_of([[[1, np.nan]], [[1, 2]], [[np.nan, np.nan]]], states), "error")
    assert design.complete[:, 0].tolist() == [False, True, False]
    assert "ECE is undefined in 2 of 3 cases" in warnings[0]
    assert "--empty" not in warnings[0]  # which says nothing of calibration
    assert "In 1 of them only some methods have no value" in warnings[0]


def test_nothing_left():
    with pytest.raises(TableError, match="nothing can be compared"):
        make_design(scores_of([[[1, np.nan]]], [[[OK, UNDEFINED]]]), "error")


def test_blocks_of_cases_average_the_metrics():
    design = design_of(np.array([[[1, 2, 3], [3, 2, 1]], [[1, 2, 3], [1, 2, 3]]], dtype=float))
    blocks = case_blocks(design)
    assert blocks.scores.tolist() == [[2, 2, 2], [1, 2, 3]]
    assert blocks.keys.tolist() == blocks.scores.tolist()
    assert blocks.cluster_scores.tolist() == blocks.scores.tolist()


def test_blocks_of_one_metric_keep_its_values():
    assert case_blocks(design_of(np.array([[[5.0, 2, 3]]]))).keys.tolist() == [[5, 2, 3]]


def test_blocks_of_metrics_are_clustered_by_data_set():
    values = np.array([[[1, 2], [3, 4]], [[2, 1], [1, 5]], [[4, 1], [1, 2]]], dtype=float)
    design = design_of(values, datasets=["A", "A", "B"])
    blocks = metric_blocks(by_data_set(design))
    # A holds the means (1.5, 1.5) and (2, 4.5); B its one case
    assert blocks.scores.tolist() == [[1.5, 1.5], [1, 2], [2, 1], [1, 2]]
    assert blocks.cluster.tolist() == [0, 0, 1, 1]
    assert blocks.cluster_scores.tolist() == [[2.5, 3.5], [3, 3]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_dropping_a_method_ranks_the_rest_anew(seed, k):
    values = np.random.default_rng(seed).integers(0, 4, size=(5, 2, k)).astype(float)
    dropped = drop_method(design_of(values), 0)
    assert dropped.ranks.tolist() == rankdata(values[..., 1:], axis=-1).tolist()
