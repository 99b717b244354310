"""Is a model within the spread of the raters? Its agreement with them beside theirs with each other.

Both are means over pairs: the model with each rater, and each rater with every other. So a model that draws as one more
rater would gets the same number as they, whatever that is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from calibeval.metrics import METRICS
from calibeval.metrics.intervals import mean_interval
from calibeval.metrics.registry import badness
from calibeval.summary import groups_of
from calibeval.table import AMONG, MEAN, POOLED, Row


class Agreement(NamedTuple):
    """One metric of masks over the cases that have both numbers.

    Attributes:
        metric: key of `METRICS`.
        model: mean of the model against the raters.
        raters: mean of the raters among themselves.
        low: end of the 95% interval of how much worse the model's is; NaN for fewer than five cases or groups.
        high: other end.
        n: cases.
    """

    metric: str
    model: float
    raters: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> str:
        """In words; empty where there is no interval."""
        if math.isnan(self.low):
            return ""
        if self.low > 0:
            return "farther from them than they are from each other"
        return "nearer to them than they are to each other" if self.high < 0 else "within their spread"


def agreement(rows: Iterable[Row], raters: Iterable[Row], metric: str) -> Agreement | None:
    """Compare the means over classes of a metric of masks; None where no case has both.

    Args:
        rows: of one method, means over raters.
        raters: its further rows.
        metric: name.
    """
    theirs = {row.case: row.value for row in raters if row.rater == AMONG and _stands(row, metric)}
    both = [row for row in rows if _stands(row, metric) and not math.isnan(theirs.get(row.case, math.nan))]
    if not both:
        return None
    model, among = np.array([row.value for row in both]), np.array([theirs[row.case] for row in both])
    better = METRICS[metric].better
    low, high = mean_interval(badness(model, better) - badness(among, better), groups_of(both))
    return Agreement(metric, float(model.mean()), float(among.mean()), low, high, len(both))


def _stands(row: Row, metric: str) -> bool:
    wanted = row.metric == metric and row.class_name == MEAN and row.case != POOLED
    return wanted and not math.isnan(row.value)
