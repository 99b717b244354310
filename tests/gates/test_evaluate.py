from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.errors import TableError, UsageError
from calibeval.gates.evaluate import evaluate_gates, show_number
from calibeval.gates.policy import parse_gate
from calibeval.gates.report import Report
from calibeval.gates.scores import load_baseline, load_scores, scores_of_rows
from calibeval.table import POOLED, Row, write_table
from tests.gates.helpers import EMPTY, SIGNATURE, missing_a_class, policy_of, rows_of, scores_of

ECE = [0.01, 0.02, 0.03, 0.04]


def decide(gate, values=None, scores=None, **settings):
    """Outcome of one gate; the question whether all cases were scored is left out."""
    outcomes = evaluate_gates(scores or scores_of(values or {"ECE": ECE}), policy_of(gate, **settings))
    return outcomes[0]


@pytest.mark.parametrize(
    ("gate", "value"),
    [
        ("mean(ECE) <= 0.025", 0.025),
        ("median(ECE) <= 0.025", 0.025),
        ("min(ECE) >= 0.01", 0.01),
        ("max(ECE) <= 0.04", 0.04),
        ("p50(ECE) <= 0.025", 0.025),
        ("p75(ECE) <= 0.0325", 0.0325),  # 3/4 of the way from first to last: .03 + .25 * .01
    ],
)
def test_aggregates_by_hand(gate, value):
    outcome = decide(gate)
    assert (outcome.status, outcome.value) == ("passed", pytest.approx(value))


@pytest.mark.parametrize(
    ("comparison", "holds"), [("<=", True), (">=", True), ("==", True), ("<", False), (">", False)]
)
def test_bounds_are_met_exactly(comparison, holds):
    assert decide(f"max(ECE) {comparison} 0.04").status == ("passed" if holds else "failed")


def test_absolute_values_for_metrics_around_zero():
    values = {"gap": [-0.04, 0.04]}
    assert decide("mean(gap) <= 0.01", values).value == 0
    assert decide("mean(|gap|) <= 0.01", values).value == pytest.approx(0.04)


def test_means_that_leave_out_a_class_are_counted():
    outcome = decide("mean(HD95) <= 4", scores=missing_a_class(5, {0, 2}))
    assert outcome.message == "2.2 mm, 5 cases; in 2 of them without RV (empty prediction)"
    assert decide("mean(HD95) <= 4", scores=missing_a_class(5, set())).message == "3 mm, 5 cases"
    assert decide("mean(HD95[LV]) <= 4", scores=missing_a_class(5, {0})).message == "1 mm, 5 cases"


def test_a_class_of_its_own():
    values = {"DSC": [0.9, 0.8], "DSC[LV]": [0.7, 0.5]}
    assert decide("mean(DSC) >= 0.85", values).status == "passed"
    assert decide("mean(DSC[LV]) >= 0.61", values).value == pytest.approx(0.6)
    outcome = decide("mean(DSC[RV]) >= 0", values)
    assert (outcome.status, "no class 'RV' of DSC, only LV" in outcome.message) == ("error", True)


def test_pooled_is_never_mixed_with_cases():
    rows = [*rows_of({"ECE": ECE}), Row("m", "A", POOLED, "all", "ECE", 0.5)]
    scores = scores_of_rows("new.csv", SIGNATURE, rows)
    assert decide("pooled(ECE) <= 0.5", scores=scores).value == 0.5
    assert decide("max(ECE) <= 0.04", scores=scores).status == "passed"
    assert decide("n_cases == 4", scores=scores).status == "passed"
    assert "0 pooled numbers" in decide("pooled(ECE) <= 1").message


def test_a_failed_gate_names_the_worst_cases():
    outcome = decide("mean(ECE) <= 0.02")
    assert outcome.status == "failed"
    assert [case.case for case in outcome.cases] == ["c3", "c2", "c1", "c0"]
    outcome = decide("min(DSC) >= 0.8", {"DSC": [0.9, 0.1, 0.5]})
    assert [(case.case, case.value) for case in outcome.cases] == [("c1", 0.1), ("c2", 0.5), ("c0", 0.9)]


