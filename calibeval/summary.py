"""What a reader wants first: each method's mean of each metric over the cases, with an interval and the counts.

A mean and its interval (`metrics.intervals`) are over the cases whose value is defined; where cases come in groups, as
images of one patient, over the groups, each of which weighs the same: the mean of the means within them. Beside it
stand how many cases had an empty mask, no prediction or a failure, and how many values the mean leaves out: where the
mean over classes leaves out a class, the case still has a mean, so cases alone would not tell. Pooled numbers are named
`pooled` and never mixed with means.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from calibeval.escape import finite
from calibeval.metrics import METRICS
from calibeval.metrics.intervals import group_means, mean_interval
from calibeval.table import ALL, MEAN, POOLED, Row


class SummaryRow(NamedTuple):
    """One metric of one method and class over the cases.

    Attributes:
        method: name.
        metric: key of `METRICS`.
        class_name: a class, `mean` or `all`.
        unit: of the values.
        mean: over the `n` cases with a value, or over the groups of the mean within each; NaN without any.
        low: end of the 95% interval of the mean; NaN for fewer than five cases or groups.
        high: other end.
        n: cases with a value, or groups with some.
        n_cases: cases with a value.
        statuses: cases by status, `ok` included; of a `mean` over classes, a case counts for each status of a class.
        left_out: values that are undefined: of the cases, or of the cases' classes where this is their `mean`.
        pooled: the number over the pooled data set; NaN where there is none.
    """

    method: str
    metric: str
    class_name: str
    unit: str
    mean: float
    low: float
    high: float
    n: int
    n_cases: int
    statuses: dict[str, int]
    left_out: int
    pooled: float


def summarise(rows: Iterable[Row], *, by_class: bool = False, level: float = 0.95) -> list[SummaryRow]:
    """Summarise rows by method and metric.

    Args:
        rows: of a table.
        by_class: also for each class, not only `mean` and `all`.
        level: of the intervals.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.metric, row.class_name), []).append(row)
        if row.class_name not in (MEAN, ALL):
            parts.setdefault((row.method, row.metric), []).append(row)
    return [
        _summarise_group(key, group, parts.get(key[:2], []), level)
        for key, group in groups.items()
        if by_class or key[2] in (MEAN, ALL)
    ]


def _summarise_group(key: tuple[str, str, str], rows: list[Row], by_class: list[Row], level: float) -> SummaryRow:
    method, metric, class_name = key
    cases = [row for row in rows if row.case != POOLED]
    pooled = next((row.value for row in rows if row.case == POOLED), math.nan)
    values, groups = [row.value for row in cases], groups_of(cases)
    means = group_means(values, groups)
    low, high = mean_interval(values, groups, level, limits=(METRICS[metric].low, METRICS[metric].high))
    told = [row for row in by_class if row.case != POOLED] if class_name == MEAN else []
    told = told or cases
    return SummaryRow(
        method,
        metric,
        class_name,
        rows[0].unit,
        float(means.mean()) if means.size else math.nan,
        low,
        high,
        means.size,
        sum(not math.isnan(value) for value in values),
        dict(Counter(status for _, status in sorted({(row.case, row.status) for row in told}))),
        sum(math.isnan(row.value) for row in told),
        pooled,
    )


def groups_of(rows: Iterable[Row]) -> list[str] | None:
    """Each row's group, where some row has one; a row without one stands for itself."""
    rows = list(rows)
    return [row.group or row.case for row in rows] if any(row.group for row in rows) else None


def counted(rows: Iterable[SummaryRow]) -> str:
    """What `n` counts where it is groups, for a line below the summary; empty where it is cases."""
    most = max(rows, key=lambda row: row.n_cases - row.n, default=None)
    if most is None or most.n == most.n_cases:
        return ""
    return f"n counts groups, each the mean of its cases: {most.n} groups of {most.n_cases} cases"


def as_json(rows: Iterable[SummaryRow]) -> list[dict[str, Any]]:
    """Summary rows as JSON objects; what is undefined is null, never NaN."""
    return [finite(row._asdict()) for row in rows]


def direction(metric: str) -> str:
    """An arrow that says which way is better."""
    return {"higher": "↑", "lower": "↓", "zero": "→0"}[METRICS[metric].better]
