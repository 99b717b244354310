"""A test of calibration: whether a model's errors of probability are more than the noise of so few cases.

Voxels of one image are not independent, so bands for bins of voxels raise false alarms in two of three calibrated
models. Here whole groups of cases (patients) are the unit. d_ib is the sum of p - y over the voxels of group i in bin b
of a class, over the voxels of CECE. Were the model calibrated, d_ib would lie on either side of 0 alike, so the signs
s_i of whole groups are flipped, together over all bins and classes:

    T(s) = sum_b |sum_i s_i d_ib| / N,        p = share of flips with T(s) >= T(1, ..., 1)

Lesions come in few all-or-nothing pieces, whose d is far from symmetric, and bins near 0 and 1 may hold only one
outcome by luck. So neighbouring bins are joined until each holds voxels of both outcomes in `OUTCOMES` groups; a class
that never does says nothing. Level and power by simulation: `python -m tests.benchmarks.calibration_test`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.calibration import class_bins
from calibeval.metrics.intervals import SEED
from calibeval.metrics.statistics import Statistics
from calibeval.protocol import Protocol
from calibeval.wording import some_of

LEAST = 6  # groups; from fewer, p cannot go below 2 / 2^5
OUTCOMES = 3  # groups that must hold voxels of each outcome in a bin
_ALL_FLIPS = 13  # groups, up to which every flip is tried; the first sign is free, so these are 4096
_SAMPLES = 4999
_AT_A_TIME = 500

Float = NDArray[np.float64]


class CalibrationTest(NamedTuple):
    """What `calibration_test` gives.

    Attributes:
        p: of the hypothesis that the model is calibrated; None where it cannot be decided.
        n_groups: groups of cases that were compared.
        reason: why there is no p, or which classes it leaves out; empty when neither.
    """

    p: float | None
    n_groups: int
    reason: str = ""

    def __str__(self) -> str:
        """In words."""
        if self.p is None:
            return f"no test of calibration ({self.reason})"
        return f"test of calibration p = {self.p:.2g}"


def calibration_test(
    cases: Mapping[str, Mapping[str, Statistics]],
    protocol: Protocol,
    groups: Mapping[str, str] | None = None,
    *,
    seed: int = SEED,
) -> CalibrationTest:
    """Test whether a model is calibrated, by flipping the signs of whole groups of cases.

    Args:
        cases: case to problem (`""`, or a region's name) to statistics, as in `calibeval.bins.BinTable.cases` or
            `calibeval.score_folder(...).bins[METHOD]`.
        protocol: that the cases were scored under.
        groups: case to the group it belongs to, for example its patient; None takes each case for its own.
        seed: of the flips, where there are too many to try all.

    Returns:
        p and the number of groups. p is None for fewer than six groups, for label maps without probabilities, where
        too few groups hold both outcomes, and for a protocol that counts reference-foreground voxels, which the
        outcome selects.
    """
    soft = {name: case for name, case in cases.items() if any(part.has_probabilities for part in case.values())}
    names = [groups.get(name, name) if groups else name for name in soft]
    n = len(set(names))
    if protocol.cece_domain != "all":
        return CalibrationTest(None, n, "CECE counts reference-foreground voxels, which the outcome selects")
    if n < LEAST:
        return CalibrationTest(None, n, f"needs {LEAST} groups with probabilities, found {n}")
    gaps, positive, negative, labels = _sums(soft, protocol, names)
    p, decided = sign_flip_test(gaps, positive, negative, seed)
    seen: list[bool] = np.any(positive | negative, axis=(0, 2)).tolist()
    lacking = [label for label, used, there in zip(labels, decided, seen, strict=True) if there and not used]
    why = f"class {some_of(lacking, 9)}: fewer than {OUTCOMES} groups hold voxels in it, or out of it"
    return CalibrationTest(p, n, why if lacking else "")


def sign_flip_test(
    gaps: Float, positive: NDArray[np.bool_], negative: NDArray[np.bool_], seed: int = SEED
) -> tuple[float | None, list[bool]]:
    """The test on arrays (G, K, M): G groups, K classes, M bins.

    Args:
        gaps: sum of p - y.
        positive: whether some voxel of the bin has y = 1.
        negative: whether some has y = 0.
        seed: of the flips.

    Returns:
        p, None when no class can be decided, and which classes are.
    """
    joined = [_join(gaps[:, k], positive[:, k], negative[:, k]) for k in range(gaps.shape[1])]
    decided = [columns.shape[1] > 0 for columns in joined]
    if not any(decided):
        return None, decided
    columns = np.concatenate(joined, axis=1)
    observed = np.abs(columns.sum(axis=0)).sum() * (1 - 1e-12)
    hits = sum(int((np.abs(signs @ columns).sum(axis=1) >= observed).sum()) for signs in _flips(len(gaps), seed))
    tried = 2 ** (len(gaps) - 1) if len(gaps) <= _ALL_FLIPS else _SAMPLES + 1
    return (hits if len(gaps) <= _ALL_FLIPS else hits + 1) / tried, decided


def _join(gaps: Float, positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> Float:
    """Sums (G, B) of a class's bins, neighbours joined until each holds both outcomes; B is 0 where none can."""
    starts, start = [], 0
    for end in range(1, gaps.shape[1] + 1):
        inside = slice(start, end)
        if min(seen[:, inside].any(axis=1).sum() for seen in (positive, negative)) >= OUTCOMES:
            starts.append(start)
            start = end
    if not starts:
        return gaps[:, :0]
    joined: Float = np.add.reduceat(gaps, starts, axis=1)  # what remains joins the last
    return joined


def _flips(n: int, seed: int) -> list[Float]:
    """Signs (flips, n) in portions: all of them, the first being 1, or a sample."""
    if n <= _ALL_FLIPS:
        signs = np.array([(1, *rest) for rest in product((1, -1), repeat=n - 1)], float)
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_SAMPLES, n))
    return [signs[start : start + _AT_A_TIME] for start in range(0, len(signs), _AT_A_TIME)]


def _sums(
    cases: Mapping[str, Mapping[str, Statistics]], protocol: Protocol, names: list[str]
) -> tuple[Float, NDArray[np.bool_], NDArray[np.bool_], list[str]]:
    """Gaps and outcomes (G, K, M) of each class of each problem, and the classes' names."""
    every = replace(protocol, zero_in_first_bin=True, cece_classes="all")
    found = []
    for case in cases.values():
        parts = {f"{name}{c}": bins for name, part in case.items() for c, bins in class_bins(part, every).items()}
        found.append([(b.p_sum - b.positive, b.positive > 0, b.n > b.positive) for b in parts.values()])
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    by_case = np.array(found, float)  # (cases, K, 3, M)
    by_group = np.zeros((len(index), *by_case.shape[1:]))
    np.add.at(by_group, [index[name] for name in names], by_case)
    gaps, positive, negative = np.moveaxis(by_group, 2, 0)
    return gaps, positive > 0, negative > 0, list(parts)
