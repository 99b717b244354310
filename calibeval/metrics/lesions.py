"""Lesions: connected components of a mask, which of the reference's were found, and how well.

Conventions: masks are bool arrays (z, y, x) or (y, x) with spacing in the same order; volumes are mm^3 (mm^2 in 2-D).
Lesions are numbered from 1 in C order of their first voxels. A matching says which predicted lesions find a lesion of
the reference; all numbers follow from what was found (TP, counted in lesions of the reference), missed (FN) and
predicted without need (FP).

Lesions below the minimal volume count nowhere: such a reference lesion is neither found nor missed, what found it is
no false positive, and a smaller predicted lesion that finds nothing is none either. `brats26-mets` differs in the last:
every prediction that finds nothing counts.

Components come from cc3d, the extra `lesions`. Citations stand in `metrics.METRICS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import MissingExtraError, UsageError
from calibeval.metrics.registry import join
from calibeval.protocol import Protocol

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Lesions:
    """The components of one mask.

    Attributes:
        numbers: of each voxel, 0 outside, int32.
        voxels: (n,) of each lesion.
        boxes: the smallest around each.
    """

    numbers: NDArray[np.int32]
    voxels: Counts
    boxes: list[tuple[slice, ...]]

    def places(self, index: int) -> tuple[tuple[slice, ...], Mask]:
        """The smallest box around a lesion, and which of its voxels are the lesion's."""
        box = self.boxes[index]
        return box, self.numbers[box] == index + 1


class Overlaps(NamedTuple):
    """Pairs of lesions that share voxels: index in the reference, index in the prediction, and how well they fit."""

    reference: Counts
    predicted: Counts
    voxels: Counts
    dsc: Float
    iou: Float


@dataclass(frozen=True)
class LesionMatch:
    """What was found of one mask's lesions.

    Attributes:
        reference: its lesions.
        predicted: those of the prediction.
        found: lesion of the reference (index) to the predicted lesions that found it.
        counted: (n,) whether a lesion of the reference counts.
        false: indices of the predicted lesions that count as false positives.
        dsc: of each found lesion with what found it.
        iou: the same.
        needed_dsc: a smaller DSC than this does not find a lesion, though it counts in the mean.
        only_found: `lesion_DSC` is the mean over found lesions.
    """

    reference: Lesions
    predicted: Lesions
    found: dict[int, tuple[int, ...]]
    counted: Mask
    false: tuple[int, ...]
    dsc: dict[int, float]
    iou: dict[int, float]
    needed_dsc: float = 0.0
    only_found: bool = False

    @property
    def tp(self) -> int:
        """Lesions of the reference that were found."""
        return len(self.hits)

    @property
    def hits(self) -> list[int]:
        """Indices of the lesions of the reference that were found and count."""
        return [i for i in self.touched if self.dsc[i] >= self.needed_dsc]

    @property
    def touched(self) -> list[int]:
        """The same with those that fit too badly to be found."""
        return [i for i in sorted(self.found) if self.counted[i]]

    @property
    def fn(self) -> int:
        """Lesions of the reference that were missed."""
        return int(np.count_nonzero(self.counted)) - self.tp

    @property
    def fp(self) -> int:
        """Predicted lesions that found nothing."""
        return len(self.false)

    @property
    def status(self) -> str:
        """`ok`, `empty_reference`, `empty_prediction` or `both_empty`, of the lesions that count."""
        predicted = bool(self.fp or self.touched)
        if self.counted.any():
            return "ok" if predicted else "empty_prediction"
        return "empty_reference" if predicted else "both_empty"


def find_lesions(mask: Mask, connectivity: int = 26) -> Lesions:
    """Number the connected components of a mask.

    Args:
        mask: (z, y, x) or (y, x).
        connectivity: 6, 18 or 26; in 2-D 6 is 4, the others 8.

    Raises:
        MissingExtraError: cc3d is not installed.
    """
    try:
        import cc3d
    except ImportError:
        raise MissingExtraError("connected-components-3d", "lesions") from None
    ways: Any = connectivity if mask.ndim == 3 else {6: 4}.get(connectivity, 8)
    whole = np.ascontiguousarray(mask).view(np.uint8)  # cc3d 4.1 gives wrong components of truth values
    found: Any = cc3d.connected_components(whole, connectivity=ways, out_dtype=np.uint32)
    numbers: NDArray[np.int32] = found.view(np.int32)
    known: Any = cc3d.statistics(numbers if mask.ndim == 3 else numbers[None])
    boxes = [box[-mask.ndim :] for box in known["bounding_boxes"][1:]]
    return Lesions(numbers, known["voxel_counts"][1:].astype(np.int64), boxes)


