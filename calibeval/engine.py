"""Running tasks elsewhere: in processes of this machine, or on the workers of a dask.distributed scheduler.

A worker may die at any time: killed, out of memory, its machine gone. What it was at is run again, alone, and a task
that kills its worker again is reported, while the rest goes on. No more is in flight than keeps the workers busy, so
memory stays flat however many tasks there are.
"""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from calibeval._version import __version__
from calibeval.errors import MissingExtraError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT = 10  # seconds to wait for a scheduler, and for its first worker
_PATIENCE = 60  # seconds that it may be without workers later
_KEPT = "What is done is kept: the same command with --resume goes on."
_TURN = threading.Lock()  # folder, compiled kernels and memory are those of a process


class _Crew(NamedTuple):
    """Workers.

    Attributes:
        submit: takes a function and its task.
        room: how many tasks keep them busy.
        died: what a task raises whose worker died.
        check: raises when nothing will come any more; asked while nothing comes.
    """

    submit: Callable[..., Future[Any]]
    room: Callable[[], int]
    died: type[Exception]
    check: Callable[[], None] = lambda: None


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    died: Callable[[Task], Result],
    *,
    scheduler: str | None = None,
) -> Iterator[tuple[int, Result]]:
    """Run tasks and yield (index, result) as they finish.

    Args:
        function: importable by name; runs in a worker, or here with one worker and no scheduler. What it raises is
            raised here and ends the run.
        tasks: picklable.
        workers: processes of this machine; without meaning where there is a scheduler.
        died: gives the result of a task whose worker died twice.
        scheduler: address as in `tcp://HOST:PORT`. Its workers must have this version of calibeval, and see the same
            files under the same names; they run in this process's folder, one task a process at a time.

    Raises:
        UsageError: a scheduler that cannot be reached, has no workers, or none that can run the tasks.
        MissingExtraError: a scheduler without dask.distributed.
    """
    if scheduler is None and workers <= 1:
        for index, task in enumerate(tasks):
            yield index, function(task)
        return
    waiting = list(range(len(tasks)))[::-1]
    while waiting:
        suspects = yield from _run(_crew(scheduler, min(workers, len(waiting))), function, tasks, waiting)
        for index in suspects:
            if (yield from _run(_crew(scheduler, 1), function, tasks, [index])):
                yield index, died(tasks[index])


def _crew(scheduler: str | None, workers: int) -> AbstractContextManager[_Crew]:
    return _processes(workers) if scheduler is None else _cluster(scheduler)


def _run(
    opened: AbstractContextManager[_Crew], function: Callable[[Task], Result], tasks: Sequence[Task], waiting: list[int]
) -> Generator[tuple[int, Result], None, list[int]]:
    """Run waiting tasks until none is left, or no worker takes more; give those that were at hand when one died."""
    flying: dict[Future[Result], int] = {}
    suspects = []
    with opened as crew:
        while waiting or flying:
            with suppress(BrokenProcessPool):
                while waiting and len(flying) < crew.room():
                    flying[crew.submit(function, tasks[waiting[-1]])] = waiting[-1]
                    waiting.pop()  # only now: a pool that just broke refuses, and the task must not be lost
            if not flying:
                break
            done, _ = wait(flying, _CONNECT, return_when=FIRST_COMPLETED)
            if not done:
                crew.check()
            for future in done:
                index = flying.pop(future)
                try:
                    result = future.result()
                except crew.died:
                    suspects.append(index)
                else:
                    yield index, result
    return sorted(suspects)


@contextmanager
def _processes(workers: int) -> Iterator[_Crew]:
    """A pool of processes. One that dies takes all that is in flight with it, so no more is than there are workers."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, _context(), initializer=_start_worker)
    try:
        yield _Crew(pool.submit, lambda: workers, BrokenProcessPool)
    except BaseException:  # Ctrl-C, or the caller has enough: whatever is in flight is of no use
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    # With nothing in flight waiting takes some 30 ms; else the end of Python races with a pool that still closes.
    pool.shutdown(wait=True)


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


@contextmanager
def _cluster(address: str) -> Iterator[_Crew]:
    """The workers of a scheduler: a task waits beside each that runs, so that none idles between two."""
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise MissingExtraError("distributed", "distributed") from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it would say is said below
    _knock(address)
    with Client(address, set_as_default=False) as client:
        executor, watch = client.get_executor(pure=False), _Watch(client, address)
        try:
            watch.wait_for_one()
            yield _Crew(
                partial(executor.submit, _at_home, Path.cwd(), __version__), watch.room, KilledWorker, watch.check
            )
        except CancelledError as error:
            raise UsageError(f"--scheduler {address}: went away. {_KEPT}") from error
        finally:
            executor.shutdown(wait=False)


def _knock(address: str) -> None:
    """Ask who is there: a client that gets no answer waits for long, and complains when it goes."""
    from distributed import rpc

    async def ask() -> None:
        async with rpc(address) as scheduler:
            await asyncio.wait_for(scheduler.identity(), _CONNECT)

    try:
        asyncio.run(ask())
    except (OSError, ValueError) as error:
        advice = "`dask scheduler` starts one and prints its address, as in tcp://HOST:8786."
        raise UsageError(f"--scheduler {address}: no scheduler answers there. {advice}") from error


class _Watch:
    """How many threads a scheduler's workers have, and since when there are none."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._asked, self._alive = -math.inf, time.monotonic()
        self._threads = 0

    def wait_for_one(self) -> None:
        """Wait for the first worker."""
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT)
        except TimeoutError as error:
            advice = f"`dask worker {self._address} --nthreads 1` starts one."
            raise UsageError(f"--scheduler {self._address}: has no workers. {advice}") from error

    def room(self) -> int:
        """Twice the threads; workers come and go, so this is asked anew each second."""
        if time.monotonic() - self._asked > 1:
            self._asked = time.monotonic()
            with suppress(OSError):
                self._threads = sum(self._client.nthreads().values())
                self._alive = self._asked if self._threads else self._alive
        return 2 * max(1, self._threads)

    def check(self) -> None:
        """Give up where no worker came back."""
        self.room()
        if self._client.status != "running" or time.monotonic() - self._alive > _PATIENCE:
            raise UsageError(f"--scheduler {self._address}: lost all its workers. {_KEPT}")


def _at_home(folder: Path, version: str, function: Callable[[Task], Result], task: Task) -> Result:
    """Run a task in a dask worker as it would run in the process that wants it."""
    if version != __version__:
        raise UsageError(f"{platform.node()}: a worker has calibeval {__version__}, expected {version}.")
    with _TURN:
        try:
            os.chdir(folder)
        except OSError as error:
            advice = "Workers must see the same files under the same names."
            raise UsageError(f"{folder}: cannot be reached by a worker on {platform.node()}. {advice}") from error
        return function(task)
