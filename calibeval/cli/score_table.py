"""The summary that `calibeval score` prints on a terminal."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from calibeval.summary import SummaryRow, direction, summarise

if TYPE_CHECKING:
    from calibeval.job import MethodScore

_COUNTS = ("empty_reference", "empty_prediction", "both_empty", "missing", "failed")


def print_scores(scores: list[MethodScore], paths: dict[str, Path], console: Console | None = None) -> None:
    """Print one table of all methods, then signature, notes and where the full tables are."""
    console = console or Console()
    rows = [row for method in scores for row in summarise(method.rows)]
    console.print(_table(rows))
    if any(row.metric == "pECE" for row in rows):
        console.print("pECE is not 0 for a calibrated model: it charges false positives again.", style="dim")
    console.print(f"signature: {scores[0].signature}", style="dim", soft_wrap=True, highlight=False)
    for note, number in _count_notes(scores).items():
        console.print(f"note ({number} cases): {note}", style="dim", highlight=False, soft_wrap=True)
    for method in scores:
        console.print(f"wrote {paths[method.method]}", highlight=False, soft_wrap=True)


def _table(rows: list[SummaryRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for title in ("mean", "95% interval", "n", "pooled"):
        table.add_column(title, justify="right", no_wrap=True)
    counted = any(_left_out(row) for row in rows)
    if counted:
        table.add_column("left out")
    before = None
    for row in rows:
        if before not in (None, row.method):
            table.add_section()
        unit = f" [{row.unit}]" if row.unit else ""
        cells = [
            row.method if row.method != before else "",
            f"{row.metric} {direction(row.metric)}{unit}".replace("[", "\\["),
            _number(row.mean),
            "" if math.isnan(row.low) else f"{_number(row.low)} to {_number(row.high)}",
            str(row.n),
            _number(row.pooled),
        ]
        table.add_row(*cells, *([_left_out(row)] if counted else []))
        before = row.method
    return table


def _left_out(row: SummaryRow) -> str:
    return ", ".join(f"{row.statuses[name]} {name.replace('_', ' ')}" for name in _COUNTS if row.statuses.get(name))


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _count_notes(scores: list[MethodScore]) -> Counter[str]:
    return Counter(note for method in scores for notes in method.notes.values() for note in notes)
