"""Read what is to be ranked: score tables and wide CSVs, told apart by their header.

A score table is what `calibeval score` writes, one row a number. A wide CSV is a published table: one row a method,
one column a metric (`DSC`) or a metric of a data set (`ACDC/DSC`); or its transpose, whose first column is headed
`metric`. Both become one long frame with the columns `LONG`, so that all later steps join by name, never by position.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import combinations, dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from calibeval.errors import TableError, UsageError
from calibeval.metrics import METRICS
from calibeval.signature import Signature
from calibeval.table import COLUMNS, POOLED, read_table

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item")
LONG = COLUMNS
_EXPECTED = (
    "Expected a score table, or commas between fields, a header like method,DSC,HD95 or method,ACDC/DSC,ACDC/HD95 and "
    "a row a method."
)
_NO_NUMBER = {"", "-", "na", "n/a", "nan", "none", "null"}
_BY_LOWER = {name.lower(): name for name in METRICS}


class PrintedRanks(NamedTuple):
    """A column of mean ranks that a wide CSV prints beside its metrics: method to rank."""

    source: str
    ranks: dict[str, float]


class Source(NamedTuple):
    """One score table: where it is, by which choices it was scored, and which data sets it holds."""

    path: Path
    signature: Signature
    datasets: frozenset[str]


class Tables(NamedTuple):
    """All input files as one long frame.

    Attributes:
        frame: columns `LONG`; rows of the pooled data set are left out.
        has_cases: True for score tables; a wide CSV holds one number for a whole data set.
        sources: of score tables; none for wide CSVs.
        notes: what the reader decided and the user should know.
        printed: columns of wide CSVs that hold ranks; they are compared with the computed ones and never used.
    """

    frame: pd.DataFrame
    has_cases: bool
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    printed: tuple[PrintedRanks, ...] = ()

    @property
    def signature(self) -> Signature:
        """The choices that all tables share; empty for wide CSVs."""
        signatures = [source.signature for source in self.sources]
        return reduce(Signature.shared, signatures) if signatures else Signature()


def read_inputs(paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> Tables:
    """Read any number of score tables, or any number of wide CSVs.

    Args:
        paths: the files.
        progress: called with (files read, files in all).

    Raises:
        UsageError: no file, or score tables and wide CSVs together.
        TableError: a file that is neither, unequal signatures, or one number given twice.
    """
    if not paths:
        raise UsageError("Nothing to rank: name at least one score table or wide CSV.")
    twice = _first_twice([path.resolve() for path in paths])
    if twice is not None:
        raise UsageError(f"{twice} is given twice.")
    wide = [not is_score_table(path) for path in paths]
    if any(wide) and not all(wide):
        raise UsageError(
            f"{paths[wide.index(True)]} is a wide CSV (method x metric) and {paths[wide.index(False)]} is a score "
            "table: rank them apart, since the one has a number for each case and the other for each data set."
        )
    read = _read_wide_files if wide[0] else _read_score_files
    return read(paths, progress or (lambda done, total: None))


def refuse_unequal(sources: Sequence[Source], metrics: Sequence[str]) -> None:
    """Refuse to compare metrics that some tables were scored by other choices.

    Raises:
        TableError: naming two tables and the choices that differ.
    """
    text = differing(sources, metrics)
    if text:
        raise TableError(f"{text}. Score both with the same options.")


def differing(sources: Sequence[Source], metrics: Sequence[str]) -> str:
    """The first two tables whose choices behind these metrics differ, and how; empty when none do.

    How the labels of a data set are to be read may differ between tables that share no data set.
    """
    for one, other in combinations(sources, 2):
        same_data = not one.datasets.isdisjoint(other.datasets)
        text = one.signature.differs(other.signature, metrics, same_data=same_data)
        if text:
            return f"{one.path} and {other.path} were scored by different protocols and cannot be compared: {text}"
    return ""


def is_score_table(path: Path) -> bool:
    """Tell a score table from a wide CSV by the header, and refuse what can be neither."""
    header = _header(path)
    return {"metric", "value"} <= set(header) or set(COLUMNS) <= set(header)


def registry_name(name: str) -> str:
    """Give a metric's name as in `METRICS` whatever its case; an unknown name stays as it is."""
    return _BY_LOWER.get(name.strip().lower(), name.strip())


def _header(path: Path) -> list[str]:
    return next(_rows(path), [])


