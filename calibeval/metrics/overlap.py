"""Overlap metrics: how well masks fit, from the confusion matrix alone.

Conventions: a metric takes the voxel counts of one mask against one reference (`Overlap`) and gives one float, NaN
where the formula is 0/0. Counts are voxels; volumes are mL. What an undefined value becomes in a table is the empty
rule's business (`empty`), not a metric's.

Citations stand in `metrics.METRICS`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.registry import join


class Overlap(NamedTuple):
    """Voxels of a reference mask and a predicted mask.

    Attributes:
        both: true positives.
        predicted_only: false positives.
        reference_only: false negatives.
        voxel_ml: volume of a voxel; NaN when the spacing is unknown.
    """

    both: int
    predicted_only: int
    reference_only: int
    voxel_ml: float = float("nan")

    @property
    def status(self) -> str:
        """`ok`, `empty_reference`, `empty_prediction` or `both_empty`."""
        reference, predicted = self.both + self.reference_only, self.both + self.predicted_only
        if reference and predicted:
            return "ok"
        if reference:
            return "empty_prediction"
        return "empty_reference" if predicted else "both_empty"


def class_overlap(confusion: NDArray[np.int64], c: int, voxel_ml: float = float("nan")) -> Overlap:
    """Counts of class c against all others; confusion is (C, C), rows the reference."""
    both = int(confusion[c, c])
    return Overlap(both, int(confusion[:, c].sum()) - both, int(confusion[c].sum()) - both, voxel_ml)


def union_overlap(confusion: NDArray[np.int64], voxel_ml: float = float("nan")) -> Overlap:
    """Counts of the whole foreground (classes 1..C-1 as one mask)."""
    return Overlap(int(confusion[1:, 1:].sum()), int(confusion[0, 1:].sum()), int(confusion[1:, 0].sum()), voxel_ml)


def dsc(overlap: Overlap) -> float:
    """Dice similarity coefficient, 2 TP / (2 TP + FP + FN); NaN when both masks are empty."""
    return _ratio(2 * overlap.both, 2 * overlap.both + overlap.predicted_only + overlap.reference_only)


def iou(overlap: Overlap) -> float:
    """Intersection over union (Jaccard), TP / (TP + FP + FN); NaN when both masks are empty."""
    return _ratio(overlap.both, overlap.both + overlap.predicted_only + overlap.reference_only)


def precision(overlap: Overlap) -> float:
    """TP / (TP + FP); NaN when the prediction is empty."""
    return _ratio(overlap.both, overlap.both + overlap.predicted_only)


def recall(overlap: Overlap) -> float:
    """TP / (TP + FN); NaN when the reference is empty."""
    return _ratio(overlap.both, overlap.both + overlap.reference_only)


def volume_difference(overlap: Overlap) -> float:
    """V(prediction) - V(reference) in mL; NaN when the spacing is unknown."""
    return (overlap.predicted_only - overlap.reference_only) * overlap.voxel_ml


def relative_volume_difference(overlap: Overlap) -> float:
    """(V(prediction) - V(reference)) / V(reference); NaN when the reference is empty."""
    return _ratio(overlap.predicted_only - overlap.reference_only, overlap.both + overlap.reference_only)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")


OVERLAP_FUNCTIONS = join(
    "masks",
    {
        "DSC": dsc,
        "IoU": iou,
        "precision": precision,
        "recall": recall,
        "VD": volume_difference,
        "RVD": relative_volume_difference,
    },
)
