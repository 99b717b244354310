"""Which pairs of methods may be called better and worse: what tests find, held against the size of the differences.

A test of ranks finds differences of any size, and counts a case that was lost altogether as one lost rank. So a method
is called better only where the test favours it, some metric's mean is better by as much as matters, and none is worse
by as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics import METRICS, Better
from calibeval.ranking.scores import Array
from calibeval.ranking.stability import Effect

# By unit; two trainings of one model differ by as much. Metrics that calibeval does not know have none.
LEAST_DIFFERENCES = {"mm": 0.1, "voxel": 0.1, "mL": 0.1}
_OTHERWISE = 0.005
_ROUNDING = 1e-12

Pairs = NDArray[np.bool_]


class Claims(NamedTuple):
    """Pairs (k, k) by what may be said of the first method against the second; of each pair at most one.

    Attributes:
        better: it is better.
        mixed: the test favours it, but some metric's mean is worse by as much as matters.
        slight: the test favours it, but no metric's mean differs by as much as matters.
    """

    better: Pairs
    mixed: Pairs
    slight: Pairs


def least_differences(metrics: Sequence[str], given: Mapping[str, float]) -> dict[str, float]:
    """Smallest difference of means that matters, by metric: as given, else by the metric's unit."""
    known = {
        name: LEAST_DIFFERENCES.get(METRICS[name].unit, _OTHERWISE) if name in METRICS else 0.0 for name in metrics
    }
    return known | {name: value for name, value in given.items() if name in known}


def pair_claims(favoured: Pairs, gains: Array, least: Array) -> Claims:
    """Sort the pairs.

    Args:
        favoured: (k, k) pairs that the tests tell apart in favour of the first.
        gains: (m, k, k) by how much the first is better in each metric's mean; NaN where nothing tells.
        least: (m,) how much matters.
    """
    much = np.maximum(least, _ROUNDING)[:, None, None]
    with np.errstate(invalid="ignore"):
        helps, harms = (gains >= much).any(axis=0), (gains <= -much).any(axis=0)
    return Claims(favoured & helps & ~harms, favoured & harms, favoured & ~helps & ~harms)


def gains_of(effects: Sequence[Effect], better: Mapping[str, Better], methods: Sequence[str]) -> Array:
    """Paired differences as gains (m, k, k) of the first method over the second, in the order of `better`."""
    gains = np.full((len(better), len(methods), len(methods)), np.nan)
    place = {name: i for i, name in enumerate(methods)}
    row = {name: j for j, name in enumerate(better)}
    for effect in effects:
        gain = effect.difference if better[effect.metric] == "higher" else -effect.difference
        a, b = place[effect.a], place[effect.b]
        gains[row[effect.metric], a, b], gains[row[effect.metric], b, a] = gain, -gain
    return gains
