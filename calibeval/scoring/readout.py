"""From an opened case to statistics and masks: the one place where probabilities are read through.

The argmax is held against the label map beside the probabilities, if there is one: it tells a map that was saved in
another orientation, or that belongs to another case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError, ProbabilityError
from calibeval.io.cases import Case, bounding_box
from calibeval.io.orientation import AGREEMENT, Turn, agreement, find_turns
from calibeval.metrics import asked
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import PlaneSource
from calibeval.protocol import Protocol
from calibeval.scoring.lesions import match_masks
from calibeval.scoring.problems import WHOLE, Readout, read_masks, read_planes, with_masks

Labels = NDArray[np.uint8]
_POST_PROCESSED = 0.5  # agreement that post-processing leaves, when no turn does better
TELL_AXES = "Say how it lies with --axes, and --regions none."
_MARGIN = 20  # voxels around what raters drew
_ADVICE = (
    "Logits need --input logits, overlapping regions --regions, integer maps --scale, maps without background "
    "--classes; otherwise the file was written or resampled wrongly."
)


def read_case(case: Case, protocol: Protocol, metrics: tuple[str, ...], threads: int = 1) -> Readout:
    """Read a case with one reference; see `read_views`."""
    return read_views([case], protocol, metrics, threads)[0]


def read_views(views: Sequence[Case], protocol: Protocol, metrics: tuple[str, ...], threads: int = 1) -> list[Readout]:
    """Read a case through once (twice when its planes turn out to be turned), for all its raters.

    Args:
        views: opened files or arrays, as each rater sees them: nothing differs but the reference.
        protocol: bins and domains.
        metrics: those that need sums of their own (`Metric.also_needs`) cost time only when they are asked for.
        threads: for planes that can be read at random.

    Raises:
        InputError: the probabilities are none, or contradict the label map beside them.
    """
    case = views[0]
    if case.source is not None:
        try:
            readouts = _read_cropped(views, case.source, protocol, metrics, threads)
        except ProbabilityError as error:
            raise InputError(case.origin, f"{error}.", _ADVICE) from error
    elif case.predicted is not None:
        readouts = [read_masks(view, case.predicted, protocol) for view in views]
    else:
        raise InputError(case.origin, "has neither probabilities nor a label map.")
    return [_completed(view, readout, protocol, metrics) for view, readout in zip(views, readouts, strict=True)]


def _read_cropped(
    views: Sequence[Case], source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int
) -> list[Readout]:
    """Read with the protocol's box: calibration counts voxels in it, masks are compared everywhere."""
    box = views[0].body if protocol.crop == "body" else None
    if protocol.crop == "raters":
        drawn = np.logical_or.reduce([(view.reference != 0) & (view.reference != IGNORED) for view in views])
        box = bounding_box(drawn, _MARGIN)
    if box is None:
        return _read_source(views, source, protocol, metrics, threads)
    outside = np.ones(views[0].reference.shape, bool)
    outside[box] = False
    cropped = [replace(view, reference=np.where(outside, np.uint8(IGNORED), view.reference)) for view in views]
    readouts = _read_source(cropped, source, protocol, metrics, threads)
    if any(is_turned(view, readout) for view, readout in zip(cropped, readouts, strict=True)):
        raise InputError(views[0].origin, "holds regions, or lies otherwise than the label: no box for it.", TELL_AXES)
    return [
        with_masks(view, readout, readout.masks[WHOLE][1], protocol)
        for view, readout in zip(views, readouts, strict=True)
    ]


def is_turned(case: Case, readout: Readout) -> bool:
    """Whether the planes were read otherwise than the case lies; true of regions, whose masks are no labels."""
    return WHOLE not in readout.masks or readout.masks[WHOLE][0] is not case.reference


def _completed(case: Case, readout: Readout, protocol: Protocol, metrics: tuple[str, ...]) -> Readout:
    """With lesions, if they are asked for, and notes."""
    if asked(metrics, "lesions"):
        readout = replace(readout, lesions=match_masks(case, readout, protocol))
    return replace(readout, notes=(*readout.notes, *_oddities(case, readout)))


