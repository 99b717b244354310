"""An array in a file that was opened but not read, and what its readers share.

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

from calibeval.errors import InputError
from calibeval.io.geometry import Geometry
from calibeval.io.gzipped import CORRUPT

Array = NDArray[Any]
_AGAIN = "Write or copy it again."
SHORT = "it is shorter than its header says"


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
        member: name of the array inside an NPZ.
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

    @property
    def scaled(self) -> bool:
        """Whether the header scales the stored values."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    def load(self) -> Array:
        """The stored values, in the shape of the file.

        Raises:
            InputError: the file is broken.
        """
        with reading(self.path):
            return self.values()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what broken files raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        if path.is_symlink():
            raise InputError(path, f"is a link to {path.readlink()}, which is not there.", "Fetch it first.") from error
        raise InputError(path, "no such file.") from error
    except CORRUPT as error:
        raise InputError(path, f"the file is truncated or corrupt ({error}).", _AGAIN) from error
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, RuntimeError) as error:
        text = str(error).strip().splitlines()
        raise InputError(path, f"cannot be read ({text[-1] if text else error!r}).", _AGAIN) from error


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
        raise InputError(path, "is longer than its header says.", _AGAIN)


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
