"""The summary that `calibeval score` prints on a terminal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from calibeval.cli.console import make_console
from calibeval.metrics import cautions
from calibeval.metrics.intervals import LEAST
from calibeval.summary import SummaryRow, counted, direction, summarise
from calibeval.table import STATUSES
from calibeval.wording import count_of, group_alike

if TYPE_CHECKING:
    from calibeval.protocol import Protocol
    from calibeval.scoring.job import MethodScore

_NO_INTERVAL = f"- no interval: fewer than {LEAST} cases with a value, equal values, or an infinite one"
_COUNTS = STATUSES[1:]  # beside ok


def print_scores(scores: list[MethodScore], paths: dict[str, Path], console: Console | None = None) -> None:
    """Print one table of all methods, then signature, notes and where the full tables are."""
    console = console or make_console()
    rows = [row for method in scores for row in summarise(method.rows)]
    console.print(_table(rows))
    for caution in cautions((row.metric for row in rows), scores[0].signature):
        console.print(caution, style="dim")
    console.print(f"signature: {scores[0].signature}", style="dim")
    if any(row.n and math.isnan(row.low) for row in rows):
        console.print(_NO_INTERVAL, style="dim")
    if groups := counted(rows):
        console.print(groups, style="dim")
    for line in _note_lines(scores):
        console.print(line, style="dim")
    for method in scores:
        console.print(f"wrote {paths[method.method]}")


def _table(rows: list[SummaryRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for title in ("mean", "95% interval", "n", "pooled"):
        table.add_column(title, justify="right", no_wrap=True)
    counted = any(_counts(row) for row in rows)
    if counted:
        table.add_column("cases that are not ok")
    before = None
    for row in rows:
        if before not in (None, row.method):
            table.add_section()
        unit = f" [{row.unit}]" if row.unit else ""
        cells = [
            row.method if row.method != before else "",
            f"{row.metric} {direction(row.metric)}{unit}",
            _number(row.mean),
            "-" if math.isnan(row.low) else f"{_number(row.low)} to {_number(row.high)}",
            str(row.n),
            _number(row.pooled),
        ]
        table.add_row(*cells, *([_counts(row)] if counted else []))
        before = row.method
    return table


def _counts(row: SummaryRow) -> str:
    counts = [f"{row.statuses[name]} {name.replace('_', ' ')}" for name in _COUNTS if row.statuses.get(name)]
    left_out = f"; {count_of(row.left_out, 'value')} left out" if row.left_out else ""
    return ", ".join(counts) + left_out


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _note_lines(scores: list[MethodScore]) -> list[str]:
    """Each note once, with its number of cases; notes that differ in a number alone count as one."""
    notes = [(case, note) for method in scores for case, found in method.notes.items() for note in found]
    return [_note_line(group.messages) for group in group_alike(notes)]


def _note_line(notes: list[str]) -> str:
    others = " (other numbers in other cases)" if len(set(notes)) > 1 else ""
    return f"note ({count_of(len(notes), 'case')}): {notes[0]}{others}"


def as_json(scored: tuple[list[MethodScore], dict[str, Path], Protocol]) -> str:
    """The summary of all methods with their tables' paths, for machines."""
    from calibeval.metrics.calibration_test import calibration_test
    from calibeval.summary import as_json as summary_json

    scores, paths, protocol = scored
    said = cautions((row.metric for method in scores for row in method.rows), scores[0].signature)
    methods = [
        {
            "method": method.method,
            "table": str(paths[method.method]),
            "signature": method.signature,
            "metrics": summary_json(summarise(method.rows, by_class=True)),
            "calibration_test": calibration_test(method.bins, protocol)._asdict(),
            "errors": method.errors,
            "notes": method.notes,
        }
        for method in scores
    ]
    return json.dumps({"methods": methods, "cautions": said}, indent=2, allow_nan=False) + "\n"
