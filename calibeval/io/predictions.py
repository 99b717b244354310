"""What a prediction holds: labels or probabilities, of which classes, in which type.

Nothing is guessed that two readings fit: logits are only read as such when the user says so, and a file that could be
either a label map or a probability map is told by its values, all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile, open_array
from calibeval.io.classes import ClassScheme
from calibeval.io.geometry import check_same_place
from calibeval.io.layout import Layout, find_layout, squeezed
from calibeval.io.pairing import CasePaths
from calibeval.io.probabilities import (
    file_source,
    sigmoid_source,
    softmax_source,
    stack_sources,
    transposed_source,
    with_background,
)
from calibeval.metrics.statistics import MAX_CLASSES
from calibeval.planes import PlaneSource

PROBABILITY_KEYS = ("probabilities", "softmax", "probs", "prob", "probability", "logits", "prediction", "pred")
_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
_FEW_LABELS = 16  # an 8-bit PNG that stays below it holds labels, where nothing names the classes
_ROUNDING = 1e-3  # of labels stored as floats
_OVERSHOOT = 1e-5  # of probabilities beyond [0, 1]

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
        spacing_mm: along the axes of the label; None when the files do not tell.
    """

    scheme: ClassScheme
    classes: int
    how: str
    notes: tuple[str, ...] = ()
    source: PlaneSource | None = None
    sigmoid: bool = False
    labels: ArrayFile | None = None
    spacing_mm: tuple[float, ...] | None = None


def open_prediction(paths: CasePaths, reference: ArrayFile, scheme: ClassScheme, options: ReadOptions) -> Prediction:
    """Open the prediction of a case; `reference` gives the shape and the place that it must have.

    Raises:
        InputError: a file that cannot be used, as far as headers tell.
    """
    if len(paths.prediction) > 1 or paths.classes:
        return _open_class_files(paths, reference, scheme, options)
    file = open_array(paths.prediction[0], PROBABILITY_KEYS)
    layout = find_layout(file, reference, options.axes, may_be_turned=paths.segmentation is not None)
    place = check_place(file, reference)
    spacing = _spacing(file, layout)
    if not layout.classes and _holds_labels(file, scheme, options):
        how = f"label map ({file.dtype})"
        return Prediction(scheme, len(scheme.names), how, place, labels=file, spacing_mm=spacing)
    if options.input == "labels":
        raise InputError(
            file.path, f"holds {layout.classes} maps, not labels.", "Leave out --input labels, or save the argmax."
        )
    scale = _scale(file, options)
    how = f"{file.dtype} {'logits' if options.input == 'logits' else 'probabilities'}, {layout.why}"
    notes = (*place, *([f"read as value/{scale:g}"] if scale else []))
    found = Prediction(scheme, 0, how, notes, _open_planes(file, layout, scale), spacing_mm=spacing)
    return _classify(found, options, file.path)


def check_place(file: ArrayFile, reference: ArrayFile) -> tuple[str, ...]:
    """Raise GeometryError when both files tell where they lie and it is not the same place; gives notes."""
    if file.geometry is None or reference.geometry is None:
        return ()
    return check_same_place(file.path, file.geometry, reference.path, reference.geometry)


def _open_planes(file: ArrayFile, layout: Layout, scale: float | None) -> PlaneSource:
    shape = squeezed(file.shape)
    if layout.order == tuple(range(len(shape))):
        return file_source(file, shape[1:] if layout.classes else shape, scale)
    array = file.load().reshape(shape).transpose(layout.order)
    return transposed_source(file, array if layout.classes else array[None], scale)


def _spacing(file: ArrayFile, layout: Layout) -> tuple[float, ...] | None:
    """Spacing of the file's spatial axes, in the order that the layout brings them into."""
    if file.geometry is None:
        return None
    spacing = file.geometry.spacing_mm
    first = 0 if file.vector else len(file.shape) - len(spacing)
    lengths = dict(enumerate(spacing, first))
    kept = [lengths.get(axis, 0.0) for axis, n in enumerate(file.shape) if n != 1]
    found = tuple(kept[axis] for axis in layout.order[bool(layout.classes) :])
    return found if all(found) else None


