"""One case as a network takes it: (slices, channels, H, W), each channel z-scored, and class indices.

The slices of a volume file lie along its slowest axis (z of NIfTI). Labels become class indices, with `IGNORED` where
they do not count. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import BrokenFileError, GeometryError, InputError, UsageError
from calibeval.io.arrays import ArrayFile, array_keys, format_of, open_array, reading
from calibeval.io.cases import LABEL_KEYS
from calibeval.io.classes import ClassScheme, read_labels
from calibeval.io.geometry import Geometry, check_same_place
from calibeval.machine import available_memory

_GIB = 2**30


class ImageFiles(NamedTuple):
    """The files of one case: of its channels, or of its npz slices, and its label unless the npz hold it."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


class Volume(NamedTuple):
    """One case in memory.

    Attributes:
        name: of the case.
        image: (D, channels, H, W), z-scored unless read as it is.
        label: (D, H, W) class indices; None without labels.
        geometry: of the image; None for npz and PNG.
    """

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    geometry: Geometry | None


def check_memory(cases: Iterable[ImageFiles]) -> None:
    """Refuse, before reading, images that would not fit into memory.

    Raises:
        UsageError: they would not.
    """
    if excess := _excess_memory(open_array(path, ("image",)) for case in cases for path in case.images):
        raise UsageError(
            f"The images for training and validation {excess} Crop or resample them first, or train on fewer."
        )


def _excess_memory(files: Iterable[ArrayFile]) -> str:
    """What images would take that do not fit into memory, as the end of a sentence; empty when they fit."""
    needed, free = sum(math.prod(file.shape) for file in files) * 4, available_memory()
    if needed <= free:
        return ""
    return f"take {needed / _GIB:.1f} GiB in memory, where {free / _GIB:.1f} GiB are free."


def count_channels(case: ImageFiles) -> int:
    """Channels of a case, by the headers of its files.

    Raises:
        InputError: a file is unreadable.
    """
    if format_of(case.images[0]).holds_own_label:  # all slices of a case agree, or `read_volume` says so
        return channels_of(open_array(case.images[0], ("image",)))
    return sum(channels_of(open_array(path)) for path in case.images)


def read_volume(case: ImageFiles, scheme: ClassScheme, *, standardise: bool = True) -> Volume:
    """Read a case and z-score each channel over the volume.

    Args:
        case: from `find_data` or `find_images`.
        scheme: of the labels.
        standardise: False keeps the intensities, for nnU-Net, which has ways of its own.

    Raises:
        InputError: unreadable, not finite, of a wrong shape, or with labels outside the classes.
        GeometryError: channels or label do not lie in the same place.
    """
    files = [open_array(path, ("image",)) for path in case.images]
    if excess := _excess_memory(files):
        raise InputError(case.images[0], f"its images {excess}")
    slices = [_as_slices(file) for file in files]
    _check_shapes(files, slices, case)
    if format_of(case.images[0]).holds_own_label:
        image, label_files = np.concatenate(slices), _npz_labels(case)
    else:
        image, label_files = np.concatenate(slices, axis=1), [open_array(case.label)] if case.label else []
        for file in (*files[1:], *label_files):
            _check_place(file, files[0])
    label = _read_label(label_files, scheme, (len(image), *image.shape[2:])) if label_files else None
    return Volume(case.name, _standardise(image) if standardise else image, label, files[0].geometry)


def channels_of(file: ArrayFile) -> int:
    """Channels that one file holds."""
    if file.vector:
        return file.shape[-1]
    return 1 if _is_single(file) else file.shape[0]


def _is_single(file: ArrayFile) -> bool:
    """Whether a file has no axis of channels."""
    return not file.vector and len(file.shape) <= (2 if _in_plane(file) else 3)


def _in_plane(file: ArrayFile) -> bool:
    """Whether three axes are channels, height and width, rather than slices, height and width."""
    return file.format.is_array or file.format.planar


def _as_slices(file: ArrayFile) -> NDArray[np.float32]:
    """Read an image as (D, channels, H, W).

    npz hold (C, H, W) or (C, D, H, W), other files (C,) z, y, x, or the channels of each pixel together.
    """
    with reading(file.path):
        values = file.load() * file.slope + file.intercept if file.scaled else file.load()
        image = np.asarray(values, np.float32)
    if not np.isfinite(image).all():
        raise InputError(file.path, "the image holds NaN or infinite values.")
    if file.vector:
        image = np.moveaxis(image, -1, 0)
    elif _is_single(file):
        image = image[None]
    if image.ndim == 3:
        image = image[:, None]
    if image.ndim == 4:
        return image.swapaxes(0, 1)
    expected = "(C, H, W) or (C, D, H, W)" if _in_plane(file) else "(x, y, z) or (x, y, z, channels)"
    raise InputError(file.path, f"expected an image of shape {expected}, found {file.shape}.")


def _check_shapes(files: Sequence[ArrayFile], slices: Sequence[NDArray[np.float32]], case: ImageFiles) -> None:
    free = 0 if files[0].format.holds_own_label else 1  # npz files are stacked by slices, others by channels
    for file, image in zip(files[1:], slices[1:], strict=True):
        if np.delete(image.shape, free).tolist() != np.delete(slices[0].shape, free).tolist():
            raise InputError(file.path, f"shape {file.shape} does not fit {files[0].shape} of {files[0].path.name}.")


def _npz_labels(case: ImageFiles) -> list[ArrayFile]:
    labelled = [path for path in case.images if set(array_keys(path)) & set(LABEL_KEYS)]
    if labelled and len(labelled) < len(case.images):
        raise InputError(case.images[0], f"only {len(labelled)} of {len(case.images)} slices have a 'label'.")
    return [open_array(path, LABEL_KEYS) for path in labelled]


def _read_label(files: Sequence[ArrayFile], scheme: ClassScheme, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        parts = [read_labels(file, scheme) for file in files]
    except BrokenFileError:
        raise
    except InputError as error:
        advice = "Correct the label, or declare its value in dataset.json ('ignore' where it does not count)."
        raise InputError(error.path, error.problem, advice) from error
    label = np.concatenate([part if part.ndim == 3 else part[None] for part in parts])
    if label.shape != shape:
        raise InputError(files[0].path, f"its label has the shape {label.shape}, the image {shape} (slices first).")
    return label


def _check_place(file: ArrayFile, reference: ArrayFile) -> None:
    if file.geometry is None or reference.geometry is None:
        return
    try:
        check_same_place(file.path, file.geometry, reference.path, reference.geometry)
    except GeometryError as error:
        raise GeometryError(error.path, error.problem, "Bring the files of a case to one grid.") from error


def _standardise(image: NDArray[Any]) -> NDArray[np.float32]:
    """Give each channel mean 0 and standard deviation 1 over the volume; a constant channel becomes 0."""
    axes = (0, 2, 3)
    mean = image.mean(axis=axes, keepdims=True, dtype=np.float64)
    deviation = image.std(axis=axes, keepdims=True, dtype=np.float64)
    standard: NDArray[np.float32] = ((image - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    return standard
