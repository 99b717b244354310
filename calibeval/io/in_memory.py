"""A case made of arrays in memory, with the same checks as one made of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibeval.errors import UsageError
from calibeval.io.cases import Case
from calibeval.io.classes import ClassScheme, check_decided, index_labels
from calibeval.io.layout import squeezed
from calibeval.io.probabilities import array_source
from calibeval.io.scheme import check_scheme
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import PlaneSource


def case_of_arrays(
    name: str,
    scheme: ClassScheme,
    probabilities: ArrayLike | None,
    reference: ArrayLike,
    *,
    predicted: ArrayLike | None,
    spacing_mm: Sequence[float] | None,
) -> Case:
    """Make a case of arrays; the arguments are those of `calibeval.score_case`.

    Raises:
        UsageError: shapes, types, spacing or classes that do not fit together.
        InputError: labels that stand for no class.
    """
    reference = _numbers("reference", reference)
    spatial = squeezed(reference.shape)
    if not reference.size or len(spatial) > 3:
        raise UsageError(f"reference has the shape {reference.shape}; expected voxels along 2 or 3 axes.")
    if probabilities is None and predicted is None:
        raise UsageError("Give probabilities, predicted, or both.")
    source = None if probabilities is None else _source(probabilities, reference.shape)
    masks = None if predicted is None else _numbers("predicted", predicted)
    if masks is not None and masks.shape != reference.shape:
        raise UsageError(f"predicted has the shape {masks.shape}, reference {reference.shape}.")
    sigmoid = source is not None and source.classes == len(scheme.regions) != len(scheme.names)
    planes = source.classes if source is not None and not sigmoid else 0
    scheme = scheme.with_classes(planes or _count_classes(scheme, reference, masks))
    check_scheme(scheme)
    if planes and planes != len(scheme.names):
        raise UsageError(f"{planes} probability maps, but {len(scheme.names)} class names.")
    labels = index_labels(reference, scheme, "reference").reshape(spatial)
    decided = None if masks is None else index_labels(masks, scheme, "predicted").reshape(spatial)
    if decided is not None:
        check_decided(decided, labels, scheme, "predicted")
    return Case(name, scheme, labels, _spacing(spacing_mm, reference.shape), source, sigmoid, decided)


def _numbers(what: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{what} holds values of the type {array.dtype}; expected plain numbers.")
    return array


def _source(values: ArrayLike, shape: tuple[int, ...]) -> PlaneSource:
    array = _numbers("probabilities", values)
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        expected = ", ".join(map(str, ("C", *shape)))
        raise UsageError(f"probabilities have the shape {array.shape}; expected ({expected}).")
    return array_source(array.reshape(len(array), *squeezed(shape)))


def _count_classes(scheme: ClassScheme, *maps: NDArray[Any] | None) -> int:
    """Classes that nothing names: up to the largest label, and to the last that a region unites."""
    indices = [index_labels(labels, scheme, "reference") for labels in maps if labels is not None]
    largest = [int(part[part != IGNORED].max(initial=0)) for part in indices]
    return 1 + max([*largest, *(member for region in scheme.regions.values() for member in region)])


def _spacing(spacing_mm: Sequence[float] | None, shape: tuple[int, ...]) -> tuple[float, ...] | None:
    """Spacing of the axes that are not singletons."""
    if spacing_mm is None:
        return None
    lengths = tuple(float(length) for length in spacing_mm)
    if len(lengths) != len(shape):
        raise UsageError(f"spacing_mm {lengths} has not one value for each axis of the shape {shape}.")
    if not all(0 < length < math.inf for length in lengths):
        raise UsageError(f"spacing_mm {lengths}: every length must be above 0.")
    return tuple(length for length, n in zip(lengths, shape, strict=True) if n != 1) or lengths[-1:]
