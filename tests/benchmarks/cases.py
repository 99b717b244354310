"""Seeded cases for the benchmarks: label maps of organ-like blobs, and masks that are hard for distances.

A blob is an ellipsoid whose radius varies smoothly with direction. The prediction is the same blob, moved, scaled
and bent by a few millimetres, with the roughness of a real network's boundary. Equal seeds give equal arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Vector = tuple[float, float, float]


class Case(NamedTuple):
    """Two label maps (z, y, x) of one image; classes counts the background."""

    name: str
    reference: Labels
    prediction: Labels
    spacing_mm: Vector
    classes: int


class Blob(NamedTuple):
    """An organ: centre as a part of the image, semi-axes in mm, both (z, y, x)."""

    label: int
    centre: Vector
    radii_mm: Vector


ORGANS = {
    "acdc": (
        Blob(1, (0.5, 0.48, 0.38), (45, 42, 34)),
        Blob(2, (0.5, 0.52, 0.56), (46, 38, 38)),
        Blob(3, (0.5, 0.52, 0.56), (42, 27, 27)),
    ),
    "flare": (
        Blob(1, (0.5, 0.45, 0.30), (65, 95, 75)),
        Blob(2, (0.4, 0.62, 0.34), (45, 26, 24)),
        Blob(3, (0.5, 0.55, 0.74), (40, 45, 32)),
        Blob(4, (0.5, 0.46, 0.54), (20, 18, 55)),
    ),
    "brats": (
        Blob(2, (0.5, 0.45, 0.40), (42, 52, 40)),
        Blob(3, (0.5, 0.45, 0.42), (26, 32, 25)),
        Blob(1, (0.5, 0.45, 0.42), (16, 20, 15)),
    ),
    "ct14": (
        Blob(1, (0.60, 0.42, 0.32), (75, 85, 80)),  # liver
        Blob(2, (0.62, 0.60, 0.76), (50, 40, 28)),  # spleen
        Blob(3, (0.45, 0.62, 0.34), (52, 28, 26)),  # kidneys
        Blob(4, (0.45, 0.62, 0.66), (52, 28, 26)),
        Blob(5, (0.58, 0.40, 0.62), (48, 45, 42)),  # stomach
        Blob(6, (0.50, 0.46, 0.52), (18, 16, 55)),  # pancreas
        Blob(7, (0.50, 0.56, 0.52), (140, 11, 11)),  # aorta
        Blob(8, (0.50, 0.53, 0.46), (130, 11, 14)),  # vena cava
        Blob(9, (0.48, 0.38, 0.40), (25, 16, 16)),  # gallbladder
        Blob(10, (0.70, 0.58, 0.50), (35, 8, 10)),  # oesophagus
        Blob(11, (0.54, 0.58, 0.42), (10, 5, 12)),  # adrenals
        Blob(12, (0.54, 0.58, 0.60), (10, 5, 12)),
        Blob(13, (0.44, 0.46, 0.44), (35, 18, 26)),  # duodenum
    ),
}
GEOMETRY: dict[str, tuple[tuple[int, int, int], Vector]] = {
    "acdc": ((10, 224, 224), (10.0, 1.5, 1.5)),
    "flare": ((30, 192, 192), (6.0, 2.0, 2.0)),
    "brats": ((155, 240, 240), (1.0, 1.0, 1.0)),
    "ct14": ((200, 512, 512), (1.5, 0.78, 0.78)),
}


def organ_case(name: str, seed: int = 7) -> Case:
    """Make `acdc`, `flare`, `brats` or `ct14`."""
    shape, spacing_mm = GEOMETRY[name]
    random = np.random.default_rng(seed)
    reference = np.zeros(shape, np.uint8)
    prediction = np.zeros(shape, np.uint8)
    for blob in ORGANS[name]:
        bumps = _bumps(random, waves=6, amplitude=0.10, frequency=3.0)
        size_mm = float(np.mean(blob.radii_mm))
        errors = _bumps(random, waves=24, amplitude=min(2.0, 0.12 * size_mm) / size_mm, frequency=12.0)
        _paint(reference, blob, spacing_mm, bumps)
        moved = blob._replace(
            radii_mm=tuple(  # type: ignore[arg-type]  # three of them
                radius * random.uniform(0.97, 1.03) for radius in blob.radii_mm
            ),
            centre=tuple(  # type: ignore[arg-type]
                part + random.normal(0, min(1.0, 0.05 * size_mm)) / (count * step)
                for part, count, step in zip(blob.centre, shape, spacing_mm, strict=True)
            ),
        )
        _paint(prediction, moved, spacing_mm, np.concatenate([bumps, errors]))
    return Case(name, reference, prediction, spacing_mm, len(ORGANS[name]) + 1)


def many_classes(classes: int = 117, edge: int = 300, seed: int = 7) -> Case:
    """Make a cube of edge voxels with many blobs of all sizes, as whole-body models predict."""
    random = np.random.default_rng(seed)
    reference = np.zeros((edge, edge, edge), np.uint8)
    prediction = np.zeros_like(reference)
    spacing_mm = (1.5, 1.5, 1.5)
    for label in range(1, classes):
        radii = tuple(random.uniform(5, 45, 3) * random.uniform(0.4, 1))
        centre = random.uniform(0.1, 0.9, 3)
        bumps = _bumps(random, waves=6, amplitude=0.10, frequency=3.0)
        _paint(reference, Blob(label, tuple(centre), radii), spacing_mm, bumps)
        moved = centre + random.normal(0, 1.5, 3) / (edge * 1.5)
        _paint(prediction, Blob(label, tuple(moved), radii), spacing_mm, bumps)
    return Case(f"{classes} classes", reference, prediction, spacing_mm, classes)


def adversarial(base: Case, seed: int = 7) -> Iterator[Case]:
    """Give variants of a case that defeat shortcuts: noise, outliers, huge, empty and full masks."""
    random = np.random.default_rng(seed)
    for rate in (0.0001, 0.01, 0.3):
        noise = random.random(base.reference.shape, np.float32) < rate
        yield _vary(base, f"speckle {rate:.2%}", prediction=np.where(noise, np.uint8(1), base.prediction))
    both = [np.where(random.random(base.reference.shape, np.float32) < 0.1, np.uint8(1), np.uint8(0)) for _ in "rp"]
    yield _vary(base, "speckle alone", reference=both[0], prediction=both[1])
    far = base.prediction.copy()
    far[0, 0, 0] = 1
    far[-1, -1, -1] = 2
    yield _vary(base, "one far voxel", prediction=far)
    yield _vary(base, "huge prediction", prediction=np.ones_like(base.prediction))
    yield _vary(base, "empty prediction", prediction=np.zeros_like(base.prediction))
    shifted = np.roll(np.where(base.reference == 1, np.uint8(1), np.uint8(0)), base.reference.shape[2] // 2, axis=2)
    yield _vary(base, "elsewhere", prediction=np.ascontiguousarray(shifted))
    yield _vary(base, "far blobs", prediction=_blobs(random, base))
    checkers = (np.indices(base.reference.shape, np.uint8).sum(axis=0) % 2).astype(np.uint8)
    yield _vary(base, "checkerboard", prediction=checkers)


def _blobs(random: np.random.Generator, base: Case, part: float = 0.03) -> Labels:
    """Paint what an early model predicts: smooth noise, above some height of which each class takes so large a part."""
    from scipy.ndimage import gaussian_filter

    prediction = base.prediction.copy()
    for label in range(1, base.classes):
        noise = gaussian_filter(
            random.normal(size=base.reference.shape).astype(np.float32), 4 / np.array(base.spacing_mm)
        )
        prediction[noise > np.quantile(noise[::4, ::4, ::4], 1 - part)] = label
    return prediction


def _vary(base: Case, name: str, **changes: Any) -> Case:
    return base._replace(name=f"{base.name}, {name}", **changes)


def _bumps(random: np.random.Generator, waves: int, amplitude: float, frequency: float) -> NDArray[np.float64]:
    """Give waves over the sphere of directions, one a row: wave vector (z, y, x), phase, amplitude."""
    vectors = random.normal(0, frequency, (waves, 3))
    phases = random.uniform(0, 2 * np.pi, (waves, 1))
    return np.hstack([vectors, phases, np.full((waves, 1), amplitude * np.sqrt(2 / waves))])


def _paint(labels: Labels, blob: Blob, spacing_mm: Vector, bumps: NDArray[np.float64]) -> None:
    """Set the blob's voxels, slice by slice inside its bounding box."""
    centre = [part * count for part, count in zip(blob.centre, labels.shape, strict=True)]
    reach = [1.5 * radius / step for radius, step in zip(blob.radii_mm, spacing_mm, strict=True)]
    box = [
        slice(max(0, int(c - r)), min(count, int(c + r) + 2))
        for c, r, count in zip(centre, reach, labels.shape, strict=True)
    ]
    axes = [
        ((np.arange(part.start, part.stop) - c) * step / radius).astype(np.float32)
        for part, c, step, radius in zip(box, centre, spacing_mm, blob.radii_mm, strict=True)
    ]
    for z, height in zip(range(box[0].start, box[0].stop), axes[0], strict=True):
        direction = np.stack(np.broadcast_arrays(height, axes[1][:, None], axes[2][None, :]))
        radius = np.sqrt((direction**2).sum(axis=0)) + 1e-6
        direction /= radius
        edge = np.ones_like(radius)
        for *vector, phase, amplitude in bumps.astype(np.float32):
            edge += amplitude * np.sin(np.tensordot(np.array(vector, np.float32), direction, 1) + phase)
        labels[z, box[1], box[2]][radius < edge] = blob.label
