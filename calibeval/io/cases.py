"""One case, opened: reference labels, predicted planes or labels, spacing, and notes on how the files were taken.

Everything that can be wrong with one file ends here as an InputError that names it; the case then fails alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile, array_keys, open_array, suffix_of
from calibeval.io.classes import ClassScheme, check_decided, different_values, name_values, read_labels, read_values
from calibeval.io.layout import squeezed
from calibeval.io.pairing import CasePaths
from calibeval.io.predictions import PROBABILITY_KEYS, Prediction, ReadOptions, check_place, open_prediction
from calibeval.io.structures import open_structures
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import PlaneSource

__all__ = [
    "LABEL_KEYS",
    "PROBABILITY_KEYS",
    "Case",
    "Prediction",
    "ReadOptions",
    "describe_case",
    "find_spacing",
    "occurring_values",
    "open_case",
    "open_label",
    "open_label_map",
    "open_prediction",
    "open_reference",
]

LABEL_KEYS = ("label", "labels", "seg", "segmentation", "mask", "gt", "reference")
Labels = NDArray[np.uint8]


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
        origin: the prediction's file, for messages.
        beside: that of `segmentation`, for messages.
        body: box of the image that is above 0 in plane; None where it is not asked for.
        raters: labels of each rater, of whom `reference` is the first; empty with one reference.
    """

    name: str
    scheme: ClassScheme
    reference: Labels
    spacing_mm: tuple[float, ...] | None
    source: PlaneSource | None = None
    sigmoid: bool = False
    predicted: Labels | None = None
    segmentation: Labels | None = None
    notes: tuple[str, ...] = ()
    origin: str = "probabilities"
    beside: str = ""
    raters: dict[str, Labels] = field(default_factory=dict)
    body: tuple[slice, ...] | None = None


def open_case(
    paths: CasePaths, scheme: ClassScheme, options: ReadOptions, *, separate_masks: bool = False, masked: bool = False
) -> Case:
    """Open the files of a case.

    Args:
        paths: from `pairing`.
        scheme: from `classes`; without names they follow from the prediction.
        options: what the user says.
        separate_masks: overlap and distances come from `paths.segmentation`, not from the probabilities.
        masked: voxels outside `paths.mask` are ignored.

    Raises:
        InputError: any file that cannot be used.
    """
    reference_file = open_reference(paths, scheme)
    prediction = open_prediction(paths, reference_file, scheme, options)
    scheme = prediction.scheme
    if not scheme.names:
        planes = prediction.classes
        scheme = (
            scheme.with_classes(planes)
            if planes
            else name_values(_occurring(paths, reference_file, prediction), scheme)
        )
    reference, raters = _read_references(paths, reference_file, scheme, masked=masked)
    predicted = segmentation = None
    if prediction.labels is not None:
        predicted = _read_decided(prediction.labels, reference, scheme)
    if paths.segmentation is not None:
        file = open_label_map(paths.segmentation, reference_file)
        segmentation = read_labels(file, scheme).reshape(reference.shape)
        if separate_masks:
            predicted = _read_decided(file, reference, scheme)
    elif separate_masks:
        raise InputError(paths.prediction[0], "has no label map in the folder --seg-dir.", "Add it there.")
    return Case(
        paths.case,
        scheme,
        reference,
        find_spacing(reference_file, prediction.spacing_mm, paths, options),
        prediction.source,
        prediction.sigmoid,
        predicted,
        segmentation,
        _notes(paths, prediction, separate_masks=separate_masks),
        str(paths.prediction[0]),
        str(paths.segmentation or ""),
        raters,
        None if paths.image is None else _body(paths.image, reference_file, reference.shape),
    )


