"""Conformal sets: for each class a large mask that misses little and a small one that is seldom wrong, with a promise.

The outer mask holds the voxels with p_c above a threshold so low that on new cases, on average, at most a share alpha
of the class is missed (false negative rate); the inner mask those above one so high that at most a share alpha of it is
not of the class (false discovery rate). The threshold is the loosest whose risk on n calibration groups, corrected for
their number, holds: n/(n+1) R + 1/(n+1) <= alpha (conformal risk control, arXiv:2208.02814). The false discovery rate
does not fall steadily as thresholds rise, so its largest value at or above a threshold is controlled. A group without
the class has lost nothing. The promise is one on average over calibration and new cases that are drawn alike, not for
each case; outer masks of classes overlap, so every class has files of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.calibrate.sampling import read_probabilities
from calibeval.errors import UsageError
from calibeval.io.cases import Case
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import CHUNK, PlaneSource
from calibeval.scoring.problems import WHOLE

STEPS = 1000  # thresholds are k / STEPS

Array = NDArray[np.float64]


class Counts(NamedTuple):
    """Voxels of a class in one case by the step of their probability: step k holds (k - 1) / STEPS < p <= k / STEPS.

    Attributes:
        inside: (STEPS + 1,) voxels of the class.
        all: (STEPS + 1,) all voxels.
    """

    inside: NDArray[np.int64]
    all: NDArray[np.int64]


def steps_of(p: NDArray[np.floating]) -> NDArray[np.intp]:
    """Step of each probability; p is above the threshold k / STEPS where its step is above k."""
    return np.asarray(np.clip(np.ceil(p * STEPS), 0, STEPS), dtype=np.intp)


def count_steps(source: PlaneSource, c: int, reference: NDArray[np.bool_], known: NDArray[np.bool_]) -> Counts:
    """Count the voxels of one plane by step.

    Args:
        source: planes, readable at random.
        c: the plane.
        reference: (N,) whether a voxel is of the class.
        known: (N,) whether it counts.
    """
    inside, every = np.zeros(STEPS + 1, np.int64), np.zeros(STEPS + 1, np.int64)
    for start in range(0, source.voxels, CHUNK):
        part = slice(start, start + CHUNK)
        steps = steps_of(source.read(c, start))  # type: ignore[misc]
        inside += np.bincount(steps[reference[part] & known[part]], minlength=STEPS + 1)
        every += np.bincount(steps[known[part]], minlength=STEPS + 1)
    return Counts(inside, every)


def miss_rates(counts: Counts) -> Array:
    """Share (STEPS,) of the class that is not above the threshold k / STEPS; 0 where there is none of it."""
    total = counts.inside.sum()
    return counts.inside.cumsum()[:-1] / total if total else np.zeros(STEPS)


def false_rates(counts: Counts) -> Array:
    """Largest share (STEPS,) of wrong voxels above any threshold from k / STEPS on; 0 where none is above it."""
    above = counts.all[::-1].cumsum()[::-1][1:]
    right = counts.inside[::-1].cumsum()[::-1][1:]
    rates = np.where(above > 0, 1 - right / np.maximum(above, 1), 0.0)
    return np.maximum.accumulate(rates[::-1])[::-1]


def outer_threshold(losses: Array, alpha: float) -> float:
    """Largest threshold whose miss rate is controlled.

    Args:
        losses: (n, STEPS) of each group, rising with the threshold.
        alpha: largest risk on new cases.

    Raises:
        UsageError: no threshold holds it, since the class has voxels with p = 0.
    """
    held = np.flatnonzero(_bound(losses) <= alpha)
    if not len(held):
        raise UsageError(
            f"A false negative rate of {alpha:g} cannot be held: on average {losses[:, 0].mean():.1%} of the class has "
            "the probability 0 exactly. Save the maps with more precision."
        )
    return float(held[-1] / STEPS)


def inner_threshold(losses: Array, alpha: float) -> float:
    """Smallest threshold whose false discovery rate is controlled; 1, an empty mask, where none is."""
    held = np.flatnonzero(_bound(losses) <= alpha)
    return float(held[0] / STEPS) if len(held) else 1.0


def check_groups(n: int, alpha: float) -> None:
    """Refuse a promise that so few groups cannot carry.

    Raises:
        UsageError: fewer than 1 / alpha - 1, or an alpha that is no share.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"--alpha {alpha:g}: expected a share between 0 and 1, as in 0.1.")
    needed = math.ceil(1 / alpha - 1 - 1e-9)
    if n < needed:
        raise UsageError(f"A risk of {alpha:g} takes {needed} groups at least, and there are {n}.")


def group_losses(losses: Mapping[str, Array], groups: Mapping[str, str]) -> Array:
    """Mean loss (groups, STEPS) over the cases of each group."""
    names = sorted({groups[case] for case in losses})
    by_group: dict[str, list[Array]] = {name: [] for name in names}
    for case, loss in losses.items():
        by_group[groups[case]].append(loss)
    return np.stack([np.mean(by_group[name], axis=0) for name in names])


def _bound(losses: Array) -> Array:
    n = len(losses)
    return np.asarray((losses.sum(axis=0) + 1) / (n + 1))


def thresholds(
    counts: Mapping[str, Sequence[Counts]], groups: Mapping[str, str], names: Sequence[str], alpha: float
) -> dict[str, dict[str, float]]:
    """Outer and inner threshold of each class.

    Args:
        counts: case id to the counts of each class, in the order of the names.
        groups: to whom each case belongs.
        names: of the classes.
        alpha: largest risk on new cases.

    Raises:
        UsageError: too few groups.
    """
    check_groups(len({groups[case] for case in counts}), alpha)
    found = {}
    for c, name in enumerate(names):
        missed = group_losses({case: miss_rates(of[c]) for case, of in counts.items()}, groups)
        wrong = group_losses({case: false_rates(of[c]) for case, of in counts.items()}, groups)
        found[name] = {"outer": outer_threshold(missed, alpha), "inner": inner_threshold(wrong, alpha)}
    return found


def count_case(case: Case) -> tuple[tuple[str, ...], list[Counts]]:
    """Names and counts of a case's foreground classes, or of its regions, after the checks that `score` makes.

    Raises:
        InputError: the case holds no probabilities, or what `score` refuses.
    """
    source, readout = read_probabilities(case)
    masks = readout.masks
    if case.sigmoid:
        names = tuple(masks)
        planes = [(c, masks[name][0].ravel(), 1) for c, name in enumerate(names)]
    else:
        names = case.scheme.names[1:]
        planes = [(c, masks[WHOLE][0].ravel(), c) for c in range(1, source.classes)]
    return names, [count_steps(source, c, labels == label, labels != IGNORED) for c, labels, label in planes]
