"""Where a volume lies: affine and spacing, and whether two files agree.

Conventions: affines map voxel indices (x, y, z) to mm in RAS+ (NIfTI's frame); files of ITK, which speak LPS+, are
turned. Spacing is in mm, in the order of the array in memory, slowest axis first: (z, y, x) or (y, x).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import GeometryError, InputError

_TOLERANCE = 1e-3  # relative; rounding in headers is below 1e-5
_MAX_SHIFT = 0.25  # of a voxel, however far from the origin the volume lies


class Geometry(NamedTuple):
    """Place of a volume.

    Attributes:
        affine: (4, 4) voxel index (x, y, z) to mm, RAS+.
        spacing_mm: slowest axis first.
    """

    affine: NDArray[np.float64]
    spacing_mm: tuple[float, ...]


def make_geometry(path: Path, affine: NDArray[np.float64], dimensions: int) -> Geometry:
    """Build a geometry of 2 or 3 spatial dimensions; a spacing that is not positive is an error."""
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = tuple(float(length) for length in columns[:dimensions][::-1])
    if not all(np.isfinite(length) and length > 0 for length in spacing):
        raise InputError(path, f"the header gives the voxel spacing {spacing} mm.", "Repair it, or give --spacing.")
    return Geometry(affine, spacing)


def check_same_place(path: Path, found: Geometry, reference_path: Path, expected: Geometry) -> None:
    """Raise GeometryError unless two volumes of equal shape lie in the same place."""
    if _agree(found.affine, expected.affine):
        return
    found_axes, expected_axes = orientation_code(found.affine), orientation_code(expected.affine)
    if found_axes != expected_axes:
        raise GeometryError(
            path,
            f"its axes run {found_axes}, those of {reference_path} run {expected_axes}.",
            "Bring both to one orientation before scoring (for example with nibabel.as_closest_canonical, "
            "or SimpleITK.DICOMOrient), and turn the array with its header.",
        )
    raise GeometryError(
        path,
        f"its affine differs from that of {reference_path} (largest entry {_largest_difference(found, expected)}).",
        "Resample the prediction onto the label's grid, or copy the label's header if only the header is wrong.",
    )


def orientation_code(affine: NDArray[np.float64]) -> str:
    """Directions in which x, y, z grow, for example RAS or LPS."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(itertools.permutations(range(3)), key=lambda p: sum(abs(directions[p[j], j]) for j in range(3)))
    return "".join("LPI"[row] if directions[row, j] < 0 else "RAS"[row] for j, row in enumerate(best))


def _agree(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    spacing = np.linalg.norm(b[:3, :3], axis=0)
    axes = np.abs(a[:3, :3] - b[:3, :3]) <= _TOLERANCE * spacing
    reach = np.maximum(np.abs(b[:3, 3]), spacing.max())
    origin = np.abs(a[:3, 3] - b[:3, 3]) <= np.minimum(_TOLERANCE * reach, _MAX_SHIFT * spacing.min())
    return bool(axes.all() and origin.all())


def _largest_difference(a: Geometry, b: Geometry) -> str:
    difference = np.abs(a.affine - b.affine)
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    return f"[{row},{column}]: {a.affine[row, column]:.6g} against {b.affine[row, column]:.6g}"
