"""What a prediction holds: labels or probabilities, of which classes.

Nothing is guessed that two readings fit: logits are only read as such when the user says so, and files that could be
either a label map or a probability map are told by their values, those of the whole folder (`readings`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile
from calibeval.io.case_paths import CasePaths
from calibeval.io.classes import ClassScheme
from calibeval.io.maps import PROBABILITY_KEYS, Maps, check_place, open_maps
from calibeval.io.probabilities import sigmoid_source, softmax_source, with_background
from calibeval.io.read_options import InputKind, ReadOptions
from calibeval.io.readings import find_reading
from calibeval.metrics.statistics import MAX_CLASSES
from calibeval.planes import PlaneSource

__all__ = ["PROBABILITY_KEYS", "InputKind", "Prediction", "ReadOptions", "check_place", "open_prediction"]


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
        InputError: a file that cannot be used, as far as headers and the reading of its folder tell.
    """
    maps = open_maps(paths, reference, scheme, options.axes)
    path = paths.prediction[0]
    reading = find_reading(maps, paths.readings, reference, scheme, options)
    if reading.problem:
        raise InputError(path, reading.problem, reading.advice)
    notes = (*maps.notes, *([reading.note] if reading.note else []))
    if reading.labels:
        how = f"label map ({maps.dtype})"
        return Prediction(scheme, len(scheme.names), how, notes, labels=maps.files[0], spacing_mm=maps.spacing_mm)
    source = maps.source(reading.scale)
    found = Prediction(scheme, 0, _how(maps, options), notes, source, spacing_mm=maps.spacing_mm)
    return _classify(found, options, path, lacks_background=maps.lacks_background and not scheme.regions)


def _how(maps: Maps, options: ReadOptions) -> str:
    if maps.a_class_each:
        return f"one file a class, {maps.files[0].dtype}"
    return f"{maps.dtype} {'logits' if options.input == 'logits' else 'probabilities'}, {maps.layouts[0].why}"


def _classify(found: Prediction, options: ReadOptions, path: Path, *, lacks_background: bool) -> Prediction:
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
    without = (planes == 1 and known in (0, 2)) or (lacks_background and not known and not logits)
    if without or (planes == known - 1 and not logits):
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
