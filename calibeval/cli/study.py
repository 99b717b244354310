"""`calibeval study`: a grid of training runs, and the tables and figures made from them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibeval.cli.options import DryRun, Quiet, Scheduler
from calibeval.cli.train import plain_warnings, require_torch
from calibeval.errors import UsageError
from calibeval.escape import terminal
from calibeval.wording import count_of

if TYPE_CHECKING:
    from rich.table import Table

    from calibeval.study.execute import Outcome
    from calibeval.study.plan import Study

File = Annotated[
    Path | None,
    typer.Argument(metavar="[STUDY.toml]", help="What to compare; see `calibeval explain study`.", show_default=False),
]
Preset = Annotated[
    str, typer.Option(help="quick, paper-unet, paper-nnunet, paper-morphology or paper-lambda, instead of a file.")
]
Data = Annotated[
    list[str] | None, typer.Option(metavar="NAME=FOLDER", help="Where a data set of the study lies; repeatable.")
]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder of runs, tables and figures [studies/NAME].")]
Workers = Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process.")]


def study(
    file: File = None,
    *,
    preset: Preset = "",
    data: Data = None,
    out: Out = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train a grid of methods, folds and seeds, and make tables and figures of the runs; goes on where it stopped."""
    from calibeval.study.plan import PRESETS, preset_names, read_study

    if bool(file) == bool(preset):
        raise UsageError("Name a STUDY.toml or a --preset, one of the two.")
    if preset and preset not in preset_names():
        raise UsageError(f"Unknown preset {preset!r}. Known: {', '.join(preset_names())}.")
    require_torch()
    chosen = read_study(file or PRESETS / f"{preset}.toml", dict(map(_place, data or [])), out)
    with plain_warnings():
        if dry_run:
            _print_plan(chosen, workers)
        else:
            _run(chosen, workers, scheduler, quiet=quiet)


def _place(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--data takes NAME=FOLDER, as in ACDC=data/ACDC, not {text!r}.")
    return name, folder


def _print_plan(study: Study, workers: int) -> None:
    from calibeval.cli.console import make_console
    from calibeval.study.estimate import estimate

    if study.about:
        print(terminal(study.about))
    make_console().print(_states(study))
    for line in estimate(study, workers):
        print(line)


def _states(study: Study) -> Table:
    """How many runs of each data set, backbone and method are in which state."""
    from rich import box
    from rich.table import Table

    names = ("done", "failed", "begun", "new")
    table = Table("data", "backbone", "method", *names, box=box.SIMPLE_HEAD)
    groups: dict[tuple[str, str, str], Counter[str]] = {}
    for run in study.runs:
        groups.setdefault((run.data, run.backbone, run.method), Counter())[run.state] += 1
    for place, states in groups.items():
        table.add_row(*map(terminal, place), *(str(states[state] or "") for state in names))
    table.add_row("all", "", "", *(str(sum(states[state] for states in groups.values())) for state in names))
    return table


@contextmanager
def _watching(study: Study, *, quiet: bool) -> Iterator[Callable[[Outcome], None]]:
    """On a terminal the table of states, kept up to date; else a line a run."""
    from rich.live import Live

    from calibeval.cli.console import bar_console

    console, done = bar_console(), Counter[str]()
    left = sum(run.state != "done" for run in study.runs)
    shown = console.is_terminal and not quiet and left > 0

    def watch(outcome: Outcome) -> None:
        done["runs"] += 1
        how = f"failed: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
        if outcome.error or not (quiet or shown):
            console.print(
                f"{done['runs']}/{left} {outcome.run.name}: {how}", markup=False, highlight=False, soft_wrap=True
            )

    if not shown:
        yield watch
        return
    with Live(get_renderable=lambda: _states(study), console=console, refresh_per_second=1, transient=True):
        yield watch


def _run(study: Study, workers: int, scheduler: str | None, *, quiet: bool) -> None:
    """Do the runs and make tables and figures; exit code 3 when a run failed."""
    from calibeval.study.collect import collect_tables
    from calibeval.study.execute import run_study
    from calibeval.study.figures import write_figures
    from calibeval.study.tables import write_tables

    with _watching(study, quiet=quiet) as watch:
        outcomes = run_study(study, workers, watch, scheduler)
    tables = collect_tables(study)
    write_tables(study.out / "tables", tables)
    figures = write_figures(study, tables, lambda text: print(f"calibeval: {text}", file=sys.stderr))
    if not quiet:
        print(
            f"wrote {count_of(len(tables), 'table')} and {count_of(len(figures), 'figure')} to {study.out}",
            file=sys.stderr,
        )
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(3)
