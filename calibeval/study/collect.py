"""From run folders to numbers: each grid's methods on each backbone, over the cases of all folds.

A case is held out in one fold; its value is the mean over the seeds. Its group is its patient, so that intervals and
tests are over patients, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibeval.case_table import groups, read_cases
from calibeval.errors import CalibevalError
from calibeval.metrics import METRICS, PAPER, badness
from calibeval.ranking import Ranking, RankSettings, rank_tables
from calibeval.signature import Signature
from calibeval.study.plan import Grid, Run, Study, slug
from calibeval.summary import SummaryRow, summarise
from calibeval.table import POOLED, Row, overall_class, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd


class Column(NamedTuple):
    """A metric of a data set: method to its summary."""

    data: str
    metric: str
    cells: Mapping[str, SummaryRow]


class StudyTable(NamedTuple):
    """A grid's numbers on one backbone.

    Attributes:
        name: of its files.
        backbone: of its runs.
        grid: that it is of.
        methods: with a number.
        columns: data set by data set.
        ranking: over the cases of all data sets; None where there is nothing to rank.
        notes: what limits it.
    """

    name: str
    backbone: str
    grid: Grid
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    ranking: Ranking | None
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[Run]:
        """Those that are done."""
        return [run for run in self.grid.runs if run.backbone == self.backbone and run.state == "done"]

    def varied(self) -> str:
        """The one setting in which methods of one loss differ, as `morph` or `lam`; empty where they differ in more."""
        losses = {method.loss for method in self.grid.methods}
        keys = {key for method in self.grid.methods for key in method.settings}
        differing = [key for key in keys if len({method.settings.get(key) for method in self.grid.methods}) > 1]
        return differing[0] if len(losses) == len(differing) == 1 else ""

    def mean_ranks(self) -> dict[str, float]:
        """Mean over the columns of each method's rank by its mean, as published tables give it; NaN with a gap."""
        import numpy as np
        from scipy.stats import rankdata

        bad = [
            [badness(column.cells[name].mean if name in column.cells else math.nan, METRICS[column.metric].better)
             for name in self.methods]
            for column in self.columns
        ]  # fmt: skip
        return dict(zip(self.methods, rankdata(np.round(bad, 9), axis=1).mean(axis=0).tolist(), strict=True))


def collect_tables(study: Study) -> list[StudyTable]:
    """Each grid's numbers on each backbone, if there are any; writes the cases' numbers to `OUT/cases`."""
    return [table for grid in study.grids for backbone in grid.backbones for table in _collect(study, grid, backbone)]


def _collect(study: Study, grid: Grid, backbone: str) -> Iterator[StudyTable]:
    paths: list[Path] = []
    columns: list[Column] = []
    name = slug(grid.table if len(grid.backbones) == 1 else f"{grid.table}-{backbone}")
    for data in grid.data:
        rows, signature = _collect_rows(grid, backbone, data)
        if rows:
            paths.append(study.out / "cases" / f"{name}-{slug(data)}.csv")
            write_table(paths[-1], rows, signature=str(signature), command=f"calibeval study ({grid.table})")
            columns += _columns(data, rows)
    if columns:
        methods = tuple(m.name for m in grid.methods if any(m.name in column.cells for column in columns))
        missing = sum(run.backbone == backbone and run.state != "done" for run in grid.runs)
        ranking, notes = _rank(paths, methods, complete=not missing)
        if missing:
            notes = (f"{missing} runs are not done: this is of those that are.", *notes)
        yield StudyTable(name, backbone, grid, methods, tuple(columns), ranking, notes)


def _collect_rows(grid: Grid, backbone: str, data: str) -> tuple[list[Row], Signature]:
    """Rows of a data set's cases for each method with a run that is done."""
    rows: list[Row] = []
    signature = Signature()
    for method in grid.methods:
        runs = [r for r in grid.runs if (r.data, r.backbone, r.method) == (data, backbone, method.name)]
        done = [run for run in runs if run.state == "done"]
        if done:
            tables = [read_table(run.folder / "score.csv") for run in done]
            signature = tables[0][0].signature
            rows += _mean_over_seeds(done[0], [frame for _, frame in tables])
    return rows, signature


def _mean_over_seeds(run: Run, frames: Sequence[pd.DataFrame]) -> Iterator[Row]:
    """One row for each case, class and metric; a seed without a value is left out, and the note says so."""
    import pandas as pd

    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame["case"] != POOLED]
    table = read_cases(Path(run.config.cases)) if run.config.cases else None
    group_of = groups(frame["case"], run.config.group_by, table)
    for _, part in frame.groupby(["case", "class", "metric"], sort=False):
        defined = part[part["value"].notna()]
        first = (part if defined.empty else defined).iloc[0]
        group = group_of[first["case"]]
        yield Row(
            run.method, run.data, first["case"], first["class"], first["metric"], float(defined["value"].mean()),
            first["unit"], first["status"],
            f"mean of {len(defined)} of {len(part)} seeds" if len(part) > 1 else first["note"],
            float(first["diagonal"]), group if group != first["case"] else "",
        )  # fmt: skip


def _columns(data: str, rows: Sequence[Row]) -> Iterator[Column]:
    """The paper's metrics, as far as the rows hold them."""
    summaries = [row for row in summarise(rows) if row.class_name == overall_class(row.metric)]
    for metric in PAPER:
        if cells := {row.method: row for row in summaries if row.metric == metric}:
            yield Column(data, metric, cells)


def _rank(paths: Sequence[Path], methods: Sequence[str], *, complete: bool) -> tuple[Ranking | None, tuple[str, ...]]:
    """The order over cases, and what it is worth."""
    if len(methods) < 2:
        return None, ()
    try:
        ranking = rank_tables(paths, RankSettings(missing="error" if complete else "drop"))
    except CalibevalError as error:
        return None, (f"No ranking: {error}",)
    return ranking, (*ranking.verdict, *ranking.warnings)
