"""An array in a file that was opened but not read, what all files of its format have in common, and what readers share.

Shapes and arrays are in the order of the bytes, slowest axis first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.geometry import Geometry
from calibeval.io.gzipped import CORRUPT

Array = NDArray[Any]
AGAIN = "Write or copy it again."
SHORT = "it is shorter than its header says"


def _alone(_path: Path) -> tuple[Path, ...]:
    return ()


@dataclass(frozen=True)
class Format:
    """What all files of a format have in common; the one place that says it is the table in `formats`.

    Attributes:
        suffixes: of its files, lower case.
        open: opens a file without reading its values; the names are those to look for among several arrays.
        keys: names of the arrays in a file that holds several; None where there is only ever one.
        parts: the other files that one of this format needs, as far as its header tells; never raises.
        is_array: a plain array, which may run z, y, x or x, y, z and says nothing of a place.
        names_x_first: its own tools count the axes as x, y, z, so that they say "classes last" of the slowest axis.
        has_geometry: its header tells the place of the volume.
        planar: pixels of one plane, never a volume; channels of colours come last.
    """

    suffixes: tuple[str, ...]
    open: Callable[[Path, tuple[str, ...]], ArrayFile]
    keys: Callable[[Path], tuple[str, ...]] | None = None
    parts: Callable[[Path], tuple[Path, ...]] = _alone
    is_array: bool = False
    names_x_first: bool = False
    has_geometry: bool = False
    planar: bool = False

    @property
    def holds_own_label(self) -> bool:
        """Whether one of several arrays in a file can be the label of another."""
        return self.keys is not None


def _unopened(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    raise InputError(path, "is of no known format.")


UNKNOWN = Format((), _unopened)


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file, not read yet.

    Attributes:
        path: the file.
        shape: slowest axis first.
        dtype: as stored.
        values: reads the whole stored array, or maps it into memory where the file allows; see `load`.
        stream: opens the stored bytes for reading in order; None where `load` is the only way.
        slope: of the header's scale; values are stored * slope + intercept.
        intercept: of the header's scale.
        geometry: None where the format or the file has none.
        member: name of the array among several in the file.
        vector: the fastest axis holds the components of a voxel, so it is none of space.
        format: what it has in common with all files of its kind; `formats.open_array` fills it in.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: Callable[[], Array]
    stream: Callable[[], BinaryIO] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    geometry: Geometry | None = None
    member: str = ""
    vector: bool = False
    format: Format = UNKNOWN

    @property
    def spatial(self) -> tuple[int, ...]:
        """The shape along the axes that the geometry tells of; all axes where there is no geometry."""
        n = len(self.geometry.spacing_mm) if self.geometry else len(self.shape)
        return self.shape[:n] if self.vector else self.shape[-n:]

    @property
    def scaled(self) -> bool:
        """Whether the header scales the stored values."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    def load(self) -> Array:
        """The stored values, in the shape of the file.

        Raises:
            BrokenFileError: it is damaged.
        """
        with reading(self.path):
            return self.values()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what broken files raise into a BrokenFileError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        if path.is_symlink():
            problem = f"is a link to {path.readlink()}, which is not there."
            raise BrokenFileError(path, problem, "Fetch it first.") from error
        raise BrokenFileError(path, "no such file.") from error
    except CORRUPT as error:
        raise BrokenFileError(path, f"the file is truncated or corrupt ({error}).", AGAIN) from error
    except OSError as error:
        raise BrokenFileError(path, f"cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, RuntimeError) as error:
        text = str(error).strip().splitlines()
        raise BrokenFileError(path, f"cannot be read ({text[-1] if text else error!r}).", AGAIN) from error


def skip(file: BinaryIO, size: int) -> None:
    """Read and forget."""
    while size > 0:
        part = file.read(min(size, 1 << 20))
        if not part:
            raise EOFError(SHORT)
        size -= len(part)


def fill(file: BinaryIO, buffer: memoryview) -> None:
    """Fill a buffer; a short file is an EOFError."""
    filled = 0
    while filled < len(buffer):
        size = file.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not size:
            raise EOFError(SHORT)
        filled += size


def check_end(file: BinaryIO, path: Path) -> None:
    """Read on to the end, where compressed files keep their checksum; there must be nothing left."""
    if file.read(1):
        raise BrokenFileError(path, "is longer than its header says.", AGAIN)


def read_all(path: Path, stream: Callable[[], BinaryIO], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Read a whole stream into a new array."""
    values = np.empty(math.prod(shape), dtype)
    with stream() as file:
        fill(file, values.view(np.uint8).data)
        check_end(file, path)
    return values.reshape(shape)


def map_values(
    path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], *, fortran: bool = False
) -> Array:
    """Map an uncompressed array into memory."""
    if path.stat().st_size < offset + math.prod(shape) * dtype.itemsize:
        raise EOFError(SHORT)
    return np.memmap(path, dtype, "r", offset, shape, order="F" if fortran else "C")
