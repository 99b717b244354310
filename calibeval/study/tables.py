"""A study's tables in the form of papers: methods by metrics, or metrics by operators, the best marked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from calibeval import escape
from calibeval.files import write_text
from calibeval.metrics import METRICS, badness
from calibeval.ranking.formats import Marked, latex_table, markdown_table
from calibeval.study.collect import Column, StudyTable
from calibeval.summary import direction
from calibeval.wording import count_of

_DECIMALS = {"HD95": 2}
_DEFAULT_DECIMALS = 3
_GAP = Marked("-")


def write_tables(folder: Path, tables: Sequence[StudyTable]) -> None:
    """Write each table as CSV, Markdown and LaTeX, and the numbers of all with their intervals to `numbers.csv`."""
    for table in tables:
        header, rows = as_cells(table)
        notes = [*_legend(table), *table.notes]
        text = "\n".join((markdown_table(header, rows), *(f"{escape.markdown(note)}  " for note in notes)))
        write_text(folder / f"{table.name}.csv", to_csv(table))
        write_text(folder / f"{table.name}.md", f"{text.rstrip()}\n")
        write_text(folder / f"{table.name}.tex", latex_table(header, rows, notes))
    if tables:
        write_text(folder / "numbers.csv", _numbers(tables))


def as_cells(table: StudyTable) -> tuple[list[str], list[list[str | Marked]]]:
    """Header and rows for reading; operators stand side by side, as in published tables."""
    marked = [_marked(column) for column in table.columns]
    heads = [f"{column.data} {column.metric} {direction(column.metric)}" for column in table.columns]
    if table.varied() == "morph":
        operators = [str(m.settings.get("morph", "none")) for m in table.grid.methods if m.name in table.methods]
        rows: list[list[str | Marked]] = [
            [head, *(texts.get(name, _GAP) for name in table.methods)]
            for head, texts in zip(heads, marked, strict=True)
        ]
        return [table.grid.methods[0].loss, *operators], rows
    ranks = [table.mean_ranks()]
    if table.ranking:
        ranks.append(dict(zip(table.ranking.methods, table.ranking.overall.mean_rank.tolist(), strict=True)))
    rows = [
        [name, *(texts.get(name, _GAP) for texts in marked), *(f"{of.get(name, math.nan):.2f}" for of in ranks)]
        for name in table.methods
    ]
    return ["method", *heads, *("rank", "rank by case")[: len(ranks)]], rows


def to_csv(table: StudyTable) -> str:
    """Means in full precision as published tables have them: what `calibeval rank` reads as a wide CSV."""
    ranks = table.mean_ranks()
    lines = [["method", *(f"{column.data}/{column.metric}" for column in table.columns), "mean_rank"]]
    for name in table.methods:
        means = (column.cells[name].mean if name in column.cells else math.nan for column in table.columns)
        lines.append([escape.cell(name), *("" if math.isnan(mean) else repr(mean) for mean in (*means, ranks[name]))])
    return _csv(lines)


def _marked(column: Column) -> dict[str, Marked]:
    """Texts of a column; the best and the second are marked, and what looks equal is marked alike."""
    decimals, better = _DECIMALS.get(column.metric, _DEFAULT_DECIMALS), METRICS[column.metric].better
    bad = {name: badness(round(row.mean, decimals), better) for name, row in column.cells.items()}
    marks = dict(
        zip(sorted({value for value in bad.values() if not math.isnan(value)}), ("best", "second"), strict=False)
    )
    texts = {}
    for name, row in column.cells.items():
        interval = "" if math.isnan(row.low) else f"({row.low:.{decimals}f} to {row.high:.{decimals}f})"
        texts[name] = Marked(f"{row.mean:.{decimals}f}", marks.get(bad[name], ""), interval)
    return texts


def _legend(table: StudyTable) -> list[str]:
    folds = ", ".join(sorted({run.config.fold for run in table.runs}))
    seeds = count_of(len({run.config.seed for run in table.runs}), "seed")
    lines = [
        f"Backbone {table.backbone}. Means over the patients held out in the folds {folds}, with 95% intervals; a "
        f"case's value is its mean over {seeds}. Best bold, second underlined."
    ]
    if table.varied() != "morph":
        lines.append(
            "rank: mean over the columns of the ranks of these means, as published tables give it; rank by case: mean "
            "rank over cases and metrics, of which calibeval rank says:"
        )
    return lines


def _numbers(tables: Sequence[StudyTable]) -> str:
    header = ["table", "backbone", "method", "dataset", "metric", "mean", "low", "high", "n", "n_cases"]
    lines = [
        [table.name, table.backbone, escape.cell(name), column.data, column.metric,
         *("" if math.isnan(value) else repr(value) for value in (row.mean, row.low, row.high)), row.n, row.n_cases]
        for table in tables
        for column in table.columns
        for name, row in column.cells.items()
    ]  # fmt: skip
    return _csv([header, *lines])


def _csv(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
