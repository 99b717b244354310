"""From label values to class indices 0..C-1 (background first) as uint8; ignored voxels become 255."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.arrays import ArrayFile
from calibeval.io.scheme import ClassScheme, home_folders, make_scheme
from calibeval.metrics.statistics import IGNORED, MAX_CLASSES

__all__ = [
    "ClassScheme",
    "are_grey_levels",
    "check_decided",
    "different_values",
    "home_folders",
    "index_labels",
    "make_scheme",
    "name_values",
    "read_labels",
    "read_values",
]

_UNKNOWN = 254  # marks label values that stand for no class, until they are reported
_MANY = 16  # different values that stand for no class: probably no labels
_RANGE = 1 << 24  # labels lie closer together
_ROUNDING = 1e-3  # labels stored as floats, for example 2.9999, are rounded within this


def read_labels(file: ArrayFile, scheme: ClassScheme) -> NDArray[np.uint8]:
    """Read a label map from a file as class indices; see `index_labels`."""
    return index_labels(read_values(file), scheme, file.path)


def read_values(file: ArrayFile) -> NDArray[Any]:
    """Values of a file, with the scale of its header."""
    return file.load() * file.slope + file.intercept if file.scaled else file.load()


def different_values(values: NDArray[Any]) -> frozenset[int]:
    """The different values of a label map, rounded; none where they are too far apart to be labels."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)) or float(high) - float(low) > _RANGE:
        return frozenset()
    first = int(np.rint(low))
    found = np.flatnonzero(np.bincount((np.rint(values).astype(np.int64) - first).ravel()))
    return frozenset((found + first).tolist())


def are_grey_levels(values: Iterable[int]) -> bool:
    """Whether label values are levels far apart (0, 85, 170) rather than numbers of classes, with some left out.

    A lonely 255 above numbers of classes is none of them: it mostly means "not annotated".
    """
    levels = sorted(set(values))
    if len(levels) > 2 and levels[-1] == IGNORED:
        levels = levels[:-1]
    return bool(levels) and levels[0] >= 0 and max(_MANY, 4 * len(levels)) <= levels[-1] <= IGNORED


def name_values(values: Iterable[int], scheme: ClassScheme) -> ClassScheme:
    """Name classes that nothing names by the label values that occur.

    Args:
        values: as stored.
        scheme: without names; renames and ignores some values.

    Returns:
        Classes 0, 1, ... up to the largest value and to the last that a region unites; where there are no regions, the
        values that occur alone. None where no value can be a class.
    """
    found = {scheme.mapping.get(value, value) for value in values} - {scheme.ignore}
    levels = are_grey_levels(found) and not scheme.regions
    usable = found if levels else {value for value in found if 0 <= value < MAX_CLASSES}
    if not (usable - {0}) and found - {0}:
        return scheme
    if scheme.regions:
        return scheme.with_classes(
            1 + max(*usable, *(member for region in scheme.regions.values() for member in region))
        )
    values = sorted(usable | {0})  # a number between them that never occurs is no class, as 3 in BraTS
    gaps = values[-1] >= len(values)
    return replace(scheme, names=tuple(map(str, values)), values=tuple(values) if gaps else ())


def index_labels(values: NDArray[Any], scheme: ClassScheme, path: Path | str) -> NDArray[np.uint8]:
    """Turn label values into class indices.

    Args:
        values: integers, or floats within .001 of integers.
        scheme: without names, values are taken for class indices as they are.
        path: for messages.

    Returns:
        uint8 class indices in the shape of the values; ignored voxels are 255.

    Raises:
        InputError: values that are no integers, or stand for no class.
    """
    integers = _to_integers(values, path)
    if not integers.size:
        raise InputError(path, f"holds no voxel (shape {values.shape}).")
    low, high = int(integers.min()), int(integers.max())
    known = len(scheme.names) or MAX_CLASSES
    plain = not scheme.values and not scheme.mapping and scheme.ignore is None
    if plain and low >= 0 and high < known:
        return integers.astype(np.uint8, copy=False)
    labels = _look_up(integers, low, high, scheme)
    if (labels == _UNKNOWN).any():
        unknown, counts = np.unique(integers[labels == _UNKNOWN], return_counts=True)
        raise InputError(path, _describe_unknown(unknown, counts, scheme), _advise(unknown))
    return labels


