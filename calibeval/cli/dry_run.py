"""`calibeval score --dry-run`: what belongs together, how each file would be read, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from calibeval.cli.console import make_console
from calibeval.errors import CalibevalError
from calibeval.io.cases import describe_case

if TYPE_CHECKING:
    from calibeval.scoring.plan import ScoreJob


def print_plan(job: ScoreJob, console: Console | None = None) -> int:
    """Print the plan; the exit code is 3 when some case would fail."""
    console = console or make_console()
    names = ", ".join(job.scheme.names) or "as many as the files hold"
    console.print(f"classes: {names} (from {job.scheme.source})")
    if job.scheme.regions:
        console.print(f"regions: {', '.join(job.scheme.regions)}")
    console.print(f"signature: {job.signature}")
    for note in job.notes:
        console.print(note)
    problems = 0
    for method, pairing in job.pairings.items():
        console.print(f"\n{method}: {len(pairing.cases)} cases, paired by {_conventions(job, method)}")
        for paths in pairing.cases:
            try:
                lines = describe_case(paths, job.scheme, job.options)
            except CalibevalError as error:
                lines = (f"PROBLEM: {error}",)
                problems += 1
            console.print(f"  {paths.case}")
            for line in lines:
                console.print(f"    {line}")
        for name in pairing.extra:
            console.print(f"  {name}: a prediction without a label; not scored")
    return 3 if problems else 0


def _conventions(job: ScoreJob, method: str) -> str:
    return ", ".join(sorted({paths.why for paths in job.pairings[method].cases if paths.prediction})) or "nothing"
