"""`calibeval prepare`: a public data set, from its original layout to one nnU-Net folder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from calibeval.cli.console import INTERRUPTED, progress
from calibeval.cli.options import DryRun, Quiet
from calibeval.errors import UsageError
from calibeval.wording import count_of

if TYPE_CHECKING:
    from calibeval.datasets import Outcome, Preparation

Kind = Annotated[
    Literal["acdc", "flare", "brats2019", "msd"], typer.Argument(help="Data set; msd is any task of the Decathlon.")
]
Src = Annotated[Path, typer.Argument(help="Folder in which the download was unpacked.", show_default=False)]
Dst = Annotated[Path | None, typer.Argument(help="Folder for the prepared data set; or --out.", show_default=False)]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="The same as DST.")]
Spacing = Annotated[str | None, typer.Option(help="Resample to mm along x, y[, z], as in '1.5,1.5,8'.")]
Size = Annotated[str | None, typer.Option(metavar="XxY[xZ]", help="Crop or pad to voxels, as in 192x192x30.")]
Around = Annotated[
    Literal["centre", "foreground"] | None,
    typer.Option(help="What --size has in its middle: of the volume, or of what is labelled [centre]."),
]
Preset = Annotated[str, typer.Option(help="paper: the SDC paper's grid; options given win.")]


def prepare(
    dataset: Kind,
    src: Src,
    dst: Dst = None,
    *,
    out: Out = None,
    spacing: Spacing = None,
    size: Size = None,
    around: Around = None,
    preset: Preset = "",
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Bring a data set as it was downloaded into one nnU-Net folder, with a table of its cases.

    Run again, it goes on: cases that are done and whose files have not changed are left as they are.
    """
    from calibeval.datasets import DATA_SETS, plan_preparation
    from calibeval.datasets.grid import Grid, parse_grid

    if (dst is None) == (out is None):
        raise UsageError("Say once where the prepared data set goes: DST, or --out.")
    if preset not in ("", "paper"):
        raise UsageError(f"Unknown preset {preset!r}. Known: paper.")
    kind = DATA_SETS[dataset]
    grid = parse_grid(spacing, size, around, kind.paper if preset else Grid())
    plan = plan_preparation(kind, src, dst or out or Path(), grid)
    if not quiet:
        _describe(plan, kind.readings if preset else ())
    for note in plan.listing.notes:
        print(f"calibeval: {note}", file=sys.stderr)
    failures, some = plan.problems, bool(plan.todo or plan.record)
    if not dry_run:
        outcome = _prepare(plan, quiet=quiet)
        failures, some = outcome.failures, bool(outcome.record)
        if some and not quiet:
            _report(plan, outcome)
    for failure in failures:  # file by file: each is to be downloaded again
        print(f"calibeval: {failure}", file=sys.stderr)
    if failures:
        raise typer.Exit(3 if some else 2)


def _describe(plan: Preparation, readings: tuple[str, ...]) -> None:
    sources, regions = plan.listing.sources, plan.kind.regions.items()
    test = sum(source.test for source in sources)
    print(f"data set  {plan.kind.title}: {count_of(len(sources) - test, 'case')} to train on, {test} to test")
    print(f"to do     {len(plan.todo)}; {count_of(plan.done, 'case')} done before")
    print(f"channels  {', '.join(plan.listing.channels)}")
    print(f"classes   {', '.join(f'{name} ({value})' for name, value in plan.listing.labels.items())}")
    if regions:
        print("regions   " + ", ".join(f"{name} ({'+'.join(parts)})" for name, parts in regions))
    print(f"grid      {plan.grid.words}")
    for reading in readings:
        print(f"reading   {reading}")


def _prepare(plan: Preparation, *, quiet: bool) -> Outcome:
    from calibeval.datasets import prepare as write_cases

    try:
        with progress("preparing", len(plan.todo), quiet=quiet) as advance:
            return write_cases(plan, advance)
    except KeyboardInterrupt:
        print(f"calibeval: interrupted; {plan.out} holds what is done. Run it again to go on.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _report(plan: Preparation, outcome: Outcome) -> None:
    """What the crop cut off, and the command that comes next."""
    before, cut, shares = outcome.cut
    if plan.grid.size and before:
        lost = ", ".join(f"{name} {cut[name]:,} of {voxels:,}" for name, voxels in before.items())
        most = max(shares, key=lambda case: shares[case], default="")
        worst = f"; most of {most} ({shares[most]:.1%})" if most else ""
        print(f"cut       voxels of the labels, in {count_of(len(shares), 'case')}{worst}: {lost}")
    print(f"wrote     {plan.out}: {count_of(len(outcome.record), 'case')}")
    print(f"next      calibeval train {shlex.quote(str(plan.out))} --cases {shlex.quote(str(plan.out / 'cases.csv'))}")
