"""One case, opened: reference labels, predicted planes or labels, spacing, and notes on how the files were taken.

Everything that can be wrong with one file ends here as an InputError that names it; the case then fails alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile, npz_keys, open_array, suffix_of
from calibeval.io.classes import ClassScheme, read_labels
from calibeval.io.geometry import check_same_place
from calibeval.io.layout import find_layout, squeezed
from calibeval.io.pairing import CasePaths
from calibeval.io.probabilities import (
    PlaneSource,
    file_source,
    sigmoid_source,
    softmax_source,
    stack_sources,
    transposed_source,
    with_background,
)

LABEL_KEYS = ("label", "labels", "seg", "segmentation", "mask", "gt", "reference")
PROBABILITY_KEYS = ("probabilities", "softmax", "probs", "prob", "probability", "logits", "prediction", "pred")
_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}

InputKind = Literal["auto", "probabilities", "logits", "labels"]


class ReadOptions(NamedTuple):
    """What the user says about the files.

    Attributes:
        input: what predictions hold; `auto` tells labels from probabilities and never assumes logits.
        axes: the prediction's own axes, as in `czyx`.
        scale: divide probabilities by this; None is 255 for uint8, 65535 for uint16.
        spacing_mm: in the order of the label file's own axes; None takes the header's.
    """

    input: InputKind = "auto"
    axes: str | None = None
    scale: float | None = None
    spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Case:
    """A case ready to be scored; arrays are spatial, slowest axis first, without singleton axes.

    Attributes:
        name: case id.
        scheme: classes, with names.
        reference: class indices, 255 ignored.
        spacing_mm: of the array's axes; None when no file tells.
        source: planes of classes, or of regions (`sigmoid`); None when there are only label maps. Its shape is
            that of the reference, or a permutation of it when only `segmentation` can tell how it was turned.
        sigmoid: the planes are one region each and do not sum to 1.
        predicted: label map that was predicted; None when the planes' argmax is it.
        segmentation: label map beside the planes, to check their argmax against.
        notes: how the files were taken, for people.
    """

    name: str
    scheme: ClassScheme
    reference: NDArray[np.uint8]
    spacing_mm: tuple[float, ...] | None
    source: PlaneSource | None
    sigmoid: bool
    predicted: NDArray[np.uint8] | None
    segmentation: NDArray[np.uint8] | None
    notes: tuple[str, ...]


def open_case(paths: CasePaths, scheme: ClassScheme, options: ReadOptions, *, separate_masks: bool = False) -> Case:
    """Open the files of a case.

    Args:
        paths: from `pairing`.
        scheme: from `classes`; without names they follow from the prediction.
        options: what the user says.
        separate_masks: overlap and distances come from `paths.segmentation`, not from the probabilities.

    Raises:
        InputError: any file that cannot be used.
    """
    if not paths.prediction:
        raise InputError(paths.reference or Path(paths.case), "has no prediction.")
    reference_path = paths.reference or paths.prediction[0]
    reference_file = open_array(reference_path, LABEL_KEYS)
    spatial = squeezed(reference_file.shape)
    prediction = open_prediction(paths, reference_file, scheme, options)
    classes = prediction.classes or _count_classes(reference_file, prediction.labels)
    scheme = prediction.scheme.with_classes(classes)
    reference = read_labels(reference_file, scheme).reshape(spatial)
    predicted = None if prediction.labels is None else read_labels(prediction.labels, scheme).reshape(spatial)
    segmentation, notes = None, list(prediction.notes)
    if paths.segmentation is not None:
        segmentation = _read_segmentation(paths.segmentation, reference_file, scheme)
    if separate_masks and segmentation is not None:
        predicted, segmentation = segmentation, None
        notes.append(f"overlap and distances from {paths.segmentation}")
    return Case(
        paths.case,
        scheme,
        reference,
        find_spacing(reference_file, paths, options),
        prediction.source,
        prediction.sigmoid,
        predicted,
        segmentation,
        tuple(notes),
    )


class Prediction(NamedTuple):
    """A prediction, opened: either planes or a file of labels.

    Attributes:
        scheme: classes, with names as far as they are known.
        classes: their number; 0 when only the values will tell.
        how: the files were taken for, for people.
        notes: beside that.
        source: planes; None for labels.
        sigmoid: the planes are one region each and do not sum to 1.
        labels: file of a label map; None for planes.
    """

    scheme: ClassScheme
    classes: int
    how: str
    notes: tuple[str, ...] = ()
    source: PlaneSource | None = None
    sigmoid: bool = False
    labels: ArrayFile | None = None


def open_prediction(paths: CasePaths, reference: ArrayFile, scheme: ClassScheme, options: ReadOptions) -> Prediction:
    """Open the prediction of a case; `reference` gives the shape and the place that it must have.

    Raises:
        InputError: a file that cannot be used, as far as headers tell.
    """
    if len(paths.prediction) > 1 or paths.classes:
        source, scheme = _open_class_files(paths, reference, scheme, options)
        return _classify(Prediction(scheme, 0, "one file a class", (), source), options, paths.prediction[0])
    file = open_array(paths.prediction[0], PROBABILITY_KEYS)
    layout = find_layout(file, reference, options.axes, may_be_turned=paths.segmentation is not None)
    _check_place(file, reference)
    if not layout.classes and _holds_labels(file, scheme, options):
        return Prediction(scheme, len(scheme.names), f"label map ({file.dtype})", labels=file)
    shape = squeezed(file.shape)
    scale = _scale(file, options)
    if layout.order == tuple(range(len(shape))):
        source = file_source(file, shape if not layout.classes else shape[1:], scale)
    else:
        array = file.load().reshape(shape).transpose(layout.order)
        source = transposed_source(file, array if layout.classes else array[None], scale)
    how = f"{file.dtype} {'logits' if options.input == 'logits' else 'probabilities'}, {layout.why}"
    notes = (f"read as value/{scale:g}",) if scale else ()
    return _classify(Prediction(scheme, 0, how, notes, source), options, file.path)


def _open_class_files(
    paths: CasePaths, reference: ArrayFile, scheme: ClassScheme, options: ReadOptions
) -> tuple[PlaneSource, ClassScheme]:
    """Stack per-class files in the order of their numbers, or of the scheme's names."""
    files = dict(zip(paths.classes, (open_array(path, PROBABILITY_KEYS) for path in paths.prediction), strict=True))
    order = sorted(files)
    if not all(name.isdigit() for name in files):
        order = [name for name in scheme.names if name in files]
        if len(order) < len(files):
            raise InputError(
                paths.prediction[0],
                f"the files are named after {', '.join(sorted(files))}; "
                f"known classes from {scheme.source}: {', '.join(scheme.names) or '(none)'}.",
                "Give --classes in the order of the label values, background first.",
            )
    spatial = squeezed(reference.shape)
    sources = []
    for name in order:
        layout = find_layout(files[name], reference, options.axes)
        if layout.classes:
            raise InputError(files[name].path, f"holds {layout.classes} classes where one was expected.")
        _check_place(files[name], reference)
        sources.append(file_source(files[name], spatial, _scale(files[name], options)))
    return stack_sources(sources), scheme


