"""What several raters say together: their consensus.

Labels are uint8 class indices of any one shape, 255 is ignored. Ties and iterations are resolved in one order, so that
the order of the raters does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.statistics import IGNORED

Labels = NDArray[np.uint8]
_SURE = 0.99999  # sensitivity and specificity that the estimation starts from, as in ITK
_SAME = 1e-14  # change of a rater's performance below which it ends
_MOST = 10_000  # iterations


def majority(raters: Sequence[Labels]) -> Labels:
    """The label that most raters give; of labels with equal votes the lowest; 255 where all ignore a voxel."""
    most = np.zeros(raters[0].shape, np.uint8)
    label = np.full(raters[0].shape, IGNORED, np.uint8)
    for c in range(_classes(raters)):
        count = votes(raters, c)
        label[count > most] = c
        np.maximum(most, count, out=most)
    return label


def votes(raters: Sequence[Labels], c: int) -> Labels:
    """How many raters give a voxel this label."""
    count = np.zeros(raters[0].shape, np.uint8)
    for labels in raters:
        count += labels == c
    return count


def staple(raters: Sequence[Labels]) -> Labels:
    """The label that STAPLE holds for likeliest, class by class: above 1/2, else 0; 255 where all ignore a voxel.

    Estimates each rater's sensitivity and specificity and the true mask in turn (10.1109/TMI.2004.828354), with the
    mean share of the mask as its prior at every voxel, as ITK does. Voxels with equal votes are one: 2^R at most.
    """
    best = np.full(raters[0].shape, 0.5)
    label = np.zeros(raters[0].shape, np.uint8)
    for c in range(1, _classes(raters)):
        code = np.zeros(raters[0].shape, np.int64)
        for place, labels in enumerate(raters):
            code |= (labels == c).astype(np.int64) << place
        patterns, index, voxels = np.unique(code, return_inverse=True, return_counts=True)
        said = (patterns[:, None] >> np.arange(len(raters)) & 1).astype(bool)
        p = _likelihood(said, voxels)[index].reshape(code.shape)
        label[p > best] = c
        np.maximum(best, p, out=best)
    label[np.logical_and.reduce([labels == IGNORED for labels in raters])] = IGNORED
    return label


def _classes(raters: Sequence[Labels]) -> int:
    return 1 + max(int(labels.max(initial=0, where=labels != IGNORED)) for labels in raters)


def _likelihood(said: NDArray[np.bool_], voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of the mask for each pattern of votes.

    Args:
        said: (patterns, raters).
        voxels: (patterns,) with these votes.
    """
    prior = float((said.mean(axis=1) * voxels).sum() / voxels.sum())
    sensitivity = specificity = np.full(said.shape[1], _SURE)
    p = np.zeros(voxels.size)
    for _ in range(_MOST if 0 < prior < 1 else 0):
        inside = prior * np.where(said, sensitivity, 1 - sensitivity).prod(axis=1)
        outside = (1 - prior) * np.where(said, 1 - specificity, specificity).prod(axis=1)
        p = inside / (inside + outside)
        weight, rest = p * voxels, (1 - p) * voxels
        before = sensitivity, specificity
        sensitivity, specificity = weight @ said / weight.sum(), rest @ ~said / rest.sum()
        if max(np.abs(sensitivity - before[0]).max(), np.abs(specificity - before[1]).max()) < _SAME:
            break
    return p if prior < 1 else np.ones(voxels.size)


CONSENSUS_FUNCTIONS = {"majority": majority, "staple": staple}
