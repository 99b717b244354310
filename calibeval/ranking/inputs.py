"""Read what is to be ranked: tables of per-case numbers and wide CSVs, told apart by their header.

A score table is what `calibeval score` writes, one row a number; what others write is read alike (`foreign`). A wide
CSV is a published table (`wide`). All become one long frame with the columns of a score table, so that all later steps
join by name, never by position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibeval.delimited import read_sheet
from calibeval.errors import TableError, UsageError
from calibeval.foreign import find_form, read_scores
from calibeval.lesion_table import without_lesion_tables
from calibeval.ranking.wide import PrintedRanks, first_twice, read_wide_files
from calibeval.signature import Signature
from calibeval.table import COLUMNS, POOLED, Header
from calibeval.wording import some_of

if TYPE_CHECKING:
    import pandas as pd


class Source(NamedTuple):
    """One score table: where it is, what it says about itself, and which data sets and methods it holds."""

    path: Path
    header: Header
    datasets: frozenset[str]
    methods: tuple[str, ...]

    @property
    def signature(self) -> Signature:
        """By which choices it was scored."""
        return self.header.signature


class Tables(NamedTuple):
    """All input files as one long frame.

    Attributes:
        frame: columns as of a score table; rows of the pooled data set are left out.
        has_cases: True for score tables; a wide CSV holds one number for a whole data set.
        sources: of score tables; none for wide CSVs.
        notes: what the reader decided and the user should know.
        printed: columns of a lone wide CSV that hold ranks; they are compared with the computed ones and never used.
        grouped: the column `group` says which group each case belongs to.
    """

    frame: pd.DataFrame
    has_cases: bool
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    printed: tuple[PrintedRanks, ...] = ()
    grouped: bool = False

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
    paths = without_lesion_tables(paths)
    if not paths:
        raise UsageError("Nothing to rank: name at least one score table or wide CSV.")
    twice = first_twice([path.resolve() for path in paths])
    if twice is not None:
        raise UsageError(f"{twice} is given twice.")
    wide = [not is_score_table(path) for path in paths]
    if any(wide) and not all(wide):
        raise UsageError(
            f"{paths[wide.index(True)]} is a wide CSV (method x metric) and {paths[wide.index(False)]} is a score "
            "table: rank them apart, since the one has a number for each case and the other for each data set."
        )
    tick = progress or (lambda done, total: None)
    if not wide[0]:
        return _read_score_files(paths, tick)
    frame, notes, printed = read_wide_files(paths, tick)
    return Tables(frame, False, (), notes, printed if len(paths) == 1 else ())


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
    """Tell tables of per-case numbers, ours or others', from a wide CSV of a method a row."""
    if path.suffix.lower() == ".json":
        return True
    sheet = read_sheet(path)
    return set(COLUMNS) <= set(sheet.columns) or find_form(sheet) is not None


def _read_score_files(paths: Sequence[Path], progress: Callable[[int, int], None]) -> Tables:
    import pandas as pd

    frames, headers = [], []
    notes: list[str] = []
    for done, path in enumerate(paths):
        header, frame, said = read_scores(path)
        frame = frame[frame["case"] != POOLED]
        _refuse_duplicates(path, frame)
        unnamed = frame["method"].str.strip() == ""
        frames.append(frame.assign(method=frame["method"].mask(unnamed, path.stem)))
        headers.append(header)
        notes += said
        progress(done + 1, len(paths))
    frames, renamed = _name_by_file_where_needed(paths, frames)
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise TableError(f"{paths[0]}: the table holds no case, so there is nothing to rank.")
    _refuse_other_names(frame)
    sources = (
        Source(path, header, frozenset(part["dataset"].unique()), tuple(part["method"].unique()))
        for path, header, part in zip(paths, headers, frames, strict=True)
    )
    return Tables(frame, True, tuple(sources), (*notes, *renamed))


def _refuse_other_names(frame: pd.DataFrame) -> None:
    """Refuse methods that share no case only because their data sets have different names."""
    cases = frame[["method", "dataset", "case"]].drop_duplicates()
    held = {method: (set(part["dataset"]), set(part["case"])) for method, part in cases.groupby("method", sort=False)}
    for one, other in combinations(held, 2):
        (ours, our_cases), (theirs, their_cases) = held[one], held[other]
        if ours.isdisjoint(theirs) and our_cases == their_cases:
            raise TableError(
                f"The data sets of {one!r} and {other!r} have different names, though their cases have the same: "
                f"{some_of(sorted(ours))} against {some_of(sorted(theirs))}. Give both one with --dataset when scoring."
            )


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

    keys = ["method", "dataset", "case", "metric"]
    cases = pd.concat([frame[keys].drop_duplicates() for frame in frames], ignore_index=True)
    return set(cases.loc[cases.duplicated(keys), "method"])


def _distinct_labels(paths: Sequence[Path]) -> list[str]:
    for depth in range(1, 4):
        labels = ["/".join((*path.resolve().parent.parts, path.stem)[-depth:]) for path in paths]
        if first_twice(labels) is None:
            return labels
    return [str(path) for path in paths]