def _classify(found: Prediction, options: ReadOptions, path: Path) -> Prediction:
    """Fit the planes to the classes: all of them, all but the background, or one a region."""
    scheme, source = found.scheme, found.source
    if source is None:
        return found
    known, planes, logits = len(scheme.names), source.classes, options.input == "logits"
    if scheme.regions and planes == len(scheme.regions) and planes != known:
        source = sigmoid_source(source) if logits else source
        notes = (*found.notes, "one sigmoid map a region")
        return found._replace(classes=known, notes=notes, source=source, sigmoid=True)
    alone = planes == 1 and known in (0, 2)
    if alone or (known and planes == known - 1):
        if logits:
            source = sigmoid_source(source) if alone else softmax_source(source)
        notes = (*found.notes, "background is 1 - sum of the classes")
        return found._replace(classes=planes + 1, notes=notes, source=with_background(source))
    if known and planes != known:
        raise InputError(
            path,
            f"holds {planes} classes, but {scheme.source} names {known}: {', '.join(scheme.names)}.",
            "Give the right --classes, or --regions for overlapping ones.",
        )
    return found._replace(classes=planes, source=softmax_source(source) if logits else source)


def _holds_labels(file: ArrayFile, scheme: ClassScheme, options: ReadOptions) -> bool:
    """Whether a file of the label's shape is a label map; otherwise it is the foreground's probability."""
    if options.input != "auto":
        return options.input == "labels"
    if options.scale is not None:
        return False
    if file.dtype.kind in "iub" and not file.scaled and suffix_of(file.path) != ".png":
        return True
    values = file.load()
    if suffix_of(file.path) == ".png":  # masks and 8-bit probabilities look alike but for their range
        return bool(values.max(initial=0) < max(len(scheme.names), 2))
    scaled = values * file.slope + file.intercept
    fractions = ~(np.abs(scaled - np.rint(scaled)) <= 1e-3)
    return not (fractions.any() and scaled.min() >= 0 and scaled.max() <= 1)