def _rows(path: Path) -> Iterator[list[str]]:
    """Rows of a CSV file; leading comments and empty rows are passed over."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = dropwhile(lambda line: line.startswith("#") or not line.strip(), file)
            yield from filter(any, csv.reader(table))
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: is no table in UTF-8 ({error}). Save it as CSV in UTF-8.") from error


def _first_twice(items: Iterable[Item]) -> Item | None:
    seen: set[Item] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _read_score_files(paths: Sequence[Path], progress: Callable[[int, int], None]) -> Tables:
    import pandas as pd

    frames, sources = [], []
    for done, path in enumerate(paths):
        header, frame = read_table(path)
        frame = frame[frame["case"] != POOLED]
        _refuse_duplicates(path, frame)
        unnamed = frame["method"].str.strip() == ""
        frames.append(frame.assign(method=frame["method"].mask(unnamed, path.stem)))
        sources.append(Source(path, header.signature, frozenset(frame["dataset"])))
        progress(done + 1, len(paths))
    frames, notes = _name_by_file_where_needed(paths, frames)
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise TableError(f"{paths[0]}: the table holds no case, so there is nothing to rank.")
    return Tables(frame, True, tuple(sources), notes)


def _refuse_duplicates(path: Path, frame: pd.DataFrame) -> None:
    keys = ["method", "dataset", "case", "class", "metric"]
    twice = frame.duplicated(keys)
    if twice.any():
        row = frame[twice].iloc[0]
        where = ", ".join(f"{key} {row[key]!r}" for key in keys)
        raise TableError(f"{path}: one number stands twice in the table: {where}.")


def _name_by_file_where_needed(
    paths: Sequence[Path], frames: Sequence[pd.DataFrame]
) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """Keep a method's name unless two files hold the same case of it; then the files' names tell them apart."""
    shared = _methods_in_several_files(frames)
    if not shared:
        return list(frames), ()
    labels = _distinct_labels(paths)
    renamed = []
    for frame, label in zip(frames, labels, strict=True):
        alone = frame["method"].nunique() == 1
        names = {method: label if alone else f"{label}: {method}" for method in shared}
        renamed.append(frame.assign(method=frame["method"].replace(names)))
    quoted = ", ".join(repr(method) for method in sorted(shared))
    return renamed, (f"Several tables hold the same cases of the method {quoted}: it is named by its files.",)


def _methods_in_several_files(frames: Sequence[pd.DataFrame]) -> set[str]:
    import pandas as pd

    keys = ["method", "dataset", "case"]
    cases = pd.concat([frame[keys].drop_duplicates() for frame in frames], ignore_index=True)
    return set(cases.loc[cases.duplicated(keys), "method"])


def _distinct_labels(paths: Sequence[Path]) -> list[str]:
    for depth in range(1, 4):
        labels = ["/".join((*path.resolve().parent.parts, path.stem)[-depth:]) for path in paths]
        if _first_twice(labels) is None:
            return labels
    return [str(path) for path in paths]


def _read_wide_files(paths: Sequence[Path], progress: Callable[[int, int], None]) -> Tables:
    import pandas as pd

    rows: list[tuple[str | float, ...]] = []
    printed: list[PrintedRanks] = []
    for done, path in enumerate(paths):
        more, ranks = _read_wide(path)
        rows += more
        printed += ranks
        progress(done + 1, len(paths))
    frame = pd.DataFrame(rows, columns=list(LONG))
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
    return Tables(frame, False, (), notes, tuple(printed))


def _read_wide(path: Path) -> tuple[list[tuple[str | float, ...]], list[PrintedRanks]]:
    """Give the rows of a wide CSV as `LONG` has them, and its columns of ranks."""
    columns, methods, numbers = _wide_numbers(path)
    rows: list[tuple[str | float, ...]] = []
    printed = []
    for column, values in zip(columns, numbers, strict=True):
        if column.lower() == "rank" or column.lower().endswith("_rank"):
            printed.append(PrintedRanks(f"{column} of {path.name}", dict(zip(methods, values, strict=True))))
            continue
        dataset, _, metric = column.rpartition("/")
        name = registry_name(metric)
        rows += [
            (method, dataset, "", "", name, value, "", "ok", "") for method, value in zip(methods, values, strict=True)
        ]
    return rows, printed


def _wide_numbers(path: Path) -> tuple[list[str], list[str], list[list[float]]]:
    """Columns, methods and the numbers column by column; a table headed `metric` is turned."""
    cells = _wide_cells(path)
    if cells[0][0].strip().lower() == "metric":
        cells = [list(column) for column in zip(*cells, strict=True)]
    columns = [" ".join(name.split()) for name in cells[0][1:]]
    methods = [" ".join(row[0].split()) for row in cells[1:]]
    for what, names in (("column", columns), ("method", methods)):
        twice = _first_twice(names)
        if twice is not None:
            raise TableError(f"{path}: the {what} {twice!r} stands twice.")
    numbers = [
        [_number(path, method, column, row[j + 1]) for method, row in zip(methods, cells[1:], strict=True)]
        for j, column in enumerate(columns)
    ]
    return columns, methods, numbers


def _wide_cells(path: Path) -> list[list[str]]:
    cells = list(_rows(path))
    if not cells:
        raise TableError(f"{path}: the file is empty. {_EXPECTED}")
    if len(cells[0]) < 2:
        raise TableError(f"{path}: the first line is one field, {cells[0][0][:40]!r}. {_EXPECTED}")
    if len(cells) < 2:
        raise TableError(f"{path}: there is a header and no row. {_EXPECTED}")
    if registry_name(cells[0][0]) in METRICS:
        raise TableError(f"{path}: the first column is the metric {cells[0][0]!r} and not the method. {_EXPECTED}")
    for number, row in enumerate(cells[1:], start=1):
        if len(row) != len(cells[0]):
            raise TableError(f"{path}: row {number} has {len(row)} fields, the header has {len(cells[0])}.")
        if not row[0].strip():
            raise TableError(f"{path}: row {number} has no name in its first field.")
    return cells


def _number(path: Path, method: str, column: str, text: str) -> float:
    if text.strip().lower() in _NO_NUMBER:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise TableError(
            f"{path}: {column} of {method!r} is {text!r}; expected a number like 0.85, or an empty field."
        ) from None
