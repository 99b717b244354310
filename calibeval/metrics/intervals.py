"""How sure a mean over cases is: the one way in which calibeval makes intervals, and its seeded draws of cases.

Cases, or the groups that they come in (patients), are the unit, never voxels: voxels of one image are not independent.

Values of cases are skewed and few, so that a percentile bootstrap is too narrow (88% instead of 95 for 8 normal values,
83% for 12 lognormal ones) and Student's interval lies on the wrong side (84%). Hall's transformation takes the skewness
out of Student's t ("On the removal of skewness by transformation", 10.1111/j.2517-6161.1992.tb01876.x): 95% and 92%. It
has a closed form, so it needs no seed and equal values give equal intervals. `python -m tests.benchmarks.coverage`
prints what it and its rivals cover. Where one case in ten fails altogether, nothing covers at few cases: the samples
without such a case know nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 5  # groups; from fewer, no interval of any kind was seen to cover
WIDE = 8  # groups, below which an interval is as wide as it is unsure
RESAMPLES = 2000
SEED = 20240917

Values = NDArray[np.float64]


def resample(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.intp]:
    """Indices (resamples, n) drawn from n cases with replacement."""
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n))


def group_means(values: ArrayLike, groups: Sequence[str] | None = None) -> Values:
    """Mean of each group, in the order of their first cases; every case is its own where no groups are given.

    Args:
        values: (n,), one per case; NaN values are left out.
        groups: (n,) names.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    if groups is None:
        return numbers[known]
    _, first, group = np.unique(np.asarray(groups)[known], return_index=True, return_inverse=True)
    means: Values = np.bincount(group, numbers[known]) / np.bincount(group)
    return means[np.argsort(first)]


def mean_interval(
    values: ArrayLike,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    limits: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Interval of the mean over cases, or of the mean over groups of the mean within each.

    With n groups, mean m, standard deviation s, skewness g (both without bias) and Student's t at (1 + level) / 2 the
    ends are m - s h(t) and m - s h(-t), h(t) = (3 / g) (cbrt(1 + g (t / sqrt(n) - g / (6 n))) - 1).

    Args:
        values: (n,), one per case, in the unit of the result; NaN values are left out.
        groups: (n,) to which case belongs whom, for example patients; None takes each case for its own.
        level: coverage.
        limits: smallest and largest possible value; no end lies beyond them.

    Returns:
        (low, high), both NaN for fewer than five groups or an infinite value. Where all groups have one value it says
        how many others may have gone unseen: the exact binomial bound, between finite `limits`; without them NaN.
    """
    means = group_means(values, groups)
    if means.size < LEAST or not np.isfinite(means).all():
        return math.nan, math.nan
    if np.ptp(means) == 0:
        return _unseen(float(means[0]), means.size, level, limits)
    tail = (1 - level) / 2
    low, high = (float(means.mean()) - _reach(means, share) for share in (1 - tail, tail))
    if limits is None:
        return low, high
    return max(low, limits[0]), min(high, limits[1])


def effective_number(sizes: Values) -> float:
    """How many groups of one size would tell as much as these: (sum s)^2 / sum s^2; 0 without a voxel."""
    squares = float((sizes**2).sum())
    return float(sizes.sum()) ** 2 / squares if squares else 0.0


def pooled_interval(
    value: float, without: Values, sizes: Values, level: float = 0.95, limits: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Interval of a ratio of sums over groups, by the jackknife: value -+ t sqrt((n - 1) / n sum (v_i - mean v)^2).

    A large group outweighs the others, so t is Student's with `effective_number` - 1 degrees of freedom: with sizes
    lognormal (sd 1) it covers 94 to 96% where n - 1 degrees cover 90% (n = 8).

    Args:
        value: of all groups together.
        without: (n,) the v_i, the value without each group.
        sizes: (n,) weight of each group.
        level: coverage.
        limits: smallest and largest possible value.

    Returns:
        (low, high), both NaN for fewer than five groups, for two of them in effect, an undefined value or no spread.
    """
    from scipy.special import stdtrit

    n, effective = without.size, effective_number(sizes)
    if n < LEAST or effective <= 2 or not np.isfinite([value, *without]).all() or np.ptp(without) == 0:
        return math.nan, math.nan
    deviation = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(effective - 1, (1 + level) / 2)) * deviation
    low, high = limits or (-math.inf, math.inf)
    return max(value - reach, low), min(value + reach, high)


def mean_upper_bound(values: ArrayLike, alpha: float, groups: Sequence[str] | None = None) -> float:
    """Upper end of the one-sided interval of a mean over cases, of which there are two at least.

    Args:
        values: (n,), one per case.
        alpha: level; the true mean lies above the bound with about this probability.
        groups: as in `mean_interval`.

    Returns:
        The bound; the value itself where all are equal.
    """
    means = group_means(values, groups)
    mean = float(means.mean())
    return mean - _reach(means, alpha) if np.ptp(means) > 0 else mean


def spread_and_skewness(values: Values) -> tuple[float, float]:
    """Standard deviation and skewness, both without bias, of values that are not all equal; of two, no skewness."""
    n, deviations = values.size, values - values.mean()
    spread = float(np.sqrt((deviations**2).sum() / (n - 1)))
    if not spread:  # squares of differences below 1e-154 are 0
        return 0.0, 0.0
    skewness = n / ((n - 1) * (n - 2)) * float(((deviations / spread) ** 3).sum()) if n > 2 else 0.0
    return spread, skewness


def hall(n: int, skewness: float, share: float) -> float:
    """The h(t) of `mean_interval`, t being Student's quantile of a share."""
    from scipy.special import stdtrit

    t = float(stdtrit(n - 1, share)) / math.sqrt(n)
    if abs(skewness) < 1e-6:  # the limit of h
        return t
    return 3 / skewness * (float(np.cbrt(1 + skewness * (t - skewness / (6 * n)))) - 1)


def _reach(values: Values, share: float) -> float:
    """S h(t) of `mean_interval`."""
    spread, skewness = spread_and_skewness(values)
    return spread * hall(values.size, skewness, share)


def _unseen(value: float, n: int, level: float, limits: tuple[float, float] | None) -> tuple[float, float]:
    """Ends of the mean when n equal values were seen: at most a share of others, as far off as may be, went unseen."""
    if limits is None or not all(map(math.isfinite, limits)):
        return math.nan, math.nan
    share = 1 - ((1 - level) / 2) ** (1 / n)
    low, high = (value + share * (limit - value) for limit in limits)
    return low, high
