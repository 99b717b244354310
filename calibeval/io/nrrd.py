"""NRRD (`.nrrd`, `.nhdr`): a header of `field: value` and `key:=value` lines, an empty line, then the values.

Definition: https://teem.sourceforge.net/nrrd/format.html. Read here and not through ITK, which checks no checksum and
dies of some headers, with all other cases of the run.
"""

from __future__ import annotations

import contextlib
import math
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.array_file import ArrayFile, bad_header, is_no
from calibeval.io.geometry import Geometry, make_geometry
from calibeval.io.stored import Bytes, bzipped, deflated, open_stored
from calibeval.io.text_header import data_file, header_lines, numbers, open_hex, open_text, quote, sizes

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}  # fmt: skip
_SYNONYMS = {
    "lineskip": "line skip", "byteskip": "byte skip", "datafile": "data file", "axismins": "axis mins",
}  # fmt: skip
_SPATIAL = ("domain", "space", "time", "???", "none")  # kinds of axes along which voxels lie
_COMPLEX = "complex"
_MOST_AXES = 16  # of the format


class Header(NamedTuple):
    """A header: fields and key/value pairs as text, and where the values begin (at the end, where there are none)."""

    path: Path
    fields: dict[str, str]
    pairs: dict[str, str]
    end: int

    def list(self, field: str, pattern: str = r"\S+") -> list[str]:
        """The parts of a field of one value an axis; empty where it is missing.

        Raises:
            BrokenFileError: not one for each axis.
        """
        found = re.findall(pattern, self.fields.get(field, ""))
        if found and len(found) != self.dimensions:
            raise bad_header(self.path, f"its '{field}' has {len(found)} entries for {self.dimensions} axes")
        return found

    @property
    def dimensions(self) -> int:
        """Number of axes."""
        return sizes(self.path, "dimension", self.fields.get("dimension", ""), 1)[0]


