"""HDF5: named arrays in one file, as the slices `image` and `label` of ACDC are stored; through h5py (extra `hdf5`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from calibeval.errors import InputError, MissingExtraError
from calibeval.io.array_file import Array, ArrayFile, check_memory, choose_key


def open_hdf5(path: Path, keys: tuple[str, ...]) -> ArrayFile:
    """Open the array that is named first in `keys`, or the only one."""
    with _file(path) as file:
        key = choose_key(path, _names(file), keys)
        array = file[key]
        if array.is_virtual or array.external:
            raise InputError(path, f"its array {key} lies in other files.", "Save it in one file.")
        shape, dtype, size = tuple(array.shape or ()), np.dtype(array.dtype), int(array.nbytes)

    def load() -> Array:
        check_memory(path, size)
        with _file(path) as file:
            return np.asarray(file[key][()])

    return ArrayFile(path, shape, dtype, load, member=key)


def hdf5_keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays at the top of an HDF5 file."""
    with _file(path) as file:
        return _names(file)


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "hdf5") from error
    with h5py.File(path, "r", locking=False) as file:
        yield file


def _names(file: Any) -> tuple[str, ...]:
    """Of arrays that lie in the file itself: links may lead anywhere."""
    import h5py

    inside = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    return tuple(name for name in inside if file.get(name, getclass=True) is h5py.Dataset)
