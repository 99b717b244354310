"""Metrics of probabilities against several raters at once: CRPS of volumes, thresholded Dice, consensus of CURVAS.

A case's planes pass through `RatedSums` while they are read; what stays of each class is `Rated`. Share means the
share of raters who say a class at a voxel; voxels that any rater ignores count nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.raters import votes
from calibeval.metrics.registry import join
from calibeval.metrics.statistics import IGNORED, Labels
from calibeval.planes import Plane
from calibeval.protocol import Protocol


class Rated(NamedTuple):
    """Sums over the voxels of one class; R raters, T levels.

    Attributes:
        volume: sum of p, in voxels.
        volumes: (R,) voxels of each rater.
        inside: voxels where all raters say the class, the sum of p there, and how many of them were predicted.
        outside: the same where none does.
        levels: (3, T) voxels with p above a level, with a share above it, with both.
        voxel_ml: of a voxel; NaN where unknown.
    """

    volume: float
    volumes: NDArray[np.float64]
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    levels: NDArray[np.float64]
    voxel_ml: float = math.nan


class RatedSums:
    """Takes planes in any order; each chunk counts once, however often it is read.

    Args:
        raters: labels of each.
        levels: of the thresholded Dice.
    """

    def __init__(self, raters: Sequence[Labels], levels: Sequence[float]) -> None:
        self._raters = [labels.ravel() for labels in raters]
        self._levels = levels
        self._parts: dict[tuple[int, int], NDArray[np.float64]] = {}

    def add(self, values: Plane, c: int, start: int) -> Plane:
        """Look at the values of a class at the voxels start, start + 1, ...; gives them back."""
        if c > 0:
            raters = [labels[start : start + values.size] for labels in self._raters]
            keep = np.logical_and.reduce([labels != IGNORED for labels in raters])
            count, p = votes(raters, c)[keep], values[keep]
            share = count / len(raters)
            inside, outside = count == len(raters), count == 0
            sums = [p.sum(dtype=np.float64), inside.sum(), outside.sum()]
            sums += [p.sum(dtype=np.float64, where=where) for where in (inside, outside)]
            for level in self._levels:
                predicted, drawn = p > np.float32(level), share > level
                sums += [predicted.sum(), drawn.sum(), (predicted & drawn).sum()]
            self._parts[c, start] = np.array(sums, np.float64)
        return values

    def finish(self, c: int, predicted: Labels, voxel_ml: float) -> Rated:
        """The sums of a class, with the predicted label map and the volume of a voxel."""
        sums = sum(
            (self._parts[key] for key in sorted(self._parts) if key[0] == c), np.zeros(5 + 3 * len(self._levels))
        )
        volume, n_inside, n_outside, p_inside, p_outside = sums[:5]
        count = votes(self._raters, c)
        keep = np.logical_and.reduce([labels != IGNORED for labels in self._raters])
        hit = (predicted.ravel() == c) & keep
        return Rated(
            float(volume),
            np.array([((labels == c) & keep).sum() for labels in self._raters], np.float64),
            np.array([n_inside, p_inside, (hit & (count == len(self._raters))).sum()]),
            np.array([n_outside, p_outside, (hit & (count == 0)).sum()]),
            sums[5:].reshape(-1, 3).T,
            voxel_ml,
        )


def crps(volume: float, volumes: NDArray[np.float64], limit: float = math.inf) -> float:
    """Continuous ranked probability score of a volume V against the normal law of the raters' volumes.

    The integral over mu +- limit sigma of (Phi((v - mu) / sigma) - [v >= V])^2 dv; over all v it is
    sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (V - mu) / sigma. |V - mu| where sigma is 0.

    Args:
        volume: V; the unit is that of the result.
        volumes: (R,) of the raters; mu is their mean, sigma their standard deviation (ddof 0).
        limit: in sigma.
    """
    mu, sigma = float(volumes.mean()), float(volumes.std())
    if sigma == 0:
        return abs(volume - mu)
    z = (volume - mu) / sigma
    if math.isinf(limit):
        return sigma * (_integral(z) + _integral(-z))
    z = min(max(z, -limit), limit)
    return sigma * (_integral(z) + _integral(-z) - 2 * _integral(-limit))


def _integral(z: float) -> float:
    """Of Phi^2 up to z."""
    below, density = math.erfc(-z / math.sqrt(2)) / 2, math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return z * below**2 + 2 * below * density - math.erfc(-z) / (2 * math.sqrt(math.pi))


def thresholded_dsc(levels: NDArray[np.float64]) -> float:
    """Mean over levels t of the Dice of p > t and share > t, 1 where both are empty; counts as in `Rated.levels`."""
    predicted, drawn, both = levels
    total = predicted + drawn
    return float(np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0).mean())


def consensus_dsc(rated: Rated) -> float:
    """Dice of the argmax with the voxels of all raters, where they agree; NaN where both are empty."""
    wanted, _, hit = rated.inside
    total = wanted + hit + rated.outside[2]
    return float(2 * hit / total) if total else math.nan


def consensus_confidence(rated: Rated) -> float:
    """(mean p where all raters say the class + 1 - mean p where none does) / 2; NaN without such voxels."""
    (n, p, _), (m, q, _) = rated.inside, rated.outside
    return float((p / n + 1 - q / m) / 2) if n and m else math.nan


def _volume_crps(rated: Rated, protocol: Protocol) -> float:
    found = crps(rated.volume, rated.volumes, protocol.crps_limit)
    return found * rated.voxel_ml


RATED_FUNCTIONS: dict[str, Callable[[Rated, Protocol], float]] = join(
    "raters",
    {
        "CRPS": _volume_crps,
        "tDSC": lambda rated, _protocol: thresholded_dsc(rated.levels),
        "cDSC": lambda rated, _protocol: consensus_dsc(rated),
        "cConf": lambda rated, _protocol: consensus_confidence(rated),
    },
)
