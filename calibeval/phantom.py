"""A short-axis cardiac phantom whose true class probabilities are known.

Each case is a 3-D volume (1.5 x 1.5 x 8 mm) with background, right ventricle, myocardium and left ventricle. Shapes
vary with the case and from base to apex. A softmax over signed distances to the shapes gives the *true* probability
of each class at each voxel, and the label is drawn from exactly that: a smooth random field, uniform at each voxel,
picks the class. A method that reports the true probabilities is therefore calibrated; raising them to a power gives
an over-confident and an under-confident one with the same masks. Everything follows from the seed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLASSES = ("background", "RV", "MYO", "LV")
SPACING_MM = (8.0, 1.5, 1.5)  # (z, y, x), the array order
SHAPE = (8, 64, 64)
# Exponents on the true probabilities: above 1 over-confident, below 1 under-confident.
METHODS = {"calibrated": 1.0, "overconfident": 4.0, "underconfident": 0.4}
RATERS = 3  # beside the label, each a draw of its own from the true probabilities
_BLUR_MM = 1.6  # width of the uncertain band at the boundaries
_CORRELATION_VOXELS = 1.0  # of the field that draws the labels, in plane
_INTENSITIES = (60.0, 165.0, 105.0, 180.0)  # mean image intensity of the classes
_QUANTUM = 2.0**-12  # probabilities are multiples of it: the files compress, float32 holds them exactly

Float = NDArray[np.float64]


class PhantomCase(NamedTuple):
    """One case; arrays are (z, y, x), probabilities (C, z, y, x)."""

    name: str
    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


def make_case(index: int, seed: int = 2024) -> PhantomCase:
    """Make one case; equal index and seed give equal arrays."""
    random = np.random.default_rng([seed, index])
    probabilities = _true_probabilities(random)
    label = _draw(probabilities, random)
    return PhantomCase(f"phantom_{index:03d}", _image(probabilities, random), label, probabilities)


def rater_label(case: PhantomCase, index: int, rater: int, seed: int = 2024) -> NDArray[np.uint8]:
    """The label that a rater (1, 2, ...) would draw in a case, its index and seed given once more."""
    return _draw(case.probabilities, np.random.default_rng([seed, index, rater]))


def sharpen(probabilities: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Raise probabilities (C, ...) to a power and normalise: more confident above 1, less below; same argmax."""
    if power == 1:
        return probabilities
    raised = probabilities.astype(np.float64) ** power
    return _quantise(raised / raised.sum(axis=0))


