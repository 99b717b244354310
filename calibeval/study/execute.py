"""Doing the runs of a study that are not done yet, in processes of one machine or of a scheduler's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from calibeval.engine import run_tasks
from calibeval.errors import UsageError, describe
from calibeval.files import write_text
from calibeval.phantom import write_sample_data
from calibeval.study.plan import SAMPLE, Run, Study


class Task(NamedTuple):
    """A run, and how many threads it may take."""

    run: Run
    threads: int


class Outcome(NamedTuple):
    """How a run ended; `error` is empty where it is done."""

    run: Run
    error: str
    seconds: float


def run_study(
    study: Study, workers: int, watch: Callable[[Outcome], None], scheduler: str | None = None
) -> list[Outcome]:
    """Do what is not done, go on with what was begun, try again what failed.

    Args:
        study: the runs.
        workers: processes.
        watch: called with each outcome as it comes.
        scheduler: of dask.distributed, in place of processes here.

    Raises:
        UsageError: an unknown loss or setting, or a data set's folder that is not there.
    """
    tasks = [Task(run, study.threads) for run in study.runs if run.state != "done"]
    _check_losses([task.run for task in tasks])
    _provide_data(study, [task.run for task in tasks])
    outcomes = []
    for _, outcome in run_tasks(perform, tasks, workers, _died, scheduler=scheduler):
        watch(outcome)
        outcomes.append(outcome)
    return outcomes


def _check_losses(runs: Sequence[Run]) -> None:
    """Build each loss before any work, since a slip in the file would cost all its runs."""
    from calibeval.train.losses import build_loss

    for run in {run.method: run for run in runs}.values():
        build_loss(run.config.loss, run.config.settings)


def _provide_data(study: Study, runs: Sequence[Run]) -> None:
    """Make sample data where they are wanted, and refuse a study before its work whose data are not there."""
    for name, folder in {run.data: Path(run.config.data) for run in runs}.items():
        if folder == study.out / SAMPLE and not (folder / "dataset.json").is_file():
            write_sample_data(folder)
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no such folder, for the data set {name}. Say where it lies with --data {name}=FOLDER; "
                f"`calibeval prepare` makes such a folder from a download."
            )


def perform(task: Task) -> Outcome:
    """Train, predict and score one run; what stops it is written to `failed.txt` and costs no other run."""
    started, failed = time.perf_counter(), task.run.folder / "failed.txt"
    failed.unlink(missing_ok=True)
    error = ""
    try:
        _train_and_score(task)
    except Exception as problem:
        error = describe(problem)
        write_text(failed, f"{error}\n")
    return Outcome(task.run, error, time.perf_counter() - started)


def _died(task: Task) -> Outcome:
    return Outcome(task.run, "its process died twice, most likely for lack of memory. Try --workers 1.", 0.0)


def _train_and_score(task: Task) -> None:
    from calibeval.train.run import run_whole
    from calibeval.train.team import limit_threads

    limit_threads(task.threads)
    run_whole(task.run.config)
