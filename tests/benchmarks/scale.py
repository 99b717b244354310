"""How cost grows, and the extremes: `python -m tests.benchmarks.scale FOLDER [PART ...]`.

`cases`: 10,000 small cases, throughput and memory over the run. `classes`: 117 classes at 300^3 from .nii.gz, as zeros
and ones; `network`, not run unless named: as a network's output, which takes 12 GB and ten minutes to make. `growth`:
seconds against voxels, classes and cases, with the slope on a log-log scale. `start`: --help, the first score on a
fresh numba cache, and a warm one.
"""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.cases import Case, many_classes
from tests.benchmarks.probabilities import write_nifti
from tests.benchmarks.processes import ROOT, print_table, time_command


def _blobs(shape: tuple[int, int, int], classes: int, seed: int) -> Case:
    """A case of balls."""
    random = np.random.default_rng(seed)
    grid = np.indices(shape, np.float32)
    labels = []
    for shift in (0.0, 1.0):
        labels.append(np.zeros(shape, np.uint8))
        for c in range(1, classes):
            centre = np.random.default_rng([seed, c]).uniform(0.2, 0.8, 3) * shape + shift
            radius = 0.12 * min(shape[1:]) + random.uniform(0, 1)
            inside = sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) < radius**2
            labels[-1][inside] = c
    return Case(f"blobs{seed:05d}", labels[0], labels[1], (2.0, 1.0, 1.0), classes)


def _score(predictions: Path, labels: Path, out: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "calibeval", "score", str(predictions), str(labels), "--out", str(out), "--quiet"]
    return [*command, *options]


def cases(folder: Path, number: int = 10_000) -> None:
    """Score many small cases (links to 100 different ones) and watch the memory."""
    home = folder / f"cases{number}"
    originals = [write_nifti(_blobs((16, 64, 64), 3, seed), "network", folder / "originals") for seed in range(100)]
    for kind, place in (("preds", 0), ("labels", 1)):
        (home / kind).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            link = home / kind / f"case{i:05d}.nii.gz"
            if not link.exists():
                link.symlink_to(originals[i % 100][place].resolve())
    start = time.perf_counter()
    process = subprocess.Popen(_score(home / "preds", home / "labels", home / "out", "--workers", "1"), cwd=ROOT)
    memory: list[float] = []
    watch = threading.Thread(target=_watch, args=(process, memory), daemon=True)
    watch.start()
    process.wait()
    seconds = time.perf_counter() - start
    tenths = np.array_split(np.array(memory), 10)
    rows = [["cases", "seconds", "cases a second, one core", "MiB resident after 10%", "50%", "100% of the time"]]
    rows.append([str(number), f"{seconds:.1f}", f"{number / seconds:.0f}"])
    rows[-1] += [f"{tenths[place][-1]:.0f}" for place in (0, 4, 9)]
    print_table(rows)


def _watch(process: subprocess.Popen[bytes], memory: list[float]) -> None:
    statistics = Path(f"/proc/{process.pid}/statm")
    while process.poll() is None:
        try:
            pages = int(statistics.read_text().split()[1])
        except (OSError, IndexError):
            return
        if pages:  # none once it has ended
            memory.append(pages * resource.getpagesize() / 2**20)
        time.sleep(0.1)


def classes(folder: Path, kind: str = "hard") -> None:
    """Score 117 classes at 300^3."""
    home = folder / f"many-{kind}"
    prediction, label = write_nifti(many_classes(), kind, home)
    timing = time_command(_score(prediction, label, home / "out"), repeats=1, cwd=ROOT)
    size = prediction.stat().st_size / 1e6
    rows = [["case", "file", "seconds", "peak MiB"]]
    rows.append(
        [f"117 classes, 300 x 300 x 300, {kind}", f"{size:.0f} MB", f"{timing.median:.1f}", f"{timing.peak_mib:.0f}"]
    )
    print_table(rows)


def growth(folder: Path) -> None:
    """Seconds against voxels, classes and cases."""
    sizes = {
        "voxels": [((edge, edge, edge), 4, 1) for edge in (96, 128, 192, 256)],
        "classes": [((128, 128, 128), n, 1) for n in (3, 6, 12, 24)],
        "cases": [((16, 64, 64), 3, n) for n in (250, 500, 1000, 2000)],
    }
    rows = [["against", "sizes", "seconds", "slope"]]
    for what, settings in sizes.items():
        amounts, seconds = [], []
        for shape, n, number in settings:
            home = folder / f"growth-{shape[0]}-{n}-{number}"
            prediction, label = write_nifti(_blobs(shape, n, 1), "network", home / "one")
            for kind, original in (("preds", prediction), ("labels", label)):
                (home / kind).mkdir(exist_ok=True)
                for i in range(number):
                    link = home / kind / f"case{i:05d}.nii.gz"
                    if not link.exists():
                        link.symlink_to(original.resolve())
            amounts.append({"voxels": math.prod(shape), "classes": n, "cases": number}[what])
            seconds.append(_in_process(home))
        slope = np.polyfit(np.log(amounts), np.log(seconds), 1)[0]
        shown = ", ".join(f"{amount:.3g}" for amount in amounts), ", ".join(f"{s:.2f}" for s in seconds)
        rows.append([what, *shown, f"{slope:.2f}"])
    print_table(rows)


def _in_process(home: Path) -> float:
    """Best of three, so that start-up is not what is fitted."""
    from calibeval.score import score_folder

    times = []
    for _ in range(4):
        start = time.perf_counter()
        score_folder(home / "preds", home / "labels")
        times.append(time.perf_counter() - start)
    return min(times[1:])


def start(_folder: Path) -> None:
    """Start-up, with compiled kernels and without."""
    sample = ROOT / "sample_data"
    rows = [["command", "median seconds"]]
    help_ = time_command([sys.executable, "-m", "calibeval", "--help"], repeats=7, cwd=ROOT)
    rows.append(["calibeval --help", f"{help_.median:.2f}"])
    with tempfile.TemporaryDirectory() as empty:
        command = _score(sample / "preds", sample / "labelsTr", Path(empty) / "out")
        environment = {**os.environ, "NUMBA_CACHE_DIR": f"{empty}/cache"}
        for what, repeats in (("first score ever, sample_data", 1), ("warm score, sample_data", 7)):
            timing = time_command(command, repeats=repeats, cwd=ROOT, env=environment)
            rows.append([what, f"{timing.median:.2f}"])
    print_table(rows)


PARTS: dict[str, Callable[[Path], None]] = {
    "cases": cases,
    "classes": classes,
    "network": lambda folder: classes(folder, "network"),
    "growth": growth,
    "start": start,
}


def main() -> None:
    """Run the parts named, or all."""
    folder, *names = sys.argv[1:]
    for name in names or ("start", "growth", "cases", "classes"):
        PARTS[name](Path(folder))


if __name__ == "__main__":
    main()
