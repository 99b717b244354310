"""Timing in processes of their own, so that one tool's memory is not another's.

A job is a function of this package that takes strings and gives a value to compare; `time_job` runs it in a fresh
process several times and gives the seconds of each run, the value, and the process's peak memory.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent.parent


class Timing(NamedTuple):
    """One job's runs."""

    seconds: list[float]
    value: Any
    peak_mib: float

    @property
    def median(self) -> float:
        """Median of the runs, in seconds."""
        return median(self.seconds)


def time_job(job: str, *arguments: str, repeats: int = 3, warm: bool = True) -> Timing | None:
    """Run `module:function` in a process; None when its tool is not installed.

    Args:
        job: function to call; what it gives first (set-up) may be another function, which alone is timed.
        arguments: strings.
        repeats: timed runs.
        warm: one more run first that is not counted.
    """
    command = [sys.executable, "-m", "tests.benchmarks.processes", job, str(repeats), str(int(warm)), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if result.returncode:
        print(f"{job} {' '.join(arguments)}: {result.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return Timing(**json.loads(result.stdout.splitlines()[-1]))


def time_command(command: Sequence[str], repeats: int = 3, **options: Any) -> Timing:
    """Run a command from start to exit."""
    seconds, peaks = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
        _, status, usage = os.wait4(process.pid, 0)  # of this child alone, and of its own children
        seconds.append(time.perf_counter() - start)
        peaks.append(usage.ru_maxrss / 1024)
        if status:
            raise SystemExit(f"{command}: failed")
    return Timing(seconds, None, max(peaks))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a markdown table; the first row is the header."""
    for place, row in enumerate(rows):
        print("| " + " | ".join(row) + " |")
        if place == 0:
            print("|" + "---|" * len(row))
    print(flush=True)


def _main() -> None:
    job, repeats, warm, *arguments = sys.argv[1:]
    module, name = job.split(":")
    run = getattr(importlib.import_module(module), name)(*arguments)
    if warm == "1":
        run()
    seconds = []
    value = None
    for _ in range(int(repeats)):
        start = time.perf_counter()
        value = run()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "value": value, "peak_mib": peak}))


if __name__ == "__main__":
    _main()
