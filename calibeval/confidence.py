"""Whether a model keeps its word, in words: what it says, how often it is right, and how sure that is.

Both are over the voxels of `gap`, which the prediction selects: a calibrated model is right as often as it says. Cases
(or groups of them) are averaged, never voxels, and no direction is named where the interval of the gap holds 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from calibeval.metrics.intervals import group_means
from calibeval.metrics.statistics import Histogram, Statistics
from calibeval.summary import SummaryRow, summarise
from calibeval.table import ALL, POOLED, Row
from calibeval.wording import some_of

METRIC = "gap"
OVER, UNDER, KEPT, UNTOLD = "over-confident", "under-confident", "keeps its word", "cannot be told"
_KEPT = 0.05  # how far the interval may reach where a word is called kept
_NAMED = 2  # worst cases
_MOSTLY = 2 / 3  # of the gap
AT_BOUNDARY, AWAY = "at the boundary", "away from the boundary"


class Confidence(NamedTuple):
    """What can be said of one method.

    Attributes:
        verdict: `over-confident`, `under-confident`, `keeps its word` or `cannot be told`.
        says: mean probability of the most probable class; NaN without a voxel.
        right: share of these voxels whose class is the reference's.
        low: end of the 95% interval of says - right; NaN for fewer than five cases.
        high: other end.
        n: cases, or groups of them.
        most: class whose own gap is largest in the verdict's direction; empty without a direction, or a choice.
        worst: cases with the largest gap in that direction, worst first.
        where: `at the boundary` or `away from the boundary` of the reference, where two thirds of the gap lie; empty
            without a direction, without that band, or where it lies on both sides.
    """

    verdict: str
    says: float
    right: float
    low: float
    high: float
    n: int
    most: str = ""
    worst: tuple[str, ...] = ()
    where: str = ""

    def __str__(self) -> str:
        """The sentence."""
        told = f"says {self.says:.1%}, is right in {self.right:.1%}"
        if math.isnan(self.low):
            return f"{self.verdict} (n = {self.n}): {told}"
        text = f"{self.verdict}: {told}; the gap is {100 * self.low:.1f} to {self.high:.1%}"
        most = ", ".join([f"in {self.most}"] * bool(self.most) + [self.where] * bool(self.where))
        worst = [f"worst {some_of(self.worst)}"] * bool(self.worst)
        return "; ".join([text, *[f"most {most}"] * bool(most), *worst])


def find_confidence(
    rows: Sequence[Row], bins: Mapping[str, Mapping[str, Statistics]], background: str = ""
) -> Confidence | None:
    """What can be said of one method; None without the metric `gap` or without probabilities.

    Args:
        rows: of its table.
        bins: case to problem to statistics.
        background: the class that `most` never names.
    """
    of_gap = [row for row in rows if row.metric == METRIC]
    by_class = {row.class_name: row for row in summarise(of_gap, by_class=True)}
    pairs = {case: _says_and_right(parts.values()) for case, parts in bins.items()}
    pairs = {case: pair for case, pair in pairs.items() if not math.isnan(pair[0])}
    if ALL not in by_class or not pairs:
        return None
    group_of = {row.case: row.group or row.case for row in of_gap}
    groups = [group_of.get(case, case) for case in pairs]
    says, right = (float(group_means(values, groups).mean()) for values in zip(*pairs.values(), strict=True))
    overall = by_class.pop(ALL)
    found = Confidence(verdict_of(overall.low, overall.high), says, right, overall.low, overall.high, overall.n)
    sign = {OVER: 1, UNDER: -1}.get(found.verdict, 0)
    if not sign:
        return found
    by_class.pop(background, None)
    return found._replace(most=_most(by_class, sign), worst=_worst(of_gap, sign), where=_where(bins))


def case_confidence(parts: Iterable[Statistics]) -> float:
    """Mean probability of the most probable class of a case, over the voxels of `gap`; NaN without a voxel."""
    return _says_and_right(parts)[0]


def _where(bins: Mapping[str, Mapping[str, Statistics]]) -> str:
    """On which side of the band's edge two thirds of the gap lie, by the voxels of all cases."""
    parts = [part for case in bins.values() for part in case.values()]
    if not any(part.boundary.count.any() for part in parts):
        return ""
    near, all_ = (
        sum(float(each.total.sum() - each.count[1].sum()) for each in found)
        for found in ([part.boundary for part in parts], [part.selected for part in parts])
    )
    share = near / all_ if all_ else math.nan
    return AT_BOUNDARY if share >= _MOSTLY else AWAY if share <= 1 - _MOSTLY else ""


def _says_and_right(parts: Iterable[Statistics]) -> tuple[float, float]:
    """Mean probability and share that is right, in the mean over regions; NaN where no voxel was selected."""
    known = [_means(part.selected) for part in parts if part.selected.count.any()]
    if not known:
        return math.nan, math.nan
    says, right = np.mean(known, axis=0)
    return float(says), float(right)


def _means(histogram: Histogram) -> tuple[float, float]:
    voxels = histogram.count.sum()
    return histogram.total.sum() / voxels, histogram.count[1].sum() / voxels


def verdict_of(low: float, high: float) -> str:
    """The word for an interval of says - right; both ends NaN where there is none."""
    if low > 0:
        return OVER
    if high < 0:
        return UNDER
    return KEPT if max(-low, high) <= _KEPT else UNTOLD


def _most(by_class: Mapping[str, SummaryRow], sign: int) -> str:
    gaps = {name: sign * row.mean for name, row in by_class.items() if sign * row.mean > 0}
    return max(gaps, key=gaps.__getitem__) if len(by_class) > 1 and gaps else ""


def _worst(rows: Iterable[Row], sign: int) -> tuple[str, ...]:
    gaps = {row.case: sign * row.value for row in rows if row.class_name == ALL and row.case != POOLED}
    gaps = {case: gap for case, gap in gaps.items() if gap > 0}
    return tuple(sorted(gaps, key=gaps.__getitem__, reverse=True)[:_NAMED])
