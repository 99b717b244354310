"""Distances between the surfaces of two masks, and the metrics that follow from them: HD95, HD, ASSD, NSD.

Distances are computed once, by `surface_distances` for the classes of two label maps or by `mask_surface_distances`
for two masks; each metric is a function of the result. What a surface is, how a percentile is taken and in which
unit a distance is measured differ between tools; `calibeval.protocol.HD95_DEFINITIONS` names five ways, and the name
given here selects one:

- `monai`, `medpy`: voxels of the mask with a face neighbour outside of it (six neighbours, four in 2-D).
- `sdc-repo`: the same with all 26 (8) neighbours, distances in voxels.
- `paper-text`: no surface, but every voxel of the mask; those in both masks are 0 apart.
- `deepmind`: elements at the corners between voxels, for each 2x2x2 (2x2) block of which some are in the mask and
  some are not; each counts with its area (length), see `calibeval.metrics._kernels.areas`.

Everything outside the image is outside the mask, so the image's edge can be surface. Arrays are (z, y, x) or (y, x),
with spacing in the same order; a 3-D array of one slice is still 3-D, and all its voxels are surface. Distances are
Euclidean and exact, float64. Memory is a few bits a voxel and 9 bytes a surface element: no distance map of the image
is ever held.

What a mask without a surface is worth is a matter of protocol (`calibeval.protocol.EMPTY_RULES`) and not decided
here: HD95, HD and ASSD are nan when any surface is missing. NSD is 0 when one is, nan when both are.

Example:
    >>> reference, prediction = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    >>> reference[2, 0], prediction[2, 3] = True, True
    >>> hd95(mask_surface_distances(reference, prediction, spacing_mm=(1.0, 2.0)))
    6.0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import UsageError
from calibeval.metrics._kernels import areas as _surface_areas
from calibeval.metrics._kernels.startup import wait_for_kernels
from calibeval.metrics.registry import join
from calibeval.protocol import HD95_DEFINITIONS, HD95Definition, Protocol

Float = NDArray[np.float64]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

IGNORED = 255  # label of voxels that belong to no class


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, in mm or in voxels as the definition has it.

    Attributes:
        reference_to_prediction: (n,) from each element of the reference's surface to the nearest of the prediction's;
            inf where the prediction has none.
        prediction_to_reference: (m,) the other way round.
        reference_areas: (n,) area in mm^2 (in 2-D length in mm) of the elements; None when all count alike.
        prediction_areas: (m,) the same for the prediction.
    """

    reference_to_prediction: Float
    prediction_to_reference: Float
    reference_areas: Float | None = None
    prediction_areas: Float | None = None

    @property
    def both(self) -> bool:
        """Whether both surfaces exist, so that distances are finite."""
        return self.reference_to_prediction.size > 0 and self.prediction_to_reference.size > 0


def surface_distances(
    reference: Labels,
    prediction: Labels,
    labels: Iterable[int],
    spacing_mm: Sequence[float],
    definition: str = "monai",
    *,
    threads: int = 1,
) -> dict[int, SurfaceDistances]:
    """Compute the distances between the surfaces of each class of two label maps.

    Args:
        reference: label map (z, y, x) or (y, x), uint8; voxels of value 255 belong to no class.
        prediction: label map of the same shape.
        labels: the classes wanted, each 1..254; a class that occurs nowhere gives empty arrays.
        spacing_mm: voxel size along the axes of the arrays.
        definition: key of `calibeval.protocol.HD95_DEFINITIONS`.
        threads: how many to use; the result does not depend on it.

    Returns:
        The distances of each class, in the order of labels.

    Raises:
        UsageError: shapes, dtypes, labels, spacing or definition that do not fit.
    """
    chosen = _definition(definition)
    wanted = list(dict.fromkeys(int(label) for label in labels))
    _check(reference, prediction, wanted, spacing_mm)

    if chosen.surface == "voxels":
        return {label: _mask_distances(reference == label, prediction == label, spacing_mm) for label in wanted}
    wait_for_kernels()
    from calibeval.metrics._kernels import search as _surface_search

    planar = reference.ndim == 2
    maps = [np.ascontiguousarray(array[None] if planar else array) for array in (reference, prediction)]
    steps = [float(step) if chosen.spacing else 1.0 for step in spacing_mm]
    z, y, x = [1.0, *steps] if planar else steps
    grid = _surface_search.Grid(chosen.surface, (z, y, x), planar)
    found = _surface_search.class_distances(maps[0], maps[1], wanted, grid, threads)
    if not chosen.weighted:
        return {label: SurfaceDistances(*distances[:2]) for label, distances in zip(wanted, found, strict=True)}
    areas = _surface_areas.corner_lengths((y, x)) if planar else _surface_areas.corner_areas((z, y, x))
    return {
        label: SurfaceDistances(
            distances.reference_to_prediction,
            distances.prediction_to_reference,
            areas[distances.reference_codes],
            areas[distances.prediction_codes],
        )
        for label, distances in zip(wanted, found, strict=True)
    }


