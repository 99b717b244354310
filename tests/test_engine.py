"""Running tasks in processes: all of them, whatever dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from calibeval.engine import run_tasks
from calibeval.machine import available_cores, available_memory

TASKS = list(range(7))


def square(task):
    return task * task


def die_on_three(task):
    if task == 3:
        os._exit(1)
    return task * task


def die_once(task):
    """The file remembers that the process died already."""
    number, mark = task
    if number == 3 and not mark.exists():
        mark.touch()
        os._exit(1)
    return number * number


def fail(task):
    raise ValueError(f"task {task}")


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_every_task_is_done_once(workers):
    found = list(run_tasks(square, TASKS, workers, lambda task: -1))
    assert sorted(found) == [(task, task * task) for task in TASKS]


def test_nothing_to_do_starts_no_process():
    assert list(run_tasks(square, [], 4, lambda task: -1)) == []


def test_a_task_that_kills_its_process_costs_itself_alone():
    found = dict(run_tasks(die_on_three, TASKS, 2, lambda task: f"{task} died"))
    assert found == {task: "3 died" if task == 3 else task * task for task in TASKS}


def test_a_process_that_died_by_bad_luck_is_given_a_second_chance(tmp_path):
    tasks = [(number, tmp_path / "mark") for number in TASKS]
    assert dict(run_tasks(die_once, tasks, 2, lambda task: -1)) == {task: task * task for task in TASKS}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_reaches_the_caller(workers):
    with pytest.raises(ValueError, match="task"):
        list(run_tasks(fail, TASKS, workers, lambda task: -1))


def test_a_caller_who_has_enough_waits_for_nobody():
    began = time.monotonic()
    tasks: Any = run_tasks(time.sleep, [0, 60, 60, 60], 2, lambda task: -1)
    assert next(tasks) == (0, None)
    tasks.close()
    assert time.monotonic() - began < 30


def test_with_the_last_result_the_pool_is_gone():
    """Else the end of Python races with it, now and then to a traceback."""
    before = set(threading.enumerate())
    assert len(list(run_tasks(abs, TASKS, 2, lambda task: -1))) == len(TASKS)
    assert set(threading.enumerate()) <= before


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no such server")
def test_ctrl_c_while_workers_start_is_left_to_the_parent():
    """A terminal sends it to all processes; a server that has just started would die with a traceback."""
    script = textwrap.dedent("""
        import os, signal
        from multiprocessing import forkserver
        from calibeval.engine import _context, run_tasks

        if __name__ == "__main__":
            _context()
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGINT)
            print(sorted(run_tasks(abs, [-1, 2, -3], 2, print)))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[(0, 1), (1, 2), (2, 3)]\n", "")


def test_cores_and_memory_are_known_here():
    assert available_cores() >= 1
    assert available_memory() > 0


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"  # a zombie is dead
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    (tmp_path / "napping.py").write_text(
        textwrap.dedent("""
        import os, pathlib, sys, time

        def nap(folder):
            pathlib.Path(folder, str(os.getpid())).touch()
            time.sleep(60)

        if __name__ == "__main__":
            from calibeval.engine import run_tasks
            import napping
            list(run_tasks(napping.nap, [sys.argv[1]] * 2, 2, print))
        """)
    )
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, str(tmp_path / "napping.py"), str(marks)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:  # leaks are all too true of a killed process
        wait_until(lambda: len(list(marks.iterdir())) == 2)
        parent.send_signal(signal.SIGKILL)
    pids = [int(path.name) for path in marks.iterdir()]
    wait_until(lambda: not any(alive(pid) for pid in pids))


def wait_until(condition, seconds=30):
    """Wait for another process; the time is a bound against hanging, not a measurement."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
