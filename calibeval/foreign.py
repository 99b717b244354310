"""Tables that others wrote: per-case numbers of nnU-Net, MONAI, challengeR, panoptica, and tidy tables.

Each becomes rows as ours, its metrics under our names where they mean the same. What its numbers were computed by is
not known, so it has no signature and is compared with its like only. `FORMS` is the one table of what is recognised.
A mean over classes that a table does not hold is computed, over the classes that have a value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibeval.delimited import Sheet, read_cells, read_sheet, to_number
from calibeval.errors import TableError
from calibeval.files import read_text
from calibeval.io.formats import stem_of, suffix_of
from calibeval.metrics import METRICS
from calibeval.signature import Signature
from calibeval.table import ALL, COLUMNS, MEAN, Header, Row, overall_class, read_table, to_frame

if TYPE_CHECKING:
    import pandas as pd

# Headers of columns, in lower case, by what they hold.
METHOD_WORDS = ("method", "model", "alg_name", "algorithm", "team", "network", "approach", "loss")
_CASE_WORDS = (
    "case", "case_id", "caseid", "patient", "patient_id", "subject", "subject_id", "subject_name", "image", "image_id",
    "filename", "file", "scan", "study", "id",
)  # fmt: skip
_DATASET_WORDS = ("dataset", "data set", "data_set", "task")
_CLASS_WORDS = ("class", "label", "structure", "organ", "region", "roi")
_VALUE_WORDS = ("value", "score")
_METRIC_WORDS = ("metric", "metric_name", "measure")

# Their names, in lower case without marks, of what we have too.
_NAMES = {
    "dice": "DSC", "meandice": "DSC", "valmeandice": "DSC", "dicescore": "DSC", "dicemetric": "DSC",
    "globalbindsc": "DSC", "jaccard": "IoU", "meaniou": "IoU", "globalbiniou": "IoU", "hausdorff": "HD",
    "hausdorffdistance": "HD", "globalbinhd": "HD", "hausdorff95": "HD95", "hausdorffdistance95": "HD95",
    "globalbinhd95": "HD95", "surfacedistance": "ASSD", "averagesurfacedistance": "ASSD", "assd": "ASSD",
    "globalbinassd": "ASSD", "surfacedice": "NSD", "normalizedsurfacedice": "NSD", "globalbinnsd": "NSD",
    "sensitivity": "recall", "ppv": "precision",
} | {name.lower(): name for name in METRICS}  # fmt: skip
_PLAIN_FOLDERS = re.compile(r"validation|fold_?\d+|crossval_results.*|predictions?|results|eval(uation)?", re.I)


class Form(NamedTuple):
    """One form that others write.

    Attributes:
        name: for people.
        recognises: whether a header (lower case) and a file are of it.
        read: gives the rows.
        tells: what stands in the names of file and folders, for people.
    """

    name: str
    recognises: Callable[[tuple[str, ...], Path], bool]
    read: Callable[[Sheet], Iterator[Row]]
    tells: str = ""


def read_scores(path: Path) -> tuple[Header, pd.DataFrame, tuple[str, ...]]:
    """Read a table of per-case numbers, ours or one of `FORMS`; frame as of `read_table`, and notes.

    Raises:
        TableError: it cannot be read, or is of no known form.
    """
    if path.suffix.lower() == ".json":
        header, rows = Header("", Signature()), list(_read_nnunet(path))
        frame, notes = to_frame(rows), [_note(path, "nnU-Net's summary.json", "the method by its folder")]
    else:
        sheet = read_sheet(path)
        form = find_form(sheet)
        if form is None:
            (header, frame), notes = read_table(path), []
        else:
            header, frame, notes = Header("", Signature()), to_frame(form.read(sheet)), [_note(path, *form[::3])]
    lacking = lacks_means(frame)
    if lacking:
        frame = to_frame(with_means([Row(*row) for row in frame.itertuples(index=False)], lacking))
        notes.append(f"{path} holds classes only: the mean of {', '.join(lacking)} over them was computed.")
    return header, frame, tuple(notes)


def find_form(sheet: Sheet) -> Form | None:
    """The form of a table; None for ours, for tables of a method a row, and for what nobody knows."""
    names = tuple(name.lower() for name in sheet.columns)
    if set(COLUMNS) <= set(names):
        return None
    return next((form for form in FORMS if form.recognises(names, sheet.path)), None)


def known_name(name: str) -> str:
    """A metric's name as in `METRICS`, whatever its case and marks; an unknown name stays as it is."""
    return _NAMES.get(re.sub(r"[^a-z0-9]", "", name.lower()), name.strip())


