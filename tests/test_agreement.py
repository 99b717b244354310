"""A model beside the raters, by hand."""

import math

import pytest

from calibeval.agreement import agreement
from calibeval.table import Row


def rows(values, rater="", metric="DSC"):
    return [Row("m", "d", f"c{i}", "mean", metric, value, rater=rater) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("metric", "model", "verdict"),
    [
        ("DSC", (0.7, 0.72, 0.71, 0.73, 0.7), "farther from them than they are from each other"),
        ("DSC", (0.9, 0.92, 0.91, 0.93, 0.9), "nearer to them than they are to each other"),
        ("DSC", (0.7, 0.92, 0.9, 0.73, 0.8), "within their spread"),
        ("HD95", (0.7, 0.72, 0.71, 0.73, 0.7), "nearer to them than they are to each other"),
    ],
)
def test_the_verdict_is_that_of_the_interval_of_the_difference(metric, model, verdict):
    found = agreement(rows(model, metric=metric), rows([0.8, 0.81, 0.82, 0.8, 0.79], "among", metric), metric)
    assert found is not None
    assert found.verdict == verdict
    assert (found.model, found.raters) == pytest.approx((sum(model) / 5, 0.804))


def test_cases_that_lack_one_number_do_not_count_and_few_have_no_verdict():
    among = rows([0.5, 0.7, math.nan], "among") + rows([0.1, 0.1, 0.1], "r1")
    found = agreement(rows([0.6, math.nan, 0.9]), among, "DSC")
    assert found is not None
    assert (found.n, found.model, found.raters, found.verdict) == (1, 0.6, 0.5, "")
    assert agreement(rows([0.6]), rows([0.6], "r1"), "DSC") is None