def _body(path: Path, reference: ArrayFile, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Box of an image that is above 0 in plane (the last two axes), whole along the others."""
    above: NDArray[np.bool_] = (read_values(open_label_map(path, reference)) > 0).reshape(shape)
    return (*(slice(None) for _ in shape[:-2]), *bounding_box(above)[-2:])


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...]:
    """Smallest box around the true voxels, wider by a margin where the array goes on; the whole where none is true."""
    places = [
        np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis))) for axis in range(mask.ndim)
    ]
    if not places[0].size:
        return (slice(None),) * mask.ndim
    return tuple(slice(max(0, int(found[0]) - margin), int(found[-1]) + 1 + margin) for found in places)


def _read_references(
    paths: CasePaths, file: ArrayFile, scheme: ClassScheme, *, masked: bool
) -> tuple[Labels, dict[str, Labels]]:
    """Labels of the reference and of each rater, 255 outside the field of view."""
    shape = squeezed(file.shape)
    inside = _field_of_view(paths, file).reshape(shape) if masked else None

    def read(file: ArrayFile) -> Labels:
        labels = read_labels(file, scheme).reshape(shape)
        return labels if inside is None else np.where(inside, labels, np.uint8(IGNORED))

    reference = read(file)
    others = {rater: path for rater, path in paths.raters if path not in (None, paths.reference)}
    raters = {rater: read(open_label_map(path, file)) for rater, path in others.items() if path is not None}
    first = {rater: reference for rater, path in paths.raters if path is not None and path == paths.reference}
    return reference, first | raters


def _notes(paths: CasePaths, prediction: Prediction, *, separate_masks: bool) -> tuple[str, ...]:
    notes = list(prediction.notes)
    if lacking := [rater for rater, path in paths.raters if path is None]:
        notes.append(f"no label of the rater {', '.join(lacking)}")
    if separate_masks:
        notes.append("overlap and distances are those of the label maps of --seg-dir")
    if paths.reference is not None and paths.prediction[0].resolve() == paths.reference.resolve():
        notes.append("prediction and label are one and the same file")
    return tuple(notes)


def open_reference(paths: CasePaths, scheme: ClassScheme) -> ArrayFile:
    """Open the label: a file, or an array in the prediction's NPZ that is named as one.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    if not paths.prediction:
        raise InputError(paths.reference or Path(paths.case), f"has no prediction ({paths.why}).")
    if paths.reference is not None:
        return open_label(paths.reference, scheme)
    path = paths.prediction[0]
    keys = array_keys(path)
    if not set(LABEL_KEYS) & set(keys):
        raise InputError(
            path,
            f"holds no label (its arrays: {', '.join(keys) or 'none with a name'}; expected one of "
            f"{', '.join(LABEL_KEYS)}).",
            "Give the folder LABELS.",
        )
    return open_array(path, LABEL_KEYS)


def _field_of_view(paths: CasePaths, reference: ArrayFile) -> NDArray[np.bool_]:
    if paths.mask is None:
        raise InputError(paths.prediction[0], "has no mask in the folder --mask.", "Add it there.")
    file = open_label_map(paths.mask, reference)
    inside: NDArray[np.bool_] = read_values(file) > 0
    return inside


def open_label(path: Path, scheme: ClassScheme) -> ArrayFile:
    """Open a label: a file, or a folder of one binary file a structure.

    Raises:
        InputError: it cannot be used.
    """
    structures = path.is_dir() and not suffix_of(path)  # a folder named like a file was meant to be one
    return open_structures(path, scheme) if structures else open_array(path, LABEL_KEYS)


def open_label_map(path: Path, reference: ArrayFile) -> ArrayFile:
    """Open a label map that belongs to the same image as another file, which is looked at: its shape and its place.

    Raises:
        InputError: it cannot be used, or has another shape.
        GeometryError: it lies elsewhere.
    """
    file = open_array(path, LABEL_KEYS)
    if squeezed(file.shape) != squeezed(reference.shape):
        raise InputError(
            path,
            f"its shape {file.shape} differs from that of {reference.path}, {reference.shape} (slowest axis first).",
            "It must be the label map of the same image; take it away if it is not.",
        )
    check_place(file, reference)
    return file


def _read_decided(file: ArrayFile, reference: Labels, scheme: ClassScheme) -> Labels:
    """A predicted label map; it must give a class wherever the reference does."""
    labels = read_labels(file, scheme).reshape(reference.shape)
    check_decided(labels, reference, scheme, file.path)
    return labels


def occurring_values(paths: CasePaths, scheme: ClassScheme, options: ReadOptions) -> frozenset[int] | int:
    """Label values of a case whose classes nothing names; the number of its planes, where it has such.

    Raises:
        InputError: a file that cannot be used.
    """
    reference = open_reference(paths, scheme)
    prediction = open_prediction(paths, reference, scheme, options)
    return prediction.classes or _occurring(paths, reference, prediction)


def _occurring(paths: CasePaths, reference: ArrayFile, prediction: Prediction) -> frozenset[int]:
    others = [open_label_map(path, reference) for _, path in paths.raters if path not in (None, paths.reference)]
    files = [file for file in (reference, *others, prediction.labels) if file is not None]
    return frozenset().union(*(different_values(read_values(file)) for file in files))


def find_spacing(
    reference: ArrayFile, predicted_mm: tuple[float, ...] | None, paths: CasePaths, options: ReadOptions
) -> tuple[float, ...] | None:
    """Spacing of the squeezed axes of the label.

    Args:
        reference: the label; its header comes first, and its own NPZ entry `spacing` last.
        predicted_mm: the prediction's, along the label's axes; taken when the label has none.
        paths: gives a label map beside the probabilities, which may tell as well.
        options: the user's spacing comes before all others.
    """
    if options.spacing_mm is not None:
        spacing = options.spacing_mm if reference.format.is_array else options.spacing_mm[::-1]
        return _squeeze_spacing(reference.path, spacing, reference.shape)
    if reference.geometry is not None:
        return _squeeze_spacing(reference.path, reference.geometry.spacing_mm, reference.shape)
    if predicted_mm is not None:
        return predicted_mm
    if paths.segmentation is not None:
        beside = open_array(paths.segmentation, LABEL_KEYS)
        if beside.geometry is not None:
            return _squeeze_spacing(beside.path, beside.geometry.spacing_mm, beside.shape)
    return _npz_spacing(reference)


def _npz_spacing(file: ArrayFile) -> tuple[float, ...] | None:
    keys = array_keys(file.path)
    key = next((key for key in ("spacing_mm", "spacing") if key in keys), None)
    if key is None:
        return None
    spacing = tuple(float(length) for length in np.ravel(open_array(file.path, (key,)).load()))
    return _squeeze_spacing(file.path, spacing, file.shape)


def _squeeze_spacing(path: Path, spacing: tuple[float, ...], shape: tuple[int, ...]) -> tuple[float, ...]:
    """Spacing without that of singleton axes; it may also stand for the last axes alone."""
    inner = shape[-len(spacing) :]
    kept = tuple(length for length, n in zip(spacing, inner, strict=False) if n != 1)
    if len(spacing) > len(shape) or len(kept) != len(squeezed(shape)) or not all(length > 0 for length in kept):
        raise InputError(
            path,
            f"the spacing {', '.join(f'{length:g}' for length in spacing)} does not give one positive length in mm for "
            f"each axis of the shape {shape} (slowest axis first).",
            "Give --spacing in the order of the file's own axes.",
        )
    return kept


def describe_case(paths: CasePaths, scheme: ClassScheme, options: ReadOptions) -> tuple[str, ...]:
    """Say how the files of a case would be read, one line each; label values are looked at, probabilities are not.

    Raises:
        InputError: a file that cannot be used.
    """
    reference = open_reference(paths, scheme)
    prediction = open_prediction(paths, reference, scheme, options)
    for file in (reference, prediction.labels):
        if file is not None:
            read_labels(file, scheme.with_classes(prediction.classes) if prediction.classes else scheme)
    spacing = find_spacing(reference, prediction.spacing_mm, paths, options)
    shape = " x ".join(str(n) for n in squeezed(reference.shape))
    where = f"spacing {', '.join(f'{length:g}' for length in spacing)} mm" if spacing else "spacing unknown"
    lines = [
        f"label       {reference.path}: {reference.dtype}, {shape} (slowest axis first), {where}",
        f"prediction  {', '.join(map(str, paths.prediction))}: {'; '.join((prediction.how, *prediction.notes))}",
    ]
    for rater, path in paths.raters:
        lines.append(f"rater       {rater}: {path or 'no label of this case'}")
        if path is not None:
            read_labels(open_label_map(path, reference), scheme)
    if paths.segmentation is not None:
        lines.append(f"beside it   {paths.segmentation}: label map to check against")
    if paths.mask is not None:
        lines.append(f"mask        {paths.mask}: voxels where it is 0 count nowhere")
    return tuple(lines)
