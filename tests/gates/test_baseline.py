from __future__ import annotations

import json
import math

import numpy as np
import pytest

from calibeval.gates.baseline import compare, worsening
from calibeval.gates.formats import as_json
from calibeval.gates.report import Report
from calibeval.metrics.intervals import LEAST
from tests.gates.helpers import EMPTY, missing_a_class, policy_of, scores_of

OLD = {"ECE": [0.01, 0.02, 0.03, 0.02, 0.01, 0.02]}


def compared(new, old=OLD, margins=None, **options):
    """Outcome of the first margin; options of the new table by name, of the old one with `old_` before."""
    before = {name.removeprefix("old_"): value for name, value in options.items() if name.startswith("old_")}
    after = {name: value for name, value in options.items() if not name.startswith("old_")}
    policy = policy_of(margins=margins or {"ECE": 0.01})
    return compare(scores_of(new, **after), scores_of(old, name="main.csv", **before), policy)[0]


def shifted(values, by):
    return {name: [value + by for value in numbers] for name, numbers in values.items()}


@pytest.mark.parametrize(
    ("metric", "worse", "better"), [("DSC", 0.7, 0.9), ("HD95", 0.9, 0.7), ("gap", -0.9, -0.7), ("gap", 0.9, -0.7)]
)
def test_worsening_knows_the_direction(metric, worse, better):
    assert worsening(metric, np.array([worse]), np.array([better])) == pytest.approx(0.2)
    assert worsening(metric, np.array([better]), np.array([worse])) == pytest.approx(-0.2)


def test_equal_tables_pass_any_margin():
    outcome = compared(OLD, margins={"ECE": 0.0})
    assert (outcome.status, outcome.value, outcome.limit, outcome.cases) == ("passed", 0.0, 0.0, ())
    assert "equal in the mean, at most 0 worse at level 0.05; 6 cases" in outcome.message


@pytest.mark.parametrize(("by", "status"), [(0.009, "passed"), (0.011, "failed"), (-0.5, "passed")])
def test_a_shift_of_all_cases_is_compared_with_the_margin_itself(by, status):
    outcome = compared(shifted(OLD, by))
    assert (outcome.status, outcome.value) == (status, pytest.approx(by))
    assert outcome.limit == pytest.approx(by)  # nothing varies


def test_the_cases_that_got_worst_come_first():
    new = {"ECE": [0.01, 0.22, 0.03, 0.12, 0.0, 0.02]}
    outcome = compared(new)
    assert outcome.status == "failed"
    assert [(case.case, case.value, case.before) for case in outcome.cases] == [("c1", 0.22, 0.02), ("c3", 0.12, 0.02)]


def test_too_few_cases_for_the_margin_fail_and_say_so():
    new = {"ECE": [0.05, 0.0, 0.03, 0.02, 0.03, 0.0]}
    outcome = compared(new)
    assert outcome.value < 0.01 < outcome.limit
    assert outcome.status == "failed"
    assert "not shown to be within the margin" in outcome.message
    assert outcome.message.endswith("6 cases; power 12% (80% takes 39 cases)")
    assert json.loads(as_json(Report("", (outcome,))))["outcomes"][0]["power"] == pytest.approx(outcome.power)


def test_a_margin_of_one_class():
    old, new = {"DSC[LV]": [0.9] * 6}, {"DSC[LV]": [0.8] * 6}
    outcome = compared(new, old, {"DSC[LV]": 0.05})
    assert (outcome.name, outcome.status) == ("DSC[LV] not worse by more than 0.05", "failed")


@pytest.mark.parametrize(
    ("new", "options", "message"),
    [
        ({"ECE": [0.1] * 5}, {}, "different cases: only new.csv has none; only main.csv has c5. Score both on"),
        (OLD, {"dataset": "B"}, "data sets have different names: B against A. Give both one with --dataset"),
        (
            OLD,
            {"signature": "guo|a"},
            "different protocols: a: given against none; confidence, voxels and bins of ECE: ",
        ),
        ({"NLL": [0.1] * 6}, {}, "new.csv holds no ECE"),
    ],
)
def test_tables_that_cannot_be_compared_are_an_error(new, options, message):
    outcome = compared(new, **options)
    assert outcome.status == "error"
    assert message in outcome.message
    assert Report("", (outcome,)).exit_code == 2


def test_a_lost_value_is_an_error_and_a_found_one_is_left_out():
    values, lost = {"HD95": [1.0] * 6}, {"HD95": [1.0, EMPTY, 1.0, 1.0, 1.0, 1.0]}
    margins, statuses = {"HD95": 1.0}, {1: "empty_prediction"}
    outcome = compared(lost, values, margins, statuses=statuses)
    assert outcome.status == "error"
    assert "HD95 is undefined in c1, where the baseline has a value" in outcome.message
    outcome = compared(values, lost, margins, old_statuses=statuses)
    assert outcome.status == "passed"
    assert "5 cases; power 100%; 1 of 6 left out" in outcome.message


def test_a_mean_that_lost_a_class_is_an_error_though_it_looks_better():
    whole, partial = missing_a_class(6, set(), name="main.csv"), missing_a_class(6, {1, 4})
    policy = policy_of(margins={"HD95": 0.5})
    (outcome,) = compare(partial, whole, policy)
    assert outcome.status == "error"
    assert "HD95 leaves out a class in c1, c4, where the baseline has a value" in outcome.message
    (outcome,) = compare(whole, missing_a_class(6, {1}, name="main.csv"), policy)
    assert outcome.status == "failed"  # found again, and counted: c1 went from 1 mm to 3 mm
    (outcome,) = compare(partial, missing_a_class(6, {1, 4}, name="main.csv"), policy)
    assert outcome.status == "passed"


@pytest.mark.parametrize("status", ["missing", "failed"])
def test_unscored_cases_are_left_out_since_other_gates_speak_of_them(status):
    new = {"ECE": [*OLD["ECE"][:5], EMPTY]}
    outcome = compared(new, statuses={5: status})
    assert outcome.status == "passed"
    assert "5 cases; power 100%; 1 of 6 left out" in outcome.message


def test_a_handful_of_cases_is_asked_for():
    few = {"ECE": OLD["ECE"][: LEAST - 1]}
    assert "Only 4 cases with a value in both tables; the comparison needs 5" in compared(few, few).message


def test_infinite_values_are_an_error():
    infinite = {"HD95": [math.inf] * 6}
    assert "HD95 is infinite in some case" in compared(infinite, infinite, {"HD95": 1.0}).message


def test_a_margin_of_the_whole_range_needs_no_number_of_cases():
    """No DSC can be worse by more than 1."""
    outcome = compared({"DSC": [0.1, 0.2]}, old={"DSC": [0.9, 0.8]}, margins={"DSC": 1})
    assert outcome.status == "passed"
    assert outcome.value == pytest.approx(0.7)
