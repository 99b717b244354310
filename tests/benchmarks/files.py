"""Time whole cases from .nii.gz: `python -m tests.benchmarks.files FOLDER [CASE ...]`.

The files are made in FOLDER when they are not there (2.5 GB for ct14). Beside calibeval stand the decompressors alone,
and what users do today: nibabel, MONAI for DSC and HD95, torchmetrics for ECE and classwise ECE.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import GEOMETRY, organ_case
from tests.benchmarks.probabilities import write_nifti
from tests.benchmarks.processes import print_table, time_command, time_job

Job = Callable[[], Any]


def _drain(file: Any) -> None:
    buffer = bytearray(4 << 20)
    while file.readinto(buffer):
        pass


def decompress(tool: str, path: str) -> Job:
    """Read a .gz through one tool and forget it."""

    def run() -> None:
        if tool == "isal":
            from isal import igzip

            opened: Any = igzip.open(path, "rb")
        elif tool == "rapidgzip":
            import rapidgzip

            opened = rapidgzip.open(path, parallelization=2)
        elif tool == "zlib-ng":
            from zlib_ng import gzip_ng

            opened = gzip_ng.open(path, "rb")
        else:
            import gzip

            opened = gzip.GzipFile(path, "rb")
        with opened as file:
            _drain(file)

    return run


def ours(prediction: str, label: str) -> Job:
    """Score one case in this process."""
    from calibeval.score import score_folder

    def run() -> float:
        scored = score_folder(prediction, label)
        return next(row.value for row in scored.methods[0].rows if (row.metric, row.class_name) == ("HD95", "mean"))

    return run


def stack(prediction: str, label: str) -> Job:
    """What users do today."""
    import nibabel
    import numpy as np
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance
    from monai.networks.utils import one_hot
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    read: Any = nibabel.load

    def run() -> float:
        image = read(prediction)
        maps = torch.from_numpy(np.moveaxis(image.get_fdata(dtype=np.float32), -1, 0).copy())[None]
        labels = torch.from_numpy(np.asanyarray(read(label).dataobj).astype(np.int64))[None]
        classes = maps.shape[1]
        multiclass_calibration_error(maps, labels, classes, n_bins=15, validate_args=False)
        for c in range(classes):
            binary_calibration_error(maps[0, c], (labels[0] == c).int(), n_bins=15, validate_args=False)
        predicted = one_hot(maps.argmax(1, keepdim=True), classes)
        del maps
        reference = one_hot(labels[None], classes)
        compute_dice(predicted, reference, include_background=False)
        spacing = [float(length) for length in image.header.get_zooms()[:3]]
        distances = compute_hausdorff_distance(
            predicted, reference, include_background=False, percentile=95, spacing=spacing
        )
        return float(distances.nanmean())

    return run


def compare(name: str, folder: Path, repeats: int) -> None:
    """Print one case's table."""
    prediction, label = (str(path) for path in write_nifti(organ_case(name), "network", folder))
    here = "tests.benchmarks.files"
    command = [sys.executable, "-m", "calibeval", "score", prediction, label, "--out", str(folder / "out"), "--quiet"]
    time_command(command, repeats=1)
    jobs = {
        f"decompress alone, {tool}": time_job(f"{here}:decompress", tool, prediction, repeats=repeats, warm=False)
        for tool in ("isal", "rapidgzip", "zlib-ng", "gzip")
    }
    base = min((timing for timing in jobs.values() if timing), key=lambda timing: timing.median)
    jobs["calibeval score, the whole command"] = time_command(command, repeats=repeats)
    jobs["calibeval.score_folder, in a running Python"] = time_job(f"{here}:ours", prediction, label, repeats=repeats)
    jobs["nibabel + MONAI + torchmetrics"] = time_job(f"{here}:stack", prediction, label, repeats=1, warm=False)
    rows = [[name, "median", "times the fastest decompression", "peak MiB", "mean HD95"]]
    for what, timing in jobs.items():
        if timing:
            value = "" if timing.value is None else f"{timing.value:.6f}"
            ratio = timing.median / base.median
            rows.append([what, f"{timing.median:.2f} s", f"{ratio:.2f}", f"{timing.peak_mib:.0f}", value])
    print_table(rows)


def main() -> None:
    """Compare on the cases named, or on all."""
    folder, *names = sys.argv[1:]
    for name in names or GEOMETRY:
        compare(name, Path(folder), repeats=3)


if __name__ == "__main__":
    main()
