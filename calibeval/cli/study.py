"""`calibeval study`: a grid of training runs, and the tables and figures made from them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibeval.cli.options import DryRun, Quiet, Scheduler
from calibeval.cli.train import plain_warnings, require_torch
from calibeval.errors import UsageError
from calibeval.wording import count_of

if TYPE_CHECKING:
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
    if not quiet or dry_run:
        _print_states(chosen)
    if not dry_run:
        with plain_warnings():
            _run(chosen, workers, scheduler, quiet=quiet)


def _place(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--data takes NAME=FOLDER, as in ACDC=data/ACDC, not {text!r}.")
    return name, folder


def _print_states(study: Study) -> None:
    """One table: how many runs of each data set, backbone and method are in which state."""
    from rich import box
    from rich.table import Table

    from calibeval.cli.console import make_console

    table = Table("data", "backbone", "method", "done", "failed", "begun", "new", box=box.SIMPLE_HEAD)
    groups: dict[tuple[str, str, str], Counter[str]] = {}
    for run in study.runs:
        groups.setdefault((run.data, run.backbone, run.method), Counter())[run.state] += 1
    for names, states in groups.items():
        table.add_row(*names, *(str(states[state] or "") for state in ("done", "failed", "begun", "new")))
    console = make_console()
    console.file = sys.stderr
    console.print(table)


def _run(study: Study, workers: int, scheduler: str | None, *, quiet: bool) -> None:
    """Do the runs and make the tables; exit code 3 when a run failed."""
    from calibeval.study.collect import collect_tables
    from calibeval.study.execute import run_study
    from calibeval.study.tables import write_tables

    left = [run for run in study.runs if run.state != "done"]
    done: list[Outcome] = []

    def watch(outcome: Outcome) -> None:
        done.append(outcome)
        how = f"failed: {outcome.error}" if outcome.error else f"{outcome.seconds:.0f} s"
        if outcome.error or not quiet:
            print(f"{len(done)}/{len(left)} {outcome.run.name}: {how}", file=sys.stderr, flush=True)

    outcomes = run_study(study, workers, watch, scheduler)
    tables = collect_tables(study)
    write_tables(study.out / "tables", tables)
    if not quiet:
        print(f"wrote {count_of(len(tables), 'table')} to {study.out / 'tables'}", file=sys.stderr)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(3)
