"""MetaImage (`.mha`, `.mhd`): a header of `Key = Value` lines, then the values or the name of the file with them.

Read here and not through ITK, which checks no checksum, so that damaged values pass for data.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.io.array_file import ArrayFile, bad_header, is_no
from calibeval.io.geometry import make_geometry
from calibeval.io.gzipped import GZIP_MAGIC
from calibeval.io.stored import Bytes, deflated, open_stored
from calibeval.io.text_header import data_file, header_lines, numbers, open_text, quote, sizes

_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4", "ULONG": "u4",
    "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip


class _Header(NamedTuple):
    """Fields by lower-case key, and where the header ends."""

    path: Path
    fields: dict[str, str]
    end: int

    def get(self, *keys: str, default: str = "") -> str:
        """The first of several names of a field."""
        return next((self.fields[key.lower()] for key in keys if key.lower() in self.fields), default)

    def says(self, *keys: str, default: str = "False") -> bool:
        """Whether a field is true; by its first letter, as ITK has it.

        Raises:
            BrokenFileError: it is neither true nor false.
        """
        text = self.get(*keys, default=default)
        if text[:1].lower() not in ("t", "1", "f", "0"):
            raise bad_header(self.path, f"its '{keys[0]}' is {quote(text)}, expected True or False")
        return text[:1].lower() in ("t", "1")

    def numbers(self, *keys: str, count: int) -> list[float] | None:
        """Numbers of a field; None where it is missing."""
        text = self.get(*keys)
        return numbers(self.path, keys[0], text, count) if text else None


def open_mha(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open a MetaImage; the channels of a vector image are the fastest axis."""
    header = _read_header(path)
    dimensions = sizes(path, "NDims", header.get("NDims"), 1)[0]
    extent = sizes(path, "DimSize", header.get("DimSize"), dimensions)
    channels = sizes(path, "ElementNumberOfChannels", header.get("ElementNumberOfChannels", default="1"), 1)[0]
    shape = (*extent[::-1], *([channels] if channels > 1 else []))
    facts: dict[str, Any] = {"geometry": make_geometry(_affine(header, dimensions), extent), "vector": channels > 1}
    name = header.get("ElementDataFile")
    source, start = (path, header.end) if name.upper() == "LOCAL" else (data_file(path, name), 0)
    dtype = _dtype(header)
    if not header.says("BinaryData", default="True"):
        return open_text(path, source, start, shape, dtype.newbyteorder("="), **facts)
    stored = _stored(header, source, start, math.prod(shape) * dtype.itemsize)
    return open_stored(path, stored, shape, dtype, **facts)


def values_of(path: Path) -> tuple[Path, ...]:
    """The file beside a header that holds its values."""
    try:
        name = _read_header(path).get("ElementDataFile")
        return () if name.upper() == "LOCAL" else (data_file(path, name),)
    except Exception:  # opening the file says what is wrong with it
        return ()


def _read_header(path: Path) -> _Header:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in header_lines(file, path):
            key, found, value = line.partition("=")
            if not found or not key.strip():
                break
            fields[key.strip().lower()] = value.strip()
            if key.strip().lower() == "elementdatafile" and value.strip():
                return _Header(path, fields, file.tell())
    raise is_no(path, "MetaImage")


def _dtype(header: _Header) -> np.dtype[Any]:
    name = header.get("ElementType")
    code = _TYPES.get(name.upper().removeprefix("MET_").removesuffix("_ARRAY"))
    if code is None:
        raise bad_header(header.path, f"its 'ElementType' is {quote(name)}, which is no type of numbers")
    big = header.says("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype(code).newbyteorder(">" if big else "<")


def _stored(header: _Header, source: Path, start: int, size: int) -> Bytes:
    there = source.stat().st_size
    skip = int(numbers(header.path, "HeaderSize", header.get("HeaderSize", default="0"), 1)[0])
    if header.says("CompressedData"):
        with source.open("rb") as file:
            file.seek(start)
            window = 16 + zlib.MAX_WBITS if file.read(2) == GZIP_MAGIC else zlib.MAX_WBITS
        return deflated(source, start, there - start, window)
    if skip < -1:
        raise bad_header(header.path, f"its 'HeaderSize' is {skip}")
    return Bytes(source, max(there - size, 0) if skip == -1 else start + skip)


def _affine(header: _Header, dimensions: int) -> NDArray[np.float64]:
    """Affine in RAS+ and mm: ITK's x and y grow to the left and to the back; each row of its matrix is an axis."""
    n, spatial = dimensions, min(dimensions, 3)
    spacing = header.numbers("ElementSpacing", "ElementSize", count=n) or [1.0] * n
    origin = header.numbers("Offset", "Position", "Origin", count=n) or [0.0] * n
    rows = header.numbers("TransformMatrix", "Rotation", "Orientation", count=n * n)
    matrix = np.eye(n) if rows is None else np.array(rows).reshape(n, n).T
    affine = np.eye(4)
    affine[:spatial, :spatial] = (matrix * np.array(spacing))[:spatial, :spatial]
    affine[:spatial, 3] = origin[:spatial]
    affine[:2] *= -1
    return affine