def _read_source(
    views: Sequence[Case], source: PlaneSource, protocol: Protocol, metrics: tuple[str, ...], threads: int
) -> list[Readout]:
    case, readouts, share = views[0], None, 0.0
    if source.shape == case.reference.shape:
        readouts = read_planes(views, source, protocol, metrics, threads)
        decoded = readouts[0].decoded
        if case.segmentation is None or decoded is None:
            return readouts
        share = agreement(decoded, case.segmentation)
        if share >= AGREEMENT:
            return _noted(readouts, _disagreement(decoded, case.segmentation))
    else:
        neutral = replace(case, reference=np.zeros(source.shape, np.uint8), predicted=None)
        decoded = read_planes([neutral], source, protocol, (), threads)[0].decoded
    turn = _turn_asked(case, decoded, share)
    if turn is not None:
        readouts = read_planes([_undo(view, turn) for view in views], source, protocol, metrics, threads)
        return _noted(readouts, (f"probabilities turned to fit the label map beside them (axes {turn})",))
    if readouts is None or decoded is None or case.segmentation is None:
        raise InputError(case.origin, "the probabilities' shape differs from the label's, and nothing tells why.")
    return _noted(readouts, _disagreement(decoded, case.segmentation))


def _noted(readouts: list[Readout], notes: tuple[str, ...]) -> list[Readout]:
    return [replace(readout, notes=notes) for readout in readouts]


def find_turn(case: Case, decoded: Labels) -> Turn | None:
    """How planes are to be turned to lie as the reference does; None where they do.

    Args:
        case: whose planes they are.
        decoded: label map that they stand for, as they lie.

    Raises:
        InputError: they lie otherwise, and nothing tells how.
    """
    same = decoded.shape == case.reference.shape
    if same and case.segmentation is None:
        return None
    share = agreement(decoded, case.segmentation) if same and case.segmentation is not None else 0.0
    return None if share >= AGREEMENT else _turn_asked(case, decoded, share)


def _turn_asked(case: Case, decoded: Labels | None, share: float) -> Turn | None:
    """The turn that the label map beside the probabilities asks for; None when it merely was post-processed.

    Args:
        case: with that label map.
        decoded: label map that the planes stand for; None when they are regions without an order.
        share: their agreement as they are.
    """
    if decoded is None or case.segmentation is None:
        raise InputError(
            case.origin,
            f"the probabilities' shape differs from the label's {case.reference.shape}, and nothing tells how to turn.",
            "Say how they lie with --axes.",
        )
    turns = find_turns(decoded, case.segmentation)
    if len(turns) == 1:
        return turns[0]
    same_shape = decoded.shape == case.segmentation.shape
    told = share >= _POST_PROCESSED or not (decoded.any() and case.segmentation.any())
    if not turns and same_shape and told:
        return None
    raise InputError(
        case.origin,
        f"the argmax of the probabilities disagrees with the label map beside them, {case.beside} "
        f"({share:.0%} of the foreground agree), and "
        + (f"{len(turns)} turns would mend it." if turns else "no turn or flip mends it."),
        "Say how they lie with --axes, or remove the label map if it belongs to another model or case.",
    )


def _undo(case: Case, turn: Turn) -> Case:
    """Turn everything of a case to where its planes lie."""
    return replace(
        case,
        reference=np.ascontiguousarray(turn.undo(case.reference)),
        predicted=None if case.predicted is None else np.ascontiguousarray(turn.undo(case.predicted)),
        spacing_mm=None if case.spacing_mm is None else turn.undo_lengths(case.spacing_mm),
    )


def _disagreement(decoded: Labels, beside: Labels) -> tuple[str, ...]:
    differ = int(np.count_nonzero(decoded != beside))
    if not differ:
        return ()
    return (
        f"the label map beside the probabilities differs from their argmax in {differ} voxels: post-processed? "
        "(--seg-dir scores the overlap of such maps)",
    )


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
        half = count.size // 2  # the cell that ends at one half
        if not count.any():
            yield "no voxel counts: all are ignored"
        elif not count[1:-1].any() and total[-1] == count[-1]:
            yield f"the probabilities{of} are all 0 or 1: calibration says no more than the masks"
        elif count[0] and not count[1 : half + 1].any():
            yield f"no foreground probability{of} lies between 0 and 0.5: it was cut off"
        elif count[half] and not count[half + 1 :].any() and statistics.confusion[1:].any():
            yield (
                f"no foreground probability{of} is above 0.5, the largest are near it: nothing is predicted where the "
                "reference has something. Stored at half its scale? (--scale, or write the file again)"
            )