def test_a_warning_never_fails():
    policy = policy_of().extended([parse_gate("mean(ECE) <= 0", "warn")], [])
    outcomes = evaluate_gates(scores_of({"ECE": ECE}), policy)
    assert [outcome.status for outcome in outcomes] == ["warned", "passed"]
    assert Report("", tuple(outcomes)).exit_code == 0


@pytest.mark.parametrize(
    ("gate", "values", "settings", "message"),
    [
        ("mean(NLL) <= 1", {"ECE": ECE}, {}, "holds no NLL, only ECE. Score it with --metrics NLL"),
        ("mean(ECE) <= 1", {"ECE": [EMPTY, EMPTY]}, {}, "0 cases with a value, without 2 undefined; the gate needs 1"),
        ("mean(ECE) <= 1", {"ECE": ECE}, {"min_cases": 5}, "4 cases with a value; the gate needs 5"),
        (
            "mean(ECE) <= 1",
            {"ECE": ECE},
            {"signature": "guo|x"},
            "another protocol than the gates are for: ",
        ),
        ("n_failed <= 0", {"ECE": ECE}, {"signature": "guo|x"}, "another protocol"),
        ("n_empty <= 0", {"ECE": ECE}, {}, "holds no overlap or distance"),
    ],
)
@pytest.mark.parametrize("severity", ["fail", "warn"])
def test_what_cannot_be_decided_is_an_error_and_no_pass(gate, values, settings, message, severity):
    policy = policy_of(**settings).extended([parse_gate(gate, severity)], [])
    outcome, *_ = evaluate_gates(scores_of(values), policy)
    assert outcome.status == "error"
    assert message in outcome.message
    assert Report("", (outcome,)).exit_code == 2


@pytest.mark.parametrize(
    ("aggregate", "value"), [("p50", 2.0), ("median", 2.0), ("p75", 3.0), ("p80", math.inf), ("p95", math.inf)]
)
def test_percentiles_beside_infinity_are_those_of_the_order(aggregate, value):
    outcome = decide(f"{aggregate}(HD95) <= 9", {"HD95": [3.0, 1.0, math.inf, 2.0, 1.5]})
    assert outcome.value == value
    assert outcome.status == ("passed" if value < 9 else "failed")


def test_infinite_distances_fail_a_gate():
    outcome = decide("mean(HD95) <= 9", {"HD95": [1.0, math.inf]})
    assert (outcome.status, outcome.value) == ("failed", math.inf)


def test_a_case_twice_is_an_error():
    scores = scores_of_rows("t.csv", SIGNATURE, rows_of({"ECE": ECE}) + rows_of({"ECE": [0.5]}))
    assert "holds ECE of the case c0 twice" in decide("mean(ECE) <= 1", scores=scores).message


def test_undefined_cases_are_left_out_and_counted():
    scores = scores_of({"HD95": [1.0, EMPTY, 3.0]}, statuses={1: "empty_prediction"})
    outcome = decide("mean(HD95) <= 2", scores=scores)
    assert (outcome.status, outcome.value) == ("passed", 2.0)
    assert outcome.message == "2, 2 cases; without 1 empty prediction"
    assert decide("n_empty_prediction <= 0", scores=scores).status == "failed"
    assert [case.case for case in decide("n_empty(HD95) <= 0", scores=scores).cases] == ["c1"]
    assert decide("n_both_empty <= 0", scores=scores).status == "passed"
    assert decide("n_empty_reference <= 0", scores=scores).value == 0


