"""The files of a prediction, opened and brought to the label's axes; what their values mean is asked in `readings`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile, open_array
from calibeval.io.case_paths import CasePaths
from calibeval.io.classes import ClassScheme
from calibeval.io.geometry import check_same_place
from calibeval.io.layout import Layout, find_layout, squeezed
from calibeval.io.probabilities import file_source, stack_sources, transposed_source
from calibeval.planes import PlaneSource

PROBABILITY_KEYS = ("probabilities", "softmax", "probs", "prob", "probability", "logits", "prediction", "pred")


class Maps(NamedTuple):
    """The opened files of one case: one array, with or without an axis of classes, or one array a class.

    Attributes:
        files: in the order of the classes.
        layouts: of each file.
        a_class_each: every file holds one class.
        notes: on their place, for people.
        spacing_mm: along the axes of the label; None when the files do not tell.
        lacks_background: one file a class, by number, and none has the number 0.
    """

    files: tuple[ArrayFile, ...]
    layouts: tuple[Layout, ...]
    a_class_each: bool
    notes: tuple[str, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    lacks_background: bool = False

    @property
    def planes(self) -> int:
        """Number of maps; 0 for one array of the label's shape, which may be a label map."""
        return len(self.files) if self.a_class_each else self.layouts[0].classes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values; of integers where only some files hold such."""
        return next((file.dtype for file in self.files if _stores_integers(file)), self.files[0].dtype)

    @property
    def integers(self) -> bool:
        """Whether values are stored as integers and no header says what they stand for."""
        return any(_stores_integers(file) for file in self.files)

    def source(self, scale: float | None) -> PlaneSource:
        """All maps as planes, divided by the scale; where it is that of integers, files of floats need none."""
        sources = [
            _open_planes(file, layout, None if self.integers and not _stores_integers(file) else scale)
            for file, layout in zip(self.files, self.layouts, strict=True)
        ]
        return stack_sources(sources) if self.a_class_each else sources[0]


def open_maps(paths: CasePaths, reference: ArrayFile, scheme: ClassScheme, axes: str | None) -> Maps:
    """Open the prediction of a case; `reference` gives the shape and the place that it must have.

    Raises:
        InputError: a file that cannot be used, as far as headers tell.
    """
    each = len(paths.prediction) > 1 or bool(paths.classes)
    opened = [open_array(path, PROBABILITY_KEYS) for path in paths.prediction]
    files = _in_order(paths, dict(zip(paths.classes, opened, strict=True)), scheme) if each else opened
    turned = paths.segmentation is not None and not each
    layouts = [find_layout(file, reference, axes, may_be_turned=turned) for file in files]
    for file, layout in zip(files, layouts, strict=True):
        if each and layout.classes:
            raise InputError(file.path, f"holds {layout.classes} classes where one was expected.")
    notes = dict.fromkeys(note for file in files for note in (*file.notes, *check_place(file, reference)))
    lacks = each and all(name.isdigit() and int(name) for name in paths.classes)
    return Maps(tuple(files), tuple(layouts), each, tuple(notes), _spacing(files[0], layouts[0]), lacks)


def check_place(file: ArrayFile, reference: ArrayFile) -> tuple[str, ...]:
    """Raise GeometryError when both files tell where they lie and it is not the same place; gives notes."""
    if file.geometry is None or reference.geometry is None:
        return ()
    return check_same_place(file.path, file.geometry, reference.path, reference.geometry)


def _stores_integers(file: ArrayFile) -> bool:
    return file.dtype.kind in "iu" and not file.scaled


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


def _in_order(paths: CasePaths, files: dict[str, ArrayFile], scheme: ClassScheme) -> list[ArrayFile]:
    """Files of one class each in the order of the classes."""
    return [files[name] for name in _class_order(paths, scheme)]


def _class_order(paths: CasePaths, scheme: ClassScheme) -> list[str]:
    """Names or numbers of the files in the order of the classes."""
    names = paths.classes
    if set(names) == set(scheme.regions):
        return list(scheme.regions)
    if all(name.isdigit() for name in names):
        return _number_order(paths, scheme)
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


def _number_order(paths: CasePaths, scheme: ClassScheme) -> list[str]:
    """Numbers are label values, whose background may have no file; where regions have one each, they count these."""
    numbers = {int(name): name for name in paths.classes}
    if len(numbers) != len(scheme.regions):
        values = scheme.values or range(len(scheme.names) or max(numbers) + 1)
        if missing := sorted(set(values) - numbers.keys() - {0}):
            raise InputError(paths.prediction[0], f"of the files a class, number {missing[0]} is missing.", "Add it.")
        if unknown := sorted(numbers.keys() - set(values)):
            known = ", ".join(map(str, values))
            raise InputError(
                paths.prediction[0],
                f"of the files a class, number {unknown[0]} stands for no class; known from {scheme.source}: {known}.",
                "Numbers are label values: name the files after classes, or give the right --classes.",
            )
    return [numbers[number] for number in sorted(numbers)]
