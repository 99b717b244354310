"""The summary that `calibeval score` prints on a terminal."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from calibeval.cli.console import make_console
from calibeval.cli.lesion_lines import lesion_json, lesion_lines, selective_json
from calibeval.cli.rater_lines import rater_json, rater_lines
from calibeval.confidence import find_confidence
from calibeval.escape import finite
from calibeval.metrics import PAPER, cautions
from calibeval.metrics.calibration_test import calibration_test
from calibeval.metrics.debiased import debiased_error
from calibeval.metrics.intervals import LEAST
from calibeval.subgroups import as_json as subgroups_json
from calibeval.subgroups import sentences, summarise_by
from calibeval.summary import SummaryRow, counted, direction, summarise
from calibeval.summary import as_json as summary_json
from calibeval.table import STATUSES
from calibeval.wording import count_of, group_alike, number

if TYPE_CHECKING:
    from calibeval.protocol import Protocol
    from calibeval.scoring.job import MethodScore

_NO_INTERVAL = f"- no interval: fewer than {LEAST} cases with a value, equal values, or an infinite one"
_COUNTS = STATUSES[1:]  # beside ok
_PIPE_WIDTH = 100  # of tables where no terminal says
_WIDE = 120  # columns of a terminal that sees small reliability diagrams
_GAP = 2  # between columns
_DETAILS = {"95% from": "low", "to": "high", "pooled": "pooled", "n": "n"}  # of a mean


class By(NamedTuple):
    """A column of the cases table: its name, and case to value."""

    name: str
    values: Mapping[str, str]


def print_scores(
    scores: list[MethodScore],
    paths: dict[str, Path],
    protocol: Protocol,
    by: By | None = None,
    console: Console | None = None,
) -> None:
    """Print all methods' numbers, what they say in words, then signature, notes and where the full tables are."""
    console = console or make_console()
    width = console.width if console.is_terminal else _PIPE_WIDTH
    rows = [row for method in scores for row in summarise(method.rows)]
    for place, table in enumerate(_tables(rows, width)):
        console.print(*[""] * bool(place), table, sep="\n")
    for line in _count_lines(rows):
        console.print(_wrapped(line, width))
    for line in _word_lines(scores, protocol, width):
        console.print(line)
    if console.is_terminal and width >= _WIDE:
        for line in _curve_lines(scores, width):
            console.print(line)
    if by is not None:
        for method in scores:
            _print_subgroups(method, by, console, width)
    for line in (*_sources(rows), *cautions((row.metric for row in rows), scores[0].signature)):
        console.print(_wrapped(line, width), style="dim")
    console.print(f"signature: {scores[0].signature}", style="dim")
    if any(row.n and math.isnan(row.low) for row in rows):
        console.print(_NO_INTERVAL, style="dim")
    if groups := counted(rows):
        console.print(groups, style="dim")
    for line in _note_lines(scores):
        console.print(line, style="dim")
    for method in scores:
        console.print(f"wrote {paths[method.method]}")


def _print_subgroups(method: MethodScore, by: By, console: Console, width: int) -> None:
    found = summarise_by(method.rows, by.values)
    console.print(f"\n{method.method} by {by.name}; the intervals of a metric hold for all of them at once")
    for table in _tables([part.row._replace(method=part.value) for part in found], width):
        console.print(table)
    for line in sentences(found):
        console.print(_wrapped(line, width))


def _tables(rows: list[SummaryRow], width: int) -> Iterator[Table]:
    """One method's metrics below each other; of several, means, a row a method, then what belongs to them.

    As many metrics stand side by side as fit.
    """
    by_method: dict[str, dict[str, SummaryRow]] = {}
    for row in rows:
        by_method.setdefault(row.method, {})[row.metric] = row
    if len(by_method) == 1:
        yield _table_of_one(rows)
        return
    titles = {row.metric: _title(row) for row in rows}
    label = max(map(len, by_method)) + _GAP + max(map(len, _DETAILS))
    columns: list[str] = []
    for metric in titles:
        if columns and label + sum(_GAP + _width(titles[name], name, rows) for name in (*columns, metric)) > width:
            yield _table(by_method, {name: titles[name] for name in columns})
            columns = []
        columns.append(metric)
    yield _table(by_method, {name: titles[name] for name in columns})