def open_nrrd(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open an NRRD; an axis that is none of space comes last where it is the fastest, else first."""
    header = read_header(path)
    if header.dimensions > _MOST_AXES:
        raise bad_header(path, f"it declares {header.dimensions} axes")
    extent = sizes(path, "sizes", header.fields.get("sizes", ""), header.dimensions)
    kinds = header.list("kinds")
    if any(kind.lower() == _COMPLEX for kind in kinds):
        raise InputError(path, "holds values of the type complex, expected plain numbers.")
    space = _spatial_axes(header, kinds)
    vector = space[0] > 0
    if space[-1] - space[0] >= len(space) or (vector and space[-1] < len(extent) - 1) or space[0] > 1:
        raise InputError(path, f"its axes {kinds} mix space with others.", "Put the axes of space side by side.")
    facts = {"vector": vector, "geometry": _geometry(header, space, extent)}
    return _open_values(header, extent[::-1], facts)


def values_of(path: Path) -> tuple[Path, ...]:
    """The file beside a header that holds its values."""
    with contextlib.suppress(Exception):  # opening the file says what is wrong with it
        fields = read_header(path).fields
        return (data_file(path, fields["data file"]),) if "data file" in fields else ()
    return ()


def read_header(path: Path) -> Header:
    """Read the header alone.

    Raises:
        BrokenFileError: it is none, or damaged.
    """
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD\d{4}\r?\n|NRRD00\.01\r?\n", file.readline(16)):
            raise is_no(path, "NRRD")
        for line in header_lines(file, path):
            if not line:
                break
            if line.startswith("#"):
                continue
            match = re.fullmatch(r"([^:]+):([= ])(.*)", line, re.DOTALL)
            if match is None:
                raise bad_header(path, f"its line {quote(line)} is no field")
            if match[2] == "=":
                pairs[match[1]] = match[3].strip()
            else:
                name = match[1].strip().lower()
                fields[_SYNONYMS.get(name, name)] = match[3].strip()
        return Header(path, fields, pairs, file.tell())


def _spatial_axes(header: Header, kinds: list[str]) -> list[int]:
    """Numbers of the axes along which voxels lie, fastest first."""
    directions = header.list("space directions", _VECTOR)
    if directions:
        found = [axis for axis, text in enumerate(directions) if text != "none"]
    elif kinds:
        found = [axis for axis, kind in enumerate(kinds) if kind.lower() in _SPATIAL]
    else:
        found = [axis for axis, text in enumerate(header.list("spacings")) if text.lower() != "nan"]
    return found or list(range(header.dimensions))


_VECTOR = r"none|\([^()]*\)"


def _geometry(header: Header, space: list[int], extent: tuple[int, ...]) -> Geometry | None:
    """The place in RAS+ and mm; None where the header tells no lengths."""
    spatial = space[:3]
    affine = np.eye(4)
    if directions := header.list("space directions", _VECTOR):
        for column, axis in enumerate(spatial):
            vector = _vector(header, "space directions", directions[axis])
            affine[: len(vector), column] = vector
        if origin := header.fields.get("space origin"):
            vector = _vector(header, "space origin", origin)
            affine[: len(vector), 3] = vector
    elif spacings := header.list("spacings"):
        lengths = numbers(header.path, "spacings", " ".join(spacings))
        affine[:3, :3] = np.diag([*(lengths[axis] for axis in spatial), 1.0, 1.0][:3])
    else:
        return None
    affine[:2] *= np.array(_signs(header.fields.get("space", "")))[:, None]
    return make_geometry(affine, [extent[axis] for axis in spatial])


def _vector(header: Header, field: str, text: str) -> NDArray[np.float64]:
    return np.array(numbers(header.path, field, text.strip("()").replace(",", " ")))[:3]


def _signs(space: str) -> tuple[int, int]:
    """Of x and y against RAS+; a space that names no directions is taken for ITK's, LPS+."""
    name = space.lower()
    if re.fullmatch(r"[lr][ap]st?", name):
        return (1 if name[0] == "r" else -1), (1 if name[1] == "a" else -1)
    if re.fullmatch(r"(left|right)-(anterior|posterior)-superior(-time)?", name):
        return (1 if name.startswith("right") else -1), (1 if "anterior" in name else -1)
    return -1, -1


def _open_values(header: Header, shape: tuple[int, ...], facts: dict[str, Any]) -> ArrayFile:
    path, fields = header.path, header.fields
    name = fields.get("data file")
    source, start = (path, header.end) if name is None else (data_file(path, name), 0)
    start = _skip_lines(header, source, start)
    skip = int(numbers(path, "byte skip", fields.get("byte skip", "0"), 1)[0])
    dtype, encoding = _dtype(header), fields.get("encoding", "").lower()
    if skip < -1 or (skip == -1 and encoding != "raw"):
        raise bad_header(path, f"its 'byte skip' is {skip}")
    there = source.stat().st_size
    if encoding == "raw":
        offset = start + skip if skip >= 0 else max(there - math.prod(shape) * dtype.itemsize, 0)
        return open_stored(path, Bytes(source, offset), shape, dtype, **facts)
    if encoding in ("gzip", "gz"):
        stored = deflated(source, start, there - start, 16 + zlib.MAX_WBITS, skip=skip)
        return open_stored(path, stored, shape, dtype, **facts)
    if encoding in ("bzip2", "bz2"):
        return open_stored(path, bzipped(source, start, skip=skip), shape, dtype, **facts)
    if encoding in ("ascii", "text", "txt"):
        return open_text(path, source, start + skip, shape, dtype.newbyteorder("="), **facts)
    if encoding == "hex":
        return open_hex(path, source, start + skip, shape, dtype, **facts)
    raise bad_header(path, f"its encoding {quote(encoding)} is unknown")


def _skip_lines(header: Header, source: Path, start: int) -> int:
    lines = int(numbers(header.path, "line skip", header.fields.get("line skip", "0"), 1)[0])
    with source.open("rb") as file:
        file.seek(start)
        for _ in zip(range(lines), header_lines(file, header.path), strict=False):
            pass
        return file.tell()


def _dtype(header: Header) -> np.dtype[Any]:
    name, endian = header.fields.get("type", ""), header.fields.get("endian", "").lower()
    code = _TYPES.get(name.lower())
    if code is None:
        raise bad_header(header.path, f"its type {quote(name)} is no type of numbers")
    written_as_bytes = header.fields.get("encoding", "").lower() not in ("ascii", "text", "txt")
    if endian not in ("little", "big") and (endian or (code[1] != "1" and written_as_bytes)):
        raise bad_header(header.path, f"its endian is {quote(endian)}, expected 'little' or 'big'")
    return np.dtype(code).newbyteorder(">" if endian == "big" else "<")
