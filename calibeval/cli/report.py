"""`calibeval report`: one HTML file from results tables."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from calibeval.cli.options import Quiet

Results = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS...", help="Tables of calibeval score; a side file (.bins.npz) is found beside each."
    ),
]
Preds = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Predictions, of one method or a sub-folder a method: with --labels, slices."),
]
Labels = Annotated[Path | None, typer.Option(metavar="DIR", help="Reference labels, for slices.")]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Images, drawn beneath the contours.")]
Run = Annotated[Path | None, typer.Option(metavar="RUNDIR", help="A run of calibeval train, for its curves.")]
Worst = Annotated[int, typer.Option(min=0, metavar="N", help="Cases of each method whose slices are shown.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="HTML", help="File to write.")]
Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]


def report(
    results: Results,
    *,
    preds: Preds = None,
    labels: Labels = None,
    images: Images = None,
    run: Run = None,
    worst: Worst = 2,
    out: Out = Path("report.html"),
    open_: Open = False,
    quiet: Quiet = False,
) -> None:
    """Show results as one page: a verdict in words, numbers, reliability, every case, slices, the ranking.

    The page is a single file that needs no network. What it lacks, as slices without --preds and --labels, it names.
    """
    from calibeval.files import check_writable
    from calibeval.report import build

    check_writable([out])
    command = shlex.join(["calibeval", *sys.argv[1:]])
    build(results, out, preds=preds, labels=labels, images=images, run=run, worst=worst, command=command)
    if not quiet:
        print(f"wrote {out}")
    if open_:
        typer.launch(str(out))