def _table_of_one(rows: list[SummaryRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for title in ("mean", "95% interval", "n", "pooled"):
        table.add_column(title, justify="right", no_wrap=True)
    for place, row in enumerate(rows):
        name = "" if place else row.method
        interval = "" if math.isnan(row.low) else f"{number(row.low)} to {number(row.high)}"
        table.add_row(name, _title(row), number(row.mean), interval, str(row.n), number(row.pooled))
    return table


def _title(row: SummaryRow) -> str:
    return f"{row.metric} {direction(row.metric)}" + (f" [{row.unit}]" if row.unit else "")


def _width(title: str, metric: str, rows: list[SummaryRow]) -> int:
    shown = (number(value) for row in rows if row.metric == metric for value in (row.mean, row.low, row.high))
    return max(map(len, (title, *shown)))


def _table(by_method: dict[str, dict[str, SummaryRow]], titles: dict[str, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title in titles.values():
        table.add_column(title, justify="right", no_wrap=True)

    def add(method: str, label: str, field: str, held: dict[str, SummaryRow], style: str = "dim") -> bool:
        cells = [_cell(getattr(held[metric], field)) if metric in held else "" for metric in titles]
        if any(cells):
            table.add_row(method, label, *cells, style=style)
        return any(cells)

    for method, held in by_method.items():
        add(method, "mean", "mean", held, "")
    table.add_row()
    for method, held in by_method.items():
        name = method
        for label, field in _DETAILS.items():
            name = "" if add(name, label, field, held) else name
    return table


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else number(value)


def _count_lines(rows: list[SummaryRow]) -> list[str]:
    """Cases that are not ok, and values left out; metrics of one method that share them together."""
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if counts := _counts(row):
            lines.setdefault((row.method, counts), []).append(row.metric)
    return [f"{method}: {counts} ({', '.join(metrics)})" for (method, counts), metrics in lines.items()]


def _counts(row: SummaryRow) -> str:
    counts = [f"{row.statuses[name]} {name.replace('_', ' ')}" for name in _COUNTS if row.statuses.get(name)]
    left_out = f"; {count_of(row.left_out, 'value')} left out" if row.left_out else ""
    return ", ".join(counts) + left_out


def _word_lines(scores: list[MethodScore], protocol: Protocol, width: int) -> Iterator[str]:
    """What each method's probabilities are worth, with the test of calibration."""
    indent = max(len(method.method) for method in scores) + _GAP
    for method in scores:
        confidence = find_confidence(method.rows, method.bins, method.class_names[0])
        if confidence is not None:
            text = f"{confidence}; {calibration_test(method.bins, protocol, method.groups)}"
            yield _wrapped(text, max(width, 2 * indent), f"{method.method:{indent}}", " " * indent)
        for text in (*lesion_lines(method), *rater_lines(method)):
            yield _wrapped(text, max(width, 2 * indent), f"{method.method:{indent}}", " " * indent)


def _curve_lines(scores: list[MethodScore], width: int) -> Iterator[str]:
    from calibeval.plots.binned import curve_of, read_results
    from calibeval.plots.terminal import curves_text

    tables = {score.method: (read_results(score)[score.method], score.groups) for score in scores if score.bins}
    curves = {name: curve_of(table, groups=groups) for name, (table, groups) in tables.items()}
    return curves_text({name: curve for name, curve in curves.items() if curve.words}, width)


def _sources(rows: list[SummaryRow]) -> list[str]:
    """Which of the metrics are the paper's, where others stand beside them."""
    shown = dict.fromkeys(row.metric for row in rows)
    papers = [name for name in PAPER if name in shown]
    return [f"The paper's: {', '.join(papers)}."] if papers and len(papers) < len(shown) else []


def _wrapped(line: str, width: int, first: str = "", others: str = "  ") -> str:
    return textwrap.fill(
        line, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def _note_lines(scores: list[MethodScore]) -> list[str]:
    """Each note once, with its number of cases; notes that differ in a number alone count as one."""
    notes = [(case, note) for method in scores for case, found in method.notes.items() for note in found]
    return [_note_line(group.messages) for group in group_alike(notes)]


def _note_line(notes: list[str]) -> str:
    others = " (other numbers in other cases)" if len(set(notes)) > 1 else ""
    return f"note ({count_of(len(notes), 'case')}): {notes[0]}{others}"


def as_json(scored: tuple[list[MethodScore], dict[str, Path], Protocol, By | None]) -> str:
    """The summary of all methods with their tables' paths, for machines."""
    scores, paths, protocol, by = scored
    said = cautions((row.metric for method in scores for row in method.rows), scores[0].signature)
    methods = [_method_json(method, paths[method.method], protocol, by) for method in scores]
    return json.dumps({"methods": methods, "cautions": said}, indent=2, allow_nan=False) + "\n"


def _method_json(method: MethodScore, table: Path, protocol: Protocol, by: By | None) -> dict[str, Any]:
    from calibeval.scoring.pooled import pooled_intervals

    rows = summarise(method.rows, by_class=True)
    names = dict.fromkeys(row.metric for row in rows)
    intervals = pooled_intervals(method.bins, method.class_names, protocol, names, method.groups)
    ends = [intervals.get((row.metric, row.class_name), (math.nan, math.nan)) for row in rows]
    confidence = find_confidence(method.rows, method.bins, method.class_names[0])
    return {
        "method": method.method,
        "table": str(table),
        "signature": method.signature,
        "metrics": [
            {**row, "pooled_low": finite(low), "pooled_high": finite(high)}
            for row, (low, high) in zip(summary_json(rows), ends, strict=True)
        ],
        "calibration_test": calibration_test(method.bins, protocol, method.groups)._asdict(),
        "dCE": finite(debiased_error(method.bins, protocol, method.groups)),
        "lesions": lesion_json(method),
        "selective": selective_json(method),
        "raters": rater_json(method),
        "confidence": confidence and finite(confidence._asdict()),
        "by": by and {"column": by.name, "subgroups": subgroups_json(summarise_by(method.rows, by.values))},
        "errors": method.errors,
        "notes": method.notes,
    }