def _open_class_files(paths: CasePaths, reference: ArrayFile, scheme: ClassScheme, options: ReadOptions) -> Prediction:
    """Stack per-class files in the order of their numbers, or of the scheme's names."""
    files = dict(zip(paths.classes, (open_array(path, PROBABILITY_KEYS) for path in paths.prediction), strict=True))
    sources, notes, spacing = [], dict[str, None](), None
    for name in _class_order(paths, scheme):
        file = files[name]
        layout = find_layout(file, reference, options.axes)
        if layout.classes:
            raise InputError(file.path, f"holds {layout.classes} classes where one was expected.")
        scale = _scale(file, options)
        notes |= dict.fromkeys((*check_place(file, reference), *([f"read as value/{scale:g}"] if scale else [])))
        spacing = spacing or _spacing(file, layout)
        sources.append(_open_planes(file, layout, scale))
    how = f"one file a class, {next(iter(files.values())).dtype}"
    found = Prediction(scheme, 0, how, tuple(notes), stack_sources(sources), spacing_mm=spacing)
    return _classify(found, options, paths.prediction[0])


def _class_order(paths: CasePaths, scheme: ClassScheme) -> list[str]:
    """Class files in the order of the classes."""
    names = paths.classes
    if all(name.isdigit() for name in names):
        numbers = sorted(int(name) for name in names)
        missing = sorted(set(range(min(1, numbers[0]), numbers[-1])) - set(numbers) - {0})
        if missing:
            raise InputError(paths.prediction[0], f"of the files a class, number {missing[0]} is missing.", "Add it.")
        return sorted(names, key=int)
    unknown = sorted(set(names) - set(scheme.names))
    if unknown:
        raise InputError(
            paths.prediction[0],
            f"the files a class are named after {', '.join(sorted(names))}; "
            f"known classes from {scheme.source}: {', '.join(scheme.names) or '(none)'}.",
            "Give --classes in the order of the label values, background first.",
        )
    missing_names = [name for name in scheme.names[1:] if name not in names]
    if missing_names:
        raise InputError(paths.prediction[0], f"there is no file of the class {', '.join(missing_names)} beside it.")
    return [name for name in scheme.names if name in names]


def _classify(found: Prediction, options: ReadOptions, path: Path) -> Prediction:
    """Fit the planes to the classes: all of them, all but the background, or one a region."""
    scheme, source = found.scheme, found.source
    if source is None:
        return found
    known, planes, logits = len(scheme.names), source.classes, options.input == "logits"
    if planes > MAX_CLASSES:
        raise InputError(
            path,
            f"holds {planes} classes; at most {MAX_CLASSES} can be scored at a time.",
            "Score fewer of them, or give --axes if this is another axis.",
        )
    if scheme.regions and planes == len(scheme.regions) and planes != known:
        source = sigmoid_source(source) if logits else source
        notes = (*found.notes, "one sigmoid map a region")
        return found._replace(classes=known, notes=notes, source=source, sigmoid=True)
    alone = planes == 1 and known in (0, 2)
    if alone or (planes == known - 1 and not logits):
        source = sigmoid_source(source) if logits else source
        notes = (*found.notes, "background is 1 - sum of the classes")
        return found._replace(classes=planes + 1, notes=notes, source=with_background(source))
    if known and planes != known:
        raise InputError(
            path,
            f"holds {planes} classes, but {scheme.source} gives {known}: {', '.join(scheme.names)}.",
            "Give the right --classes, or --regions for overlapping ones.",
        )
    return found._replace(classes=planes, source=softmax_source(source) if logits else source)


def _holds_labels(file: ArrayFile, scheme: ClassScheme, options: ReadOptions) -> bool:
    """Whether a file of the label's shape is a label map; otherwise it is the foreground's probability."""
    if options.input != "auto":
        return options.input == "labels"
    if options.scale is not None:
        return False
    if file.dtype.kind in "iub" and not file.scaled and not file.format.planar:
        return True
    values = file.load()
    if file.format.planar:  # masks and 8-bit probabilities look alike but for their range
        return bool(values.max() < (len(scheme.names) or _FEW_LABELS))
    scaled = values * file.slope + file.intercept if file.scaled else values
    fractions = ~(np.abs(scaled - np.rint(scaled)) <= _ROUNDING)
    return not (fractions.any() and scaled.min() >= -_OVERSHOOT and scaled.max() <= 1 + _OVERSHOOT)


def _scale(file: ArrayFile, options: ReadOptions) -> float | None:
    if options.scale is not None:
        return None if options.scale == 1 and file.dtype.kind == "f" else options.scale
    if file.dtype.kind in "iu" and not file.scaled and options.input != "logits":
        if file.dtype.name not in _FULL_SCALE:
            raise InputError(
                file.path,
                f"holds {file.dtype} where probabilities were expected.",
                "Give --scale, the value that stands for 1; or take away the file if it is an image.",
            )
        return _FULL_SCALE[file.dtype.name]
    return None
