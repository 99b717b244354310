"""Reading the planes of a case into statistics and masks, problem by problem.

A *problem* is one set of probabilities that sum to 1: the classes of a case (named `WHOLE`), or each region against
its complement (named after the region).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.io.cases import Case
from calibeval.metrics import asked
from calibeval.metrics.accumulate import Accumulator, add_to_all, take_all
from calibeval.metrics.boundary import near_boundary
from calibeval.metrics.lesions import LesionMatch
from calibeval.metrics.statistics import IGNORED, Statistics, compare_labels
from calibeval.planes import CHUNK, PlaneChunk, PlaneSource
from calibeval.protocol import Protocol

Labels = NDArray[np.uint8]
Masks = dict[str, tuple[Labels, Labels]]
WHOLE = ""
FOREGROUND = "foreground"  # name of the mask that unites all foreground classes


@dataclass(frozen=True)
class Readout:
    """What was read of a case.

    Attributes:
        masks: reference and predicted labels of each problem; region problems have the labels 0 and 1.
        bins: statistics of each problem; their confusion matrices belong to `masks`.
        spacing_mm: of the masks' axes.
        decoded: label map that the planes stand for: their argmax, or the regions written one over the other; None
            where there are no planes, or regions without an order.
        notes: for people.
        lesions: of each mask by name, matched; only where they are asked for.
        confidence: of each problem, the probability of what was predicted at a voxel of the foreground; only where
            lesions are asked for.
    """

    masks: Masks
    bins: dict[str, Statistics]
    spacing_mm: tuple[float, ...] | None
    decoded: Labels | None = None
    notes: tuple[str, ...] = ()
    lesions: dict[str, LesionMatch] = field(default_factory=dict)
    confidence: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def foreground(labels: Labels, reference: Labels) -> NDArray[np.bool_]:
    """The mask of all classes but the first, without the voxels that the reference ignores."""
    mask: NDArray[np.bool_] = (labels != 0) & (reference != IGNORED)
    return mask


def read_masks(case: Case, predicted: Labels, protocol: Protocol) -> Readout:
    """Compare two label maps."""
    masks = _problem_masks(case, predicted)
    return Readout(masks, _compare(masks, case, protocol), case.spacing_mm)


def read_planes(
    views: Sequence[Case], source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int = 1
) -> list[Readout]:
    """Read planes that lie as the references do, once; where the case brings its own masks, these are compared.

    Args:
        views: a case as different raters see it: nothing differs but the reference. Of the last ones, which have no
            `source` though the first has, only masks are compared.
        source: of the planes.
        protocol: bins and domains.
        metrics: see `read_views`.
        threads: for planes that can be read at random.

    Raises:
        ProbabilityError: the planes hold no probabilities.
    """
    whole = [view for view in views if view.source is not None] or views
    if views[0].scheme.regions:
        readouts = _read_regions(whole, source, protocol, metrics)
    else:
        readouts = _read_whole(whole, source, protocol, metrics, threads)
    found = [_with_own_masks(case, readout, protocol) for case, readout in zip(whole, readouts, strict=True)]
    return [*found, *(_against(case, found[0], protocol) for case in views[len(whole) :])]


def _against(case: Case, readout: Readout, protocol: Protocol) -> Readout:
    """The masks of a readout compared with another reference."""
    references = _problem_masks(case, case.reference)
    masks = {name: (references[name][0], predicted) for name, (_, predicted) in readout.masks.items()}
    return replace(readout, masks=masks, bins=_compare(masks, case, protocol))


def _with_own_masks(case: Case, readout: Readout, protocol: Protocol) -> Readout:
    return readout if case.predicted is None else with_masks(case, readout, case.predicted, protocol)


def with_masks(case: Case, readout: Readout, predicted: Labels, protocol: Protocol) -> Readout:
    """The same probabilities with these masks."""
    compared = read_masks(case, predicted, protocol)
    bins = {name: replace(part, confusion=compared.bins[name].confusion) for name, part in readout.bins.items()}
    return replace(readout, masks=compared.masks, bins=bins)


def _problem_masks(case: Case, predicted: Labels) -> Masks:
    if not case.scheme.regions:
        return {WHOLE: (case.reference, predicted)}
    return {
        name: (_region(case.reference, members), _region(predicted, members))
        for name, members in case.scheme.regions.items()
    }


def _region(labels: Labels, members: tuple[int, ...]) -> Labels:
    """1 inside the region, 0 outside, 255 where ignored."""
    table = np.zeros(256, np.uint8)
    table[list(members)] = 1
    table[IGNORED] = IGNORED
    return table[labels]


def _compare(masks: Masks, case: Case, protocol: Protocol) -> dict[str, Statistics]:
    classes = 2 if case.scheme.regions else len(case.scheme.names)
    return {
        name: compare_labels(reference.ravel(), predicted.ravel(), classes, protocol)
        for name, (reference, predicted) in masks.items()
    }


def _read_whole(
    views: Sequence[Case], source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int
) -> list[Readout]:
    """All classes as one problem."""
    confidence = {}
    if asked(metrics, "lesions"):
        source, largest = source.keeping_largest()
        confidence = {WHOLE: largest.reshape(source.shape)}
    accumulators = [
        _accumulator(
            case.reference, source, classes=len(case.scheme.names), case=case, protocol=protocol, metrics=metrics
        )
        for case in views
    ]
    if source.read is not None:
        statistics = take_all(accumulators, source.read, threads)
    else:
        for chunk in source.chunks():
            add_to_all(accumulators, chunk)
        statistics = [accumulator.finish() for accumulator in accumulators]
    predicted = accumulators[0].predicted.reshape(source.shape)
    return [
        Readout({WHOLE: (case.reference, predicted)}, {WHOLE: found}, case.spacing_mm, predicted, confidence=confidence)
        for case, found in zip(views, statistics, strict=True)
    ]


def _accumulator(
    reference: Labels, source: PlaneSource, *, classes: int, case: Case, protocol: Protocol, metrics: tuple[str, ...]
) -> Accumulator:
    boundary = None
    if (asked(metrics, "boundary") or "gap" in metrics) and case.spacing_mm is not None:  # gap is told with its place
        boundary = near_boundary(reference, case.spacing_mm, protocol.boundary_mm).ravel()
    return Accumulator(
        reference.ravel(),
        classes,
        protocol,
        source.dtype,
        proper=asked(metrics, "proper"),
        fine=asked(metrics, "cells"),
        boundary=boundary,
        sum_tolerance=source.tolerance,
    )


def _read_regions(
    views: Sequence[Case], source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...]
) -> list[Readout]:
    """Each region against its complement, side by side in one pass."""
    case = views[0]
    problems = [_RegionProblems.of(view, source, protocol, metrics) for view in views]
    confidence = {}
    if asked(metrics, "lesions"):
        confidence = {name: np.zeros(source.shape, np.float32) for name in case.scheme.regions}
    kept = [each.ravel() for each in confidence.values()]

    def add(index: int, start: int, values: NDArray[np.float64]) -> None:
        for each in problems:
            each.add(index, start, values)
        if kept:
            kept[index][start : start + values.size] = values

    if case.sigmoid:
        for chunk in source.chunks():
            add(chunk.class_index, chunk.start, chunk.values.astype(np.float64))
        decoded = _decode_regions(case, problems[0].predicted)
        return [each.readout(decoded, confidence) for each in problems]
    whole = Accumulator(case.reference.ravel(), source.classes, protocol, source.dtype, sum_tolerance=source.tolerance)
    for index, start, values in _region_sums(source, whole, tuple(case.scheme.regions.values())):
        add(index, start, values)
    whole.finish()
    labels = whole.predicted.reshape(source.shape)  # the argmax decides the masks, as for label maps
    return [with_masks(each.case, each.readout(labels, confidence), labels, protocol) for each in problems]


class _RegionProblems(NamedTuple):
    """The regions of a case as one rater sees them."""

    case: Case
    references: dict[str, Labels]
    accumulators: list[Accumulator]

    @classmethod
    def of(cls, case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...]) -> _RegionProblems:
        wide = replace(source, dtype=np.dtype(np.float64))
        references = {name: _region(case.reference, members) for name, members in case.scheme.regions.items()}
        accumulators = [
            _accumulator(labels, wide, classes=2, case=case, protocol=protocol, metrics=metrics)
            for labels in references.values()
        ]
        return cls(case, references, accumulators)

    def add(self, index: int, start: int, values: NDArray[np.float64]) -> None:
        self.accumulators[index].add(PlaneChunk(0, start, 1 - values))
        self.accumulators[index].add(PlaneChunk(1, start, values))

    @property
    def predicted(self) -> list[Labels]:
        shape = self.case.reference.shape
        return [accumulator.predicted.reshape(shape) for accumulator in self.accumulators]

    def readout(self, decoded: Labels | None, confidence: dict[str, NDArray[np.float32]]) -> Readout:
        bins = {name: part.finish() for name, part in zip(self.references, self.accumulators, strict=True)}
        masks = dict(zip(self.references, zip(self.references.values(), self.predicted, strict=True), strict=True))
        return Readout(masks, bins, self.case.spacing_mm, decoded, confidence=confidence)


def _decode_regions(case: Case, predicted: list[Labels]) -> Labels | None:
    if len(case.scheme.region_order) != len(case.scheme.regions):
        return None
    decoded = np.zeros(predicted[0].shape, np.uint8)
    for mask, label in zip(predicted, case.scheme.region_order, strict=True):
        decoded[mask == 1] = label
    return decoded


def _region_sums(
    source: PlaneSource, whole: Accumulator, regions: tuple[tuple[int, ...], ...]
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Probability of each region, the sum of its classes, chunk by chunk; `whole` sees every plane on the way."""
    sums = np.zeros((len(regions), source.voxels))
    for chunk in source.chunks():
        whole.add(chunk)
        for index, members in enumerate(regions):
            if chunk.class_index in members:
                sums[index, chunk.start : chunk.start + CHUNK] += chunk.values
    np.clip(sums, 0, 1, out=sums)
    for index in range(len(regions)):
        for start in range(0, source.voxels, CHUNK):
            yield index, start, sums[index, start : start + CHUNK]
