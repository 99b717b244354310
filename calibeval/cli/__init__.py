"""The command line: parse, call, print, exit code. No arithmetic lives here; one file per command.

Exit codes: 0 done and passed; 1 a gate failed; 2 usage or unreadable input, nothing done; 3 finished, but some cases
failed (they are rows with status and reason). Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from calibeval.cli.calibrate import calibrate_app
from calibeval.cli.check import check
from calibeval.cli.console import prepare_streams
from calibeval.cli.explain import explain
from calibeval.cli.merge import merge
from calibeval.cli.nnunet import nnunet
from calibeval.cli.options import PartedCommand, PartedGroup
from calibeval.cli.plot import plot
from calibeval.cli.predict import predict
from calibeval.cli.prepare import prepare
from calibeval.cli.rank import rank
from calibeval.cli.report import report
from calibeval.cli.score import score
from calibeval.cli.study import study
from calibeval.cli.train import train
from calibeval.errors import describe

app = typer.Typer(
    name="calibeval",
    cls=PartedGroup,
    help="Tells whether a medical segmentation model can be believed: masks, probabilities, methods, gates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from calibeval.cli.console import version_text

        print(version_text())
        raise typer.Exit


@app.callback()
def _main(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print versions that affect numbers."),
    ] = False,
) -> None:
    """Options of calibeval itself."""
    from calibeval.files import release_claims

    ctx.call_on_close(release_claims)


_PARTS: dict[str, tuple[Callable[..., None], ...]] = {
    "Score and compare": (score, rank, plot, report, check),
    "Train and study": (prepare, train, study, predict, nnunet),
    "Tools": (
        merge,
        explain,
    ),
}
for part, commands in _PARTS.items():
    for command in commands:
        app.command(cls=PartedCommand, rich_help_panel=part)(command)
app.add_typer(calibrate_app, name="calibrate", rich_help_panel="Tools")


def run() -> None:
    """Run the command line; whatever is raised is one message and exit code 2."""
    prepare_streams()
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except Exception as error:
        print(f"calibeval: {describe(error)}", file=sys.stderr)
        raise SystemExit(2) from error
