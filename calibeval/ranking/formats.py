"""A ranking as text: for a terminal, CSV, JSON, LaTeX and Markdown. Methods stand in the order of their places."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from calibeval import escape
from calibeval._version import __version__
from calibeval.ranking.result import Ranking
from calibeval.ranking.words import p_text, rank_text, test_name, units_text
from calibeval.wording import count_of

_COLUMNS_SHOWN = 6  # metrics that a table for reading has room for
_PLAIN_COLUMNS = 5  # columns before those of metrics
_GAP = 2  # between columns
_MARKS = {"": ("{}", "{}"), "best": ("**{}**", r"\textbf{{{}}}"), "second": ("<u>{}</u>", r"\underline{{{}}}")}


class Marked(NamedTuple):
    """A number in a table, marked as the `best` or the `second` of its column, and what stands behind it unmarked."""

    text: str
    mark: str = ""
    rest: str = ""


Cells = Sequence[str | Marked]


def to_json(ranking: Ranking) -> str:
    """All results; never NaN."""
    return json.dumps(ranking.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(ranking: Ranking) -> str:
    """A row a method, in full precision, with mean ranks and places and the mean rank in each metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["method", "rank", "mean_rank", "mean_rank_low", "mean_rank_high", "rank_low", "rank_high", "p_first"]
    writer.writerow([*names, *(f"mean_rank_{metric}" for metric in ranking.per_metric), "about"])
    order, last = ranking.overall, f"calibeval {__version__} {ranking.signature}".rstrip()
    for i in ranking.best_first():
        numbers = (order.mean_rank[i], *order.mean_interval[:, i], *order.rank_interval[:, i], order.p_first[i])
        metrics = (of_metric.mean_rank[i] for of_metric in ranking.per_metric.values())
        writer.writerow([escape.cell(ranking.methods[i]), order.rank[i], *map(_exact, (*numbers, *metrics)), last])
        last = ""
    return text.getvalue()


def to_markdown(ranking: Ranking) -> str:
    """A table as GitHub shows it, then the tests, verdict, warnings and notes."""
    header, rows = table_cells(ranking)
    lines = [markdown_table(header, rows)]
    if ranking.beside:
        lines += [markdown_table(*beside_cells(ranking))]
    lines += [*(escape.markdown(line) + "  " for line in test_lines(ranking)), ""]
    for title, texts in remarks(ranking, ranking.notes):
        lines += [f"**{title}**", "", *(f"- {escape.markdown(text)}" for text in texts), ""]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(ranking: Ranking) -> str:
    """A `tabular` for booktabs; tests and verdict stand above it as comments."""
    remarks = (*test_lines(ranking), *ranking.verdict, *ranking.warnings)
    return latex_table(*table_cells(ranking), remarks, "rl")


def markdown_table(header: Cells, rows: Sequence[Cells]) -> str:
    """A table as GitHub shows it."""
    lines = [_markdown_row(header), "|" + "---|" * len(header), *map(_markdown_row, rows)]
    return "\n".join(lines) + "\n"


