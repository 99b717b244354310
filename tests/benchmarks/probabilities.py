"""Probability maps for the benchmark cases, plane by plane, and the files that hold them.

`network` looks like a trained network's softmax in float32: boundaries are blurred over a few voxels, the largest
class of most voxels is exactly 1, and all others are tiny but never 0, so that the file hardly compresses. `hard` is
the same without the tails: most values are exactly 0 or 1, and the file is small. `random` is the softmax of noise,
the worst case for any shortcut.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from tests.benchmarks.cases import Case

Plane = NDArray[np.float32]
_MARGIN = 6  # voxels that the blur reaches beyond a class


def planes(case: Case, kind: str, seed: int = 7) -> Iterator[Plane]:
    """Give the planes (z, y, x) of a case, class by class, summing to 1."""
    if kind == "random":
        yield from _random_planes(case, seed)
        return
    background = np.ones(case.reference.shape, np.float32)
    blurred = list(_blurred_classes(case))
    for _, box, part in blurred:
        background[box] -= part
    np.clip(background, 0, 1, out=background)
    for label, box, part in [(0, (slice(None),) * 3, background), *blurred]:
        plane = _tails(case, label, seed) if kind == "network" else np.zeros(case.reference.shape, np.float32)
        np.maximum(plane[box], part, out=plane[box])
        yield plane


def write_nifti(case: Case, kind: str, folder: Path) -> tuple[Path, Path]:
    """Write PREDS/case.nii.gz (x, y, z, C) and LABELS/case.nii.gz as nibabel does by default; give both paths."""
    prediction, label = folder / "preds" / f"{case.name}.nii.gz", folder / "labels" / f"{case.name}.nii.gz"
    if not prediction.exists():
        affine = np.diag([*case.spacing_mm[::-1], 1])
        label.parent.mkdir(parents=True, exist_ok=True)
        prediction.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(case.reference.T, affine), label)
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_data_shape((*case.reference.shape[::-1], case.classes))
        header.set_sform(affine)
        header.set_qform(affine)
        header["vox_offset"] = 352
        header["magic"] = b"n+1"
        with gzip.open(prediction.with_suffix(".part"), "wb", compresslevel=1) as file:
            file.write(header.binaryblock + b"\0\0\0\0")
            for plane in planes(case, kind):
                file.write(plane.tobytes())
        prediction.with_suffix(".part").rename(prediction)
    return prediction, label


def _blurred_classes(case: Case) -> Iterator[tuple[int, tuple[slice, ...], Plane]]:
    """Blur each foreground class of the prediction inside its own box."""
    for label, box in enumerate(find_objects(case.prediction, max_label=case.classes - 1), start=1):
        if box is None:
            yield label, (slice(0, 1),) * 3, np.zeros((1, 1, 1), np.float32)
            continue
        wide = tuple(slice(max(0, part.start - _MARGIN), part.stop + _MARGIN) for part in box)
        yield label, wide, gaussian_filter((case.prediction[wide] == label).astype(np.float32), 1.0)


def _tails(case: Case, label: int, seed: int) -> Plane:
    """Values around 1e-8, spread over two orders of magnitude; they change no sum in float32."""
    noise = np.random.default_rng([seed, label]).standard_normal(case.reference.shape, np.float32)
    np.exp(noise - np.float32(18), out=noise)
    return noise


def _random_planes(case: Case, seed: int) -> Iterator[Plane]:
    """Softmax of Gaussian noise; the noise of each class is drawn twice instead of being kept."""
    shape = case.reference.shape
    total = np.zeros(shape, np.float32)
    for c in range(case.classes):
        total += np.exp(np.random.default_rng([seed, c]).standard_normal(shape, np.float32))
    for c in range(case.classes):
        plane: Plane = np.random.default_rng([seed, c]).standard_normal(shape, np.float32)
        np.exp(plane, out=plane)
        plane /= total
        yield plane
