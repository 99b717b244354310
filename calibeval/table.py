"""The results table: what `score` writes and everything else reads.

One row is one number: `method,dataset,case,class,metric,value,unit,status,note`. `class` is a class name, `mean`
(over foreground classes) or `all` (over all classes); `case` is a case id or `pooled` (over the data set).
An undefined value is an empty field whose `status` says why. Leading `#` lines hold version, signature and command;
`pandas.read_csv(path, comment="#")` reads the rest.

Values are written in the shortest form that reads back to the same float64, so a table is a lossless record.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibeval._version import __version__
from calibeval.errors import TableError
from calibeval.files import write_text
from calibeval.metrics import cautions
from calibeval.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("method", "dataset", "case", "class", "metric", "value", "unit", "status", "note")
STATUSES = ("ok", "empty_reference", "empty_prediction", "both_empty", "missing", "failed")
BINS_SUFFIX = ".bins.npz"  # of the side file beside a table, see `bins`
POOLED = "pooled"  # case name of numbers over the whole data set
MEAN = "mean"  # class name of means over foreground classes
ALL = "all"  # class name of numbers over all classes


class Row(NamedTuple):
    """One number of the table; the field order is `COLUMNS`."""

    method: str
    dataset: str
    case: str
    class_name: str
    metric: str
    value: float
    unit: str = ""
    status: str = "ok"
    note: str = ""


class Header(NamedTuple):
    """The leading `#` lines of a table."""

    version: str
    signature: Signature
    command: str = ""


def write_table(path: Path, rows: Iterable[Row], *, signature: str, command: str = "") -> None:
    """Write rows to a CSV file, all or nothing.

    Args:
        path: the file; its folder is made when missing.
        rows: in the order to be written.
        signature: `Protocol.signature` of the numbers.
        command: the command line that reproduces the table.
    """
    write_text(path, render_table(rows, signature=signature, command=command))


def render_table(rows: Iterable[Row], *, signature: str, command: str = "") -> str:
    """Give the text that `write_table` writes."""
    rows = list(rows)
    text = io.StringIO()
    text.write(f"# calibeval {__version__}\n# signature: {signature}\n")
    if command:
        text.write(f"# command: {' '.join(command.splitlines())}\n")
    for caution in cautions(row.metric for row in rows):
        text.write(f"# note: {caution}\n")
    text.write(",".join(COLUMNS) + "\n")
    for row in rows:
        text.write(",".join(_field(field) for field in row) + "\n")
    return text.getvalue()


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a frame with the columns of `COLUMNS`."""
    import pandas as pd

    return pd.DataFrame([tuple(row) for row in rows], columns=list(COLUMNS))


def read_table(path: Path) -> tuple[Header, pd.DataFrame]:
    """Read a table that `write_table` wrote.

    Returns:
        The header, and a frame with the columns `COLUMNS`; `value` is float64, all others are strings.

    Raises:
        TableError: the file is missing, is no table of ours, or holds a value or status that is none.
    """
    import pandas as pd

    header = read_header(path)
    try:
        frame = pd.read_csv(path, comment="#", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: cannot be read as a CSV table: {error}") from error
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise TableError(
            f"{path}: not a results table of `calibeval score`: no column {', '.join(missing)}. "
            f"Expected the columns {','.join(COLUMNS)}."
        )
    unknown = sorted(set(frame["status"]) - set(STATUSES))
    if unknown:
        raise TableError(f"{path}: unknown status {unknown[0]!r}. Known: {', '.join(STATUSES)}.")
    frame["value"] = _numbers(path, frame["value"])
    return header, frame[list(COLUMNS)]


def read_header(path: Path) -> Header:
    """Read the leading `#` lines; fields that are not there are empty."""
    found = {"calibeval": "", "signature": "", "command": ""}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if not line.startswith("#"):
                    break
                key, _, text = line[1:].strip().partition(" ")
                found[key.rstrip(":")] = text.strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from error
    return Header(found["calibeval"], Signature.parse(found["signature"]), found["command"])


def _field(value: str | float) -> str:
    """Render one CSV field; '#' is quoted too, since pandas takes a bare one for a comment."""
    if not isinstance(value, str):
        return "" if math.isnan(value) else repr(float(value))
    text = " ".join(value.split())
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"#') else text


def _numbers(path: Path, values: pd.Series[str]) -> pd.Series[float]:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    bad = numbers.isna() & (values.str.strip() != "")
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise TableError(f"{path}: row {row + 1} of the table holds {values.iloc[row]!r} where a number is expected.")
    return numbers
