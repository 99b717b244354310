"""`calibeval score --dry-run`: what belongs together, how each file would be read, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from calibeval.cli.console import make_console
from calibeval.errors import CalibevalError
from calibeval.io.cases import describe_case
from calibeval.scoring.plan import settle_job
from calibeval.wording import count_of, group_alike

if TYPE_CHECKING:
    from calibeval.scoring.plan import ScoreJob


_ITSELF = "; --dry-run shows the pairing."


def print_plan(job: ScoreJob, console: Console | None = None) -> int:
    """Print the plan; the exit code is 3 when some case would fail."""
    console = console or make_console()
    job = settle_job(job)
    names = ", ".join(job.scheme.names) or "as many as the files hold"
    console.print(f"classes: {names} (from {job.scheme.source})")
    if job.scheme.regions:
        console.print(f"regions: {', '.join(job.scheme.regions)}")
    console.print(f"signature: {job.signature}")
    for note in job.notes:
        console.print(note)
    problems = [_print_method(job, method, console) for method in job.pairings]
    return 3 if any(problems) else 0


def _print_method(job: ScoreJob, method: str, console: Console) -> int:
    """Print how a method's files would be read, and what stands against it, each cause once; gives their number."""
    pairing = job.pairings[method]
    console.print(f"\n{method}: {count_of(len(pairing.cases), 'case')}, paired by {_conventions(job, method)}")
    problems: dict[str, str] = {}
    for paths in pairing.cases:
        try:
            lines = describe_case(paths, job.scheme, job.options)
        except CalibevalError as error:
            problems[paths.case] = str(error)
            continue
        console.print(f"  {paths.case}")
        for line in lines:
            console.print(f"    {line}")
    for group in group_alike(problems.items()):
        console.print(f"  {group.where}")
        console.print(f"    PROBLEM: {group.messages[0].removesuffix(_ITSELF)}")
    for name in pairing.extra:
        console.print(f"  {name}: a prediction without a label; not scored")
    return len(problems)


def _conventions(job: ScoreJob, method: str) -> str:
    return ", ".join(sorted({paths.why for paths in job.pairings[method].cases if paths.prediction})) or "nothing"
