"""One method's rows of a results table, as gates and comparisons read them: by metric, class and case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.case_table import ungrouped_note
from calibeval.errors import TableError, UsageError
from calibeval.foreign import read_scores
from calibeval.gates.policy import COUNTS
from calibeval.metrics import METRICS
from calibeval.metrics.intervals import group_means
from calibeval.ranges import in_range
from calibeval.scoring.options import options_of_command
from calibeval.signature import Signature
from calibeval.table import ALL, MEAN, POOLED, Row, overall_class, to_frame
from calibeval.wording import count_of

if TYPE_CHECKING:
    import pandas as pd

CaseKey = tuple[str, str]  # data set, case
UNSCORED = ("missing", "failed")  # statuses of a case that has no value anywhere


class ScoreTable(NamedTuple):
    """The rows of one method.

    Attributes:
        name: of the file, for people.
        method: its name; may be empty.
        signature: of the numbers.
        frame: columns as `calibeval.table.COLUMNS`.
        notes: how the table was taken.
        command: that gave the numbers; empty where nothing tells.
    """

    name: str
    method: str
    signature: Signature
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    command: str = ""

    def rows(self) -> Iterator[Row]:
        """The frame as rows of a table."""
        return (Row(*row) for row in self.frame.itertuples(index=False))


class CaseNumbers(NamedTuple):
    """A metric of one class, case by case; all have equal lengths.

    Attributes:
        cases: (data set, case).
        values: NaN where undefined.
        statuses: of the rows.
        groups: which group, within its data set, a case belongs to; None where each stands for itself.
    """

    cases: tuple[CaseKey, ...]
    values: NDArray[np.float64]
    statuses: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of the cases, or the means of the groups, without those that have none."""
        return group_means(values, self.groups)

    @property
    def units(self) -> str:
        """What means are over."""
        return "cases" if self.groups is None else "groups"

    def counted(self) -> str:
        """How many cases, or groups of how many cases, have a value."""
        cases = count_of(int((~np.isnan(self.values)).sum()), "case")
        return cases if self.groups is None else f"{count_of(self.means(self.values).size, 'group')} of {cases}"

    def left_out(self) -> str:
        """How many cases have no value, and why; empty when all have one."""
        lost = [status for status, value in zip(self.statuses, self.values, strict=True) if np.isnan(value)]
        counted = [f"{lost.count(status)} {show_status(status) or 'undefined'}" for status in sorted(set(lost))]
        return f"without {', '.join(counted)}" if counted else ""


def load_scores(path: Path, method: str = "") -> ScoreTable:
    """Read one method of a results table, ours or one that others write.

    Raises:
        TableError: the file is no results table, or an empty one, or holds values that cannot be.
        UsageError: it holds several methods and none is named, or not the one that is.
    """
    header, frame, notes = read_scores(path)
    return _in_range(select_method(str(path), header.signature, frame, method), notes)._replace(command=header.command)


def load_baseline(path: Path, method: str) -> ScoreTable:
    """Read the one method of a table, whatever its name; of several, the one that is named.

    Raises:
        TableError: the file is no results table, or an empty one.
        UsageError: it holds several methods, but not that one.
    """
    header, frame, notes = read_scores(path)
    named = method if frame["method"].nunique() > 1 else ""
    return _in_range(select_method(str(path), header.signature, frame, named), notes)


def _in_range(scores: ScoreTable, notes: tuple[str, ...]) -> ScoreTable:
    frame, more = in_range(scores.frame)
    return scores._replace(frame=frame, notes=(*notes, *(f"{scores.name}: {note}" for note in more)))


def scores_of_rows(name: str, signature: str, rows: Iterable[Row]) -> ScoreTable:
    """Take rows that were just scored, all of one method."""
    return select_method(name, signature, to_frame(rows), "")


def select_method(name: str, signature: str, frame: pd.DataFrame, method: str) -> ScoreTable:
    """Keep one method's rows.

    Raises:
        TableError: there is no row.
        UsageError: several methods and none is named, or not the one that is.
    """
    if frame.empty:
        raise TableError(f"{name}: the table holds no case.")
    known = list(dict.fromkeys(frame["method"]))
    if not method and len(known) > 1:
        raise UsageError(f"{name} holds the methods {', '.join(known)}: name one with --method.")
    if method and method not in known:
        raise UsageError(f"{name} holds no method {method!r}, only {', '.join(known) or 'none'}.")
    chosen = method or known[0]
    return ScoreTable(name, chosen, Signature.parse(signature), frame[frame["method"] == chosen])


