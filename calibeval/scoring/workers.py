"""Running cases in processes, such that a dying process costs its case only.

A pool whose process dies (killed, out of memory) takes everything that is in flight with it. So no more is in
flight than there are workers, and what was is run again, each case alone; a case that kills its process twice is
reported, and the rest goes on.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    died: Callable[[Task], Result],
) -> Iterator[tuple[int, Result]]:
    """Run tasks and yield (index, result) as they finish.

    Args:
        function: importable by name; runs in a worker, or here with one worker.
        tasks: picklable.
        workers: processes.
        died: gives the result of a task whose process died twice.
    """
    if workers <= 1:
        for index, task in enumerate(tasks):
            yield index, function(task)
        return
    waiting = list(range(len(tasks)))[::-1]
    while waiting:
        suspects = yield from _run_pool(function, tasks, waiting, workers)
        for index in suspects:
            alone = [index]
            if (yield from _run_pool(function, tasks, alone, 1)):
                yield index, died(tasks[index])


def _run_pool(
    function: Callable[[Task], Result], tasks: Sequence[Task], waiting: list[int], workers: int
) -> Generator[tuple[int, Result], None, list[int]]:
    """Run waiting tasks until none is left or a process dies; then return those that were in flight."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(waiting)), _context(), initializer=_start_worker)
    flying: dict[Future[Result], int] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < workers:
                flying[pool.submit(function, tasks[waiting[-1]])] = waiting[-1]
                waiting.pop()  # only now: a pool that just broke refuses, and the task must not be lost
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                yield flying.pop(future), result
    except BrokenProcessPool:
        return sorted(flying.values())
    except BaseException:  # Ctrl-C, or the caller has enough: whatever is in flight is of no use
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        # With nothing in flight waiting takes some 30 ms; else the end of Python races with a pool that still closes.
        pool.shutdown(wait=not flying, cancel_futures=True)
    return []


def _context() -> multiprocessing.context.BaseContext:
    """Fork from a small server where there is one: forking a process with threads can lock up."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # before the signal is blocked, since it ends by unblocking it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()  # inherits that Ctrl-C is left to us
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return multiprocessing.get_context("forkserver")


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, which stops its workers, and do not outlive it when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
