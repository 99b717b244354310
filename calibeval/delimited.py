"""Delimited text as programs and spreadsheets save it: commas, semicolons or tabs, padding, a byte order mark, CRLF.

What is unambiguous is read: the separator is what parts the header, columns without a name and a value are padding, a
header that comes again (tables put one below the other) is passed over, and `0,91` is a decimal comma where a comma
does not part fields or cannot part thousands. Everything else is refused by its line.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibeval.errors import TableError
from calibeval.files import read_text

if TYPE_CHECKING:
    import pandas as pd

NO_NUMBER = {"", "-", "na", "n/a", "nan", "none", "null"}  # fields that stand for no number
_SEPARATORS = (",", ";", "\t")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


class Sheet(NamedTuple):
    """A delimited file, not yet parted.

    Attributes:
        path: for messages.
        separator: between fields.
        comments: texts of the lines that begin with `#`, without it.
        columns: of the header, without padding.
        lines: with their numbers; the header is the first.
    """

    path: Path
    separator: str
    comments: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[tuple[int, str], ...]

    @property
    def parted_by(self) -> str:
        """The separator in words."""
        return _NAMES[self.separator]


def read_sheet(path: Path) -> Sheet:
    """Read a file, find its separator and header, and set leading comments apart; empty columns mean an empty file.

    Raises:
        TableError: it cannot be read, or is not in UTF-8.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: is no table in UTF-8 ({error}). Save it as CSV in UTF-8.") from error
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip(" ,;\t")]
    first = next((i for i, (_, line) in enumerate(numbered) if not _is_comment(line)), len(numbered))
    lines = tuple(numbered[first:])
    if not lines:
        return Sheet(path, ",", (), (), ())
    separator = max(_SEPARATORS, key=lambda mark: len(_part(path, lines[0][1], mark)))
    comments = tuple(_comment(path, line, separator) for _, line in numbered[:first])
    columns = [name.strip() for name in _part(path, lines[0][1], separator)]
    while columns and not columns[-1]:
        columns.pop()
    return Sheet(path, separator, comments, tuple(columns), lines)


def read_cells(sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields of the rows below the header, without padding; rows may still be short or long.

    Raises:
        TableError: what is no CSV.
    """
    width = len(sheet.columns)
    reader = csv.reader((f"{line}\n" for _, line in sheet.lines), delimiter=sheet.separator)
    try:
        next(reader)
        for cells in reader:
            while len(cells) > width and not cells[-1].strip():
                cells.pop()
            if any(cells) and tuple(cell.strip() for cell in cells) != sheet.columns:
                yield sheet.lines[min(reader.line_num, len(sheet.lines)) - 1][0], cells
    except csv.Error as error:
        raise TableError(f"{sheet.path}: is no table in UTF-8 ({error}). Save it as CSV in UTF-8.") from error


def read_frame(sheet: Sheet) -> pd.DataFrame:
    """All rows as text, with the line of each as the index.

    Raises:
        TableError: a row with more fields than the header, or fewer, or a column that comes twice.
    """
    import pandas as pd

    twice = next((name for name in sheet.columns if sheet.columns.count(name) > 1), None)
    if twice is not None:
        raise TableError(f"{sheet.path}: the column {twice!r} stands twice.")
    width = len(_part(sheet.path, sheet.lines[0][1], sheet.separator))
    names = [*sheet.columns, *(f"padding {i}" for i in range(width - len(sheet.columns)))]
    text = io.StringIO("\n".join(line for _, line in sheet.lines[1:]))
    try:
        frame = pd.read_csv(text, sep=sheet.separator, names=names, header=None, dtype=str, keep_default_na=False)
    except ValueError as error:
        _refuse_uneven(sheet)
        raise TableError(f"{sheet.path}: cannot be read as a CSV table: {error}") from error
    short = len(_part(sheet.path, sheet.lines[-1][1], sheet.separator)) < len(sheet.columns)
    if short or width > len(sheet.columns) or not isinstance(frame.index, pd.RangeIndex):
        _refuse_uneven(sheet)
    if len(frame) == len(sheet.lines) - 1:
        frame.index = pd.Index([number for number, _ in sheet.lines[1:]])
    frame = frame[list(sheet.columns)]
    return frame[~(frame == list(sheet.columns)).all(axis=1)]


def to_number(text: str, separator: str = ",") -> float:
    """A number, with a decimal comma where that is unambiguous; NaN for what stands for none.

    Raises:
        ValueError: it is no number.
    """
    word = text.strip()
    if word.lower() in NO_NUMBER:
        return math.nan
    if _DECIMAL_COMMA.fullmatch(word) and (separator != "," or not _THOUSANDS.fullmatch(word)):
        word = word.replace(",", ".")
    if "_" in word:  # Python reads 1_5 as 15
        raise ValueError(f"{word} is no number")
    return float(word)


def _refuse_uneven(sheet: Sheet) -> None:
    """Name the first row that has not one field for each column, padding apart."""
    for line, cells in read_cells(sheet):
        if len(cells) != len(sheet.columns):
            cut = " The file is cut off, most likely." if len(cells) < len(sheet.columns) else ""
            raise TableError(
                f"{sheet.path}: line {line} has {len(cells)} fields, the header has {len(sheet.columns)}.{cut}"
            )


def _is_comment(line: str) -> bool:
    return line.startswith(("#", '"#'))


def _comment(path: Path, line: str, separator: str) -> str:
    """Text of a comment; a spreadsheet parts it into cells and pads it."""
    if separator != "," or line.startswith('"'):
        line = ",".join(_part(path, line, separator))
    return line.rstrip(",;\t ")[1:].strip()


def _part(path: Path, line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise TableError(f"{path}: is no table in UTF-8 ({error}). Save it as CSV in UTF-8.") from error
