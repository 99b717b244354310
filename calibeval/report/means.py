"""The tables of means: a row a method, the best in bold only where the data bear it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from calibeval.metrics import METRICS
from calibeval.ranking.result import Ranking
from calibeval.report.collect import Entry
from calibeval.report.page import Cell, Column, MeansTable, Method, MethodRow
from calibeval.summary import SummaryRow, direction
from calibeval.table import STATUSES
from calibeval.wording import number

ACROSS = 8  # metrics side by side, for which A4 has room
Means = Mapping[str, SummaryRow]  # by metric


def column_of(metric: str, unit: str) -> Column:
    """The head of a metric's column."""
    known = METRICS[metric]
    return Column(metric, direction(metric), unit, known.long_name, known.better != "higher")


def means_tables(
    entries: Sequence[Entry], means: Sequence[Means], methods: Sequence[Method], ranking: Ranking | None
) -> tuple[MeansTable, ...]:
    """Tables of all metrics, as many side by side as there is room for.

    Args:
        entries: the methods.
        means: of each.
        methods: how each is shown.
        ranking: of the same methods; without one nothing is called best.
    """
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    best = {name: _best(name, ranking) for name in metrics}
    about = [(f"{len(entry.groups)}", _problems(entry)) for entry in entries]
    parts = [metrics[start : start + ACROSS] for start in range(0, len(metrics), ACROSS)]
    return tuple(
        MeansTable(
            tuple(column_of(name, next(rows[name].unit for rows in means if name in rows)) for name in part),
            tuple(
                MethodRow(method, tuple(_cell(rows.get(name), best[name] == method.name) for name in part), *said)
                for method, rows, said in zip(methods, means, about, strict=True)
            ),
        )
        for part in parts
    )


def _cell(row: SummaryRow | None, best: bool) -> Cell:
    if row is None or math.isnan(row.mean):
        return Cell("", "", "", best=False)
    interval = "" if math.isnan(row.low) else f"{number(row.low)} to {number(row.high)}"
    return Cell(number(row.mean), interval, f"n {row.n}" if row.n < sum(row.statuses.values()) else "", best)


def _problems(entry: Entry) -> str:
    """Cases that are not ok, by status."""
    cases: dict[str, set[str]] = {}
    for row in entry.rows:
        cases.setdefault(row.status, set()).add(row.case)
    return ", ".join(f"{len(cases[name])} {name.replace('_', ' ')}" for name in STATUSES[1:] if name in cases)


def _best(metric: str, ranking: Ranking | None) -> str:
    """The method with the best mean, if the metric's test finds a difference and no interval to another holds 0."""
    if ranking is None or metric not in ranking.metric_friedman:
        return ""
    if not ranking.metric_friedman[metric].cluster_permutation.p < ranking.settings.alpha:
        return ""
    sign = -1 if ranking.better[metric] == "higher" else 1
    won: dict[str, int] = dict.fromkeys(ranking.methods, 0)
    for effect in ranking.effects:
        if effect.metric == metric and (effect.high < 0 or effect.low > 0):
            won[effect.a if sign * effect.difference < 0 else effect.b] += 1
    return next((name for name, count in won.items() if count == len(won) - 1), "")
