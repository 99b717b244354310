"""Where the bytes of an array stand in a file and how they are coded: the one place that holds them against a header.

What a header declares must be there: bytes that are missing, a checksum that is wrong, and bytes after the array are
damage. Up to `PADDING` zeros at the end are not, as some writers fill their last block with them. What a file cannot
hold, however well it is compressed, is refused when it is opened, before anything of that size is allocated.

Files are read, not mapped into memory: one that shrinks while it is mapped ends the process. Only an array that is too
large to be held and whose voxels must be gathered is mapped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from calibeval.errors import BrokenFileError
from calibeval.io.array_file import AGAIN, Array, ArrayFile, check_memory
from calibeval.io.gzipped import DEFLATE_MOST, open_bzip2, open_deflated, open_gzip

PADDING = 512
_MAPPED = 256 << 20  # bytes, from which on an array is mapped
_SHORT = "it is shorter than its header says"


class Bytes(NamedTuple):
    """Bytes in a file.

    Attributes:
        path: the file.
        offset: of the first one, or of the compressed stream.
        open: opens that stream, decompressed; None where it is not compressed.
        skip: bytes at the beginning of the decompressed stream that are not of the array.
        most: so many that it may hold at most when decompressed.
        check: of what is not compressed: checks it as a whole when it is loaded.
        tail: the format puts something of its own behind the array.
    """

    path: Path
    offset: int = 0
    open: Callable[[], BinaryIO] | None = None
    skip: int = 0
    most: float = math.inf
    check: Callable[[], None] | None = None
    tail: bool = False


def gzip_file(path: Path, skip: int, expected: int) -> Bytes:
    """A whole gzip file that should hold `expected` bytes after the first `skip`; a large one is decompressed ahead."""
    most = DEFLATE_MOST * path.stat().st_size
    return Bytes(path, 0, lambda: open_gzip(path, skip + expected), skip, most)


def deflated(path: Path, start: int, size: int, window: int, *, skip: int = 0, crc: int | None = None) -> Bytes:
    """A deflate stream inside a file.

    Args:
        path: the file.
        start: where the stream begins.
        size: of the stream.
        window: as zlib's wbits: 15 for zlib, 31 for gzip, -15 for neither, as in a ZIP.
        skip: bytes at its beginning that are not of the array.
        crc: CRC-32 that a ZIP gives; gzip and zlib hold their checksums themselves.
    """
    return Bytes(path, start, lambda: open_deflated(path, start, size, window, crc), skip, DEFLATE_MOST * size)


def bzipped(path: Path, start: int, *, skip: int = 0) -> Bytes:
    """A bzip2 stream from `start` to the end of a file."""
    return Bytes(path, start, lambda: open_bzip2(path, start), skip)


def open_stored(
    path: Path, stored: Bytes, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool = False, **facts: Any
) -> ArrayFile:
    """Open an array whose bytes stand in a file.

    Args:
        path: the file that the user named; that of the bytes may be another.
        stored: where they are.
        shape: slowest axis first, or fastest first with `fortran`.
        dtype: with byte order.
        fortran: the first axis is the fastest.
        facts: other fields of the ArrayFile.

    Raises:
        BrokenFileError: the header declares more than the file can hold, or less than there is.
    """
    size = math.prod(shape) * dtype.itemsize
    if stored.open is None:
        _check_size(path, stored, size)
        part = None if fortran else partial(_part, stored, dtype)
        return ArrayFile(path, shape, dtype, partial(_whole, stored, shape, dtype, fortran=fortran), part=part, **facts)
    if stored.skip + size > stored.most:
        problem = f"declares an array of {_text(shape)} {dtype}, more than its {_size(stored.path)} bytes can hold."
        raise BrokenFileError(path, problem, AGAIN)

    def stream() -> BinaryIO:
        file = stored.open()  # type: ignore[misc]
        skip(file, stored.skip)
        return file

    def load() -> Array:
        values = _read(path, stream, shape[::-1] if fortran else shape, dtype, tail=stored.tail)
        return values.T if fortran else values

    return ArrayFile(path, shape, dtype, load, stream=None if fortran or stored.tail else stream, **facts)


def skip(file: BinaryIO, size: int) -> None:
    """Read and forget."""
    while size > 0:
        part = file.read(min(size, 1 << 20))
        if not part:
            raise EOFError(_SHORT)
        size -= len(part)


def fill(file: BinaryIO, buffer: memoryview) -> None:
    """Fill a buffer; a short file is an EOFError."""
    filled = 0
    while filled < len(buffer):
        size = file.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not size:
            raise EOFError(_SHORT)
        filled += size


def check_end(file: BinaryIO, path: Path) -> None:
    """Read on to the end, where compressed files keep their checksum; there may be nothing left but padding."""
    rest = b""
    while len(rest) <= PADDING and (part := file.read(PADDING + 1)):
        rest += part
    if len(rest) > PADDING or any(rest):
        raise BrokenFileError(
            path, f"is longer than its header says, by more than {PADDING} bytes or by others than zeros.", AGAIN
        )


def _check_size(path: Path, stored: Bytes, size: int) -> None:
    """The same for bytes that are not compressed, without reading them."""
    there = _size(stored.path)
    if stored.offset + size > there:
        raise BrokenFileError(
            path, f"the file is truncated or corrupt: {stored.offset + size} bytes declared, {there} found.", AGAIN
        )
    if stored.check is None and not stored.tail and there > stored.offset + size:
        with stored.path.open("rb") as file:
            file.seek(stored.offset + size)
            check_end(file, path)


def _whole(stored: Bytes, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool) -> Array:
    order: Literal["F", "C"] = "F" if fortran else "C"
    if (size := math.prod(shape) * dtype.itemsize) < _MAPPED:
        check_memory(stored.path, size)
        return _part(stored, dtype, 0, math.prod(shape)).reshape(shape, order=order)
    if stored.check is not None:
        stored.check()
    return np.memmap(stored.path, dtype, "r", stored.offset, shape, order=order)


def _part(stored: Bytes, dtype: np.dtype[Any], first: int, count: int) -> Array:
    """Values that are not compressed, from the first one on; with the very first the whole is checked."""
    if first == 0 and stored.check is not None:
        stored.check()
    values = np.fromfile(stored.path, dtype, count, offset=stored.offset + first * dtype.itemsize)
    if values.size < count:
        raise EOFError(_SHORT)
    return values


def _read(
    path: Path, stream: Callable[[], BinaryIO], shape: tuple[int, ...], dtype: np.dtype[Any], *, tail: bool
) -> Array:
    """Read a whole stream into a new array."""
    check_memory(path, math.prod(shape) * dtype.itemsize)
    values = np.empty(math.prod(shape), dtype)
    with stream() as file:
        fill(file, values.view(np.uint8).data)
        while tail and file.read(1 << 20):  # on to the checksum
            pass
        check_end(file, path)
    return values.reshape(shape)


def _size(path: Path) -> int:
    return path.stat().st_size


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