def _scale(file: ArrayFile, options: ReadOptions) -> float | None:
    if options.scale is not None:
        return None if options.scale == 1 and file.dtype.kind == "f" else options.scale
    if file.dtype.kind in "iu" and not file.scaled and options.input != "logits":
        if str(file.dtype) not in _FULL_SCALE:
            raise InputError(file.path, f"holds {file.dtype} where probabilities were expected.", "Give --scale.")
        return _FULL_SCALE[str(file.dtype)]
    return None


def _check_place(file: ArrayFile, reference: ArrayFile) -> None:
    if file.geometry is not None and reference.geometry is not None:
        check_same_place(file.path, file.geometry, reference.path, reference.geometry)


class ClassCount(NamedTuple):
    """How many classes a case has, and whether its planes say so or only the labels that happen to occur."""

    number: int
    planes: bool


def count_classes(paths: CasePaths, scheme: ClassScheme, options: ReadOptions) -> ClassCount:
    """Count the classes of a case that nothing names.

    Raises:
        InputError: a file that cannot be used.
    """
    reference = open_array(paths.reference or paths.prediction[0], LABEL_KEYS)
    prediction = open_prediction(paths, reference, scheme, options)
    planes = prediction.labels is None
    return ClassCount(prediction.classes if planes else _count_classes(reference, prediction.labels), planes)


def _count_classes(reference: ArrayFile, predicted: ArrayFile | None) -> int:
    """Classes of label maps that nothing names: up to the largest label."""
    files = [reference] if predicted is None else [reference, predicted]
    return max(int(read_labels(file, ClassScheme()).max()) for file in files) + 1


def _read_segmentation(path: Path, reference: ArrayFile, scheme: ClassScheme) -> NDArray[np.uint8]:
    file = open_array(path, LABEL_KEYS)
    spatial = squeezed(reference.shape)
    if squeezed(file.shape) != spatial:
        raise InputError(path, f"its shape {file.shape} differs from the label's {reference.shape}.")
    _check_place(file, reference)
    return read_labels(file, scheme).reshape(spatial)


def find_spacing(reference: ArrayFile, paths: CasePaths, options: ReadOptions) -> tuple[float, ...] | None:
    """Spacing of the squeezed axes: the user's, the label's, else that of any other file of the case."""
    if options.spacing_mm is not None:
        from_file = suffix_of(reference.path) not in (".npz", ".npy")
        spacing = options.spacing_mm[::-1] if from_file else options.spacing_mm
        return _squeeze_spacing(reference.path, spacing, reference.shape)
    others = [path for path in (paths.segmentation, *paths.prediction) if path is not None]
    for geometry in (reference.geometry, *(open_array(path, PROBABILITY_KEYS).geometry for path in others)):
        if geometry is not None:
            return _squeeze_spacing(reference.path, geometry.spacing_mm, reference.shape)
    return _npz_spacing(reference)


def _npz_spacing(file: ArrayFile) -> tuple[float, ...] | None:
    if suffix_of(file.path) != ".npz":
        return None
    key = next((key for key in ("spacing_mm", "spacing") if key in npz_keys(file.path)), None)
    if key is None:
        return None
    spacing = tuple(float(length) for length in np.ravel(open_array(file.path, (key,)).load()))
    return _squeeze_spacing(file.path, spacing, file.shape)


def _squeeze_spacing(path: Path, spacing: tuple[float, ...], shape: tuple[int, ...]) -> tuple[float, ...]:
    if len(spacing) > len(shape) or len(spacing) < len(squeezed(shape)):
        raise InputError(path, f"the spacing {spacing} has not one value for each axis of the shape {shape}.")
    inner = shape[len(shape) - len(spacing) :]
    return tuple(length for length, n in zip(spacing, inner, strict=True) if n != 1) or (spacing[-1],)


def describe_case(paths: CasePaths, scheme: ClassScheme, options: ReadOptions) -> tuple[str, ...]:
    """Say how the files of a case would be read, one line each.

    Raises:
        InputError: a file that cannot be used, as far as headers tell.
    """
    if not paths.prediction:
        raise InputError(paths.reference or Path(paths.case), "has no prediction.")
    reference = open_array(paths.reference or paths.prediction[0], LABEL_KEYS)
    prediction = open_prediction(paths, reference, scheme, options)
    spacing = find_spacing(reference, paths, options)
    shape = " x ".join(str(n) for n in squeezed(reference.shape))
    where = f"spacing {', '.join(f'{length:g}' for length in spacing)} mm" if spacing else "spacing unknown"
    lines = [
        f"label       {reference.path}: {reference.dtype}, {shape} (slowest axis first), {where}",
        f"prediction  {', '.join(map(str, paths.prediction))}: {'; '.join((prediction.how, *prediction.notes))}",
    ]
    if paths.segmentation is not None:
        lines.append(f"beside it   {paths.segmentation}: label map to check against")
    return tuple(lines)
