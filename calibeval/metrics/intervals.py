"""Percentile bootstrap over cases: the one way in which calibeval makes intervals.

Cases are the unit, never voxels: voxels of one image are not independent. Source: Efron and Tibshirani,
"An Introduction to the Bootstrap" (1993), chapter 13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 20240917


def resample(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.intp]:
    """Indices (resamples, n) drawn from n cases with replacement."""
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n))


def mean_interval(
    values: NDArray[np.float64], level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Interval of the mean over cases.

    Args:
        values: (n,), one per case, in the unit of the result; NaN values are left out.
        level: coverage, for example .95.
        resamples: number of bootstrap samples.
        seed: of the random generator; equal seeds give equal intervals.

    Returns:
        (low, high). With no value both are NaN; with one, both are NaN too: one case says nothing of the others.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size < 2:
        return float("nan"), float("nan")
    means = values[resample(values.size, resamples, seed)].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
