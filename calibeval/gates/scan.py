"""What probability planes look like, in one pass and without keeping them: range, sums, how hard, which argmax.

Beside the chunk at hand a scan keeps three numbers a voxel: the sum over classes, the largest probability and its
class; with a label map to compare, a fourth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.planes import PlaneSource

Labels = NDArray[np.uint8]
_ROUNDING = 1e-5  # beyond [0, 1]: what softmax and interpolation in float32 overshoot by less than


@dataclass
class PlaneScan:
    """Counts over the values of all planes, and maps over the voxels.

    Attributes:
        values: number of them.
        not_finite: values that are NaN or infinite.
        outside: values out of [0, 1] by more than rounding.
        low: smallest finite value.
        high: largest finite value.
        between: values between 0 and 1, neither included.
        background: voxels of certain background, p_0 = 1 (sigmoid maps: p = 0).
        unsure: voxels whose foreground probability lies in (0, 0.5].
        likely: voxels whose foreground probability lies in (0.5, 1).
        sums: (N,) over the classes.
        predicted: (N,) argmax; the first of equals.
        largest: (N,) its probability.
        of_label: (N,) probability of the label map's class; empty without one.
    """

    sums: NDArray[np.float64]
    predicted: Labels
    largest: NDArray[Any]
    of_label: NDArray[Any]
    values: int = 0
    not_finite: int = 0
    outside: int = 0
    low: float = field(default=np.inf)
    high: float = field(default=-np.inf)
    between: int = 0
    background: int = 0
    unsure: int = 0
    likely: int = 0

    @property
    def all_hard(self) -> bool:
        """No value lies between 0 and 1."""
        return self.between == 0

    @property
    def cut_off(self) -> bool:
        """Foreground probabilities up to 0.5 were set to 0."""
        return self.unsure == 0 and self.likely > 0 and self.background > 0

    def wrong_sums(self, tolerance: float) -> int:
        """Voxels whose sum over classes differs from 1 by more than the tolerance."""
        return int(np.count_nonzero(np.abs(self.sums - 1) > tolerance))

    def contradicted(self, tolerance: float) -> int:
        """Voxels where another class than the label map's is more probable by more than the tolerance."""
        return int(np.count_nonzero(self.of_label < self.largest - tolerance))


def scan_planes(source: PlaneSource, *, sigmoid: bool, labels: Labels | None = None) -> PlaneScan:
    """Read all planes once.

    Args:
        source: planes of classes, or of regions (`sigmoid`).
        sigmoid: each plane is a foreground of its own.
        labels: (N,) class indices to look up the probability of; None for none.

    Raises:
        BrokenFileError: the file breaks off, or is longer than its header says.
        ProbabilityError: the maps leave no room for the background that they are said to lack.
    """
    n = source.voxels
    of_label = np.zeros(0 if labels is None else n, source.dtype)
    scan = PlaneScan(np.zeros(n), np.zeros(n, np.uint8), np.full(n, -np.inf, source.dtype), of_label)
    for chunk in source.chunks():
        part = slice(chunk.start, chunk.start + chunk.values.size)
        _count_values(scan, chunk.values)
        if sigmoid or chunk.class_index == 0:
            _count_foreground(scan, chunk.values if sigmoid else 1 - chunk.values)
        with np.errstate(invalid="ignore"):  # of infinities with two signs, which are counted as such
            scan.sums[part] += chunk.values
        larger = chunk.values > scan.largest[part]
        scan.largest[part][larger] = chunk.values[larger]
        scan.predicted[part][larger] = chunk.class_index
        if labels is not None:
            here = labels[part] == chunk.class_index
            scan.of_label[part][here] = chunk.values[here]
    return scan


def _count_values(scan: PlaneScan, values: NDArray[Any]) -> None:
    scan.values += values.size
    finite = np.isfinite(values)
    if not finite.all():
        scan.not_finite += int(values.size - np.count_nonzero(finite))
        values = values[finite]
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    scan.low, scan.high = min(scan.low, low), max(scan.high, high)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        scan.outside += int(np.count_nonzero((values < -_ROUNDING) | (values > 1 + _ROUNDING)))
    scan.between += int(np.count_nonzero((values > 0) & (values < 1)))


def _count_foreground(scan: PlaneScan, foreground: NDArray[Any]) -> None:
    unsure = (foreground > 0) & (foreground <= 0.5)
    scan.background += int(np.count_nonzero(foreground == 0))
    scan.unsure += int(np.count_nonzero(unsure))
    scan.likely += int(np.count_nonzero((foreground > 0.5) & (foreground < 1)))
