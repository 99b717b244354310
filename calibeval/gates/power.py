"""The power of a comparison with a baseline: how often a model that has not changed would pass it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from calibeval.metrics.intervals import group_means, hall, spread_and_skewness

ENOUGH = 0.8  # power below which the number of cases that would give it is told
_CERTAIN = 30.0  # noncentrality that every bound is passed with; from 37 on SciPy gives NaN
_MOST = 100_000  # cases; more are not counted


def power(
    values: ArrayLike, margin: float, alpha: float, most: float = math.inf, groups: Sequence[str] | None = None
) -> tuple[float, int]:
    """Chance that the upper bound of a mean of 0 lies within a margin, the spread and skewness being those of values.

    With n cases (or groups), standard deviation s and skewness g, the bound lies s |h| above the mean (h as in
    `intervals.mean_interval`), so that the chance is P(T >= sqrt(n) |h|) of a noncentral t with n - 1 degrees of
    freedom and noncentrality sqrt(n) margin / s. In the mean over samples that is close to the true chance for normal
    and skewed values alike (`python -m tests.benchmarks.gates tables`).

    Args:
        values: (n,), worsening of each case.
        margin: that the bound is compared with.
        alpha: level of the bound.
        most: what no mean can exceed, nor can its bound.
        groups: as in `mean_interval`.

    Returns:
        (chance, cases): how many cases, or groups, give a chance of 80%: n where n do, 0 where no number up to 100,000
        does. (1, n) where nothing varies or the margin allows everything.
    """
    means = group_means(values, groups)
    if np.ptp(means) == 0 or margin >= most:
        return 1.0, means.size
    spread, skewness = spread_and_skewness(means)

    def chance(n: int) -> float:
        from scipy.special import nctdtr

        root = math.sqrt(n)
        return 1 - float(nctdtr(n - 1, min(root * margin / spread, _CERTAIN), -root * hall(n, skewness, alpha)))

    return chance(means.size), _fewest(chance, means.size)


def show_power(chance: float, needed: int, units: str = "cases") -> str:
    """What `power` gives, in words; `units` are what was counted."""
    text = f"power {math.floor(100 * chance + 1e-9)}%"
    if chance >= ENOUGH:
        return text
    return f"{text} ({ENOUGH:.0%} takes {needed or f'more than {_MOST}'} {units})"


def _fewest(chance: Callable[[int], float], n: int) -> int:
    """Smallest number from n on with enough power; 0 for none."""
    if chance(n) >= ENOUGH:
        return n
    low, high = n, 2 * n
    while high <= _MOST and chance(high) < ENOUGH:
        low, high = high, 2 * high
    if high > _MOST:
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= ENOUGH else (middle, high)
    return high
