"""Means over cases, their intervals, and the counts beside them."""

import json
import math

import pytest

from calibeval.metrics import METRICS
from calibeval.metrics.intervals import mean_interval
from calibeval.summary import as_json, counted, direction, summarise
from calibeval.table import Row

NAN, INF = math.nan, math.inf


def row(case, name, value, status="ok", metric="HD95"):
    return Row("m", "d", case, name, metric, value, "mm", status)


def one(rows, **choices):
    (found,) = summarise(rows, **choices)
    return found


def test_a_mean_is_over_the_cases_that_have_a_value():
    values = {"a": 1.0, "b": NAN, "c": 3.0, "d": 8.0}
    rows = [row(case, "all", value, "ok" if value == value else "failed") for case, value in values.items()]
    found = one([*rows, row("pooled", "all", 99.0)])
    assert (found.mean, found.n, found.pooled, found.unit) == (4.0, 3, 99.0, "mm")
    assert (found.low, found.high) == mean_interval([1.0, 3.0, 8.0])
    assert found.statuses == {"ok": 3, "failed": 1}
    assert found.left_out == 1


def test_classes_left_out_of_a_case_s_mean_are_counted():
    """Case a misses the class x, and its mean is that of y alone; b is whole; c is missing."""
    rows = [
        row("a", "x", NAN, "empty_prediction"), row("a", "y", 2.0), row("a", "mean", 2.0),
        row("b", "x", 4.0), row("b", "y", 4.0), row("b", "mean", 4.0),
        row("c", "x", NAN, "missing"), row("c", "y", NAN, "missing"), row("c", "mean", NAN, "missing"),
    ]  # fmt: skip
    found = one(rows)
    assert (found.mean, found.n) == (3.0, 2)
    assert found.statuses == {"ok": 2, "empty_prediction": 1, "missing": 1}
    assert found.left_out == 3
    by_class = {summary.class_name: summary for summary in summarise(rows, by_class=True)}
    assert by_class["x"].left_out == 2
    assert by_class["x"].statuses == {"empty_prediction": 1, "ok": 1, "missing": 1}
    assert by_class["y"].left_out == 1


@pytest.mark.parametrize("values", [[], [5.0], [NAN, NAN]])
def test_one_case_or_none_has_no_interval(values):
    rows = [row(str(index), "all", value) for index, value in enumerate(values)] or [row("pooled", "all", 1.0)]
    found = one(rows)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.n == sum(value == value for value in values)
    assert math.isnan(found.mean) == (found.n == 0)


def test_an_infinite_distance_makes_the_mean_infinite_and_the_interval_undefined():
    found = one([row("a", "all", INF), row("b", "all", 1.0)])
    assert found.mean == INF
    assert math.isnan(found.low)


def test_each_group_weighs_the_same_and_n_counts_groups():
    """Patient p has two images, the others one each: (2 + 4) / 2 = 3, then (3 + 6 + 9) / 3 = 6, not (2+4+6+9)/4."""
    values = {"p_ED": 2.0, "p_ES": 4.0, "q_ED": 6.0, "r_ED": 9.0, "r_ES": NAN}
    rows = [row(case, "all", value)._replace(group=case[0]) for case, value in values.items()]
    found = one([*rows, row("pooled", "all", 99.0)])
    assert (found.mean, found.n, found.n_cases, found.left_out, found.pooled) == (6.0, 3, 4, 1, 99.0)
    more = [row(case, "all", value)._replace(group=case[0]) for case, value in {"s_ED": 1.0, "t_ED": 2.0}.items()]
    assert (one([*rows, *more]).low, one([*rows, *more]).high) == mean_interval([3.0, 6.0, 9.0, 1.0, 2.0])
    assert counted([found]) == "n counts groups, each the mean of its cases: 3 groups of 4 cases"
    assert counted(summarise(row._replace(group="") for row in rows)) == ""


def test_methods_and_metrics_stand_apart_in_their_order():
    order = [(method, metric) for method in "yx" for metric in ("HD95", "DSC")]
    rows = [row("a", "mean", 1.0, metric=metric)._replace(method=method) for method, metric in order]
    assert [(found.method, found.metric) for found in summarise(rows)] == order


def test_json_has_null_for_what_is_no_number():
    text = json.dumps(as_json(summarise([row("a", "all", INF), row("b", "all", NAN)])), allow_nan=False)
    (found,) = json.loads(text)
    assert found["mean"] is None
    assert found["pooled"] is None
    assert found["n"] == 1


def test_every_metric_has_a_direction():
    assert {name: direction(name) for name in ("DSC", "ECE", "gap")} == {"DSC": "↑", "ECE": "↓", "gap": "→0"}
    assert all(direction(name) for name in METRICS)
