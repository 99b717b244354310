"""Tasks on the workers of a dask scheduler, each in a process of its own, as on a cluster."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from calibeval import engine
from calibeval.engine import run_tasks
from calibeval.errors import UsageError
from tests import ROOT
from tests.test_engine import TASKS, die_on_three, die_once, fail, square

pytest.importorskip("distributed")
slow = pytest.mark.slow


def nap(task):
    time.sleep(0.05)
    return os.getpid()


def read_here(name):
    return Path(name).read_text(encoding="utf-8")


class Cluster:
    """A scheduler and its workers, of processes."""

    def __init__(self, stack):
        self._stack = stack
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        wait_for(lambda: connects(port))

    def add_worker(self, *options):
        return self._start("worker", self.address, "--nthreads", "1", "--no-dashboard", *options)

    def _start(self, what, *options):
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "1s",
        }
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *options]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            command, env=environment, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True
        )
        self._stack.callback(process.wait)
        self._stack.callback(kill_group, process)
        return process


def connects(port):
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


def kill_group(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


@contextmanager
def open_cluster():
    with ExitStack() as stack:
        yield Cluster(stack)


@pytest.fixture(scope="module")
def cluster():
    with open_cluster() as cluster:
        for _ in range(2):
            cluster.add_worker()
        yield cluster


def run(cluster, function, tasks, died=lambda task: -1):
    return run_tasks(function, tasks, 1, died, scheduler=cluster.address)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(engine, "_CONNECT", 0.2)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(UsageError, match=f"--scheduler {address}: no scheduler answers"):
            next(run_tasks(abs, [1], 1, abs, scheduler=address))


@slow
def test_every_task_is_done_once(cluster):
    assert sorted(run(cluster, square, TASKS)) == [(task, task * task) for task in TASKS]


@slow
def test_a_task_that_kills_its_worker_costs_itself_alone(cluster):
    found = dict(run(cluster, die_on_three, TASKS, lambda task: f"{task} died"))
    assert found == {task: "3 died" if task == 3 else task * task for task in TASKS}


@slow
def test_a_worker_that_died_by_bad_luck_is_replaced(cluster, tmp_path):
    tasks = [(number, tmp_path / "mark") for number in TASKS]
    assert dict(run(cluster, die_once, tasks)) == {task: task * task for task in TASKS}


@slow
def test_an_exception_reaches_the_caller(cluster):
    with pytest.raises(ValueError, match="task"):
        list(run(cluster, fail, TASKS))


@slow
def test_tasks_run_in_the_folder_of_their_caller(cluster, tmp_path, monkeypatch):
    (tmp_path / "here.txt").write_text("found")
    monkeypatch.chdir(tmp_path)
    assert list(run(cluster, read_here, ["here.txt"])) == [(0, "found")]


@slow
def test_a_worker_of_another_version_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(engine, "__version__", "0.0")
    with pytest.raises(UsageError, match=r"has calibeval .*, expected 0\.0"):
        list(run(cluster, square, TASKS))


@slow
def test_tasks_are_taken_as_they_are_needed(cluster):
    """Else a scheduler would hold all of 100,000 cases at once."""
    taken = []

    class Tasks(list[int]):
        def __getitem__(self, index):
            taken.append(index)
            return super().__getitem__(index)

    running = run(cluster, square, Tasks(range(100)))
    for done, _ in enumerate(running, 1):
        assert len(taken) <= done + 2 * 2 + 1


@slow
def test_score_writes_the_bytes_of_a_single_process(cluster, tmp_path, monkeypatch):
    """The command's paths are relative, and the workers started in another folder."""
    monkeypatch.chdir(ROOT)
    score = [
        sys.executable,
        "-m",
        "calibeval",
        "score",
        "sample_data/preds/calibrated",
        "sample_data/labelsTr",
        "--quiet",
    ]
    for name, options in (("one", ["--workers", "1"]), ("many", ["--scheduler", cluster.address])):
        subprocess.run([*score, "-o", tmp_path / name / "t.csv", *options], check=True)
    one, many = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "many"))
    assert one == many
    assert len(one) == 2


@slow
def test_a_worker_killed_on_the_way_costs_nothing():
    with open_cluster() as cluster:
        first = cluster.add_worker("--no-nanny")
        cluster.add_worker("--no-nanny")
        done = 0
        for _ in run(cluster, nap, range(60)):
            done += 1
            if done == 20:
                kill_group(first)
        assert done == 60


@slow
def test_who_has_no_workers_or_loses_its_scheduler_is_told(monkeypatch):
    monkeypatch.setattr(engine, "_CONNECT", 1)
    with open_cluster() as cluster:
        with pytest.raises(UsageError, match="has no workers"):
            list(run(cluster, nap, TASKS))
        cluster.add_worker()
        monkeypatch.setattr(engine, "_CONNECT", 30)
        running = run(cluster, nap, range(1000))
        next(running)
        kill_group(cluster.scheduler)
        with pytest.raises(UsageError, match="--resume goes on"):
            list(running)