def test_a_count_of_one_class_looks_at_that_class_alone():
    rows = rows_of({"DSC[RV]": [0.0, 0.9]}, statuses={0: "empty_prediction"}) + rows_of({"DSC[LV]": [0.9, 0.9]})
    scores = scores_of_rows("t.csv", SIGNATURE, rows)
    assert decide("n_empty(DSC[LV]) <= 0", scores=scores).status == "passed"
    assert decide("n_empty(DSC[RV]) <= 0", scores=scores).status == "failed"
    assert decide("n_empty(DSC) <= 0", scores=scores).value == 1
    assert decide("n_empty <= 1", scores=scores).status == "passed"


@pytest.mark.parametrize(("status", "count"), [("missing", "n_missing"), ("failed", "n_failed")])
def test_unscored_cases_do_not_pass_unless_a_gate_allows_them(status, count):
    scores = scores_of({"ECE": [0.01, EMPTY, 0.01]}, statuses={1: status})
    report = Report("", tuple(evaluate_gates(scores, policy_of("mean(ECE) <= 0.05"))))
    assert [outcome.status for outcome in report.outcomes] == ["passed", "incomplete"]
    assert "1 of 3 cases, and no gate allows that" in report.outcomes[1].message
    assert report.exit_code == 3
    allowed = evaluate_gates(scores, policy_of("mean(ECE) <= 0.05", f"{count} <= 1"))
    assert {outcome.status for outcome in allowed} == {"passed"}
    assert Report("", tuple(allowed)).exit_code == 0
    refused = evaluate_gates(scores, policy_of("mean(ECE) <= 0.05", f"{count} <= 0"))
    assert Report("", tuple(refused)).exit_code == 1
    other = "n_failed" if count == "n_missing" else "n_missing"
    assert Report("", tuple(evaluate_gates(scores, policy_of(f"{other} <= 0")))).exit_code == 3


def test_a_gate_that_keeps_a_model_from_being_good_is_noted():
    assert "bounds it from the good side" in decide("mean(ECE) >= 0.001").message
    assert "good side" not in decide("mean(ECE) <= 0.1").message
    assert "good side" not in decide("mean(gap) <= 0.1", {"gap": [0.0]}).message


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 10), st.floats(0, 10), st.sampled_from(["<=", "<", ">=", ">"]))
def test_a_shown_number_lies_on_the_same_side_of_the_bound(value, bound, comparison):
    gate = parse_gate(f"mean(HD95) {comparison} {bound!r}")
    holds = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}[comparison]
    assert holds(float(show_number(value, gate)), bound) == holds(value, bound)
    assert float(show_number(value, gate)) == pytest.approx(value, rel=1e-3)


def test_one_method_of_several_must_be_named(tmp_path):
    path = tmp_path / "t.csv"
    rows = rows_of({"ECE": [0.1]}, method="a") + rows_of({"ECE": [0.2]}, method="b")
    write_table(path, rows, signature=SIGNATURE)
    with pytest.raises(UsageError, match="holds the methods a, b: name one with --method"):
        load_scores(path)
    with pytest.raises(UsageError, match="holds no method 'c', only a, b"):
        load_scores(path, "c")
    assert decide("mean(ECE) == 0.2", scores=load_scores(path, "b")).status == "passed"
    assert load_baseline(path, "a").method == "a"


def test_a_baseline_may_name_its_only_method_otherwise(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, rows_of({"ECE": [0.1]}, method="main"), signature=SIGNATURE)
    assert load_baseline(path, "ours").method == "main"


def test_an_empty_table_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, [], signature=SIGNATURE)
    with pytest.raises(TableError, match="holds no case"):
        load_scores(path)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["passed", "warned", "skipped"], 0),
        (["passed", "incomplete"], 3),
        (["incomplete", "error"], 2),
        (["failed", "error", "incomplete"], 1),
        (["skipped"], 2),
        ([], 2),
    ],
)
def test_exit_codes(statuses, code):
    from calibeval.gates.report import Outcome

    assert Report("", tuple(Outcome("x", "gate", status, "") for status in statuses)).exit_code == code
