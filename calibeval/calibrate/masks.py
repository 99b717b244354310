"""Writing conformal sets: an outer and an inner mask of each class, one binary file a class, in the maps' place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.calibrate.calibrator import Calibrator
from calibeval.calibrate.conformal import STEPS, steps_of
from calibeval.errors import ProbabilityError
from calibeval.files import atomic_path, inside
from calibeval.io.array_file import ArrayFile
from calibeval.io.nifti import nifti_bytes
from calibeval.planes import CHUNK, PlaneSource

KINDS = ("outer", "inner")


def mask_files(case: str, calibrator: Calibrator, place: ArrayFile, out: Path) -> dict[tuple[str, str], Path]:
    """The file of each class and kind: `outer/CASE_CLASS.nii.gz`, or `.npy` where no file tells the place."""
    suffix = ".nii.gz" if place.geometry is not None else ".npy"
    return {
        (name, kind): inside(out, f"{kind}/{case}_{name}{suffix}") for name in calibrator.parameters for kind in KINDS
    }


def write_masks(
    case: str, calibrator: Calibrator, source: PlaneSource, place: ArrayFile, out: Path, *, sigmoid: bool
) -> None:
    """Write the masks of a case.

    Raises:
        ProbabilityError: the planes are not those of the calibrator's classes.
    """
    first = 0 if sigmoid else 1
    if source.classes - first != len(calibrator.parameters):
        wanted = ", ".join(calibrator.parameters)
        raise ProbabilityError(f"holds {source.classes - first} classes, and the thresholds are of {wanted}")
    files = mask_files(case, calibrator, place, out)
    for c, (name, levels) in enumerate(calibrator.parameters.items(), start=first):
        masks = {kind: np.zeros(source.voxels, np.uint8) for kind in KINDS}
        for start in range(0, source.voxels, CHUNK):
            steps = steps_of(source.read(c, start))  # type: ignore[misc]
            for kind, mask in masks.items():
                mask[start : start + CHUNK] = steps > round(levels[kind] * STEPS)
        for kind, mask in masks.items():
            _write(files[name, kind], mask.reshape(source.shape), place)


def _write(path: Path, mask: NDArray[Any], place: ArrayFile) -> None:
    if place.geometry is None:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, mask)
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(nifti_bytes(mask.reshape(place.spatial), place.geometry.affine))
