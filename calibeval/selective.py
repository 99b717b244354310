"""Whether confidence ranks cases by quality: what is left of the risk when the least sure cases are set aside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Selective(NamedTuple):
    """The area under the risk-coverage curve.

    Attributes:
        aurc: mean, over every number k of cases kept, of the mean risk of the k surest.
        excess: E-AURC, aurc less that of the best order.
        n: cases.
    """

    aurc: float
    excess: float
    n: int


def aurc(confidence: ArrayLike, risk: ArrayLike) -> Selective:
    """Area under the risk-coverage curve, and its excess over the best order.

    Args:
        confidence: (n,) of the cases; the least sure is dropped first, cases as sure as each other count with the
            mean of their risks.
        risk: (n,) such as 1 - DSC; cases where either is NaN are left out.

    Returns:
        NaN without a case. Source: arXiv:1805.08206.
    """
    sure, lost = np.asarray(confidence, float), np.asarray(risk, float)
    known = ~(np.isnan(sure) | np.isnan(lost))
    sure, lost = sure[known], lost[known]
    if not sure.size:
        return Selective(float("nan"), float("nan"), 0)
    _, tie = np.unique(-sure, return_inverse=True)
    means = np.bincount(tie, lost) / np.bincount(tie)
    found = _area(means[np.sort(tie)])
    return Selective(found, found - _area(np.sort(lost)), int(sure.size))


def _area(risks: NDArray[np.float64]) -> float:
    return float((np.cumsum(risks) / np.arange(1, risks.size + 1)).mean())
