"""Numbers by subgroup of the cases, such as scanners or centres: which is worst, and whether that can be told.

With k values of the column, each subgroup and the rest of the cases get intervals of level 1 - .05 / (2 k), so that for
one metric all hold at once with 95% (Bonferroni; 10.2307/2282330). A subgroup is worse than the rest where the two
intervals do not meet. Over several metrics nothing is corrected.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from calibeval.escape import finite
from calibeval.metrics import METRICS, badness
from calibeval.summary import SummaryRow, summarise
from calibeval.table import Row

BLANK = "(blank)"
_SHARE = 0.05  # of wrong intervals, over all values together


class Subgroup(NamedTuple):
    """One metric of one method in the cases of one value of a column.

    Attributes:
        value: of the column; `(blank)` where a cell is empty.
        row: mean over these cases, with its interval.
        rest: mean over all other cases, with theirs; None where there is no other.
        is_worst: whether no other value has a worse mean.
        is_worse: whether the intervals of the two do not meet, and this one's is the worse.
    """

    value: str
    row: SummaryRow
    rest: SummaryRow | None
    is_worst: bool = False
    is_worse: bool = False


def summarise_by(rows: Sequence[Row], column: Mapping[str, str]) -> list[Subgroup]:
    """Summarise one method's rows by the values of a column.

    Args:
        rows: of a table; those of cases that the column does not name, as the pooled ones, are left out.
        column: case to value.

    Returns:
        One for each value, in the order of their names, and metric.
    """
    known = [row for row in rows if row.case in column]
    values = sorted({column[row.case] for row in known})
    found = [
        Subgroup(value or BLANK, *pair)
        for value in values
        for pair in _pairs(known, {case for case in column if column[case] == value}, 1 - _SHARE / (2 * len(values)))
    ]
    return [part._replace(is_worst=_is_worst(part, found), is_worse=_is_worse(part)) for part in found]


def _pairs(
    rows: Sequence[Row], inside: Collection[str], level: float
) -> Iterator[tuple[SummaryRow, SummaryRow | None]]:
    rest = {part.metric: part for part in summarise((row for row in rows if row.case not in inside), level=level)}
    for part in summarise((row for row in rows if row.case in inside), level=level):
        yield part, rest.get(part.metric)


def _is_worst(part: Subgroup, found: Iterable[Subgroup]) -> bool:
    better = METRICS[part.row.metric].better
    alike = [badness(other.row.mean, better) for other in found if other.row.metric == part.row.metric]
    own = badness(part.row.mean, better)
    return len(alike) > 1 and not math.isnan(own) and not any(other > own for other in alike)


def _is_worse(part: Subgroup) -> bool:
    if part.rest is None:
        return False
    return _bad_range(part.row)[0] > _bad_range(part.rest)[1]


def _bad_range(row: SummaryRow) -> tuple[float, float]:
    better = METRICS[row.metric].better
    ends = sorted((badness(row.low, better), badness(row.high, better)))
    holds_zero = better == "zero" and row.low < 0 < row.high
    return (0.0 if holds_zero else ends[0]), ends[1]


def sentences(found: Sequence[Subgroup]) -> list[str]:
    """Which values are worse than the rest, and which are only the worst that were seen."""
    told = _named(part for part in found if part.is_worse)
    seen = _named(part for part in found if part.is_worst and not part.is_worse)
    said = {"worse than the rest": told, "worst, but not to be told from the rest": seen}
    return [f"{what}: {which}" for what, which in said.items() if which]


def _named(parts: Iterable[Subgroup]) -> str:
    metrics: dict[str, list[str]] = {}
    for part in parts:
        metrics.setdefault(part.value, []).append(part.row.metric)
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in metrics.items())


def as_json(found: Iterable[Subgroup]) -> list[dict[str, Any]]:
    """Subgroups as JSON objects; what is undefined is null."""
    return [
        finite({**part._asdict(), "row": part.row._asdict(), "rest": part.rest and part.rest._asdict()})
        for part in found
    ]
