"""The calibration error of a data set without the bias of few cases: `dCE`.

A calibrated model of a small structure has a binned calibration error above 0 by chance alone (.035 for lesions of 65
voxels). Taking the noise of voxels away, as arXiv:1909.10155 does, does not help, since voxels of one image are not
independent. Here it is the noise of cases, or of groups of cases, that is taken away. With d_ib the sum of p - y over
the n_ib voxels of group i in bin b, N_b = sum_i n_ib and N all voxels,

    CE2 = (1/N) sum_b w_b [(sum_i d_ib)^2 - sum_i d_ib^2] / N_b,    w_b = N_b^2 / (N_b^2 - sum_i n_ib^2),

    dCE = sign(CE2) sqrt |CE2|.

It is exact for a constant gap whatever the sizes of the groups, and on average 0 for a calibrated model, so that it is
below 0 as often as above. It is a root of squares: never to be put beside an ECE, which is a mean of absolute values.
Bins are those of top labels over voxels with 1 - p_0 > .001, which the prediction selects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.calibration import selected_bins
from calibeval.metrics.statistics import Statistics
from calibeval.protocol import Protocol

Float = NDArray[np.float64]


def debiased_error(
    cases: Mapping[str, Mapping[str, Statistics]], protocol: Protocol, groups: Mapping[str, str] | None = None
) -> float:
    """Give dCE of a data set.

    Args:
        cases: case to problem (`""`, or a region's name) to statistics, as in `calibeval.bins.BinTable.cases`.
        protocol: that the cases were scored under; the number of its ECE bins is used.
        groups: case to the group it belongs to, for example its patient; None takes each case for its own.

    Returns:
        dCE; of regions, the mean over them. NaN where no bin holds voxels of two groups.
    """
    names = [groups[name] if groups else name for name in cases]
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    problems = dict.fromkeys(problem for case in cases.values() for problem in case)
    values = []
    for problem in problems:
        gaps, counts = (np.zeros((len(index), protocol.ece_bins)) for _ in range(2))
        for name, case in zip(names, cases.values(), strict=True):
            if problem in case:
                bins = selected_bins(case[problem], protocol)
                gaps[index[name]] += bins.p_sum - bins.positive
                counts[index[name]] += bins.n
        values.append(debiased_gap(gaps, counts))
    return float(np.mean(values)) if values else math.nan


def debiased_gap(gaps: Float, counts: Float) -> float:
    """Give dCE of sums of p - y and of voxels, both (groups, bins); see the module's text."""
    sizes = counts.sum(axis=0)
    apart = sizes**2 - (counts**2).sum(axis=0)
    shared = apart > 0  # a bin of one group alone tells nothing of its noise
    if not shared.any():
        return math.nan
    products = gaps.sum(axis=0) ** 2 - (gaps**2).sum(axis=0)
    squared = float((sizes[shared] / apart[shared] * products[shared]).sum() / sizes.sum())
    return math.copysign(math.sqrt(abs(squared)), squared)
