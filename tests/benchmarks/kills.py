"""`kill -9` at random moments: `python -m tests.benchmarks.kills FOLDER [KILLS A COMMAND]`.

Each command is killed several times in a row, goes on with `--resume` where it has that, and at last ends undisturbed.
After each kill whatever lies in its folder under a final name must be whole (equal to what an undisturbed run writes);
at the end all bytes must be those, and no hidden file may be left. Prints a row a command; ends with 1 if one differs.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.probabilities import write_nifti
from tests.benchmarks.processes import ROOT, print_table
from tests.benchmarks.scale import _blobs

IN_A_ROW = 10
TRAIN = ["--epochs", "2", "--width", "2", "--size", "32x32", "--device", "cpu", "--loss", "dicece", "--fold", "1/3"]


class Attempt(NamedTuple):
    """A command under test.

    Attributes:
        first: the command line; `OUT` stands for its folder.
        again: after a kill.
        growing: names of files that grow while it runs, so that only the end tells.
    """

    first: list[str]
    again: Callable[[Path], list[str]]
    growing: tuple[str, ...] = ()


def _line(words: list[str], out: Path) -> list[str]:
    return [sys.executable, "-m", "calibeval", *(word.replace("OUT", str(out)) for word in words)]


def _start(words: list[str], home: Path, out: Path) -> subprocess.Popen[bytes]:
    quiet, environment = subprocess.DEVNULL, os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        _line(words, out), cwd=home, env=environment, stdout=quiet, stderr=quiet, start_new_session=True
    )


def _files(out: Path) -> dict[str, bytes]:
    paths = [path for path in out.rglob("*") if path.is_file() and not _hidden(path, out)]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def _hidden(path: Path, out: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(out).parts)


def _again(first: list[str], *options: str) -> Attempt:
    return Attempt(first, lambda _out: [*first, *options])


def attempts() -> dict[str, Attempt]:
    """Every command that writes more than a line."""
    score, preds = ["score", "preds", "labels", "-o", "OUT/t.csv", "--quiet"], ["preds", "labels"]
    train = ["train", "images", "--out", "OUT", *TRAIN]

    def go_on(out: Path) -> list[str]:
        return ["train", "--resume", "OUT"] if (out / "last.pt").exists() else train

    growing = ("last.pt", "best.pt", "metrics.csv", "curves.png", "environment.json", "config.json")
    return {
        "score": _again([*score, "--workers", "1"], "--resume"),
        "score, 2 workers": _again([*score, "--workers", "2"], "--resume"),
        "merge": _again(["merge", "parts/1.csv", "parts/2.csv", "-o", "OUT/t.csv", "--quiet"]),
        "rank": _again(["rank", "a.csv", "b.csv", "-o", "OUT/r.json", "--plot", "OUT/r.svg", "--bootstrap", "50"]),
        "calibrate apply": _again(["calibrate", "apply", "c.json", "preds", "-o", "OUT", "--also-fitted"], "--resume"),
        "calibrate evaluate": _again(["calibrate", "evaluate", *preds, "-o", "OUT", "--folds", "2", "--quiet"]),
        "predict": _again(["predict", "run/best.pt", "images/imagesTr", "-o", "OUT", "--device", "cpu", "--quiet"]),
        "train": Attempt(train, go_on, growing),
    }


def make(home: Path) -> None:
    """Six tiny cases, parts and tables of them, a calibrator, a data set and a run."""
    for kind in ("preds", "labels", "images/imagesTr", "images/labelsTr"):
        (home / kind).mkdir(parents=True, exist_ok=True)
    for seed in range(6):
        prediction, label = write_nifti(_blobs((6, 24, 24), 3, seed), "network", home / "originals")
        shutil.copy(prediction, home / "preds" / f"c{seed}.nii.gz")
        shutil.copy(label, home / "labels" / f"c{seed}.nii.gz")
        shutil.copy(label, home / "images/imagesTr" / f"c{seed}_0000.nii.gz")
        shutil.copy(label, home / "images/labelsTr" / f"c{seed}.nii.gz")
    score = ["score", "preds", "labels", "--quiet", "-o"]
    for words in (
        [*score, "a.csv"],
        [*score, "parts/1.csv", "--shard", "1/2"],
        [*score, "parts/2.csv", "--shard", "2/2"],
        ["calibrate", "fit", "preds", "labels", "-o", "c.json", "--quiet"],
        ["train", "images", "--out", "run", *TRAIN],
    ):
        subprocess.run(_line(words, home), cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    table = (home / "a.csv").read_text().replace("\npreds,", "\nother,")
    (home / "b.csv").write_text(table)


def try_out(home: Path, attempt: Attempt, kills: int, seed: int) -> tuple[int, int, int, int]:
    """Kills that came in time, torn files, ends that differ, files left behind."""
    chance, out = random.Random(seed), home / "out"
    shutil.rmtree(out, ignore_errors=True)
    begin = time.monotonic()
    assert _start(attempt.first, home, out).wait() == 0
    seconds, expected = time.monotonic() - begin, _files(out)
    killed = torn = different = left = 0
    while killed < kills:
        shutil.rmtree(out, ignore_errors=True)
        for number in range(IN_A_ROW):
            process = _start(attempt.again(out) if number else attempt.first, home, out)
            try:
                process.wait(seconds * chance.uniform(0.2, 1.1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
            process.wait()
            found = {name: data for name, data in _files(out).items() if name not in attempt.growing}
            torn += _count("torn", {name for name, data in found.items() if expected.get(name) != data})
        assert _start(attempt.again(out), home, out).wait() == 0
        found = _files(out)
        same = {name for name in expected if name not in attempt.growing or name == "metrics.csv"}
        wrong = {name for name in same if _timeless(name, found.get(name, b"")) != _timeless(name, expected[name])}
        wrong |= found.keys() ^ expected.keys()
        different += _count("different", wrong) > 0
        left += sum(_hidden(path, out) for path in out.rglob("*"))
    shutil.rmtree(out)
    return killed, torn, different, left


def _timeless(name: str, data: bytes) -> list[bytes]:
    """Lines of a file, those of a run's metrics without the seconds in their last column."""
    return [line.rpartition(b",")[0] if name == "metrics.csv" else line for line in data.splitlines()]


def _count(what: str, names: set[str]) -> int:
    if names:
        print(what, *sorted(names), file=sys.stderr)
    return len(names)


def main(folder: str, kills: str = "28", *only: str) -> int:
    """Try all commands, or those named."""
    home = Path(folder) / "kills"
    if not (home / "run" / "best.pt").exists():
        make(home)
    rows, bad = [["command", "kills", "torn files", "ends that differ", "files left behind"]], 0
    for seed, (name, attempt) in enumerate(attempts().items()):
        if only and name not in only:
            continue
        counts = try_out(home, attempt, int(kills), seed)
        bad += sum(counts[1:])
        rows.append([name, *map(str, counts)])
        print(rows[-1], flush=True)
    print_table(rows)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