def write_sample_data(
    folder: Path, cases: int = 12, seed: int = 2024, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Write images, labels, three methods' probability maps and three raters as NIfTI, with nnU-Net's `dataset.json`.

    Args:
        folder: gets `imagesTr/`, `labelsTr/`, `preds/METHOD/`, `raters/RATER/` and `dataset.json`.
        cases: how many.
        seed: equal seeds give equal data.
        progress: called with each case's name.
    """
    for index in range(1, cases + 1):
        case = make_case(index, seed)
        progress(case.name)
        _write_nifti(folder / "imagesTr" / f"{case.name}_0000.nii.gz", case.image)
        _write_nifti(folder / "labelsTr" / f"{case.name}.nii.gz", case.label)
        for method, power in METHODS.items():
            planes = np.moveaxis(sharpen(case.probabilities, power), 0, -1)
            _write_nifti(folder / "preds" / method / f"{case.name}.nii.gz", planes)
        for rater in range(1, RATERS + 1):
            label = rater_label(case, index, rater, seed)
            _write_nifti(folder / "raters" / f"rater{rater}" / f"{case.name}.nii.gz", label)
    description = {
        "name": "CardiacPhantom",
        "description": "Short-axis cardiac phantom of calibeval; labels are drawn from the probabilities.",
        "channel_names": {"0": "phantom"},
        "labels": {name: value for value, name in enumerate(CLASSES)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _true_probabilities(random: np.random.Generator) -> NDArray[np.float32]:
    """Softmax over signed distances in mm, negative inside, to the shapes of one heart."""
    z = np.linspace(0, 1, SHAPE[0])[:, None, None]  # 0 is the base, 1 the apex
    y, x = (np.arange(n) * s for n, s in zip(SHAPE[1:], SPACING_MM[1:], strict=True))
    y, x = y[None, :, None], x[None, None, :]
    centre_y = SHAPE[1] * SPACING_MM[1] / 2 + random.uniform(-6, 6) + 4 * z
    centre_x = SHAPE[2] * SPACING_MM[2] / 2 + random.uniform(-2, 10) - 4 * z
    radius = random.uniform(15, 20) * (1 - 0.55 * z**2)
    wall = random.uniform(7, 10) * (1 - 0.2 * z)
    angle = np.arctan2(y - centre_y, x - centre_x)
    wobble = 1 + 0.06 * np.cos(2 * angle + random.uniform(0, 6)) + 0.04 * np.cos(3 * angle + random.uniform(0, 6))
    distance = np.hypot(y - centre_y, x - centre_x)
    inner = distance - radius * wobble
    outer = distance - (radius + wall) * wobble
    right_x = centre_x - radius - wall + 3
    right = np.hypot((y - centre_y) / 1.25, x - right_x) - random.uniform(17, 21) * (1 - 0.75 * z)
    distances = np.stack([-np.minimum(outer, right), np.maximum(right, -outer), np.maximum(outer, -inner), inner])
    score = -distances / _BLUR_MM
    exponent = np.exp(score - score.max(axis=0))
    return _quantise(exponent / exponent.sum(axis=0))


def _quantise(probabilities: Float) -> NDArray[np.float32]:
    """Round to multiples of the quantum and give the remainder to the largest class, so that sums are exactly 1."""
    steps = np.floor(probabilities / _QUANTUM)
    largest = probabilities.argmax(axis=0)[None]
    rest = 1 / _QUANTUM - steps.sum(axis=0)[None]
    np.put_along_axis(steps, largest, np.take_along_axis(steps, largest, 0) + rest, 0)
    return (steps * _QUANTUM).astype(np.float32)


def _draw(probabilities: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw each voxel's class from its probabilities; neighbours are correlated, so that contours stay whole."""
    from scipy.special import ndtr

    uniform: Float = ndtr(_smooth_noise(random))
    drawn: NDArray[np.uint8] = (uniform[None] >= np.cumsum(probabilities[:-1], axis=0)).sum(axis=0).astype(np.uint8)
    return drawn


def _smooth_noise(random: np.random.Generator) -> Float:
    """Noise that is smooth in plane and standard normal at each voxel."""
    from scipy.ndimage import gaussian_filter

    def smooth(array: Float) -> Float:
        smoothed: Float = gaussian_filter(array, (0, _CORRELATION_VOXELS, _CORRELATION_VOXELS), mode="wrap")
        return smoothed

    impulse = np.zeros(SHAPE)
    impulse[0, 0, 0] = 1
    noise = smooth(random.standard_normal(SHAPE))
    standard: Float = noise / np.sqrt((smooth(impulse) ** 2).sum())
    return standard


def _image(probabilities: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int16]:
    """Mean intensity by class fraction (partial volume), a slow bias field, noise."""
    mean = np.tensordot(np.array(_INTENSITIES), probabilities, 1)
    ramp = np.linspace(-1, 1, SHAPE[2]) * random.uniform(-0.15, 0.15)
    return np.rint(mean * (1 + ramp) + random.normal(0, 14, SHAPE)).astype(np.int16)


def _write_nifti(path: Path, array: NDArray[np.generic]) -> None:
    """Write a (z, y, x[, C]) array as (x, y, z[, C]) NIfTI in mm; equal arrays give equal bytes."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*SPACING_MM[::-1], 1.0])
    image = nibabel.Nifti1Image(np.swapaxes(array, 0, 2), affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))
