"""What the commands share on the terminal: versions, progress, tables."""

from __future__ import annotations

import io
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from calibeval._version import __version__
from calibeval.escape import log, terminal
from calibeval.machine import LIBRARIES, library_versions
from calibeval.wording import count_of, group_alike, some_of

if TYPE_CHECKING:
    from rich.console import Console

    from calibeval.errors import InputError
    from calibeval.scoring.plan import ScoreJob

_PIPE_WIDTH = 500
INTERRUPTED = 130  # as shells say of a command that Ctrl-C ended


def version_text() -> str:
    """The version of calibeval and of the libraries that affect numbers, one a line."""
    lines = [f"calibeval {__version__}", f"python {platform.python_version()}"]
    lines += [f"{name} {found}" for name, found in library_versions(LIBRARIES).items()]
    return "\n".join(lines)


class _Outlet(io.FileIO):
    """Standard output whose reader may leave (`| head`): what follows goes nowhere, and the exit code stays ours."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if isinstance(error, BrokenPipeError):
                return len(data)
            error.filename = "standard output"  # no space, say; the interpreter's last flush must not fail again
            raise


class _Screen(io.TextIOWrapper):
    """A text stream on which names of files move no cursor; on stderr, where CI servers look too, give no commands."""

    def write(self, text: str) -> int:
        super().write(terminal(text))
        return len(text)


class _LogScreen(_Screen):
    def write(self, text: str) -> int:
        return super().write(log(text))


def prepare_streams() -> None:
    """Let a reader of a pipe leave early, a terminal that knows no arrows get question marks, and names do nothing.

    Progress bars, which move the cursor, write to `sys.__stderr__`.
    """
    stdout = sys.__stdout__
    if stdout is not None and sys.stdout is stdout:
        outlet = io.BufferedWriter(_Outlet(stdout.fileno(), "w", closefd=False))
        sys.stdout = _Screen(outlet, stdout.encoding, errors="replace", line_buffering=stdout.isatty())
    stderr = sys.__stderr__
    if stderr is not None and sys.stderr is stderr:
        raw = io.BufferedWriter(io.FileIO(stderr.fileno(), "w", closefd=False))
        sys.stderr = _LogScreen(raw, stderr.encoding, errors="replace", line_buffering=True)


def make_console() -> Console:
    """A console that prints names as they are; into a pipe it cuts nothing."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def bar_console() -> Console:
    """Where progress bars are drawn."""
    from rich.console import Console

    return Console(file=sys.__stderr__)


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr when that is a terminal; gives a function that counts one and shows its name."""
    if quiet or not (sys.stderr and sys.stderr.isatty()):
        yield lambda _name: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar_console(), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda name: bar.update(task, advance=1, description=f"{what} {terminal(name)}")


def prepare_kernels(job: ScoreJob, workers: int | None) -> None:
    """Load numba fast; on a first run, let another process compile the surface kernels, where a core is free."""
    from calibeval.machine import available_cores
    from calibeval.metrics import METRICS
    from calibeval.metrics._kernels.startup import compile_ahead, load_numba_without_blas

    load_numba_without_blas()
    need_surfaces = any(METRICS[name].needs == "surfaces" for name in job.metrics)
    if need_surfaces and workers in (None, 1) and available_cores() > 1:
        compile_ahead("surfaces", "distances")


def print_failures(failures: Iterable[InputError]) -> None:
    """Say on stderr which files could not be used; a cause common to many is said once, with their number."""
    for group in group_alike((failure.path.name, str(failure)) for failure in failures):
        more = f" ({count_of(len(group.cases), 'case')} alike: {some_of(group.cases)})" if len(group.cases) > 1 else ""
        print(f"calibeval: {group.messages[0]}{more}", file=sys.stderr)
