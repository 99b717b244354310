"""Reading the planes of a case into statistics and masks, problem by problem.

A *problem* is one set of probabilities that sum to 1: the classes of a case (named `WHOLE`), or each region against
its complement (named after the region).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from calibeval.io.cases import Case
from calibeval.metrics import LESIONS, asked
from calibeval.metrics.accumulate import Accumulator
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


def read_masks(case: Case, predicted: Labels, protocol: Protocol) -> Readout:
    """Compare two label maps."""
    masks = _problem_masks(case, predicted)
    return Readout(masks, _compare(masks, case, protocol), case.spacing_mm)


def read_planes(
    case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int = 1
) -> Readout:
    """Read planes that lie as the reference does, once; where the case brings its own masks, these are compared.

    Raises:
        ProbabilityError: the planes hold no probabilities.
    """
    if case.scheme.regions:
        readout = _read_regions(case, source, protocol, metrics)
    else:
        readout = _read_whole(case, source, protocol, metrics, threads)
    if case.predicted is None:
        return readout
    compared = read_masks(case, case.predicted, protocol)
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


def _read_whole(case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int) -> Readout:
    """All classes as one problem."""
    confidence = {}
    if set(metrics) & set(LESIONS):
        source, largest = source.keeping_largest()
        confidence = {WHOLE: largest.reshape(source.shape)}
    accumulator = _accumulator(
        case.reference, source, classes=len(case.scheme.names), case=case, protocol=protocol, metrics=metrics
    )
    if source.read is not None:
        statistics = accumulator.take(source.read, threads)
    else:
        for chunk in source.chunks():
            accumulator.add(chunk)
        statistics = accumulator.finish()
    predicted = accumulator.predicted.reshape(source.shape)
    masks = {WHOLE: (case.reference, predicted)}
    return Readout(masks, {WHOLE: statistics}, case.spacing_mm, predicted, confidence=confidence)


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


def _read_regions(case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...]) -> Readout:
    """Each region against its complement, side by side in one pass."""
    wide = replace(source, dtype=np.dtype(np.float64))
    references = {name: _region(case.reference, members) for name, members in case.scheme.regions.items()}
    accumulators = [
        _accumulator(labels, wide, classes=2, case=case, protocol=protocol, metrics=metrics)
        for labels in references.values()
    ]
    confidence = {}
    if set(metrics) & set(LESIONS):
        confidence = {name: np.zeros(source.shape, np.float32) for name in references}
    kept = [each.ravel() for each in confidence.values()]

    def add(index: int, start: int, values: NDArray[np.float64]) -> None:
        accumulators[index].add(PlaneChunk(0, start, 1 - values))
        accumulators[index].add(PlaneChunk(1, start, values))
        if kept:
            kept[index][start : start + values.size] = values

    if case.sigmoid:
        for chunk in source.chunks():
            add(chunk.class_index, chunk.start, chunk.values.astype(np.float64))
        bins = {name: part.finish() for name, part in zip(references, accumulators, strict=True)}
        predicted = [accumulator.predicted.reshape(source.shape) for accumulator in accumulators]
        masks = dict(zip(references, zip(references.values(), predicted, strict=True), strict=True))
        return Readout(masks, bins, case.spacing_mm, _decode_regions(case, predicted), confidence=confidence)
    whole = Accumulator(case.reference.ravel(), source.classes, protocol, source.dtype, sum_tolerance=source.tolerance)
    for index, start, values in _region_sums(source, whole, tuple(case.scheme.regions.values())):
        add(index, start, values)
    whole.finish()
    labels = whole.predicted.reshape(source.shape)
    compared = read_masks(case, labels, protocol)  # the argmax decides the masks, as for label maps
    bins = {
        name: replace(part.finish(), confusion=compared.bins[name].confusion)
        for name, part in zip(references, accumulators, strict=True)
    }
    return Readout(compared.masks, bins, case.spacing_mm, labels, confidence=confidence)


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
