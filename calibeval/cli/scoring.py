"""Scoring a job and writing its tables, as `score`, `check` and `train` all do it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from calibeval.cli.console import prepare_kernels, progress
from calibeval.wording import group_alike

if TYPE_CHECKING:
    from calibeval.scoring.job import MethodScore
    from calibeval.scoring.plan import ScoreJob
    from calibeval.scoring.shards import ShardStore

MOST_ERRORS = 20  # printed for one method; the table holds all


def score_and_write(
    job: ScoreJob,
    tables: Mapping[str, Path],
    *,
    workers: int | None,
    scheduler: str | None = None,
    quiet: bool,
    stores: Mapping[str, ShardStore] | None = None,
) -> list[MethodScore]:
    """Score and write method by method, and say which cases failed and why.

    Args:
        job: what to do.
        tables: where each method's table goes; a method that is not there is not written.
        workers: processes; None takes as many as cores, memory and work allow.
        scheduler: of dask.distributed, in place of processes.
        quiet: no progress, and only errors.
        stores: of finished cases; they go when all is written, so that no method is done twice.
    """
    from calibeval.scoring.job import run_job, write_method

    if scheduler is None:
        prepare_kernels(job, workers)
    total = sum(len(pairing.cases) for pairing in job.pairings.values())
    scores = []
    with progress("scoring", total, quiet=quiet) as advance:
        run = partial(run_job, job, workers=workers, scheduler=scheduler, stores=stores)
        for method in run(progress=lambda case, _score: advance(case)):
            if method.method in tables:
                write_method(tables[method.method], method, job)
            scores.append(method)
    for store in (stores or {}).values():
        store.remove()
    for method in scores:
        _print_problems(method, job.pairings[method.method].extra, quiet=quiet)
    return scores


def _print_problems(method: MethodScore, extra: list[str], *, quiet: bool) -> None:
    groups = group_alike(method.errors.items())
    for group in groups[:MOST_ERRORS]:
        join = "/" if len(group.cases) == 1 else ": "
        print(f"calibeval: {method.method}{join}{group.where}: {group.messages[0]}", file=sys.stderr)
    if more := sum(len(group.cases) for group in groups[MOST_ERRORS:]):
        print(f"calibeval: {method.method}: {more} more cases failed; see the table's notes.", file=sys.stderr)
    if extra and not quiet:
        named = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
        print(f"calibeval: {method.method}: predictions without a label ({len(extra)}): {named}", file=sys.stderr)
