"""Many tiny cases on more than one process: `python -m tests.benchmarks.many FOLDER [CASES] [shards] [dask]`.

One process scores all; then 8 shards and `merge`; then two dask workers, one of which is killed half-way. Bytes are
compared, seconds and memory told. The machine's load counts: compare the rows of one run.
"""

from __future__ import annotations

import filecmp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.probabilities import write_nifti
from tests.benchmarks.processes import ROOT, print_table
from tests.benchmarks.scale import _blobs
from tests.test_engine_dask import open_cluster

Row = list[str]


def _score(home: Path, out: str, *options: str) -> list[str]:
    command = [sys.executable, "-m", "calibeval", "score", "preds", "labels", "-o", f"{out}/t.csv", "--quiet"]
    return [*command, *options]


def make(home: Path, number: int) -> None:
    """Links to 100 different cases of 8 x 24 x 24 voxels."""
    originals = [write_nifti(_blobs((8, 24, 24), 3, seed), "network", home / "originals") for seed in range(100)]
    for kind, place in (("preds", 0), ("labels", 1)):
        (home / kind).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            link = home / kind / f"case{i:06d}.nii.gz"
            if not link.is_symlink():
                link.symlink_to(originals[i % 100][place].resolve())


def _rss(pid: int) -> float:
    """MiB resident in a process and those below it."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            if int(status.parent.name) == pid or os.getsid(int(status.parent.name)) == pid:
                total += int(text.partition("VmRSS:")[2].split()[0]) / 1024
        except (OSError, ValueError, IndexError):
            continue
    return total


def _run(
    home: Path, command: list[str], pids: Callable[[], list[int]], half: Callable[[float], None] = lambda _s: None
) -> tuple[float, list[list[float]]]:
    """Seconds of a command, and the memory of processes over its time."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    curve = []
    while process.poll() is None:
        seconds = time.perf_counter() - begin
        half(seconds)
        curve.append([_rss(pid) for pid in (process.pid, *pids())])
        time.sleep(1)
    assert process.returncode == 0
    return time.perf_counter() - begin, curve


def _same(home: Path, out: str) -> str:
    names = ("t.csv", "t.bins.npz")
    equal = filecmp.cmpfiles(home / "single", home / out, names, shallow=False)[0]
    return "same bytes" if len(equal) == len(names) else "DIFFERENT"


def _memory(curve: list[list[float]], place: int) -> str:
    held = [row[place] for row in curve if len(row) > place]
    return ", ".join(f"{held[int(share * (len(held) - 1))]:.0f}" for share in (0.1, 0.5, 0.9, 1)) if held else ""


def shards(home: Path) -> Row:
    """Eight shards, one after the other, then merge."""
    seconds = 0.0
    for i in range(1, 9):
        command = [part.replace("t.csv", f"{i}.csv") for part in _score(home, "parts", "--workers", "1")]
        seconds += _run(home, [*command, "--shard", f"{i}/8"], lambda: [])[0]
    parts = sorted(str(path) for path in (home / "parts").glob("*.csv"))
    merge = [sys.executable, "-m", "calibeval", "merge", *parts, "-o", "merged/t.csv", "--quiet"]
    merging = _run(home, merge, lambda: [])[0]
    return [f"8 shards + merge ({merging:.1f} s)", f"{seconds + merging:.1f}", _same(home, "merged")]


def dask(home: Path, number: int, single: float) -> list[Row]:
    """Two workers; the first is killed when a single process would be half-way."""
    with open_cluster() as cluster:
        workers = [cluster.add_worker("--no-nanny") for _ in range(2)]
        time.sleep(8)
        killed: list[float] = []

        def kill(seconds: float) -> None:
            done = len(list((home / "many" / ".t.partial").glob("*.npz"))) if seconds > 5 else 0
            if not killed and done >= number / 2:
                os.killpg(workers[0].pid, signal.SIGKILL)
                killed.append(seconds)

        options = ("--workers", "1", "--scheduler", cluster.address)
        pids = [cluster.scheduler.pid, workers[1].pid]
        seconds, curve = _run(home, _score(home, "many", *options), lambda: pids, kill)
        at = f"killed after {killed[0]:.0f} s" if killed else "none killed"
    rows = [[f"dask, two workers, one {at}", f"{seconds:.1f} ({seconds / single:.2f} times)", _same(home, "many")]]
    for place, name in enumerate(("command", "scheduler", "surviving worker")):
        rows.append([f"MiB of the {name} after 10, 50, 90, 100% of the time", _memory(curve, place), ""])
    return rows


def main(folder: str, number: str = "20000", *parts: str) -> None:
    """Run all parts, or those named."""
    home = Path(folder) / f"many{number}"
    make(home, int(number))
    seconds, curve = _run(home, _score(home, "single", "--workers", "1"), lambda: [])
    rows = [
        [f"{number} cases", "seconds", ""],
        ["one process", f"{seconds:.1f}", f"{int(number) / seconds:.0f} a second"],
    ]
    print_table(rows)
    rows.append(["MiB of it after 10, 50, 90, 100% of the time", _memory(curve, 0), ""])
    if not parts or "dask" in parts:
        rows += dask(home, int(number), seconds)
        print_table(rows)
    if not parts or "shards" in parts:
        rows.append(shards(home))
    print_table(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
