"""From an opened case to statistics and masks: the one place where probabilities are read through.

A *problem* is one set of probabilities that sum to 1: the classes of a case (named `WHOLE`), or each region against
its complement (named after the region).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibeval.boundary import near_boundary
from calibeval.errors import InputError
from calibeval.io.cases import Case
from calibeval.io.orientation import AGREEMENT, agreement, find_turns
from calibeval.io.probabilities import PlaneSource
from calibeval.protocol import Protocol
from calibeval.statistics import (
    CHUNK,
    IGNORED,
    Accumulator,
    PlaneChunk,
    ProbabilityError,
    Statistics,
    compare_labels,
)

Labels = NDArray[np.uint8]
WHOLE = ""


@dataclass(frozen=True)
class Readout:
    """What was read of a case.

    Attributes:
        masks: reference and predicted labels of each problem; region problems have the labels 0 and 1.
        bins: statistics of each problem; their confusion matrices belong to `masks`.
        spacing_mm: of the masks' axes.
        notes: for people.
    """

    masks: dict[str, tuple[Labels, Labels]]
    bins: dict[str, Statistics]
    spacing_mm: tuple[float, ...] | None
    notes: tuple[str, ...] = ()


def read_case(case: Case, protocol: Protocol, metrics: tuple[str, ...], threads: int = 1) -> Readout:
    """Read a case through once (twice when its planes turn out to be turned).

    Args:
        case: opened files or arrays.
        protocol: bins and domains.
        metrics: those that need sums of their own (Brier, NLL, bECE) cost time only when they are asked for.
        threads: for planes that can be read at random.

    Raises:
        InputError: the probabilities are none, or contradict the label map beside them.
    """
    if case.source is None:
        readout = _read_labels(case, protocol)
    else:
        readout = _read_source(case, case.source, protocol, metrics, threads)
    return replace(readout, notes=(*readout.notes, *_oddities(case, readout)))


def _read_source(
    case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int
) -> Readout:
    try:
        if source.shape == case.reference.shape:
            readout = _read_planes(case, source, protocol, metrics, threads)
            share = _agreement_with_sibling(case, readout)
            if share is None or share >= AGREEMENT:
                return replace(readout, notes=_disagreement(case, readout, share))
        return _read_turned(case, source, protocol, metrics, threads)
    except ProbabilityError as error:
        raise InputError(case.name, f"{error}.", _ADVICE) from error


_ADVICE = (
    "Logits need --input logits, overlapping regions --regions, integer maps --scale; "
    "otherwise the file was written or resampled wrongly."
)


def _read_labels(case: Case, protocol: Protocol) -> Readout:
    if case.predicted is None:
        raise InputError(case.name, "has neither probabilities nor a label map.")
    masks = _problem_masks(case, case.reference, case.predicted)
    return Readout(masks, _compare(masks, case, protocol), case.spacing_mm)


def _problem_masks(case: Case, reference: Labels, predicted: Labels) -> dict[str, tuple[Labels, Labels]]:
    if not case.scheme.regions:
        return {WHOLE: (reference, predicted)}
    return {
        name: (_region(reference, members), _region(predicted, members))
        for name, members in case.scheme.regions.items()
    }


def _region(labels: Labels, members: tuple[int, ...]) -> Labels:
    """1 inside the region, 0 outside, 255 where ignored."""
    table = np.zeros(256, np.uint8)
    table[list(members)] = 1
    table[IGNORED] = IGNORED
    return table[labels]


def _compare(masks: dict[str, tuple[Labels, Labels]], case: Case, protocol: Protocol) -> dict[str, Statistics]:
    classes = 2 if case.scheme.regions else len(case.scheme.names)
    return {
        name: compare_labels(reference.ravel(), predicted.ravel(), classes, protocol)
        for name, (reference, predicted) in masks.items()
    }


def _read_planes(
    case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int
) -> Readout:
    """Read planes that lie as the reference does."""
    if case.scheme.regions:
        readout = _read_regions(case, source, protocol, metrics)
    else:
        accumulator = _accumulator(
            case.reference, source, classes=len(case.scheme.names), case=case, protocol=protocol, metrics=metrics
        )
        if source.read is not None:
            statistics = accumulator.take(source.read, threads)
        else:
            for chunk in source.chunks():
                accumulator.add(chunk)
            statistics = accumulator.finish()
        masks = {WHOLE: (case.reference, accumulator.predicted.reshape(source.shape))}
        readout = Readout(masks, {WHOLE: statistics}, case.spacing_mm)
    if case.predicted is None:
        return readout
    masks = _problem_masks(case, case.reference, case.predicted)
    confusion = {name: part.confusion for name, part in _compare(masks, case, protocol).items()}
    bins = {name: replace(part, confusion=confusion[name]) for name, part in readout.bins.items()}
    return replace(readout, masks=masks, bins=bins)


def _accumulator(
    reference: Labels, source: PlaneSource, *, classes: int, case: Case, protocol: Protocol, metrics: tuple[str, ...]
) -> Accumulator:
    boundary = None
    if "bECE" in metrics and case.spacing_mm is not None:
        boundary = near_boundary(reference, case.spacing_mm, protocol.boundary_mm).ravel()
    return Accumulator(
        reference.ravel(),
        classes,
        protocol,
        source.dtype,
        proper="Brier" in metrics or "NLL" in metrics,
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
    if case.sigmoid:
        for chunk in source.chunks():
            _add_region(accumulators[chunk.class_index], chunk.start, chunk.values.astype(np.float64))
        predicted = [accumulator.predicted.reshape(source.shape) for accumulator in accumulators]
    else:
        whole = Accumulator(
            case.reference.ravel(), source.classes, protocol, source.dtype, sum_tolerance=source.tolerance
        )
        for index, start, values in _region_sums(source, whole, tuple(case.scheme.regions.values())):
            _add_region(accumulators[index], start, values)
        whole.finish()
        labels = whole.predicted.reshape(source.shape)
        predicted = [_region(labels, members) for members in case.scheme.regions.values()]
    bins = {name: part.finish() for name, part in zip(references, accumulators, strict=True)}
    masks = dict(zip(references, zip(references.values(), predicted, strict=True), strict=True))
    if not case.sigmoid:  # the argmax decides the masks, as for label maps
        compared = _compare(masks, case, protocol)
        bins = {name: replace(part, confusion=compared[name].confusion) for name, part in bins.items()}
    return Readout(masks, bins, case.spacing_mm)


def _add_region(accumulator: Accumulator, start: int, values: NDArray[np.float64]) -> None:
    accumulator.add(PlaneChunk(0, start, 1 - values))
    accumulator.add(PlaneChunk(1, start, values))


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
    np.minimum(sums, 1, out=sums)
    for index in range(len(regions)):
        for start in range(0, source.voxels, CHUNK):
            yield index, start, sums[index, start : start + CHUNK]


def _oddities(case: Case, readout: Readout) -> Iterator[str]:
    """What a reader of the numbers should know of the values."""
    ignored = int(np.count_nonzero(case.reference == IGNORED))
    if ignored:
        yield f"{ignored} voxels ignored"
    if case.source is None:
        return
    for name, statistics in readout.bins.items():
        count, total = statistics.foreground.count.sum(axis=0), statistics.foreground.total.sum(axis=0)
        of = f" of {name}" if name else ""
        if not count[1:-1].any() and total[-1] == count[-1]:
            yield f"the probabilities{of} are all 0 or 1: calibration says no more than the masks"
        elif count[0] and not count[1 : count.size // 2 + 1].any():
            yield f"no foreground probability{of} lies between 0 and 0.5: it was cut off"


def _agreement_with_sibling(case: Case, readout: Readout) -> float | None:
    """How far the planes' label map agrees with the one beside them; None when there is nothing to compare."""
    predicted = _decode(case, readout)
    if case.segmentation is None or predicted is None:
        return None
    return agreement(predicted, case.segmentation)


