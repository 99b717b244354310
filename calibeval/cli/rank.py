"""`calibeval rank`: which method is better, and whether the data can say so."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibeval.cli.outputs import Output, output_of_name, output_of_path, outputs_of
from calibeval.errors import UsageError
from calibeval.files import check_writable

if TYPE_CHECKING:
    from calibeval.ranking.analysis import StepProgress

_PATIENCE_S = 1.0  # a progress bar appears only after this time

Tables = Annotated[
    list[Path],
    typer.Argument(metavar="TABLES...", help="Score tables, or wide CSVs (method x METRIC or DATASET/METRIC)."),
]
Metrics = Annotated[
    str,
    typer.Option(
        help="Comma-separated names, default or all. "
        "Default: every column of wide CSVs, the paper's five of score tables."
    ),
]
Blocks = Annotated[
    str,
    typer.Option(
        help="Observations of the Friedman test: case, or metric (each metric of each data set, as published tables "
        "pool them). Default: case; metric for wide CSVs."
    ),
]
Scheme = Annotated[str, typer.Option(help="rank-then-aggregate, aggregate-then-rank or test (significance count).")]
Direction = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=WORD", help="lower, higher or zero, for a metric that is not known. May be repeated."),
]
Missing = Annotated[
    str,
    typer.Option(
        metavar="error|worst|drop",
        help="Where methods differ in cases: worst ranks a gap last, drop leaves the case out for all methods.",
    ),
]
Empty = Annotated[
    str,
    typer.Option(
        help="Empty rule to apply to the tables' statuses: nan, worst, nacl, sdc-repo or deepmind. "
        "Default: the tables' own."
    ),
]
GroupBy = Annotated[
    str,
    typer.Option(
        metavar="none|patient|COLUMN|REGEX",
        help="Whose cases count as one, as for score. Default: the tables' own groups.",
    ),
]
Cases = Annotated[Path | None, typer.Option(metavar="FILE", help="CSV of facts about cases: case, patient, ...")]
Alpha = Annotated[float, typer.Option(help="Level of the tests; intervals cover 1 - alpha.")]
Posthoc = Annotated[
    str,
    typer.Option(
        help="Test of pairs in the verdict and plots: permutation (permuted range, which holds for any number of "
        "metrics), nemenyi (with five metrics finds 9% where permutation finds 87%), conover (with a third, far "
        "better method calls two equal ones different in 16%) or wilcoxon-holm."
    ),
]
MinEffect = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=NUMBER",
        help="Smallest difference of means that matters: below it nobody is called better. Default: 0.005, or 0.1 mm. "
        "May be repeated.",
    ),
]
Control = Annotated[str, typer.Option(metavar="METHOD", help="Compare the methods with this one only.")]
Bootstrap = Annotated[int, typer.Option(help="Bootstrap draws of the cases; 0 for none.")]
Seed = Annotated[int, typer.Option(help="Seed of draws and sampled permutations.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        help="Write here, not to stdout; .csv, .json, .tex, .md or .txt chooses the format unless --format does.",
    ),
]
Format = Annotated[str, typer.Option("--format", help=f"{', '.join(outputs_of('rank'))}. Default: table.")]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Plot = Annotated[
    list[Path] | None,
    typer.Option(
        help="Draw FILE.svg, .png or .pdf. The name's end chooses the view: _blob, _map or _podium; any other name "
        "gives the critical-difference diagram. May be repeated."
    ),
]


def rank(
    tables: Tables,
    *,
    metrics: Metrics = "",
    blocks: Blocks = "",
    scheme: Scheme = "rank-then-aggregate",
    direction: Direction = None,
    missing: Missing = "error",
    empty: Empty = "",
    group_by: GroupBy = "",
    cases: Cases = None,
    alpha: Alpha = 0.05,
    posthoc: Posthoc = "permutation",
    min_effect: MinEffect = None,
    control: Control = "",
    bootstrap: Bootstrap = 1000,
    seed: Seed = 20240917,
    out: Out = None,
    format_: Format = "",
    json: Json = False,
    plot: Plot = None,
) -> None:
    """Compare methods: mean ranks, tests that respect the design, and how stable the order is."""
    from calibeval.ranking import RankSettings, rank_tables

    chosen = _chosen_format(format_, json, out)
    _check_plots(plot or [])
    check_writable([*(plot or []), *([out] if out else [])])
    options: dict[str, Any] = {
        "metrics": metrics,
        "direction": tuple(_direction(text) for text in direction or ()),
        "blocks": blocks or None,
        "scheme": scheme,
        "missing": missing,
        "empty": empty or None,
        "group_by": group_by or None,
        "cases": cases,
        "alpha": alpha,
        "posthoc": posthoc,
        "control": control or None,
        "bootstrap": bootstrap,
        "seed": seed,
        "min_effect": tuple(_least(text) for text in min_effect or ()),
    }
    settings = RankSettings(**options)
    with _progress() as progress:
        ranking = rank_tables(tables, settings, progress)
    for path in plot or []:
        from calibeval.ranking.plots import draw

        draw(ranking, path)
    _write(ranking, chosen, out)


def _chosen_format(name: str, json: bool, out: Path | None) -> Output:
    if json and name not in ("", "json"):
        raise UsageError(f"--json contradicts --format {name}.")
    if json or name or out is None:
        return output_of_name("rank", "json" if json else name or "table")
    return output_of_path("rank", out, " Or give --format.")


def _direction(text: str) -> tuple[str, str]:
    name, equals, word = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--direction takes NAME=lower, NAME=higher or NAME=zero, not {text!r}.")
    return name.strip(), word


def _least(text: str) -> tuple[str, float]:
    from calibeval.foreign import known_name

    name, _, number = text.partition("=")
    try:
        return known_name(name), float(number)
    except ValueError as error:
        raise UsageError(f"--min-effect takes METRIC=NUMBER, as in DSC=0.01, not {text!r}.") from error


def _check_plots(paths: list[Path]) -> None:
    """Refuse before the work what could not be drawn after it."""
    for path in paths:
        from calibeval.plots.style import check_suffix

        check_suffix(path)


def _write(ranking: Any, chosen: Output, out: Path | None) -> None:
    from calibeval.files import write_text

    text = chosen.writer("rank")(ranking)
    if out is None:
        sys.stdout.write(text)
        return
    write_text(out, text)
    print(f"wrote {out}", file=sys.stderr)


@contextmanager
def _progress() -> Iterator[StepProgress | None]:
    """Give a progress callback that draws a bar on stderr, if that is a terminal, once a second has passed."""
    from rich.progress import Progress as Bar

    from calibeval.cli.console import bar_console

    console = bar_console()
    if not console.is_terminal:
        yield None
        return
    bar = Bar(console=console, transient=True)
    task, started = bar.add_task(""), time.monotonic()

    def show(step: str, done: int, total: int) -> None:
        if time.monotonic() - started > _PATIENCE_S:
            bar.start()
        bar.update(task, description=step, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