def lacks_means(frame: pd.DataFrame) -> list[str]:
    """Metrics that have rows of single classes and none of the mean over classes that stands for a case."""
    single = (~frame["class"].isin((MEAN, ALL))).groupby(frame["metric"], sort=False).all()
    return [name for name in single.index[single] if name in METRICS and overall_class(name) == MEAN]


def with_means(rows: list[Row], metrics: Iterable[str]) -> list[Row]:
    """Add the mean over classes of some metrics to each case; NaN where no class has a value."""
    added = []
    wanted = set(metrics)
    for _, of_case in groupby(sorted((row for row in rows if row.metric in wanted), key=_case_of), key=_case_of):
        classes = list(of_case)
        values = [row.value for row in classes if not math.isnan(row.value)]
        mean = math.fsum(values) / len(values) if values else math.nan
        status = "ok" if values else classes[0].status
        added.append(classes[0]._replace(class_name=MEAN, value=mean, status=status, note=""))
    return [*rows, *added]


def looks_like_a_file(name: str) -> bool:
    """Whether a name is that of an image, and so of a case."""
    return bool(suffix_of(Path(name.strip())))


def _case_of(row: Row) -> tuple[str, str, str, str]:
    return row.method, row.dataset, row.case, row.metric


def _note(path: Path, name: str, tells: str) -> str:
    more = f" ({tells})" if tells else ""
    return f"{path} was read as {name}{more}: by which protocol its numbers were computed is not known."


def _method(path: Path) -> str:
    """The folder's name, past those that only say what lies in them."""
    folders = [path.resolve().parent, *path.resolve().parent.parents]
    return next((folder.name for folder in folders if folder.name and not _PLAIN_FOLDERS.fullmatch(folder.name)), "")


def _case(name: str) -> str:
    """A case's id from a path or name of a file."""
    text = name.strip()
    return stem_of(Path(text.replace("\\", "/"))) if looks_like_a_file(text) else text


def _read_nnunet(path: Path) -> Iterator[Row]:
    try:
        cases = json.loads(read_text(path))["metric_per_case"]
        for entry in cases:
            case = _case(entry.get("reference_file") or entry["prediction_file"])
            for class_name, values in entry["metrics"].items():
                for name in (name for name in values if known_name(name) in METRICS):
                    value = math.nan if values[name] is None else float(values[name])
                    status = "both_empty" if math.isnan(value) else "ok"
                    yield Row(_method(path), "", case, class_name, known_name(name), value, "", status)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{path}: is no summary.json of nnU-Net, the only JSON that is read as a table: metric_per_case is missing "
            f"or not as expected ({error!r})."
        ) from error


def _read_monai(sheet: Sheet) -> Iterator[Row]:
    """A row a case: values of the classes, then their mean; the header may hold further columns `mean`."""
    names = [name.lower() for name in sheet.columns]
    classes = sheet.columns[1 : names.index("mean")]
    metric = known_name(re.sub(r"_raw$", "", sheet.path.stem))
    for line, cells in read_cells(sheet):
        values = [_number(sheet, line, metric, cell) for cell in cells[1:]]
        if len(values) <= len(classes):
            raise TableError(f"{sheet.path}: line {line} has {len(cells)} fields; expected {len(classes) + 2} or more.")
        named = zip((*classes, overall_class(metric)), values, strict=False)
        for class_name, value in named:
            yield Row(_method(sheet.path), "", _case(cells[0]), class_name, metric, value)


