"""Opening array files: what shape, what type, where, and how to get at the values.

Conventions: shapes and arrays are in the order of the bytes, slowest axis first. A NIfTI file of (x, y, z, C) is
therefore (C, z, y, x) here, like nnU-Net's NPZ: classes one after the other. A file opens without reading its values.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from calibeval.errors import InputError
from calibeval.files import check_regular
from calibeval.io.array_file import UNKNOWN, ArrayFile, reading
from calibeval.io.formats import SUFFIXES, array_keys, format_of, segments_of, stem_of, suffix_of, with_parts

__all__ = [
    "SUFFIXES",
    "ArrayFile",
    "array_keys",
    "format_of",
    "open_array",
    "reading",
    "segments_of",
    "stem_of",
    "suffix_of",
    "with_parts",
]


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
    format_ = format_of(path)
    if format_ is UNKNOWN:
        raise InputError(path, f"unknown suffix. Known: {' '.join(SUFFIXES)}.")
    with reading(path):
        check_regular(path)
        path.open("rb").close()  # says why a file cannot be opened, where nibabel and ITK do not
        file = replace(format_.open(path, keys), format=format_)
    if file.dtype.kind not in "biuf":
        raise InputError(path, f"holds values of the type {file.dtype}, expected plain numbers.")
    if not file.shape or not math.prod(file.shape):
        raise InputError(path, f"holds no voxel (shape {file.shape}).")
    return file
