"""An array in a file that was opened but not read, what its format has in common, and what is said of damage.

Shapes and arrays are in the order of the bytes, slowest axis first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import BrokenFileError, CalibevalError, InputError
from calibeval.io.geometry import Geometry
from calibeval.io.gzipped import CORRUPT
from calibeval.machine import available_memory

Array = NDArray[Any]
AGAIN = "Write or copy it again."
NO_MEMORY = "Crop or resample it, give --max-memory, or read it on a machine with more."
_GIB = 2**30


def _alone(_path: Path) -> tuple[Path, ...]:
    return ()


class Segment(NamedTuple):
    """A named part of a segmentation.

    Attributes:
        name: as people gave it.
        value: that stands for it in the label map of all segments.
        layer: in which it lies, from 0.
        stored: its value in that layer.
    """

    name: str
    value: int
    layer: int = 0
    stored: int = 1


@dataclass(frozen=True)
class Format:
    """What all files of a format have in common; the one place that says it is the table in `formats`.

    Attributes:
        suffixes: of its files, lower case.
        open: opens a file without reading its values; the names are those to look for among several arrays.
        keys: names of the arrays in a file that holds several; None where there is only ever one.
        parts: the other files that one of this format needs, as far as its header tells; never raises.
        segments: names and label values of the segments in a file; None where it can name none.
        is_array: a plain array, which may run z, y, x or x, y, z and says nothing of a place.
        names_x_first: its own tools count the axes as x, y, z, so that they say "classes last" of the slowest axis.
        has_geometry: its header tells the place of the volume.
        planar: pixels of one plane, never a volume; channels of colours come last.
    """

    suffixes: tuple[str, ...]
    open: Callable[[Path, tuple[str, ...]], ArrayFile]
    keys: Callable[[Path], tuple[str, ...]] | None = None
    parts: Callable[[Path], tuple[Path, ...]] = _alone
    segments: Callable[[Path], tuple[Segment, ...]] | None = None
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
        values: reads the whole stored array, or maps a large one into memory; see `load`.
        part: reads so many stored values from a place in the file on; None where they cannot be read at random.
        stream: opens the stored bytes for reading in order; None where there is another way.
        slope: of the header's scale; values are stored * slope + intercept.
        intercept: of the header's scale.
        geometry: None where the format or the file has none.
        member: name of the array among several in the file.
        notes: what a reader of the numbers should know of the file.
        vector: the fastest axis holds the components of a voxel, so it is none of space.
        format: what it has in common with all files of its kind; `formats.open_array` fills it in.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: Callable[[], Array]
    part: Callable[[int, int], Array] | None = None
    stream: Callable[[], BinaryIO] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    geometry: Geometry | None = None
    member: str = ""
    notes: tuple[str, ...] = ()
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
    """Turn whatever a file makes its reader raise into an error that names the file.

    Libraries raise nearly anything over a damaged header, so any exception but our own is damage; its type is told.

    Raises:
        BrokenFileError: the file is missing or damaged.
        InputError: it does not fit into memory.
    """
    try:
        yield
    except CalibevalError:
        raise
    except FileNotFoundError as error:
        if path.is_symlink():
            problem = f"is a link to {path.readlink()}, which is not there."
            raise BrokenFileError(path, problem, "Fetch it first.") from error
        raise BrokenFileError(path, "no such file.") from error
    except CORRUPT as error:
        raise BrokenFileError(path, f"the file is truncated or corrupt ({error}).", AGAIN) from error
    except MemoryError as error:
        raise InputError(path, "its array does not fit into memory.", NO_MEMORY) from error
    except OSError as error:
        raise BrokenFileError(path, f"cannot be read ({error.strerror or error}).") from error
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise BrokenFileError(path, f"cannot be read ({lines[-1] if lines else repr(error)}).", AGAIN) from error


def is_no(path: Path, what: str) -> BrokenFileError:
    """The error over a file that does not begin as its name says."""
    return BrokenFileError(path, f"is no {what} file, or a truncated or corrupt one.", AGAIN)


def bad_header(path: Path, problem: str) -> BrokenFileError:
    """The error over a header that contradicts itself or its format."""
    return BrokenFileError(path, f"its header cannot be read: {problem}.", AGAIN)


def choose_key(path: Path, names: Collection[str], keys: tuple[str, ...]) -> str:
    """The name among several arrays that comes first in `keys`, or the only one there is.

    Raises:
        InputError: there is none.
    """
    key = next((key for key in keys if key in names), None)
    if key is not None or len(names) == 1:
        return key or next(iter(names))
    held = ", ".join(names) or "(none)"
    problem = f"holds the arrays {held}; expected one of {', '.join(keys)}."
    raise InputError(path, problem, "Save it again with one of these names.")


def check_memory(path: Path, size: int) -> None:
    """Refuse, before it is allocated, an array that does not fit into the memory that is free.

    Args:
        path: for the message.
        size: bytes.

    Raises:
        InputError: it does not.
    """
    if size > (free := available_memory()):
        raise InputError(
            path, f"its array takes {size / _GIB:.1f} GiB, where {free / _GIB:.1f} GiB of memory are free.", NO_MEMORY
        )
