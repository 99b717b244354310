"""Wide CSVs, as papers print their results: one row a method, one column a metric.

A column is a metric (`DSC`) or one of a data set (`ACDC/DSC`); a table whose first column is headed `metric` is turned.
A row that is a case, not a method, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from calibeval.delimited import Sheet, read_cells, read_sheet, to_number
from calibeval.errors import TableError
from calibeval.foreign import METHOD_WORDS, known_name, looks_like_a_file
from calibeval.metrics import METRICS
from calibeval.table import Row, to_frame

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item")
_EXPECTED = (
    "Expected a score table, or commas between fields, a header like method,DSC,HD95 or method,ACDC/DSC,ACDC/HD95 and "
    "a row a method."
)
_SERIES = 5  # names that differ in a number alone, from which on they are rather cases than methods


class PrintedRanks(NamedTuple):
    """A column of mean ranks that a wide CSV prints beside its metrics: method to rank."""

    source: str
    ranks: dict[str, float]


def read_wide_files(
    paths: Sequence[Path], progress: Callable[[int, int], None]
) -> tuple[pd.DataFrame, tuple[str, ...], tuple[PrintedRanks, ...]]:
    """Read wide CSVs as one frame with the columns of a score table; with notes, and columns that hold ranks.

    Raises:
        TableError: a file that is none, or one number given twice.
    """
    rows: list[Row] = []
    printed: list[PrintedRanks] = []
    for done, path in enumerate(paths):
        more, ranks = _read_wide(path)
        rows += more
        printed += ranks
        progress(done + 1, len(paths))
    frame = to_frame(rows)
    twice = frame.duplicated(["method", "dataset", "metric"])
    if twice.any():
        row = frame[twice].iloc[0]
        column = f"{row['dataset']}/{row['metric']}".lstrip("/")
        raise TableError(
            f"Two of the wide CSVs hold {column} of the method {row['method']!r}. Rank them apart, or give their "
            "methods or data sets different names."
        )
    several = printed if len(paths) > 1 else []  # those of a single table are compared with the computed ranks
    notes = tuple(f"{column.source} holds ranks, not a metric, and is left out." for column in several)
    return frame, notes, tuple(printed)


def first_twice(items: Iterable[Item]) -> Item | None:
    """The first item that comes again."""
    seen: set[Item] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _read_wide(path: Path) -> tuple[list[Row], list[PrintedRanks]]:
    """Give the rows of a wide CSV, and its columns of ranks."""
    columns, methods, numbers = _wide_numbers(path)
    rows: list[Row] = []
    printed = []
    for column, values in zip(columns, numbers, strict=True):
        if column.lower() == "rank" or column.lower().endswith("_rank"):
            printed.append(PrintedRanks(f"{column} of {path.name}", dict(zip(methods, values, strict=True))))
            continue
        dataset, _, metric = column.rpartition("/")
        name = known_name(metric)
        rows += [Row(method, dataset, "", "", name, value) for method, value in zip(methods, values, strict=True)]
    return rows, printed


def _wide_numbers(path: Path) -> tuple[list[str], list[str], list[list[float]]]:
    """Columns, methods and the numbers column by column; a table headed `metric` is turned."""
    sheet = read_sheet(path)
    lines, cells = _wide_cells(sheet)
    turned = cells[0][0].strip().lower() == "metric"
    if turned:
        cells = [list(column) for column in zip(*cells, strict=True)]
    else:
        _refuse_cases(sheet, lines, cells)
    columns = [" ".join(name.split()) for name in cells[0][1:]]
    methods = [" ".join(row[0].split()) for row in cells[1:]]
    for what, names in (("column", columns), ("method", methods)):
        twice = first_twice(names)
        if twice is not None:
            raise TableError(f"{path}: the {what} {twice!r} stands twice.")
    numbers = [
        [
            _number(sheet, lines[j if turned else i], method, column, row[j + 1])
            for i, (method, row) in enumerate(zip(methods, cells[1:], strict=True))
        ]
        for j, column in enumerate(columns)
    ]
    return columns, methods, numbers


def _wide_cells(sheet: Sheet) -> tuple[list[int], list[list[str]]]:
    """Line numbers of the rows; header and rows, all of one width."""
    path, header = sheet.path, list(sheet.columns)
    if not header:
        raise TableError(f"{path}: the file is empty. {_EXPECTED}")
    if len(header) < 2:
        raise TableError(f"{path}: the first line is one field, {header[0][:40]!r}. {_EXPECTED}")
    numbered = list(read_cells(sheet))
    if not numbered:
        raise TableError(f"{path}: there is a header and no row. {_EXPECTED}")
    if known_name(header[0]) in METRICS:
        raise TableError(f"{path}: the first column is the metric {header[0]!r} and not the method. {_EXPECTED}")
    for line, row in numbered:
        if len(row) != len(header):
            raise TableError(f"{path}: line {line} has {len(row)} fields, the header has {len(header)}.")
        if not row[0].strip():
            raise TableError(f"{path}: line {line} has no name in its first field.")
    return [line for line, _ in numbered], [header, *(row for _, row in numbered)]


def _refuse_cases(sheet: Sheet, lines: list[int], cells: list[list[str]]) -> None:
    """Refuse rows that are files, or a series of numbered names that no header calls methods: they are cases."""
    names = [row[0].strip() for row in cells[1:]]
    file = next((i for i, name in enumerate(names) if looks_like_a_file(name)), None)
    series = {re.sub(r"\d+", "#", name) for name in names}
    numbered = len(names) >= _SERIES and len(series) == 1 and "#" in next(iter(series))
    if file is None and (not numbered or sheet.columns[0].lower() in METHOD_WORDS):
        return
    at = file or 0
    raise TableError(
        f"{sheet.path}: line {lines[at]}: {names[at]!r} in the column {sheet.columns[0]!r} was taken for a case, and a "
        "wide CSV has a row a method. Head the column 'method' if these are methods, 'case' if each row is a case."
    )


def _number(sheet: Sheet, line: int, method: str, column: str, text: str) -> float:
    try:
        return to_number(text, sheet.separator)
    except ValueError:
        raise TableError(
            f"{sheet.path}: line {line}: {column} of {method!r} is {text!r}; expected a number like 0.85, or an empty "
            "field."
        ) from None