def match_lesions(
    reference: Mask, predicted: Mask, protocol: Protocol, *, spacing_mm: Sequence[float] | None = None
) -> LesionMatch:
    """Find the lesions of two masks and match them.

    - `overlap`: every predicted lesion that shares a voxel with one of the reference finds it; several that touch it
      are taken together, and one may find several.
    - `iou>T`: one to one, pairs of an IoU above T, so that the sum of IoU is largest (from .5 on each pair is alone).
    - `centroid`: one to one, the centroid of the prediction lies in the lesion; as above where several do.
    - `brats26-gli`, `brats26-mets`: one to one, DSC of 1e-6 and more, so that the sum of DSC is largest. `gli` takes
      the mean DSC over what was found, 0 where nothing was; `mets` counts lesions below 20 mm^3 of the reference
      nowhere and finds only from a DSC of .1 on.

    Args:
        reference: (z, y, x) or (y, x).
        predicted: of the same shape.
        protocol: gives `matching`, `connectivity` and `min_lesion_mm3`.
        spacing_mm: voxel size along the axes; None takes 1 mm.

    Raises:
        MissingExtraError: cc3d is not installed.
        UsageError: shapes that differ.
    """
    if reference.shape != predicted.shape:
        raise UsageError(f"The reference has shape {reference.shape}, the prediction {predicted.shape}.")
    wanted, predictions = (find_lesions(mask, protocol.connectivity) for mask in (reference, predicted))
    pairs = _overlaps(wanted, predictions)
    mets = protocol.matching == "brats26-mets"
    smallest = protocol.smallest_mm3 / math.prod(spacing_mm or (1.0,))
    found = _found(pairs, wanted, predictions, protocol.matching)
    used = {p for each in found.values() for p in each}
    alone = (p for p in range(predictions.voxels.size) if p not in used)
    shared = {(r, p): n for r, p, n in zip(*(part.tolist() for part in pairs[:3]), strict=True)}
    both = {r: sum(shared[r, p] for p in each) for r, each in found.items()}
    sizes = {r: int(wanted.voxels[r] + predictions.voxels[list(each)].sum()) for r, each in found.items()}
    return LesionMatch(
        wanted,
        predictions,
        found,
        wanted.voxels >= smallest,
        tuple(p for p in alone if mets or predictions.voxels[p] >= smallest),
        {r: 2 * n / sizes[r] for r, n in both.items()},
        {r: n / (sizes[r] - n) for r, n in both.items()},
        needed_dsc=0.1 if mets else 0.0,
        only_found=protocol.matching == "brats26-gli",
    )


def _overlaps(reference: Lesions, predicted: Lesions) -> Overlaps:
    pairs: list[tuple[int, int, int]] = []
    for r in range(reference.voxels.size):
        box, inside = reference.places(r)
        numbers, counts = np.unique(predicted.numbers[box][inside], return_counts=True)
        pairs += ((r, p - 1, n) for p, n in zip(numbers.tolist(), counts.tolist(), strict=True) if p)
    found, by, shared = np.array(pairs, np.int64).reshape(-1, 3).T
    size = reference.voxels[found] + predicted.voxels[by]
    return Overlaps(found, by, shared, 2 * shared / size, shared / (size - shared))


def _found(pairs: Overlaps, reference: Lesions, predicted: Lesions, matching: str) -> dict[int, tuple[int, ...]]:
    """Lesion of the reference to the predicted lesions that find it."""
    if matching == "overlap":
        return {int(r): tuple(map(int, pairs.predicted[pairs.reference == r])) for r in np.unique(pairs.reference)}
    if matching == "centroid":
        hit = _numbers_at_centroids(reference, predicted)[pairs.predicted] == pairs.reference + 1
        return _one_to_one(pairs, hit, pairs.iou)
    if matching in ("brats26-gli", "brats26-mets"):
        return _one_to_one(pairs, pairs.dsc >= 1e-6, pairs.dsc)
    return _one_to_one(pairs, pairs.iou > float(matching.removeprefix("iou>")), pairs.iou)


def _numbers_at_centroids(reference: Lesions, predicted: Lesions) -> NDArray[np.int32]:
    """The number of the reference at the voxel nearest to each predicted lesion's centroid; halves go up."""
    centres = np.empty((predicted.voxels.size, predicted.numbers.ndim), np.int64)
    for index in range(predicted.voxels.size):
        box, inside = predicted.places(index)
        centres[index] = np.floor(np.argwhere(inside).mean(axis=0) + 0.5) + [span.start for span in box]
    return reference.numbers[tuple(centres.T)]


