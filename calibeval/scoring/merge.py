"""Putting the parts of a data set that `score --shard i/n` scored together: exactly what one run would have written.

A part holds the rows and statistics of its cases alone. What is said of all cases (pooled numbers, label maps among
probability maps) is said here, by the function that a single run uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from calibeval.bins import BinTable, bins_path, read_bins
from calibeval.errors import TableError
from calibeval.io.classes import ClassScheme
from calibeval.lesion_table import LesionRow, lesions_path, read_lesions, without_lesion_tables
from calibeval.metrics import select_metrics
from calibeval.scoring.job import MethodScore, collect
from calibeval.scoring.options import options_of_command, options_of_table
from calibeval.scoring.plan import ScoreJob
from calibeval.scoring.problems import WHOLE
from calibeval.scoring.shards import CaseScore
from calibeval.table import Header, Row, read_table
from calibeval.wording import parse_part


class Part(NamedTuple):
    """One shard of one method, as it was written."""

    path: Path
    header: Header
    rows: tuple[Row, ...]
    bins: BinTable
    lesions: tuple[LesionRow, ...] = ()


def merge_parts(paths: Iterable[Path]) -> list[tuple[MethodScore, ScoreJob]]:
    """Read all shards of one or more methods and put each method together.

    Raises:
        TableError: no shard, one that is missing or there twice, a case in two of them, or shards of different runs.
    """
    parts = sorted((_read_part(path) for path in without_lesion_tables(paths)), key=lambda part: part.bins.method)
    return [_merge(method, list(group)) for method, group in groupby(parts, key=lambda part: part.bins.method)]


def _read_part(path: Path) -> Part:
    bins = read_bins(bins_path(path))
    if not bins.shard:
        raise TableError(f"{path}: is no part of a table. Expected tables of `calibeval score --shard i/n`.")
    header, frame = read_table(path, raters=True)
    beside = lesions_path(path)
    lesions = tuple(read_lesions(beside)) if beside.is_file() else ()
    return Part(path, header, tuple(Row(*row) for row in frame.itertuples(index=False)), bins, lesions)


def _merge(method: str, parts: Sequence[Part]) -> tuple[MethodScore, ScoreJob]:
    filled = [part for part in parts if part.rows]
    _check_complete(method, parts)
    if not filled:
        raise TableError(f"{method}: no shard holds a case.")
    first = filled[0]
    for part in filled[1:]:
        if part.header != first.header:
            raise TableError(f"{part.path} and {first.path} are of different runs. Score all shards by one command.")
    options = options_of_table(options_of_command(first.header.command), str(first.path))
    statistics = {case: found for part in parts for case, found in part.bins.cases.items()}
    problems = next(iter(statistics.values()), {})
    names = max((part.bins.class_names for part in parts), key=len)
    job = ScoreJob(
        {},
        ClassScheme(names=names, regions={name: (1,) for name in problems if name != WHOLE}),
        options.numbers,
        select_metrics(options.metrics),
        options.reading,
        groups={row.case: row.group for part in filled for row in part.rows},
        dataset=first.rows[0].dataset,
        command=first.header.command,
    )
    lesions: dict[str, list[LesionRow]] = {}
    for row in (row for part in filled for row in part.lesions):
        lesions.setdefault(row.case, []).append(row)
    scores = {
        case: CaseScore(rows, statistics.get(case, {}), lesions=tuple(lesions.get(case, ())))
        for case, rows in _by_case(filled).items()
    }
    return replace(collect(job, method, scores), signature=first.header.signature), job


def _check_complete(method: str, parts: Sequence[Part]) -> None:
    found = sorted(parse_part(part.bins.shard, "--shard") for part in parts)
    number = found[0][1]
    if found != [(i, number) for i in range(1, number + 1)]:
        listed = ", ".join(f"{i}/{n}" for i, n in found)
        raise TableError(f"{method}: found the shards {listed}; expected each of 1/{number} to {number}/{number} once.")


def _by_case(parts: Iterable[Part]) -> dict[str, tuple[Row, ...]]:
    """Rows of each case, in the order of the cases' names."""
    cases: dict[str, tuple[Row, ...]] = {}
    for part in parts:
        for case, rows in groupby(sorted(part.rows, key=lambda row: row.case), key=lambda row: row.case):
            if case in cases:
                raise TableError(f"{part.path}: the case {case} is in another shard as well.")
            cases[case] = tuple(rows)
    return dict(sorted(cases.items()))
