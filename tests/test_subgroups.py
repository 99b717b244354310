"""Numbers by a column of the cases: each value's mean with joint intervals, and which is worse than the rest."""

from __future__ import annotations

import math

import pytest

from calibeval.metrics.intervals import mean_interval
from calibeval.subgroups import BLANK, sentences, summarise_by
from calibeval.table import Row

NEAR = (0.90, 0.91, 0.92, 0.93, 0.94, 0.95)
FAR = (0.50, 0.51, 0.52, 0.53, 0.54, 0.55)


def rows(values: dict[str, float], metric: str = "DSC") -> list[Row]:
    return [
        Row(case=case, class_name="mean", metric=metric, value=value, unit="", status="ok", method="m", dataset="")
        for case, value in values.items()
    ]


def cases(**by_value: tuple[float, ...]) -> tuple[dict[str, float], dict[str, str]]:
    values = {f"{name}{i}": v for name, each in by_value.items() for i, v in enumerate(each)}
    return values, {case: case.rstrip("0123456789") for case in values}


def test_each_value_has_its_mean_and_an_interval_that_holds_for_all_at_once():
    values, column = cases(GE=NEAR, Philips=FAR)
    found = summarise_by(rows(values), column)
    assert [(part.value, part.row.mean, part.row.n) for part in found] == [
        ("GE", pytest.approx(0.925), 6),
        ("Philips", pytest.approx(0.525), 6),
    ]
    assert (found[0].row.low, found[0].row.high) == mean_interval(NEAR, level=1 - 0.05 / 4, limits=(0, 1))
    assert found[0].rest is not None
    assert found[0].rest.mean == pytest.approx(0.525)


@pytest.mark.parametrize("metric", ["DSC", "ECE"])
def test_worse_is_in_the_metrics_direction(metric):
    values, column = cases(GE=NEAR, Philips=FAR)
    worse = [part.value for part in summarise_by(rows(values, metric), column) if part.is_worse]
    assert worse == [{"DSC": "Philips", "ECE": "GE"}[metric]]


def test_of_a_signed_metric_the_worse_is_farther_from_0():
    values, column = cases(a=tuple(-v for v in NEAR), b=FAR)
    assert [part.value for part in summarise_by(rows(values, "gap"), column) if part.is_worse] == ["a"]


def test_what_the_data_do_not_tell_apart_is_only_the_worst_seen():
    values, column = cases(a=NEAR, b=tuple(v - 0.001 for v in NEAR))
    found = summarise_by(rows(values), column)
    assert not any(part.is_worse for part in found)
    assert sentences(found) == ["worst, but not to be told from the rest: b (DSC)"]


def test_few_cases_have_no_interval_and_nothing_is_claimed():
    values, column = cases(a=NEAR, b=(0.1, 0.2, 0.3, 0.4))
    found = summarise_by(rows(values), column)
    assert math.isnan(found[1].row.low)
    assert sentences(found) == ["worst, but not to be told from the rest: b (DSC)"]


def test_pooled_rows_stay_out_and_an_empty_cell_is_named():
    values, column = cases(a=NEAR)
    found = summarise_by([*rows(values), *rows({"pooled": 0.5})], dict.fromkeys(column, ""))
    assert [(part.value, part.row.n, part.rest) for part in found] == [(BLANK, 6, None)]
    assert sentences(found) == []
