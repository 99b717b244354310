"""What the text headers of MetaImage and NRRD have in common: bounded lines, numbers, and where the values stand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.array_file import AGAIN, Array, ArrayFile, bad_header, check_memory

_LONGEST_LINE = 1 << 20
_MOST_LINES = 100_000
_LONGEST_QUOTE = 40


def header_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """Lines of a header without their ends, as far as they are asked for.

    Raises:
        BrokenFileError: lines that no header has.
    """
    for _ in range(_MOST_LINES):
        line = file.readline(_LONGEST_LINE)
        if not line:
            return
        if not line.endswith(b"\n") and len(line) == _LONGEST_LINE:
            break
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")
    raise bad_header(path, "it does not end")


def numbers(path: Path, field: str, text: str, count: int | None = None) -> list[float]:
    """Numbers of a field, separated by spaces.

    Raises:
        BrokenFileError: others than numbers, or not as many as expected.
    """
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = []
    if not found or count not in (None, len(found)):
        expected = f"{count} numbers" if count else "numbers"
        raise bad_header(path, f"its '{field}' is {quote(text)}, expected {expected}")
    return found


def sizes(path: Path, field: str, text: str, count: int) -> tuple[int, ...]:
    """Lengths of axes: whole numbers above 0.

    Raises:
        BrokenFileError: others.
    """
    found = numbers(path, field, text, count)
    if not all(n >= 1 and n.is_integer() for n in found):
        raise bad_header(path, f"its '{field}' is {quote(text)}, expected whole numbers above 0")
    return tuple(int(n) for n in found)


def quote(text: str) -> str:
    """A value of a header for a message."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")


def data_file(path: Path, name: str) -> Path:
    """The file beside a header that holds its values.

    Raises:
        InputError: there are several, or it is missing.
    """
    if name.split(maxsplit=1)[0] == "LIST" or "%" in name:
        raise InputError(path, f"its values lie in several files ({quote(name)}).", "Save it as one file.")
    found = path.parent / name
    if not found.is_file():
        raise BrokenFileError(path, f"its values are not there: no file {found}.", "Copy both files.")
    return found


def open_text(
    path: Path, source: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], **facts: Any
) -> ArrayFile:
    """Open values that are written as text; see `stored.open_stored`."""
    _check_length(path, source, offset, 2 * math.prod(shape) - 1)
    return ArrayFile(path, shape, dtype, partial(_parse, path, source, offset, shape, dtype), **facts)


def open_hex(
    path: Path, source: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], **facts: Any
) -> ArrayFile:
    """Open values whose bytes are written as pairs of hexadecimal digits; see `stored.open_stored`."""
    _check_length(path, source, offset, 2 * math.prod(shape) * dtype.itemsize)

    def load() -> Array:
        content = bytes.fromhex(_text(source, offset))
        _check_count(path, len(content), math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape)

    return ArrayFile(path, shape, dtype, load, **facts)


def _parse(path: Path, source: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    check_memory(path, 100 * math.prod(shape))  # that many bytes a number, while it is a word
    words = _text(source, offset).split()
    _check_count(path, len(words), math.prod(shape))
    number = float if dtype.kind == "f" else int
    return np.array([number(word) for word in words], dtype).reshape(shape)


def _text(source: Path, offset: int) -> str:
    with source.open("rb") as file:
        file.seek(offset)
        return file.read().decode("ascii")


def _check_length(path: Path, source: Path, offset: int, least: int) -> None:
    if (there := source.stat().st_size - offset) < least:
        raise BrokenFileError(path, f"the file is truncated: {least} bytes of text at least, {there} found.", AGAIN)


def _check_count(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise BrokenFileError(path, f"holds {found} values where its header declares {expected}.", AGAIN)