def _mask_distances(reference: Mask, prediction: Mask, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Distances between all voxels of two masks, from scipy's distance transform of the box that holds both."""
    from scipy.ndimage import distance_transform_edt, find_objects

    boxes = find_objects((reference | prediction).view(np.uint8))
    box = boxes[0] if boxes else (slice(0),) * reference.ndim
    masks = (reference[box], prediction[box])

    def directed(queries: Mask, targets: Mask) -> Float:
        if not (queries.any() and targets.any()):
            return np.full(np.count_nonzero(queries), np.inf)
        found: Float = distance_transform_edt(~targets, sampling=spacing_mm)[queries]
        return found

    return SurfaceDistances(directed(*masks), directed(*reversed(masks)))


def mask_surface_distances(
    reference_mask: Mask,
    prediction_mask: Mask,
    spacing_mm: Sequence[float],
    definition: str = "monai",
    *,
    threads: int = 1,
) -> SurfaceDistances:
    """Compute the distances between the surfaces of two masks, for example of regions or of a union of classes.

    Args:
        reference_mask: (z, y, x) or (y, x), bool.
        prediction_mask: of the same shape.
        spacing_mm: voxel size along the axes of the arrays.
        definition: key of `calibeval.protocol.HD95_DEFINITIONS`.
        threads: how many to use; the result does not depend on it.

    Raises:
        UsageError: shapes, dtypes, spacing or definition that do not fit.
    """
    for name, mask in (("reference", reference_mask), ("prediction", prediction_mask)):
        if mask.dtype != np.bool_:
            raise UsageError(f"The {name} mask must be of dtype bool, not {mask.dtype}.")
    maps = [np.ascontiguousarray(mask).view(np.uint8) for mask in (reference_mask, prediction_mask)]
    return surface_distances(maps[0], maps[1], (1,), spacing_mm, definition, threads=threads)[1]


def hd95(distances: SurfaceDistances, definition: str = "monai") -> float:
    """Compute the 95% Hausdorff distance, in the unit of the distances.

    The larger of the two directed 95th percentiles, linearly interpolated; or one percentile over both directions
    where the definition pools them; or without interpolation the smallest distance within which lie 95% of the area,
    where it weights. nan when any surface is missing. Source: 10.1109/34.232073 for the Hausdorff distance; the
    percentile has no agreed definition.

    Args:
        distances: computed with the same definition.
        definition: key of `calibeval.protocol.HD95_DEFINITIONS`.

    Raises:
        UsageError: an unknown definition, or distances with areas where it has none or the reverse.
    """
    chosen = _definition(definition)
    directed = (distances.reference_to_prediction, distances.prediction_to_reference)
    areas = (distances.reference_areas, distances.prediction_areas)
    if chosen.weighted is (areas[0] is None or areas[1] is None):
        raise UsageError(f"HD95 as {definition!r} has it needs distances computed with that definition.")
    if not distances.both:
        return float("nan")
    if chosen.pooled:
        return _percentile(np.concatenate(directed))
    return max(
        _percentile(values) if area is None else _weighted_percentile(values, area)
        for values, area in zip(directed, areas, strict=True)
    )


def hausdorff(distances: SurfaceDistances) -> float:
    """Compute the Hausdorff distance: the largest distance of both directions, in the unit of the distances.

    nan when any surface is missing. Source: 10.1109/34.232073.
    """
    if not distances.both:
        return float("nan")
    return float(max(distances.reference_to_prediction.max(), distances.prediction_to_reference.max()))


def assd(distances: SurfaceDistances) -> float:
    """Compute the average symmetric surface distance, in the unit of the distances.

    sum_i a_i d_i / sum_i a_i over the elements i of both surfaces together, a_i their areas or 1. (The mean of the
    two directed means, which some tools give, is another number when the surfaces differ in size.) nan when any
    surface is missing. Source: 10.1109/TMI.2009.2013851.
    """
    if not distances.both:
        return float("nan")
    values = np.concatenate([distances.reference_to_prediction, distances.prediction_to_reference])
    return float(np.average(values, weights=_areas(distances)))


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Compute the normalised surface distance: the part of both surfaces within the tolerance of the other.

    sum_i a_i [d_i <= tolerance] / sum_i a_i over the elements i of both surfaces, a_i their areas or 1. 0 when one
    surface is missing, nan when both are. Source: 10.2196/26151.

    Args:
        distances: of both surfaces.
        tolerance_mm: in the unit of the distances: in voxels if these are.
    """
    values = np.concatenate([distances.reference_to_prediction, distances.prediction_to_reference])
    if values.size == 0:
        return float("nan")
    return float(np.average(values <= tolerance_mm, weights=_areas(distances)))


SURFACE_FUNCTIONS: dict[str, Callable[[SurfaceDistances, Protocol], float]] = join(
    "surfaces",
    {
        "HD95": lambda distances, protocol: hd95(distances, protocol.hd95),
        "HD": lambda distances, _: hausdorff(distances),
        "ASSD": lambda distances, _: assd(distances),
        "NSD": lambda distances, protocol: nsd(distances, protocol.nsd_tolerance_mm),
    },
)


def _areas(distances: SurfaceDistances) -> Float | None:
    if distances.reference_areas is None or distances.prediction_areas is None:
        return None
    return np.concatenate([distances.reference_areas, distances.prediction_areas])


def _percentile(values: Float) -> float:
    """Give the linearly interpolated 95th percentile."""
    return float(np.percentile(values, 95))


def _weighted_percentile(values: Float, areas: Float) -> float:
    """Give the smallest value up to which 95% of the area is reached."""
    order = np.lexsort((areas, values))
    reached = np.cumsum(areas[order]) / np.sum(areas[order])
    return float(values[order[min(int(np.searchsorted(reached, 0.95)), values.size - 1)]])


def _definition(name: str) -> HD95Definition:
    if name not in HD95_DEFINITIONS:
        raise UsageError(f"Unknown HD95 definition {name!r}. Known: {', '.join(HD95_DEFINITIONS)}.")
    return HD95_DEFINITIONS[name]


def _check(reference: Labels, prediction: Labels, labels: Sequence[int], spacing_mm: Sequence[float]) -> None:
    if reference.shape != prediction.shape:
        raise UsageError(f"The reference has shape {reference.shape}, the prediction {prediction.shape}.")
    if reference.ndim not in (2, 3) or reference.size == 0:
        raise UsageError(f"Surface distances need a 2-D or 3-D image with voxels, not shape {reference.shape}.")
    for name, array in (("reference", reference), ("prediction", prediction)):
        if array.dtype != np.uint8:
            raise UsageError(f"The {name} must be a label map of dtype uint8, not {array.dtype}.")
    if len(spacing_mm) != reference.ndim or not all(0 < step < np.inf for step in spacing_mm):
        raise UsageError(f"Spacing must be {reference.ndim} positive numbers in mm, not {list(spacing_mm)}.")
    if wrong := [label for label in labels if not 0 < label < IGNORED]:
        raise UsageError(f"Labels must lie between 1 and {IGNORED - 1}, not {wrong[0]}.")
