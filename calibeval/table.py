"""The results table: what `score` writes and everything else reads.

One row is one number: `method,dataset,case,class,metric,value,unit,status,note`, then those of `EXTRAS` that some row
uses, then `about`. `class` is a class name, `mean` (over foreground classes) or `all` (over all classes); `case` is a
case id or `pooled` (over the data set). An undefined value is an empty field whose `status` says why. `about` holds, in
the first row only, a JSON object with the version, the number of rows (so that a table that was cut off is noticed),
signature, command and cautions. There is no comment line: pandas, R and spreadsheets open a table as it is. Tables of
0.1 have the same in leading `#` lines and are read alike.

Values are written in the shortest form that reads back to the same float64, so a table is a lossless record. Text that
a spreadsheet would take for a formula gets an apostrophe in front, which reading takes away again.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from calibeval import escape
from calibeval._version import __version__
from calibeval.delimited import Sheet, read_frame, read_sheet, to_number
from calibeval.errors import TableError
from calibeval.files import write_text
from calibeval.metrics import METRICS, cautions
from calibeval.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("method", "dataset", "case", "class", "metric", "value", "unit", "status", "note")
EXTRAS = ("diagonal", "group", "rater")  # written only where some row uses them
CONSENSUS, SOFT, AMONG = RATER_ROWS = ("consensus", "soft", "among")  # in the column `rater`, beside names of raters
NOT_COMPUTED = "not_computed"  # status of a number that cannot exist, as a distance in mm without a spacing
NOT_ANNOTATED = "not_annotated"  # status of a class that nobody annotated in the case
STATUSES = (
    "ok", "empty_reference", "empty_prediction", "both_empty", NOT_COMPUTED, NOT_ANNOTATED, "missing", "failed",
)  # fmt: skip
BINS_SUFFIX = ".bins.npz"  # of the side file beside a table, see `bins`
POOLED = "pooled"  # case name of numbers over the whole data set
MEAN = "mean"  # class name of means over foreground classes
ALL = "all"  # class name of numbers over all classes
_ABOUT = "about"
_COMMENTS = ("# calibeval ", "# signature: ", "# command: ", "# note: ")  # of 0.1
_NUMBERS = ("value", "diagonal")
_LACKING = "spacing unknown|no volume"  # how notes of 0.1 begin where a number could not exist, which it called failed
_DIAGONAL = r"diagonal_mm=([0-9.eE+-]+)"  # in the notes of tables of 0.1


class Row(NamedTuple):
    """One number of the table; the field order is `COLUMNS`, then `EXTRAS`.

    Attributes:
        method: name.
        dataset: name; may be empty.
        case: id, or `pooled`.
        class_name: class, region, `mean` or `all`.
        metric: key of `METRICS`, or a name of others.
        value: in the unit; NaN where undefined.
        unit: empty for a ratio.
        status: one of `STATUSES`.
        note: for people.
        diagonal: of the image, in the unit of distances: what a distance to nowhere is under the `worst` empty rule.
        group: what the case is sampled with, as a patient; empty where each case stands for itself.
        rater: whose reference it was, `consensus`, `soft` (every rater a draw) or `among` (raters against each other);
            empty with one only, and of the mean over raters.
    """

    method: str
    dataset: str
    case: str
    class_name: str
    metric: str
    value: float
    unit: str = ""
    status: str = "ok"
    note: str = ""
    diagonal: float = math.nan
    group: str = ""
    rater: str = ""


class Header(NamedTuple):
    """What a table says about itself; empty where it says nothing."""

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
    extras = [i for i, name in enumerate(EXTRAS, start=len(COLUMNS)) if any(_used(row[i]) for row in rows)]
    about = {
        "calibeval": __version__,
        "rows": len(rows),
        "signature": str(signature),
        "command": " ".join(command.splitlines()),
        "notes": cautions((row.metric for row in rows), signature),
    }
    last = [json.dumps({key: value for key, value in about.items() if value}, ensure_ascii=False)]
    text = io.StringIO()
    text.write(",".join((*COLUMNS, *(EXTRAS[i - len(COLUMNS)] for i in extras), _ABOUT)) + "\n")
    for row in rows:
        fields = (*row[: len(COLUMNS)], *(row[i] for i in extras), *(last or [""]))
        text.write(",".join(map(field, fields)) + "\n")
        last = []
    return text.getvalue()


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a frame with the columns of `COLUMNS` and `EXTRAS`."""
    import pandas as pd

    return pd.DataFrame([tuple(row) for row in rows], columns=[*COLUMNS, *EXTRAS])


def read_table(path: Path, *, raters: bool = False) -> tuple[Header, pd.DataFrame]:
    """Read a table that `write_table` wrote, also after a spreadsheet or pandas saved it again.

    Args:
        path: the file.
        raters: also the rows of single raters, of their consensus and the like; else one number of a case alone, the
            mean over raters where there are several.

    Returns:
        The header, and a frame with the columns of `COLUMNS` and `EXTRAS`; `value` and `diagonal` are float64, all
        others are strings. Where the whole table was written at once, the number of rows is checked.

    Raises:
        TableError: the file is missing, is no table of ours, was cut off, or holds a value or status that is none.
    """
    sheet = read_sheet(path)
    missing = [column for column in COLUMNS if column not in sheet.columns]
    if missing:
        raise TableError(
            f"{path}: not a results table of `calibeval score`: no column {', '.join(missing)} "
            f"(found {', '.join(sheet.columns) or 'nothing'}, parted by {sheet.parted_by}). "
            f"Expected the columns {','.join(COLUMNS)}."
        )
    sheet, comments = _set_comments_apart(sheet)
    frame = read_frame(sheet)
    for name in (name for name in EXTRAS if name not in frame):
        frame[name] = ""
    about = _about(path, frame.pop(_ABOUT)) if _ABOUT in frame else _old_about(path, comments)
    frame = _typed(sheet, frame[[*COLUMNS, *EXTRAS]])
    _refuse_cut(path, about, frame)
    signature = Signature.parse(about.get("signature", ""))
    if not raters:
        frame = frame[frame["rater"] == ""]
    return Header(about.get("calibeval", ""), signature, about.get("command", "")), frame.reset_index(drop=True)


