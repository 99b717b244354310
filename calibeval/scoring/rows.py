"""From what was read of a case to rows of the table: every metric, class by class, in the mean, over all classes.

A *mask* is one thing that overlap and distances are computed for: a class, a region, or the whole foreground, as the
protocol has it. Its name is the row's class. Rows carry the value that the protocol's empty rule gives, and the
status that lets another rule be applied later; rows of a distance to nowhere also hold the image's diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calibeval.io.cases import Case
from calibeval.io.classes import ClassScheme
from calibeval.metrics import METRICS, Metric
from calibeval.metrics.calibration import CALIBRATION_FUNCTIONS, Calibration
from calibeval.metrics.empty import apply_rule
from calibeval.metrics.overlap import OVERLAP_FUNCTIONS, Overlap, class_overlap, union_overlap
from calibeval.metrics.statistics import IGNORED, Statistics
from calibeval.protocol import HD95_DEFINITIONS, Protocol
from calibeval.scoring.problems import FOREGROUND, WHOLE, Readout, foreground
from calibeval.table import ALL, MEAN, NOT_COMPUTED, POOLED, Row

if TYPE_CHECKING:
    from calibeval.metrics.surface import SurfaceDistances

_NO_SPACING = "spacing unknown: give --spacing, or score files whose header holds it"
_NO_VOLUME = "no volume: the image is flat, or its spacing unknown (then give --spacing)"
_NO_VOXEL = "no voxel in the domain"


class MaskValue(NamedTuple):
    """A metric's value for one mask, with a note or the image's diagonal where another rule would want it."""

    mask: str
    value: float
    status: str
    note: str = ""
    diagonal: float = math.nan


def case_rows(case: Case, readout: Readout, protocol: Protocol, metrics: tuple[str, ...], threads: int) -> list[Row]:
    """All rows of a scored case, metric by metric."""
    needs = {METRICS[name].needs for name in metrics}
    values: dict[str, list[MaskValue]] = {}
    overlaps = _overlaps(case.scheme, readout.bins, protocol, voxel_ml(readout.spacing_mm))
    diagonal = image_diagonal(case.reference.shape, case.spacing_mm, protocol)
    values |= _overlap_values(overlaps, protocol, metrics)
    if "surfaces" in needs:
        values |= _surface_values(overlaps, readout, protocol, metrics, diagonal=diagonal, threads=threads)
    values |= _lesion_values(readout, protocol, metrics)
    calibrations = calibration_values(readout.bins, protocol, metrics) if case.source is not None else {}
    rows: list[Row] = []
    for name in metrics:
        if name in values:
            rows += _mask_rows(case.name, METRICS[name], values[name], protocol)
        elif name in calibrations:
            lacking = METRICS[name].also_needs == "boundary" and readout.spacing_mm is None
            rows += _calibration_rows(case.name, METRICS[name], calibrations[name], case.scheme, lacking=lacking)
    return rows


def pooled_rows(
    bins: dict[str, Statistics], scheme: ClassScheme, protocol: Protocol, metrics: Iterable[str]
) -> list[Row]:
    """Rows of the case `pooled`, from statistics summed over the data set."""
    pooled = tuple(name for name in metrics if METRICS[name].pooled)
    values = _overlap_values(_overlaps(scheme, bins, protocol, math.nan), protocol, pooled)
    has_probabilities = any(part.has_probabilities for part in bins.values())
    calibrations = calibration_values(bins, protocol, pooled) if has_probabilities else {}
    rows: list[Row] = []
    for name in pooled:
        if name in values:
            rows += _mask_rows(POOLED, METRICS[name], values[name], protocol)
        elif name in calibrations:
            rows += _calibration_rows(POOLED, METRICS[name], calibrations[name], scheme)
    return rows


def unscored_rows(
    name: str,
    scheme: ClassScheme,
    protocol: Protocol,
    metrics: Iterable[str],
    *,
    status: str,
    note: str,
    worst_diagonal: float | None = None,
) -> list[Row]:
    """Rows of a case that could not be scored: every metric and class, so that no mean forgets it.

    Args:
        name: case id.
        scheme: its classes, as far as known.
        protocol: gives masks and units.
        metrics: chosen ones.
        status: `missing` or `failed`.
        note: the reason.
        worst_diagonal: write the worst values, distances being this diagonal; None leaves the values undefined.
    """
    rows = []
    for metric in (METRICS[key] for key in metrics):
        value = math.nan if worst_diagonal is None else metric.worst_value(protocol, worst_diagonal)
        unit = metric.unit_under(protocol)
        for class_name in _row_classes(metric, scheme, protocol):
            rows.append(Row("", "", name, class_name, metric.name, value, unit, status, note))
    return rows


def _row_classes(metric: Metric, scheme: ClassScheme, protocol: Protocol) -> list[str]:
    """Class names for which a metric has rows."""
    if MEAN in metric.rows:
        return [*_mask_names(scheme, protocol), MEAN]
    return [*_calibration_names(metric, scheme), ALL]


def _mask_names(scheme: ClassScheme, protocol: Protocol) -> list[str]:
    if scheme.regions:
        return list(scheme.regions)
    return [FOREGROUND] if protocol.union else list(scheme.names[1:])


# --- overlap and distances -------------------------------------------------------------------------------------------


def _overlaps(
    scheme: ClassScheme, bins: dict[str, Statistics], protocol: Protocol, voxel_ml: float
) -> dict[str, Overlap]:
    """Voxel counts of each mask."""
    if scheme.regions:
        return {name: class_overlap(bins[name].confusion, 1, voxel_ml) for name in scheme.regions}
    confusion = bins[WHOLE].confusion
    if protocol.union:
        return {FOREGROUND: union_overlap(confusion, voxel_ml)}
    return {name: class_overlap(confusion, c, voxel_ml) for c, name in enumerate(scheme.names) if c > 0}


def mask_sizes(scheme: ClassScheme, bins: dict[str, Statistics], protocol: Protocol) -> dict[str, int]:
    """Voxels of each mask, those of the reference and of the prediction together."""
    overlaps = _overlaps(scheme, bins, protocol, math.nan)
    return {mask: 2 * each.both + each.predicted_only + each.reference_only for mask, each in overlaps.items()}


def _overlap_values(
    overlaps: dict[str, Overlap], protocol: Protocol, metrics: Iterable[str]
) -> dict[str, list[MaskValue]]:
    values = {}
    for name in metrics:
        if function := OVERLAP_FUNCTIONS.get(name):
            values[name] = [
                _overlap_value(mask, name, function(counts), counts, protocol) for mask, counts in overlaps.items()
            ]
    return values


def _overlap_value(mask: str, metric: str, value: float, counts: Overlap, protocol: Protocol) -> MaskValue:
    if METRICS[metric].also_needs == "volume" and math.isnan(counts.voxel_ml):
        return MaskValue(mask, math.nan, NOT_COMPUTED, _NO_VOLUME)
    return MaskValue(mask, apply_rule(protocol.empty, metric, counts.status, value, math.nan), counts.status)


def _surface_values(
    overlaps: dict[str, Overlap],
    readout: Readout,
    protocol: Protocol,
    metrics: Iterable[str],
    *,
    diagonal: float,
    threads: int,
) -> dict[str, list[MaskValue]]:
    from calibeval.metrics.surface import SURFACE_FUNCTIONS

    names = [name for name in metrics if METRICS[name].needs == "surfaces"]
    if math.isnan(diagonal):
        return {name: [MaskValue(mask, math.nan, NOT_COMPUTED, _NO_SPACING) for mask in overlaps] for name in names}
    distances = _distances(list(overlaps), readout, protocol, threads)
    values: dict[str, list[MaskValue]] = {name: [] for name in names}
    for mask, counts in overlaps.items():
        wanted = math.nan if counts.status == "ok" else diagonal
        for name in names:
            found = SURFACE_FUNCTIONS[name](distances[mask], protocol)
            value = apply_rule(protocol.empty, name, counts.status, found, diagonal)
            values[name].append(MaskValue(mask, value, counts.status, diagonal=wanted))
    return values


def _lesion_values(readout: Readout, protocol: Protocol, metrics: Iterable[str]) -> dict[str, list[MaskValue]]:
    if not readout.lesions:
        return {}
    from calibeval.metrics.lesions import LESION_FUNCTIONS

    values: dict[str, list[MaskValue]] = {}
    for name in (name for name in metrics if name in LESION_FUNCTIONS):
        if readout.spacing_mm is None and (protocol.smallest_mm3 or name == "CC_DSC"):
            values[name] = [MaskValue(mask, math.nan, NOT_COMPUTED, _NO_SPACING) for mask in readout.lesions]
            continue
        spacing = readout.spacing_mm or ()
        found = {mask: LESION_FUNCTIONS[name](match, spacing) for mask, match in readout.lesions.items()}
        statuses = {mask: match.status for mask, match in readout.lesions.items()}
        values[name] = [
            MaskValue(mask, apply_rule(protocol.empty, name, statuses[mask], value, math.nan), statuses[mask])
            for mask, value in found.items()
        ]
    return values


def _distances(masks: list[str], readout: Readout, protocol: Protocol, threads: int) -> dict[str, SurfaceDistances]:
    """Surface distances of each mask."""
    from calibeval.metrics.surface import mask_surface_distances, surface_distances

    some, _ = next(iter(readout.masks.values()))
    spacing = readout.spacing_mm or (1.0,) * some.ndim
    if WHOLE in readout.masks and not protocol.union:
        reference, predicted = readout.masks[WHOLE]
        ignored = reference == IGNORED
        if ignored.any():
            predicted = np.where(ignored, np.uint8(IGNORED), predicted)
        found = surface_distances(
            reference, predicted, range(1, len(masks) + 1), spacing, protocol.hd95, threads=threads
        )
        return {mask: found[c] for c, mask in enumerate(masks, start=1)}
    return {
        mask: mask_surface_distances(
            foreground(reference, reference), foreground(predicted, reference), spacing, protocol.hd95, threads=threads
        )
        for mask, (reference, predicted) in zip(masks, readout.masks.values(), strict=True)
    }


def _mask_rows(case: str, metric: Metric, values: list[MaskValue], protocol: Protocol) -> list[Row]:
    return mask_rows(case, metric, values, metric.unit_under(protocol))


def mask_rows(case: str, metric: Metric, values: list[MaskValue], unit: str) -> list[Row]:
    """A row a mask and their mean."""
    rows = [Row("", "", case, v.mask, metric.name, v.value, unit, v.status, v.note, v.diagonal) for v in values]
    return [*rows, mean_row(case, metric, values, unit)]


def mean_row(case: str, metric: Metric, values: list[MaskValue], unit: str) -> Row:
    """Mean over the masks that have a value; the others are named."""
    known = [v.value for v in values if not math.isnan(v.value)]
    without = [f"{v.mask} ({v.status})" for v in values if math.isnan(v.value)]
    if not known:
        status = values[0].status if values else "failed"
        return Row("", "", case, MEAN, metric.name, math.nan, unit, status, values[0].note if values else "no class")
    note = f"without {', '.join(without)}" if without else ""
    return Row("", "", case, MEAN, metric.name, math.fsum(known) / len(known), unit, "ok", note)


def voxel_ml(spacing_mm: tuple[float, ...] | None) -> float:
    """Volume of a voxel; of a pixel in 2-D there is none."""
    return math.prod(spacing_mm) / 1000 if spacing_mm is not None and len(spacing_mm) == 3 else math.nan


def image_diagonal(shape: tuple[int, ...], spacing_mm: tuple[float, ...] | None, protocol: Protocol) -> float:
    """Length of the image's diagonal in the unit of distances; NaN when the spacing is needed and unknown."""
    if not HD95_DEFINITIONS[protocol.hd95].spacing:
        return math.hypot(*shape)
    return math.nan if spacing_mm is None else math.hypot(*(n * s for n, s in zip(shape, spacing_mm, strict=True)))


