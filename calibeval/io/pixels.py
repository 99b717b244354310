"""PNG and TIFF through Pillow: planes of pixels, without a place."""

from __future__ import annotations

import math
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.array_file import AGAIN, Array, ArrayFile, check_memory, is_no
from calibeval.io.gzipped import DEFLATE_MOST

_TIFF = (b"II*\0", b"MM\0*")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DTYPES = {"1": "b1", "I;16": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}  # of Pillow's modes; others are uint8
_PARTS = ((273, 324), (279, 325))  # entries of TIFF: where strips or tiles begin, and how long they are
_ENTRIES = {258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339}  # that say how values are stored
_HEADER = 8  # bytes of TIFF
_TURN = 274  # how the page lies
_MEANING = 262  # whether 0 is black
_LOSSY = 16  # bits of a colour, of which Pillow keeps 8


def open_png(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open a PNG; of one with a palette the indices are its values, colours are channels on the last axis."""
    from PIL.PngImagePlugin import PngImageFile

    with path.open("rb") as file:
        start = file.read(26)
        if not start.startswith(_SIGNATURE):
            raise is_no(path, "PNG")
        file.seek(0)
        with PngImageFile(file) as image:
            mode, (width, height) = image.mode, image.size
    depth, colours = start[24], start[25]
    if depth == _LOSSY and colours:
        raise InputError(path, "holds colours of 16 bits.", "Save it as grey values, or as colours of 8 bits.")
    dtype, channels = _pixel(mode)
    if width * height * depth // 8 > DEFLATE_MOST * path.stat().st_size:
        raise BrokenFileError(path, f"declares {width} x {height} pixels, more than its bytes can hold.", AGAIN)
    shape = (height, width, *([channels] if channels > 1 else []))

    def load() -> Array:
        _check_chunks(path)
        check_memory(path, 2 * width * height * channels * dtype.itemsize)
        with path.open("rb") as file, PngImageFile(file) as image:
            return np.asarray(image)

    return ArrayFile(path, shape, dtype, load, vector=channels > 1)


def open_tiff(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open a TIFF; several pages are slices, on the first axis."""
    from PIL.TiffImagePlugin import TiffImageFile

    with path.open("rb") as file:
        if file.read(4) not in _TIFF:
            raise is_no(path, "TIFF")
        file.seek(0)
        with _no_warnings(), TiffImageFile(file) as image:
            pages, mode, (width, height), kind = image.n_frames, image.mode, image.size, _kind(image)
    dtype, channels = _pixel(mode)
    page = (height, width, *([channels] if channels > 1 else []))
    shape = (pages, *page) if pages > 1 else page

    def load() -> Array:
        check_memory(path, math.prod(shape) * dtype.itemsize)
        values, first = np.empty((pages, *page), dtype), b""
        with _no_warnings(), path.open("rb") as file, TiffImageFile(file) as image:
            for number in range(pages):
                image.seek(number)
                if _kind(image) != kind:
                    raise InputError(path, f"its page {number + 1} is unlike the first.", "Save pages of one kind.")
                stored = _stored(path, file, image, math.prod(page) * dtype.itemsize)
                first = first or stored
                values[number] = np.asarray(image)
                if stored != first and np.array_equal(values[number], values[0]):
                    raise BrokenFileError(path, f"its page {number + 1} cannot be read.", AGAIN)
        return values.reshape(shape)

    return ArrayFile(path, shape, dtype, load, vector=channels > 1)


def _kind(image: Any) -> tuple[Any, ...]:
    """What pages of one file share."""
    tags = image.tag_v2
    said = {tag for tag in _ENTRIES if tags.get(tag) is not None}
    return image.mode, image.size, tags.get(_MEANING), tags.get(_TURN, 1), said


def _stored(path: Path, file: BinaryIO, image: Any, size: int) -> bytes:
    """The bytes of a page: of one whose entries libtiff does not understand, Pillow gives the pixels of the first.

    Raises:
        BrokenFileError: it lacks what Pillow would guess, or has fewer bytes than Pillow reads.
    """
    tags = image.tag_v2
    offsets, lengths = ([*tags.get(strips, ()), *tags.get(tiles, ())] for strips, tiles in _PARTS)
    whole = lengths and all(lengths) and len(lengths) == len(offsets) and min(offsets) >= _HEADER
    if not whole or tags.get(_MEANING) is None:
        raise BrokenFileError(path, "a page lacks entries that every TIFF has.", AGAIN)
    if sum(lengths) > path.stat().st_size or (image.info.get("compression") == "raw" and sum(lengths) < size):
        raise BrokenFileError(path, f"a page has {sum(lengths)} bytes, expected {size}.", AGAIN)
    parts = []
    for offset, length in zip(offsets, lengths, strict=True):
        file.seek(offset)
        parts.append(file.read(length))
    return b"".join(parts)


def _no_warnings() -> warnings.catch_warnings[None]:
    """Pillow only warns of a directory that is cut off, and goes on with what is left."""
    return warnings.catch_warnings(action="error", category=UserWarning)


def _pixel(mode: str) -> tuple[np.dtype[Any], int]:
    """Type and number of the channels of a Pillow mode."""
    channels = 1 if mode in _DTYPES or mode == "P" else len(mode)
    return np.dtype(_DTYPES.get(mode, "u1")), channels


def _check_chunks(path: Path) -> None:
    """Check the checksum of every chunk, as Pillow does not for those of pixels."""
    with path.open("rb") as file:
        file.seek(len(_SIGNATURE))
        kind = b""
        while kind != b"IEND":
            size, kind = int.from_bytes(_read(file, 4), "big"), _read(file, 4)
            if size > path.stat().st_size:
                raise EOFError("a part of it is longer than the file")
            if zlib.crc32(_read(file, size), zlib.crc32(kind)) != int.from_bytes(_read(file, 4), "big"):
                raise BrokenFileError(path, "the file is corrupt (a checksum is wrong).", AGAIN)


def _read(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise EOFError("it breaks off")
    return found
