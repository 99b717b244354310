"""Groups of cases in gates: means by hand, the comparison with a baseline, and what is counted."""

import pytest

from calibeval.gates.baseline import compare
from calibeval.gates.evaluate import evaluate_gates
from calibeval.gates.init import draft
from calibeval.gates.scores import scores_of_rows, ungrouped
from calibeval.metrics.intervals import mean_interval, mean_upper_bound
from tests.gates.helpers import SIGNATURE, policy_of, rows_of

NAN = float("nan")


def table(values, groups, *, name="new.csv", metric="ECE"):
    """One metric; a letter of `groups` is a case's group, a space none."""
    rows = rows_of({metric: values})
    return scores_of_rows(name, SIGNATURE, [row._replace(group=g.strip()) for row, g in zip(rows, groups, strict=True)])


def decided(scores, *gates, **settings):
    return evaluate_gates(scores, policy_of(*gates, **settings))


def test_a_mean_is_over_groups_and_all_else_over_cases():
    """Means within a, b and the case by itself: .2, .4 and .9, so .5 and not (.1 + .3 + .4 + .9) / 4 = .425."""
    scores = table([0.1, 0.3, 0.4, NAN, 0.9], "aabb ")
    mean, largest, median = decided(scores, "mean(ECE) <= 0.45", "max(ECE) <= 1", "median(ECE) <= 1")[:3]
    assert (mean.value, mean.status) == (pytest.approx(0.5), "failed")
    assert "3 groups of 4 cases" in mean.message
    assert (largest.value, median.value) == (0.9, pytest.approx(0.35))
    assert "4 cases" in median.message
    assert "group" not in median.message
    assert decided(scores, "n_cases >= 5")[0].status == "passed"
    assert decided(scores, "mean(ECE) <= 0.6", min_cases=4)[0].status == "passed"
    assert decided(scores, "mean(ECE) <= 0.6", min_cases=5)[0].status == "error"


def test_a_worsening_is_bounded_over_groups():
    before, groups = [0.1] * 12, "aabbccddeeff"
    after = [0.1, 0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.2, 0.3, 0.3, 0.1, 0.1]
    of_groups = [0.1, 0.0, 0.05, 0.05, 0.2, 0.0]
    (found,) = compare(table(after, groups), table(before, groups, name="old.csv"), policy_of(margins={"ECE": 0.5}))
    assert found.value == pytest.approx(sum(of_groups) / 6)
    assert found.limit == pytest.approx(mean_upper_bound(of_groups, 0.05))
    assert "6 groups of 12 cases" in found.message
    (strict,) = compare(table(after, groups), table(before, groups), policy_of(margins={"ECE": 0.1}))
    assert strict.message.endswith(" groups)")  # that 80% power takes
    (told,) = compare(table(after, groups), table(before, " " * 12), policy_of(margins={"ECE": 0.5}))
    assert told.limit == found.limit  # one table's groups are enough


def test_few_groups_are_too_few_however_many_cases():
    scores = table([0.1] * 12, "aaabbbcccddd")
    (found,) = compare(scores, scores, policy_of(margins={"ECE": 0.5}))
    assert found.status == "error"
    assert "Only 4 groups of 12 cases with a value in both tables; the comparison needs 5 groups" in found.message


def test_a_baseline_of_other_groups_is_refused():
    (found,) = compare(table([0.1] * 6, "abcdef"), table([0.1] * 6, "abcdeg"), policy_of(margins={"ECE": 0.5}))
    assert found.status == "error"
    assert "the case c5 into different groups (A/f against A/g)" in found.message


def test_a_draft_is_of_groups_and_scores_by_the_same_ones():
    values, groups = [0.1, 0.3, 0.4, 0.2, 0.3, 0.1, 0.5], "aabcdee"
    command = "calibeval score preds labels --cases c.csv --group-by patient"
    text = draft(table(values, groups)._replace(command=command))
    low, high = mean_interval(values, list(groups), limits=(0, 1))
    assert f"# today 0.28, 95% interval {low:.4g} to {high:.4g}, 5 groups" in text
    assert 'group_by = "patient"' in text
    assert 'cases = "c.csv"' in text


def test_cases_that_look_like_patients_are_told_unless_the_command_says():
    rows = [
        row._replace(case=f"patient{i // 2}_{'ED' if i % 2 else 'ES'}")
        for i, row in enumerate(rows_of({"ECE": [0.1] * 6}))
    ]
    scores = scores_of_rows("t.csv", SIGNATURE, rows)
    (said,) = ungrouped(scores)
    assert said.startswith("The 6 cases look like images of 3 patients")
    assert "--group-by patient" in said
    assert ungrouped(scores._replace(command="calibeval score p l --group-by none")) == ()
    assert ungrouped(scores_of_rows("t.csv", SIGNATURE, [row._replace(group="x") for row in rows])) == ()
