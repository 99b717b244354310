"""One case: from its files, checked as every reader of calibeval checks them, to SimpleITK's images, and to NIfTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.datasets.grid import require_itk
from calibeval.datasets.listing import Listing, Source
from calibeval.errors import InputError
from calibeval.files import atomic_path
from calibeval.io.arrays import ArrayFile, open_array
from calibeval.io.classes import ClassScheme, read_labels, read_values
from calibeval.io.geometry import Geometry, affine_of_itk, check_same_place, place_itk
from calibeval.io.nifti import nifti_bytes


def read_case(source: Source, listing: Listing) -> tuple[list[Any], Any | None]:
    """Read a case as SimpleITK's images: of all channels, and the label as class indices or None.

    Raises:
        InputError: a file that cannot be used, another number of channels, or a label of no class.
        GeometryError: the files do not lie in one place.
    """
    files = [open_array(path) for path in source.images]
    first, geometry = files[0], files[0].geometry
    if geometry is None:
        raise InputError(first.path, "its header tells no size of a voxel.", "Download it again.")
    for file in files[1:]:
        _check_place(file, first)
    channels = [channel for file in files for channel in _channels(file)]
    if len(channels) != len(listing.channels):
        expected = f"{len(listing.channels)} ({', '.join(listing.channels)})"
        raise InputError(first.path, f"the case {source.case} has {len(channels)} channels, expected {expected}.")
    images = [_to_itk(channel, geometry) for channel in channels]
    return images, None if source.label is None else _to_itk(_read_label(source.label, listing, first), geometry)


def _read_label(path: Path, listing: Listing, image: ArrayFile) -> NDArray[np.uint8]:
    file = open_array(path)
    _check_place(file, image)
    values = tuple(listing.labels.values())
    return read_labels(file, ClassScheme(tuple(listing.labels), values, source="the data set's own list"))


def _check_place(file: ArrayFile, first: ArrayFile) -> None:
    if file.shape != first.shape[-3:]:
        raise InputError(file.path, f"its shape {file.shape} does not fit {first.shape} of {first.path}.")
    if file.geometry is not None and first.geometry is not None:
        check_same_place(file.path, file.geometry, first.path, first.geometry)


def _channels(file: ArrayFile) -> list[NDArray[Any]]:
    """Volumes (z, y, x) of a file, in a type that images have."""
    values = read_values(file)
    if values.ndim not in (3, 4):
        raise InputError(file.path, f"expected a volume, or several along a fourth axis, found the shape {file.shape}.")
    if not np.isfinite(values).all():
        raise InputError(file.path, "the image holds NaN or infinite values.")
    narrow = np.float32 if file.scaled or (values.dtype.itemsize == 2 and values.dtype.kind == "f") else values.dtype
    return list(values.astype(np.dtype(narrow).newbyteorder("="), copy=False).reshape(-1, *values.shape[-3:]))


def _to_itk(values: NDArray[Any], geometry: Geometry) -> Any:
    image = require_itk().GetImageFromArray(values)
    place_itk(image, geometry)
    return image


def write_volume(path: Path, image: Any) -> None:
    """Write an image as NIfTI, all or nothing."""
    values = require_itk().GetArrayViewFromImage(image)
    with atomic_path(path) as temporary:
        temporary.write_bytes(nifti_bytes(values, affine_of_itk(image)))