def _read_tidy(sheet: Sheet) -> Iterator[Row]:
    """One number a row; a method, data set, class or metric that no column names comes from the file's names."""
    place = {what: _find(sheet, words) for what, words in _TIDY.items()}
    metric = re.sub(r"_raw$", "", sheet.path.stem)
    for line, cells in read_cells(sheet):
        _refuse_uneven(sheet, line, cells)
        held = {what: cells[index].strip() for what, index in place.items() if index is not None}
        name = known_name(held.get("metric", metric))
        value = _number(sheet, line, name, held["value"])
        class_name = held.get("class") or overall_class(name)
        method = held.get("method") or _method(sheet.path)
        yield Row(method, held.get("dataset", ""), _case(held["case"]), class_name, name, value)


def _read_wide_cases(sheet: Sheet) -> Iterator[Row]:
    """A row a case and a column a metric; panoptica puts a group and `-` before each metric."""
    place = {what: _find(sheet, words) for what, words in _TIDY.items() if what not in ("value", "metric")}
    rows = list(read_cells(sheet))
    for line, cells in rows:
        _refuse_uneven(sheet, line, cells)
    columns = [i for i in range(len(sheet.columns)) if i not in place.values() and _holds_numbers(sheet, rows, i)]
    for line, cells in rows:
        held = {what: cells[index].strip() for what, index in place.items() if index is not None}
        for index in columns:
            group, _, last = sheet.columns[index].rpartition("-")
            name = known_name(last)
            class_name = held.get("class") or (group if group not in ("", "ungrouped") else overall_class(name))
            value = _number(sheet, line, name, cells[index])
            method = held.get("method") or _method(sheet.path)
            yield Row(method, held.get("dataset", ""), _case(held["case"]), class_name, name, value)


def _find(sheet: Sheet, words: tuple[str, ...]) -> int | None:
    """The first column under one of these names."""
    names = [name.lower() for name in sheet.columns]
    return next((names.index(word) for word in words if word in names), None)


def _refuse_uneven(sheet: Sheet, line: int, cells: list[str]) -> None:
    if len(cells) != len(sheet.columns):
        raise TableError(f"{sheet.path}: line {line} has {len(cells)} fields, the header has {len(sheet.columns)}.")


def _number(sheet: Sheet, line: int, column: str, text: str) -> float:
    try:
        return to_number(text, sheet.separator)
    except ValueError as error:
        raise TableError(f"{sheet.path}: line {line}, {column}: {text!r} where a number is expected.") from error


def _holds_numbers(sheet: Sheet, rows: list[tuple[int, list[str]]], index: int) -> bool:
    """Whether a column is a metric: a known name, or nothing but numbers."""
    if _is_metric(sheet.columns[index]):
        return True
    try:
        return not all(math.isnan(to_number(cells[index], sheet.separator)) for _, cells in rows)
    except ValueError:
        return False


def _any(names: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return not set(names).isdisjoint(words)


def _is_tidy(names: tuple[str, ...], path: Path) -> bool:
    return _any(names, _VALUE_WORDS) and _any(names, _CASE_WORDS)


def _is_wide_cases(names: tuple[str, ...], path: Path) -> bool:
    """The case comes first, or beside the method."""
    return names[:1] != ("metric",) and _any(names[:3], _CASE_WORDS) and any(_is_metric(name) for name in names)


def _is_metric(name: str) -> bool:
    return known_name(name.rpartition("-")[2]) in METRICS


_TIDY: dict[str, tuple[str, ...]] = {
    "method": METHOD_WORDS,
    "dataset": _DATASET_WORDS,
    "case": _CASE_WORDS,
    "class": _CLASS_WORDS,
    "metric": _METRIC_WORDS,
    "value": _VALUE_WORDS,
}
FORMS: tuple[Form, ...] = (
    Form(
        "MONAI's table of a metric",
        lambda names, path: names[:1] == ("filename",) and "mean" in names,
        _read_monai,
        "the metric by the file's name, the method by its folder",
    ),
    Form("challengeR's table", lambda names, path: {"alg_name", "case", "value"} <= set(names), _read_tidy),
    Form("a tidy table, one number a row", _is_tidy, _read_tidy),
    Form("a table of a case a row and a metric a column, as panoptica's", _is_wide_cases, _read_wide_cases),
)
