"""Opening array files: what shape, what type, where, and how to get at the values.

Conventions: shapes and arrays are in the order of the bytes, slowest axis first. A NIfTI file of (x, y, z, C) is
therefore (C, z, y, x) here, like nnU-Net's NPZ: classes one after the other.

`READERS` maps suffixes to functions; a file opens without reading its values.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from pathlib import Path

from calibeval.errors import InputError
from calibeval.io.array_file import ArrayFile, reading
from calibeval.io.images import open_itk, open_nifti
from calibeval.io.numpy_files import npz_keys, open_npy, open_npz

__all__ = ["READERS", "ArrayFile", "npz_keys", "open_array", "reading", "stem_of", "suffix_of"]

READERS: dict[str, Callable[[Path, tuple[str, ...]], ArrayFile]] = {
    ".nii.gz": open_nifti,
    ".nii": open_nifti,
    ".npz": open_npz,
    ".npy": open_npy,
    ".mha": open_itk,
    ".mhd": open_itk,
    ".nrrd": open_itk,
    ".png": open_itk,
}


def suffix_of(path: Path) -> str:
    """The known suffix of a file name (`.nii.gz` before `.gz`), or an empty string."""
    name = path.name.lower()
    return next((suffix for suffix in READERS if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """File name without its known suffix; accents in one form, whichever the system that wrote the name uses."""
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(suffix_of(path))])


def open_array(path: Path, keys: tuple[str, ...] = ()) -> ArrayFile:
    """Open a file by its suffix.

    Args:
        path: the file.
        keys: names to look for inside an NPZ, best first; an NPZ with a single array needs none.

    Raises:
        InputError: missing, a folder, of unknown suffix, broken, without such an array, or no volume of numbers.
    """
    if path.is_dir():
        raise InputError(path, "is a folder where a file is expected.")
    suffix = suffix_of(path)
    if not suffix:
        raise InputError(path, f"unknown suffix. Known: {' '.join(READERS)}.")
    with reading(path):
        path.open("rb").close()  # says why a file cannot be opened, where nibabel and ITK do not
        file = READERS[suffix](path, keys)
    if file.dtype.kind not in "biuf":
        raise InputError(path, f"holds values of the type {file.dtype}, expected plain numbers.")
    if not file.shape or not math.prod(file.shape):
        raise InputError(path, f"holds no voxel (shape {file.shape}).")
    return file
