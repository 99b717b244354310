"""A case made of arrays in memory, with the same checks as one made of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibeval.errors import UsageError
from calibeval.io.cases import Case
from calibeval.io.classes import ClassScheme, check_decided, different_values, index_labels, name_values
from calibeval.io.layout import squeezed
from calibeval.io.probabilities import array_source
from calibeval.io.scheme import check_scheme
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import PlaneSource

_COARSE_SUMS = 1e-2  # how far sums of bfloat16, with its 8 bits, may be from 1


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

    Voxels that a masked array hides, in any class, are ignored voxels.

    Raises:
        UsageError: shapes, types, spacing or classes that do not fit together.
        InputError: labels that stand for no class.
    """
    arrays = {"reference": reference, "predicted": predicted, "probabilities": probabilities}
    hidden = {name: _masked(values) for name, values in arrays.items()}
    reference = _numbers("reference", reference, hidden)
    spatial = squeezed(reference.shape)
    if not reference.size or len(spatial) > 3:
        raise UsageError(f"reference has the shape {reference.shape}; expected voxels along 2 or 3 axes.")
    if probabilities is None and predicted is None:
        raise UsageError("Give probabilities, predicted, or both.")
    maps = None if probabilities is None else _numbers("probabilities", probabilities, hidden)
    if maps is not None and (mask := hidden["probabilities"]) is not None:
        maps = np.where(mask.any(axis=0), 1 / len(maps), maps)  # any that sum to 1: these voxels are ignored
    source = None if maps is None else _source(maps, reference.shape, coarse=_is_coarse(probabilities))
    masks = None if predicted is None else _numbers("predicted", predicted, hidden)
    if masks is not None and masks.shape != reference.shape:
        raise UsageError(f"predicted has the shape {masks.shape}, reference {reference.shape}.")
    sigmoid = source is not None and source.classes == len(scheme.regions) != len(scheme.names)
    planes = source.classes if source is not None and not sigmoid else 0
    if not scheme.names:
        occur = (different_values(part) for part in (reference, masks) if part is not None)
        scheme = scheme.with_classes(planes) if planes else name_values(frozenset().union(*occur), scheme)
    check_scheme(scheme)
    if planes and planes != len(scheme.names):
        raise UsageError(f"{planes} probability maps, but {len(scheme.names)} class names.")
    labels = _leave_out(index_labels(reference, scheme, "reference"), hidden).reshape(spatial)
    decided = None if masks is None else index_labels(masks, scheme, "predicted").reshape(spatial)
    if decided is not None:
        check_decided(decided, labels, scheme, "predicted")
    return Case(name, scheme, labels, _spacing(spacing_mm, reference.shape), source, sigmoid, decided)


def _masked(values: Any) -> NDArray[np.bool_] | None:
    """Where a numpy masked array hides its values; None where it hides none."""
    return np.ma.getmaskarray(values) if np.ma.is_masked(values) else None


def _numbers(what: str, values: ArrayLike, hidden: dict[str, NDArray[np.bool_] | None]) -> NDArray[Any]:
    """A plain array, 0 where a mask hides what is in it."""
    array = _plain(what, values)
    mask = hidden[what]
    return array if mask is None else np.where(mask, 0, array)


def _plain(what: str, values: Any) -> NDArray[Any]:
    """A plain array of any array-like; torch's tensors come off their graph and device."""
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            values = values.float() if _is_coarse(values) else values
        array = np.asarray(values, np.float32 if _is_coarse(values) else None)
    except Exception as error:  # whatever a foreign library raises of its own arrays
        raise UsageError(f"{what} cannot be made an array ({error}); expected plain numbers.") from error
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{what} holds values of the type {array.dtype}; expected plain numbers.")
    return array


def _is_coarse(values: Any) -> bool:
    """Whether values are bfloat16, which numpy does not know: of torch, or of the libraries around jax."""
    return str(getattr(values, "dtype", "")).endswith("bfloat16")


def _leave_out(labels: NDArray[np.uint8], hidden: dict[str, NDArray[np.bool_] | None]) -> NDArray[np.uint8]:
    """Ignore each voxel that any of the arrays hides, in any class."""
    for mask in hidden.values():
        if mask is not None:
            inside = mask.any(axis=0) if mask.ndim > labels.ndim else mask
            labels = np.where(inside, np.uint8(IGNORED), labels)
    return labels


def _source(array: NDArray[Any], shape: tuple[int, ...], *, coarse: bool) -> PlaneSource:
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        expected = ", ".join(map(str, ("C", *shape)))
        raise UsageError(f"probabilities have the shape {array.shape}; expected ({expected}).")
    source = array_source(array.reshape(len(array), *squeezed(shape)))
    return replace(source, tolerance=_COARSE_SUMS) if coarse else source


def _spacing(spacing_mm: Sequence[float] | None, shape: tuple[int, ...]) -> tuple[float, ...] | None:
    """Spacing of the axes that are not singletons."""
    if spacing_mm is None:
        return None
    try:
        lengths = tuple(float(length) for length in spacing_mm)
    except (TypeError, ValueError) as error:
        raise UsageError(f"spacing_mm {spacing_mm!r}: expected one length in mm for each axis.") from error
    if len(lengths) != len(shape):
        raise UsageError(f"spacing_mm {lengths} has not one value for each axis of the shape {shape}.")
    if not all(0 < length < math.inf for length in lengths):
        raise UsageError(f"spacing_mm {lengths}: every length must be above 0.")
    return tuple(length for length, n in zip(lengths, shape, strict=True) if n != 1) or lengths[-1:]