def case_numbers(scores: ScoreTable, metric: str, class_name: str) -> CaseNumbers:
    """A metric of one class for every case.

    Raises:
        TableError: the table does not have it, or has a case twice.
    """
    rows = _rows(scores, metric, class_name)
    rows = rows[rows["case"] != POOLED]
    cases = tuple(zip(rows["dataset"], rows["case"], strict=True))
    if len(set(cases)) < len(cases):
        twice = next(case for case in cases if cases.count(case) > 1)
        raise TableError(f"{scores.name} holds {metric} of the case {twice[1]} twice.")
    groups = tuple(f"{dataset}/{group or case}" for (dataset, case), group in zip(cases, rows["group"], strict=True))
    values, grouped = rows["value"].to_numpy(dtype=np.float64), (rows["group"] != "").any()
    return CaseNumbers(cases, values, tuple(rows["status"]), groups if grouped else None)


def ungrouped(scores: ScoreTable) -> tuple[str, ...]:
    """A note where cases look like images of patients and neither groups nor the table's command say what they are."""
    frame = scores.frame
    if (frame["group"] != "").any() or "group_by" in options_of_command(scores.command):
        return ()
    return tuple(filter(None, (ungrouped_note(frame.loc[frame["case"] != POOLED, "case"]),)))


def classes_left_out(scores: ScoreTable, metric: str) -> dict[CaseKey, dict[str, str]]:
    """Classes of a case that have no value, and their statuses: the mean over classes leaves them out."""
    frame = scores.frame
    unscored = frame["status"].isin(UNSCORED)
    rows = frame[(frame["metric"] == metric) & frame["value"].isna() & ~unscored]
    rows = rows[~rows["class"].isin((MEAN, ALL)) & (rows["case"] != POOLED)]
    found: dict[CaseKey, dict[str, str]] = {}
    for dataset, case, name, status in rows[["dataset", "case", "class", "status"]].itertuples(index=False):
        found.setdefault((dataset, case), {})[name] = status
    return found


def pooled_number(scores: ScoreTable, metric: str, class_name: str) -> float:
    """A metric of one class over the pooled data set.

    Raises:
        TableError: the table does not have it, or has it for several data sets.
    """
    rows = _rows(scores, metric, class_name)
    rows = rows[rows["case"] == POOLED]
    if len(rows) != 1:
        raise TableError(f"{scores.name} holds {len(rows)} pooled numbers of {metric}; expected one, of one data set.")
    return float(rows["value"].iloc[0])


def cases_with_status(
    scores: ScoreTable, statuses: Sequence[str], metric: str = "", class_name: str = ""
) -> tuple[CaseKey, ...]:
    """Cases of which some row has one of the statuses; every case when no status is given.

    Args:
        scores: of one method.
        statuses: as in the table.
        metric: look at its rows only; empty looks at all.
        class_name: look at the rows of this class only; an overall row (`mean`, `all`) stands for all its classes.

    Raises:
        TableError: the table has no such rows.
    """
    rows = scores.frame
    if metric:
        overall = class_name == overall_class(metric)
        rows = _rows(scores, metric, "" if overall else class_name)
    elif set(statuses) & set(COUNTS["n_empty"]):
        rows = rows[rows["metric"].map(_knows_empty_masks)]
        if rows.empty:
            raise TableError(f"{scores.name} holds no overlap or distance, which alone tell empty masks.")
    rows = rows[rows["case"] != POOLED]
    if statuses:
        rows = rows[rows["status"].isin(statuses)]
    return tuple(dict.fromkeys(zip(rows["dataset"], rows["case"], strict=True)))


def _knows_empty_masks(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].of_masks


def _rows(scores: ScoreTable, metric: str, class_name: str) -> pd.DataFrame:
    """Rows of a metric, and of a class unless that is empty; never none."""
    frame = scores.frame
    of_metric = frame[frame["metric"] == metric]
    if of_metric.empty:
        known = ", ".join(dict.fromkeys(frame["metric"]))
        raise TableError(f"{scores.name} holds no {metric}, only {known}. Score it with --metrics {metric}.")
    if not class_name:
        return of_metric
    rows = of_metric[of_metric["class"] == class_name]
    if rows.empty:
        known = ", ".join(name for name in dict.fromkeys(of_metric["class"]) if name not in (MEAN, ALL))
        raise TableError(f"{scores.name} holds no class {class_name!r} of {metric}, only {known or 'the overall row'}.")
    return rows


def show_status(status: str) -> str:
    """A status in words; empty for `ok`."""
    return "" if status == "ok" else status.replace("_", " ")


def show_case(key: CaseKey, scores: ScoreTable) -> str:
    """A case's name, after its data set where the table has several."""
    dataset, case = key
    return case if scores.frame["dataset"].nunique() <= 1 else f"{dataset}/{case}"