def latex_table(header: Cells, rows: Sequence[Cells], remarks: Sequence[str] = (), first: str = "l") -> str:
    """A `tabular` for booktabs, remarks above it as comments; `first` aligns the first columns, others are numbers."""
    lines = [f"% {' '.join(line.split())}" for line in remarks]
    columns = first + "r" * (len(header) - len(first))
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(header), r"\midrule"]
    lines += [*(_latex_row(row) for row in rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def to_table(ranking: Ranking) -> str:
    """For a terminal, at its width; the ranks by metric are shown if there is room."""
    from rich.console import Console

    width = Console().width
    header, rows = table_cells(ranking)
    needed = sum(max(map(len, column)) + _GAP for column in zip(header, *rows, strict=True))
    notes = ranking.notes
    if needed - _GAP > width and len(header) > _PLAIN_COLUMNS:
        header, rows = header[:_PLAIN_COLUMNS], [row[:_PLAIN_COLUMNS] for row in rows]
        notes = (*notes, "Mean ranks by metric do not fit here; --format csv has them.")
    lines = [*_wrapped(title_line(ranking), width), "", *_drawn(header, rows, width), ""]
    if ranking.beside:
        lines += ["Beside the ranking, means:", *_drawn(*beside_cells(ranking), width), ""]
    for line in test_lines(ranking):
        lines += _wrapped(line, width)
    for title, texts in remarks(ranking, notes):
        lines += ["", title]
        for text in texts:
            lines += _wrapped(text, width, "- ")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def table_cells(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table for reading."""
    order = ranking.overall
    drawn = len(order.drawn_ranks) > 0
    metrics = list(ranking.per_metric.items())
    shown = metrics if 1 < len(metrics) <= _COLUMNS_SHOWN else []
    level = f"{100 * (1 - ranking.settings.alpha):g}%"
    header = [
        "#",
        "method",
        "mean rank",
        *([f"{level} of #", "P(first)"] if drawn else []),
        *(name for name, _ in shown),
    ]
    rows = []
    for i in ranking.best_first():
        low, high = order.rank_interval[:, i]
        stability = [f"{low:.0f}-{high:.0f}", f"{order.p_first[i]:.2f}"] if drawn else []
        ranks = [rank_text(of_metric.mean_rank[i]) for _, of_metric in shown]
        rows.append([str(order.rank[i]), ranking.methods[i], rank_text(order.mean_rank[i]), *stability, *ranks])
    return header, rows


def beside_cells(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the means that stand beside the ranking."""
    means = ranking.beside.values()
    rows = [[ranking.methods[i], *(f"{values[i]:.4f}" for values in means)] for i in ranking.best_first()]
    return ["method", *ranking.beside], rows


def title_line(ranking: Ranking) -> str:
    """What was ranked by what."""
    metrics = ", ".join(ranking.design.metrics)
    settings = ranking.settings
    return (
        f"{len(ranking.methods)} methods by {metrics} on {units_text(ranking)}; "
        f"blocks: {settings.blocks}, scheme: {settings.scheme}"
    )


def test_lines(ranking: Ranking) -> list[str]:
    """The overall test and the critical difference, a line each."""
    test, df = ranking.friedman, ranking.friedman.n_methods - 1
    lines = [
        f"Friedman chi2({df}) {_number(test.chi2)}, p {p_text(test.p)}; F {_number(test.f)}, p {p_text(test.f_p)}; "
        f"Kendall W {_number(test.kendall_w)}",
        f"Permutation p {p_text(test.permutation.p)}; cluster-permutation p {p_text(test.cluster_permutation.p)} "
        f"({'exact' if test.cluster_permutation.exact else 'sampled'}, {units_text(ranking)})",
        *_critical_line(ranking),
    ]
    if not math.isnan(ranking.tau[0]):
        mean, low, high = ranking.tau
        lines.append(f"Kendall's tau of bootstrap orders to this one: {mean:.2f} ({low:.2f} to {high:.2f})")
    return lines


def _critical_line(ranking: Ranking) -> list[str]:
    """The critical difference of the chosen test, where it has one."""
    name, test = ranking.settings.posthoc, ranking.friedman
    critical, independent = ranking.posthoc.critical(name), ranking.independent.critical(name)
    if math.isnan(critical):
        return []
    line = f"{test_name(ranking)}: mean ranks differ from {critical:.2f} on, at {ranking.settings.alpha:g} for "
    if test.n_blocks == test.n_clusters:
        return [line + units_text(ranking)]
    return [line + f"{count_of(test.n_blocks, 'block')}, from {independent:.2f} on for {units_text(ranking)}"]


def remarks(ranking: Ranking, notes: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """Verdict, warnings and notes, each under its title; empty ones are left out."""
    parts = [("Verdict", ranking.verdict), ("Warnings", ranking.warnings), ("Notes", notes)]
    return [(title, texts) for title, texts in parts if texts]


def _drawn(header: list[str], rows: list[list[str]], width: int) -> list[str]:
    """The table as lines; a name that is too long is folded."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for name in header:
        table.add_column(
            name, justify="left" if name == "method" else "right", no_wrap=name != "method", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def _wrapped(text: str, width: int, bullet: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=bullet, subsequent_indent="  ", break_on_hyphens=False)


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _exact(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _markdown_row(cells: Cells) -> str:
    return "| " + " | ".join(_cell(cell, 0) for cell in cells) + " |"


def _latex_row(cells: Cells) -> str:
    return " & ".join(_cell(cell, 1) for cell in cells) + r" \\"


def _cell(cell: str | Marked, form: int) -> str:
    """A cell in Markdown (0) or LaTeX (1)."""
    text, mark, rest = (cell, "", "") if isinstance(cell, str) else cell
    escaped = (escape.markdown, escape.latex)[form]
    return _MARKS[mark][form].format(escaped(text)) + (f" {escaped(rest)}" if rest else "")