def _one_to_one(pairs: Overlaps, allowed: Mask, weights: Float) -> dict[int, tuple[int, ...]]:
    """The pairs of largest total weight, each lesion in one at most.

    Lesions that no allowed pair joins are solved apart: almost every lesion has one partner, and a matrix of all
    against all would grow with their square.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    r, p, gain = pairs.reference[allowed], pairs.predicted[allowed], weights[allowed]
    if not r.size:
        return {}
    offset = int(r.max()) + 1
    nodes = offset + int(p.max()) + 1
    part_of = connected_components(coo_array((np.ones(r.size), (r, p + offset)), (nodes, nodes)), directed=False)[1][r]
    chosen: dict[int, tuple[int, ...]] = {}
    for part in np.split(np.argsort(part_of, kind="stable"), np.flatnonzero(np.diff(np.sort(part_of))) + 1):
        rows, row = np.unique(r[part], return_inverse=True)
        columns, column = np.unique(p[part], return_inverse=True)
        matrix = np.zeros((rows.size, columns.size))
        matrix[row, column] = gain[part]
        for i, j in zip(*linear_sum_assignment(matrix, maximize=True), strict=True):
            if matrix[i, j] > 0:
                chosen[int(rows[i])] = (int(columns[j]),)
    return chosen


# --- numbers ---------------------------------------------------------------------------------------------------------


def lesion_dsc(match: LesionMatch) -> float:
    """Mean DSC over lesions; NaN where there is none.

    Over found lesions, missed ones and false positives, the last two with 0 (lesion-wise Dice of BraTS); under
    `brats26-gli` over found lesions alone, 0 where none was, and under `brats26-mets` NaN without a lesion that counts.
    """
    found = [match.dsc[i] for i in match.touched]
    if match.only_found:
        return float(np.mean(found)) if found else math.nan if match.status == "both_empty" else 0.0
    if match.needed_dsc and not match.counted.any():
        return math.nan
    return _ratio(sum(found), int(np.count_nonzero(match.counted)) + match.fp)


def lesion_f1(match: LesionMatch) -> float:
    """2 TP / (2 TP + FP + FN); NaN where there is no lesion."""
    return _ratio(2 * match.tp, 2 * match.tp + match.fp + match.fn)


def lesion_recall(match: LesionMatch) -> float:
    """TP / (TP + FN); NaN where the reference has no lesion."""
    return _ratio(match.tp, match.tp + match.fn)


def lesion_precision(match: LesionMatch) -> float:
    """TP / (TP + FP); NaN where nothing was predicted."""
    return _ratio(match.tp, match.tp + match.fp)


def segmentation_quality(match: LesionMatch) -> float:
    """Mean IoU of found lesions, 0 where none was; NaN where there is no lesion."""
    quality = sum(match.iou[i] for i in match.hits) / max(match.tp, 1)
    return math.nan if match.status == "both_empty" else quality


def panoptic_quality(match: LesionMatch) -> float:
    """SQ times RQ: sum of the IoU of found lesions / (TP + FP / 2 + FN / 2); NaN where there is no lesion."""
    return segmentation_quality(match) * lesion_f1(match)


def cell_dsc(match: LesionMatch, spacing_mm: Sequence[float]) -> Float:
    """(n,) DSC of the masks within the Voronoi cell of each lesion of the reference, by distance to its voxels in mm.

    A voxel as near to two lesions belongs to the one of the smaller number. Source: arXiv:2410.18684 (CC-Metrics).
    """
    reference, predicted = match.reference, match.predicted
    lesions = reference.voxels.size
    both, outside = np.zeros(lesions + 1, np.int64), [np.empty((0, reference.numbers.ndim), np.int64)]
    for index in range(predicted.voxels.size):
        box, inside = predicted.places(index)
        owners = reference.numbers[box]
        both += np.bincount(owners[inside], minlength=lesions + 1)
        outside.append(np.argwhere(inside & (owners == 0)) + [span.start for span in box])
    apart = np.bincount(_nearest(reference, np.concatenate(outside), spacing_mm), minlength=lesions)
    cells: Float = 2 * both[1:] / (reference.voxels + both[1:] + apart)
    return cells


def _nearest(lesions: Lesions, places: Counts, spacing_mm: Sequence[float]) -> Counts:
    """Index of the lesion nearest to each place; of its voxels those with a face neighbour outside are near enough."""
    from scipy.ndimage import binary_erosion
    from scipy.spatial import KDTree

    if not places.size or not lesions.voxels.size:
        return np.empty(0, np.int64)
    surfaces = []
    for index in range(lesions.voxels.size):
        box, inside = lesions.places(index)
        surfaces.append(np.argwhere(inside & ~binary_erosion(inside)) + [span.start for span in box])
    owners = np.repeat(np.arange(len(surfaces)), [len(surface) for surface in surfaces])
    scale = np.asarray(spacing_mm, float)
    found: Any = KDTree(np.concatenate(surfaces) * scale).query(places * scale, k=range(1, min(8, owners.size) + 1))
    distance, nearest = found
    first: Counts = owners[np.where(distance <= distance[:, :1] * (1 + 1e-12), nearest, owners.size - 1).min(axis=1)]
    return first


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else math.nan


LESION_FUNCTIONS: dict[str, Callable[[LesionMatch, Sequence[float]], float]] = join(
    "lesions",
    {
        "lesion_DSC": lambda match, _: lesion_dsc(match),
        "lesion_F1": lambda match, _: lesion_f1(match),
        "lesion_recall": lambda match, _: lesion_recall(match),
        "lesion_precision": lambda match, _: lesion_precision(match),
        "lesion_FP": lambda match, _: float(match.fp),
        "PQ": lambda match, _: panoptic_quality(match),
        "SQ": lambda match, _: segmentation_quality(match),
        "RQ": lambda match, _: lesion_f1(match),
        "CC_DSC": lambda match, spacing_mm: _mean(cell_dsc(match, spacing_mm)[match.counted]),
    },
)


def _mean(values: Float) -> float:
    return float(values.mean()) if values.size else math.nan
