"""Time everything that needs probabilities in memory against its peers: `python -m tests.benchmarks.fused [CASE ...]`.

A CASE is a name of `cases`, or PREDS:LABELS, two folders of NIfTI files from a real network (those that `calibeval
train` leaves, say), whose cases are put one after the other, again and again, up to `REAL_VOXELS`.

Ours computes ECE, CECE, pECE, the argmax and the confusion matrix in one go; each peer computes one of these. The
floor is the time it takes to read the array once. All tools get the same arrays, ready-made.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.cases import GEOMETRY, Case, organ_case
from tests.benchmarks.probabilities import planes
from tests.benchmarks.processes import print_table, time_job

Job = Callable[[], Any]


REAL_VOXELS = 8_000_000  # fewer than 2^24, where the float32 sums of peers stop growing


def _load(name: str, kind: str) -> tuple[Case, np.ndarray, np.ndarray]:
    """A case, its probabilities (C, N) and its reference (N,)."""
    if ":" in name:
        return _load_files(*name.split(":"))
    case = organ_case(name)
    probabilities = np.empty((case.classes, case.reference.size), np.float32)
    for c, plane in enumerate(planes(case, kind)):
        probabilities[c] = plane.reshape(-1)
    return case, probabilities, case.reference.reshape(-1)


def _load_files(predictions: str, labels: str) -> tuple[Case, np.ndarray, np.ndarray]:
    import nibabel

    read: Any = nibabel.load
    paths = sorted(Path(predictions).glob("*.nii.gz"))
    maps = [np.asanyarray(read(path).dataobj) for path in paths]
    references = [np.asanyarray(read(Path(labels) / path.name).dataobj) for path in paths]
    probabilities = np.concatenate([values.reshape(-1, values.shape[-1]) for values in maps]).T
    reference = np.concatenate([values.ravel() for values in references]).astype(np.uint8)
    times = REAL_VOXELS // reference.size + 1
    probabilities, reference = np.tile(probabilities, times), np.tile(reference, times)
    shaped = reference.reshape(1, 1, -1)
    return Case("real", shaped, shaped, (1.0, 1.0, 1.0), len(probabilities)), probabilities, reference


def floor(name: str, kind: str, threads: str) -> Job:
    """Read every value once."""
    _, probabilities, _ = _load(name, kind)
    parts = np.array_split(probabilities.reshape(-1), int(threads))

    def run() -> None:
        with ThreadPoolExecutor(int(threads)) as pool:
            list(pool.map(np.max, parts))

    return run


def ours(name: str, kind: str, threads: str) -> Job:
    """ECE (all voxels, top label), CECE and pECE, confusion matrix and argmax."""
    from calibeval.metrics.accumulate import Accumulator
    from calibeval.metrics.calibration import CALIBRATION_FUNCTIONS
    from calibeval.planes import CHUNK
    from calibeval.protocol import PROTOCOLS

    case, probabilities, reference = _load(name, kind)
    protocol = PROTOCOLS["guo"]

    def run() -> float:
        accumulator = Accumulator(reference, case.classes, protocol, probabilities.dtype)
        statistics = accumulator.take(lambda c, start: probabilities[c, start : start + CHUNK], int(threads))
        return CALIBRATION_FUNCTIONS["ECE"](statistics, protocol).overall

    return run


def torchmetrics_top(name: str, kind: str) -> Job:
    """Top-label ECE by torchmetrics."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    case, probabilities, reference = _load(name, kind)
    maps, labels = torch.from_numpy(probabilities)[None], torch.from_numpy(reference).long()[None]
    return lambda: float(multiclass_calibration_error(maps, labels, case.classes, n_bins=15, validate_args=False))


def torchmetrics_classes(name: str, kind: str) -> Job:
    """Classwise ECE by torchmetrics, one binary problem a class."""
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    case, probabilities, reference = _load(name, kind)
    maps, labels = torch.from_numpy(probabilities), torch.from_numpy(reference)

    def run() -> float:
        errors = [
            binary_calibration_error(maps[c], (labels == c).int(), n_bins=15, validate_args=False)
            for c in range(case.classes)
        ]
        return float(sum(errors) / len(errors))

    return run


def monai_classes(name: str, kind: str) -> Job:
    """Classwise ECE by MONAI."""
    import torch
    from monai.metrics import CalibrationErrorMetric
    from monai.networks.utils import one_hot

    case, probabilities, reference = _load(name, kind)
    maps = torch.from_numpy(probabilities).reshape(1, case.classes, *case.reference.shape)
    labels = one_hot(torch.from_numpy(reference.reshape(1, 1, *case.reference.shape)), case.classes)

    def run() -> float:
        metric = CalibrationErrorMetric(num_bins=15, include_background=True)
        metric(y_pred=maps, y=labels)
        value: Any = metric.aggregate()
        return float(value.mean())

    return run


def monai_dsc(name: str, kind: str) -> Job:
    """DSC of each class by MONAI, from probabilities."""
    import torch
    from monai.metrics import DiceHelper

    case, probabilities, reference = _load(name, kind)
    maps = torch.from_numpy(probabilities).reshape(1, case.classes, *case.reference.shape)
    labels = torch.from_numpy(reference.reshape(1, 1, *case.reference.shape))

    def run() -> float:
        scores, _ = DiceHelper(softmax=True, reduction="mean_batch")(maps, labels)
        return float(scores.nanmean())

    return run


def compare(name: str, kind: str) -> None:
    """Print one case's table."""
    base = time_job("tests.benchmarks.fused:floor", name, kind, "2", repeats=5)
    jobs = {
        "read the array once, 2 threads": base,
        "calibeval, all at once, 2 threads": time_job("tests.benchmarks.fused:ours", name, kind, "2", repeats=5),
        "calibeval, all at once, 1 thread": time_job("tests.benchmarks.fused:ours", name, kind, "1", repeats=5),
    }
    for label, job in {
        "top-label ECE, torchmetrics": "torchmetrics_top",
        "classwise ECE, torchmetrics": "torchmetrics_classes",
        "classwise ECE, MONAI": "monai_classes",
        "DSC, MONAI": "monai_dsc",
    }.items():
        jobs[label] = time_job(f"tests.benchmarks.fused:{job}", name, kind, repeats=1 if name == "ct14" else 3)
    rows = [[kind if ":" in name else f"{name}, {kind}", "median", "times the floor", "peak MiB", "value"]]
    for label, timing in jobs.items():
        if timing and base:
            value = "" if timing.value is None else f"{timing.value:.6f}"
            ratio = timing.median / base.median
            rows.append([label, f"{1e3 * timing.median:.1f} ms", f"{ratio:.1f}", f"{timing.peak_mib:.0f}", value])
    print_table(rows)


def main() -> None:
    """Compare on the cases named, or on all."""
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or GEOMETRY:
        for kind in ("real",) if ":" in name else ("network", "random"):
            compare(name, kind)


if __name__ == "__main__":
    main()