def check_decided(
    predicted: NDArray[np.uint8], reference: NDArray[np.uint8], scheme: ClassScheme, path: Path | str
) -> None:
    """Refuse a prediction that says "ignored" where the reference has a class.

    Args:
        predicted: class indices, 255 ignored.
        reference: of the same shape.
        scheme: for messages.
        path: for messages.

    Raises:
        InputError: naming the label and the number of voxels.
    """
    undecided = int(np.count_nonzero((predicted == IGNORED) & (reference != IGNORED)))
    if undecided:
        raise InputError(
            path,
            f"predicts the ignored label {scheme.ignore} at {undecided} voxels where the reference has a class.",
            f"Predict a class everywhere, or rename it with --map {scheme.ignore}=0.",
        )


def _to_integers(values: NDArray[Any], path: Path | str) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    rounded: NDArray[Any] = np.rint(values)
    with np.errstate(invalid="ignore"):  # of infinities, which are refused
        off = ~(np.abs(values - rounded) <= _ROUNDING)
    if off.any():
        raise InputError(
            path,
            f"expected a label map of integers, found the value {values[off].flat[0]:.6g}.",
            "Interpolated label maps must be resampled with nearest neighbour; a probability map belongs in PREDS.",
        )
    largest = float(np.abs(rounded).max(initial=0))
    if largest > np.iinfo(np.int32).max:
        raise InputError(path, f"holds the value {largest:.6g}, which is no label.")
    return rounded.astype(np.int32)


def _look_up(integers: NDArray[Any], low: int, high: int, scheme: ClassScheme) -> NDArray[np.uint8]:
    """Class index of each voxel, by a table over the range of values."""
    if high - low > _RANGE:
        values, inverse = np.unique(integers, return_inverse=True)
        return _table(values, scheme)[inverse].reshape(integers.shape)
    table = _table(np.arange(low, high + 1), scheme)
    return table[integers.astype(np.int64) - low if low else integers]


def _table(values: NDArray[Any], scheme: ClassScheme) -> NDArray[np.uint8]:
    class_values = scheme.values or range(len(scheme.names) or MAX_CLASSES)
    index = {value: c for c, value in enumerate(class_values)}
    if scheme.ignore is not None:
        index[scheme.ignore] = IGNORED
    mapped = (scheme.mapping.get(int(value), int(value)) for value in values)
    return np.array([index.get(value, _UNKNOWN) for value in mapped], np.uint8)


def _describe_unknown(values: NDArray[Any], counts: NDArray[Any], scheme: ClassScheme) -> str:
    classes = zip(scheme.values or range(len(scheme.names)), scheme.names, strict=False)
    known = ", ".join(name if name == str(value) else f"{value} {name}" for value, name in classes)
    found = ", ".join(f"{value} ({n} voxels)" for value, n in zip(values[:5], counts[:5], strict=True))
    return f"label {found} stands for no class. Known from {scheme.source}: {known or f'0 to {MAX_CLASSES - 1}'}."


def _advise(values: NDArray[Any]) -> str:
    value = int(values[0])
    if len(values) > _MANY:
        return "If these are probabilities stored as integers: --scale 255. Else list all --classes."
    if len(values) == 1 and value in (255, -1):
        return f"If it means 'not annotated': --ignore-label {value}. If it means a class: --map {value}=1."
    return (
        f"Rename it with --map {value}=CLASS, leave it out with --ignore-label {value}, or list all --classes "
        "(in a dataset.json if the values have gaps)."
    )
