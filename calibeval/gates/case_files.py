"""What is wrong with the prediction files of one case, without knowing the truth; see `integrity` for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import BrokenFileError, GeometryError, InputError, ProbabilityError, describe
from calibeval.gates.scan import PlaneScan, scan_planes
from calibeval.io.arrays import ArrayFile, array_keys, open_array
from calibeval.io.cases import (
    LABEL_KEYS,
    PROBABILITY_KEYS,
    Prediction,
    ReadOptions,
    open_label,
    open_label_map,
    open_prediction,
)
from calibeval.io.classes import ClassScheme, read_labels
from calibeval.io.layout import squeezed
from calibeval.io.orientation import AGREEMENT, agreement, find_turns
from calibeval.io.pairing import CasePaths

Labels = NDArray[np.uint8]


class Task(NamedTuple):
    """A case, and how to read it; crosses process boundaries."""

    paths: CasePaths
    scheme: ClassScheme
    options: ReadOptions


class Problem(NamedTuple):
    """Something wrong: the rule that it breaks, what was found, what to do."""

    rule: str
    text: str
    advice: str = ""


_RULE_OF = {GeometryError: "geometry", BrokenFileError: "readable"}


def check_case(task: Task) -> list[Problem]:
    """Everything that is wrong with the files of one case."""
    if not task.paths.prediction:
        return [Problem("missing", "no prediction.", "Predict the case, or take it out of the expected ones.")]
    try:
        return list(_problems(task))
    except InputError as error:
        rule = next((rule for kind, rule in _RULE_OF.items() if isinstance(error, kind)), "layout")
        return [Problem(rule, error.problem, error.advice)]
    except MemoryError:
        return [Problem("readable", "not enough memory for this case.", "Try --workers 1.")]
    except Exception as error:  # one strange file must not end the check of the others
        return [Problem("readable", describe(error))]


def died(_task: Task) -> list[Problem]:
    """What is said of a case whose process was killed."""
    return [Problem("readable", "its process died twice, most likely for lack of memory.", "Try --workers 1.")]


def _problems(task: Task) -> Iterator[Problem]:
    paths = task.paths
    place = find_place(paths, task.scheme)
    prediction = open_prediction(paths, place, task.scheme, task.options)
    scheme = prediction.scheme.with_classes(prediction.classes) if prediction.classes else prediction.scheme
    if prediction.source is None:
        if prediction.labels is not None:
            read_labels(prediction.labels, scheme)
        yield Problem("one_hot", "holds labels, not probabilities.", _BEFORE_ARGMAX)
        return
    beside = _labels_beside(paths, place, scheme)
    comparable = beside is not None and beside.shape == prediction.source.shape and not prediction.sigmoid
    labels = beside.ravel() if beside is not None and comparable else None
    try:
        scan = scan_planes(prediction.source, sigmoid=prediction.sigmoid, labels=labels)
    except ProbabilityError as error:
        raise InputError(paths.prediction[0], f"{error}.", _CLASSES) from error
    found = list(_value_problems(scan, prediction))
    yield from found
    if beside is not None and not prediction.sigmoid and not any(problem.rule == "finite" for problem in found):
        yield from _argmax_problems(scan, prediction, beside)


def find_place(paths: CasePaths, scheme: ClassScheme) -> ArrayFile:
    """Open a file of the spatial shape, and of the place where there is one: label, image, map beside, or itself."""
    beside = paths.reference or paths.segmentation
    if beside is not None:
        return _without_classes(open_label(beside, scheme))
    path = paths.prediction[0]
    if set(LABEL_KEYS) & set(array_keys(path)):
        return open_array(path, LABEL_KEYS)
    file = open_array(path, PROBABILITY_KEYS)
    if file.geometry is None and not paths.classes and _classes_first(file, scheme):
        return replace(file, shape=squeezed(file.shape)[1:])
    return _without_classes(file)


def _without_classes(file: ArrayFile) -> ArrayFile:
    """An image without its axis of classes or channels."""
    return replace(file, shape=file.spatial, vector=False)


def _classes_first(file: ArrayFile, scheme: ClassScheme) -> bool:
    """Whether an array without geometry has classes on its first axis; where nothing names them, it is taken to."""
    shape = squeezed(file.shape)
    known = {len(scheme.names), len(scheme.names) - 1, len(scheme.regions)} - {0, -1}
    return len(shape) > 2 and not file.format.planar and (not known or shape[0] in known)


def _labels_beside(paths: CasePaths, place: ArrayFile, scheme: ClassScheme) -> Labels | None:
    """The label map beside the probabilities, after a look at where it lies."""
    if paths.segmentation is None:
        return None
    return read_labels(open_label_map(paths.segmentation, place), scheme).reshape(squeezed(place.shape))


def _value_problems(scan: PlaneScan, prediction: Prediction) -> Iterator[Problem]:
    """What the values say; a map that is no probability is not also blamed for its sums."""
    source = prediction.source
    if source is None:
        return
    if scan.not_finite:
        yield Problem("finite", f"{scan.not_finite} of {scan.values} values are NaN or infinite.", _DIVERGED)
    if scan.outside:
        yield Problem(
            "range", f"{scan.outside} values lie outside [0, 1], from {scan.low:.4g} to {scan.high:.4g}.", _LOGITS
        )
        return
    wrong = 0 if prediction.sigmoid else scan.wrong_sums(source.tolerance)
    if wrong:
        sums = scan.sums[np.isfinite(scan.sums)]
        extremes = f"from {sums.min():.4g} to {sums.max():.4g}"
        yield Problem("sum", f"{wrong} of {source.voxels} voxels do not sum to 1 ({extremes}).", _SUMS)
    if scan.all_hard and not scan.not_finite:
        yield Problem("one_hot", "all probabilities are 0 or 1.", _BEFORE_ARGMAX)
    elif scan.cut_off:
        yield Problem(
            "truncated", "no foreground probability lies between 0 and 0.5.", "Save them without a threshold."
        )


_CLASSES = "Give the classes that the maps hold, background first."
_BEFORE_ARGMAX = "Save the probabilities before the argmax."
_NO_THRESHOLD = "Save them without a threshold."
_DIVERGED = "The network diverged, or half precision overflowed."
_LOGITS = "Logits need a softmax before saving (or --input logits), integer maps a scale."
_SUMS = "Overlapping regions need --regions; resampled maps must be normalised again."


def _argmax_problems(scan: PlaneScan, prediction: Prediction, beside: Labels) -> Iterator[Problem]:
    """Whether the label map is the argmax, ties aside, under whatever turn the writer gave it."""
    source = prediction.source
    if source is None:
        return
    predicted = scan.predicted.reshape(source.shape)
    alike = predicted.shape == beside.shape
    differ = scan.contradicted(source.tolerance) if alike else beside.size
    if differ and not (alike and agreement(predicted, beside) >= AGREEMENT):
        turns = find_turns(predicted, beside)
        if len(turns) != 1:
            how = f"{len(turns)} turns would mend it" if turns else "no turn or flip mends it"
            yield Problem("argmax", f"the argmax disagrees with the label map beside it, and {how}.", _OTHER_MODEL)
            return
        differ = int(np.count_nonzero(turns[0].apply(predicted) != beside))
    if differ:
        yield Problem("argmax", f"the label map beside it differs from the argmax in {differ} voxels.", _PROCESSED)


_OTHER_MODEL = "The two files come from different models or cases."
_PROCESSED = 'Post-processing does that: then set argmax = "warn" under [integrity]. Otherwise write both again.'