# --- calibration -----------------------------------------------------------------------------------------------------


def calibration_values(
    bins: dict[str, Statistics], protocol: Protocol, metrics: Iterable[str]
) -> dict[str, Calibration]:
    """Calibration metrics of a case; with regions, each region's own and their mean over all."""
    values = {}
    for name in metrics:
        if function := CALIBRATION_FUNCTIONS.get(name):
            by_problem = {problem: function(statistics, protocol) for problem, statistics in bins.items()}
            values[name] = _join(by_problem)
    return values


def _join(by_problem: dict[str, Calibration]) -> Calibration:
    """The one problem's value; with regions, each region's, by its index, and their mean."""
    if WHOLE in by_problem:
        return by_problem[WHOLE]
    regions = {index: value.overall for index, value in enumerate(by_problem.values())}
    known = [value for value in regions.values() if not math.isnan(value)]
    return Calibration(math.fsum(known) / len(known) if known else math.nan, regions)


def _calibration_rows(
    case: str, metric: Metric, value: Calibration, scheme: ClassScheme, *, lacking: bool = False
) -> list[Row]:
    """Rows of one metric; `lacking` says that it could not be computed for want of a spacing."""
    reason = (NOT_COMPUTED, _NO_SPACING) if lacking else ("empty_reference", _NO_VOXEL)
    if metric.zero_if_calibrated == "yes":  # the prediction alone says which voxels count
        reason = ("empty_prediction", _NO_VOXEL)

    def row(class_name: str, number: float) -> Row:
        status, note = reason if math.isnan(number) else ("ok", "")
        return Row("", "", case, class_name, metric.name, number, metric.unit, status, note)

    names = _calibration_names(metric, scheme)
    parts = [row(name, value.by_class.get(c, math.nan)) for c, name in enumerate(names)]
    return [*parts, row(ALL, value.overall)]


def _calibration_names(metric: Metric, scheme: ClassScheme) -> tuple[str, ...]:
    """Regions, of which each has every number, or the classes where the metric has a number of theirs."""
    return tuple(scheme.regions) or (scheme.names if "class" in metric.rows else ())