def overall_class(metric: str) -> str:
    """Class of the row that stands for a case: the mean over foreground classes, or over all where there is none."""
    return MEAN if metric not in METRICS or MEAN in METRICS[metric].rows else ALL


def _used(value: str | float) -> bool:
    return value != "" if isinstance(value, str) else not math.isnan(value)


def field(value: str | float) -> str:
    """Render one CSV field, NaN as an empty one; some readers take a bare '#' for a comment, so that it is quoted."""
    if not isinstance(value, str):
        return "" if math.isnan(value) else repr(float(value))
    text = escape.cell(" ".join(value.split()))
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',;"#') else text


def _set_comments_apart(sheet: Sheet) -> tuple[Sheet, tuple[str, ...]]:
    """The comment lines of tables of 0.1, also where one such table was put below another."""
    inside = [(number, line) for number, line in sheet.lines if line.startswith(_COMMENTS)]
    if not inside:
        return sheet, sheet.comments
    lines = tuple(line for line in sheet.lines if not line[1].startswith(_COMMENTS))
    return sheet._replace(lines=lines), (*sheet.comments, *(line[1:].strip() for _, line in inside))


def _old_about(path: Path, comments: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for comment in comments:
        key, _, text = comment.partition(" ")
        _add(path, found, key.rstrip(":"), text.strip())
    return found | {"pooled": True} if str(found.get("command", "")).startswith("calibeval score ") else found


def _about(path: Path, column: pd.Series[str]) -> dict[str, Any]:
    """What the column `about` says; of tables put together, what they say alike, and all their rows."""
    found: dict[str, Any] = {}
    for text in column[column.str.strip() != ""]:
        try:
            part = json.loads(text)
            rows = int(part.pop("rows", 0))
        except (ValueError, TypeError, AttributeError) as error:
            raise TableError(f"{path}: the column 'about' holds {text[:40]!r}; expected what was written.") from error
        found["rows"] = found.get("rows", 0) + rows
        for key, value in part.items():
            _add(path, found, key, value)
    return found


def _add(path: Path, found: dict[str, Any], key: str, value: Any) -> None:
    """Keep a fact; of tables put together, the signatures must agree."""
    if key == "signature" and key in found:
        differing = Signature.parse(found[key]).differs(Signature.parse(value), same_data=False)
        if differing:
            raise TableError(f"{path}: rows of different protocols: {differing}. Score all with the same options.")
    found.setdefault(key, value)


def _typed(sheet: Sheet, frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, text without the apostrophes that were put before formulas."""
    for name in frame.columns:
        if name in _NUMBERS:
            frame[name] = _numbers(sheet, frame[name])
        else:
            frame[name] = escape.uncell(frame[name])
    unknown = ~frame["status"].isin(STATUSES)
    if unknown.any():
        line, status = frame.index[unknown][0], frame["status"][unknown].iloc[0]
        raise TableError(f"{sheet.path}: line {line}: unknown status {status!r}. Known: {', '.join(STATUSES)}.")
    lacking = (frame["status"] == "failed") & frame["note"].str.match(_LACKING)
    frame.loc[lacking, "status"] = NOT_COMPUTED
    if frame["diagonal"].isna().all():
        frame["diagonal"] = frame["note"].str.extract(_DIAGONAL, expand=False).astype("float64")
    return frame


def _numbers(sheet: Sheet, values: pd.Series[str]) -> pd.Series[float]:
    """Cell by cell, since pandas 2 rounds the last digit."""
    import pandas as pd

    numbers = []
    for line, text in zip(values.index, values.to_numpy(dtype=object), strict=True):
        try:
            numbers.append(to_number(text, sheet.separator) if text else math.nan)
        except ValueError as error:
            raise TableError(
                f"{sheet.path}: line {line}, column {values.name}: {text!r} where a number is expected."
            ) from error
    return pd.Series(numbers, values.index, dtype="float64")


def _refuse_cut(path: Path, about: dict[str, Any], frame: pd.DataFrame) -> None:
    """Refuse a table with other rows than it was written with: it was cut off, or put together from parts."""
    rows = about.get("rows")
    if rows and rows != len(frame):
        raise TableError(
            f"{path}: holds {len(frame)} of the {rows} rows that were written: it was cut off, or rows were taken out "
            "or added. Take it anew; if it was meant, remove the column 'about'."
        )
    if about.get("pooled"):  # 0.1 wrote no number of rows, but pooled rows at the end
        own = frame[frame["metric"].map(lambda name: name in METRICS and METRICS[name].pooled)]
        lost = set(own.loc[own["value"].notna(), "metric"]) - set(own.loc[own["case"] == POOLED, "metric"])
        if lost:
            raise TableError(
                f"{path}: the pooled rows of {', '.join(sorted(lost))} at its end are missing: it was cut off, or rows "
                "were taken out. Take it anew; if it was meant, remove the lines that begin with '#'."
            )
