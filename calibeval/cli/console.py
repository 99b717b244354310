"""What the commands share on the terminal: versions, progress, tables."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from calibeval._version import __version__

if TYPE_CHECKING:
    from calibeval.scoring.job import ScoreJob

# Libraries whose version can change a number or a file.
_LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "SimpleITK", "pandas", "torch")


def version_text() -> str:
    """The version of calibeval and of the libraries that affect numbers, one a line."""
    lines = [f"calibeval {__version__}", f"python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join(lines)


def drop_output() -> None:
    """Print what follows to nobody: the reader of a pipe left (`| head`), and the exit code shall still be ours."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr when that is a terminal; gives a function that counts one and shows its name."""
    if quiet or not (sys.stderr and sys.stderr.isatty()):
        yield lambda _name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda name: bar.update(task, advance=1, description=f"{what} {name}")


def prepare_kernels(job: ScoreJob, workers: int | None) -> None:
    """Load numba fast; on a first run, let another process compile the surface kernels, where a core is free."""
    from calibeval._numba_setup import compile_ahead, load_numba_without_blas
    from calibeval.metrics import METRICS
    from calibeval.scoring.workers import available_cores

    load_numba_without_blas()
    need_surfaces = any(METRICS[name].needs == "surfaces" for name in job.metrics)
    if need_surfaces and workers in (None, 1) and available_cores() > 1:
        compile_ahead("calibeval._distance_kernels")