def _decode(case: Case, readout: Readout) -> Labels | None:
    """The label map that the planes stand for: the argmax, or the regions written one over the other."""
    if not case.scheme.regions:
        return readout.masks[WHOLE][1] if case.predicted is None else None
    if not case.sigmoid or len(case.scheme.region_order) != len(case.scheme.regions):
        return None
    decoded = np.zeros(case.reference.shape, np.uint8)
    for (_, predicted), label in zip(readout.masks.values(), case.scheme.region_order, strict=True):
        decoded[predicted == 1] = label
    return decoded


def _disagreement(case: Case, readout: Readout, share: float | None) -> tuple[str, ...]:
    predicted = _decode(case, readout)
    if share is None or predicted is None or case.segmentation is None:
        return ()
    differ = int(np.count_nonzero(predicted != case.segmentation))
    return (f"the label map beside the probabilities differs from their argmax in {differ} voxels",) if differ else ()


def _read_turned(
    case: Case, source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int
) -> Readout:
    """Find by the label map beside them how the planes were turned, turn the reference alike, and read again."""
    if case.segmentation is None:  # a shape that differs is only let through with a label map beside it
        raise InputError(case.name, "the probabilities' shape differs from the label's.")
    neutral = replace(case, reference=np.zeros(source.shape, np.uint8), predicted=None, segmentation=None)
    predicted = _decode(neutral, _read_planes(neutral, source, protocol, (), threads))
    turns = find_turns(predicted, case.segmentation) if predicted is not None else []
    if len(turns) != 1:
        raise InputError(
            case.name,
            "the argmax of the probabilities disagrees with the label map beside them, and "
            + (f"{len(turns)} turns would mend it." if turns else "no turn or flip mends it."),
            "Say how they lie with --axes, or remove the label map if it belongs to another model.",
        )
    turn = turns[0]
    turned = replace(
        case,
        reference=np.ascontiguousarray(turn.undo(case.reference)),
        predicted=None if case.predicted is None else np.ascontiguousarray(turn.undo(case.predicted)),
        segmentation=None,
        spacing_mm=None if case.spacing_mm is None else turn.undo_lengths(case.spacing_mm),
    )
    readout = _read_planes(turned, source, protocol, metrics, threads)
    return replace(readout, notes=(f"probabilities turned to fit the label map beside them (axes {turn})",))
