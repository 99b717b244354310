"""Where a volume lies: affines and spacing, and whether two files agree.

Conventions: affines map voxel indices (x, y, z) to mm in RAS+ (NIfTI's frame); files of ITK, which speak LPS+, are
turned. Spacing is in mm, in the order of the array in memory, slowest axis first: (z, y, x) or (y, x).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import GeometryError

_TOLERANCE = 1e-3  # relative; rounding in headers is below 1e-5
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from RAS+ to ITK's axes, and back
_MAX_SHIFT = 0.25  # of a voxel, however far from the origin the volume lies


class Geometry(NamedTuple):
    """Place of a volume.

    Attributes:
        affine: (4, 4) voxel index (x, y, z) to mm, RAS+.
        spacing_mm: slowest axis first.
        others: further affines that the header gives for the same voxels, as NIfTI's qform beside its sform.
        placed: the header tells a place; else the affine is a stand-in, of which only the spacing counts.
    """

    affine: NDArray[np.float64]
    spacing_mm: tuple[float, ...]
    others: tuple[NDArray[np.float64], ...] = ()
    placed: bool = True


def make_geometry(
    affine: NDArray[np.float64],
    shape: Sequence[int],
    others: Sequence[NDArray[np.float64]] = (),
    *,
    placed: bool = True,
) -> Geometry | None:
    """Build a geometry; None when the header's spacing is no spacing.

    Args:
        affine: (4, 4) voxel index (x, y, z) to mm, RAS+.
        shape: of the file, x first; axes after the third are no place.
        others: further affines of the same voxels; those that cannot be are passed over.
        placed: whether the affine is a place, and no stand-in.
    """
    made = _complete(affine, shape)
    if made is None:
        return None
    spacing = np.linalg.norm(made[:3, :3], axis=0)[: min(3, len(shape))][::-1]
    complete = (_complete(other, shape) for other in others)
    return Geometry(made, tuple(map(float, spacing)), tuple(other for other in complete if other is not None), placed)


def _complete(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64] | None:
    """An affine with the plane's normal in mm across a flat image, where files give any number, zero included."""
    affine, spatial = affine.copy(), tuple(shape[:3])
    flat = [axis for axis in range(3) if axis >= len(spatial) or spatial[axis] == 1]
    with np.errstate(all="ignore"):
        if len(flat) == 1:
            first, second = (affine[:3, axis] for axis in range(3) if axis not in flat)
            normal = np.cross(first, second)
            affine[:3, flat[0]] = normal / np.linalg.norm(normal)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return affine if np.isfinite(affine).all() and (spacing > 0).all() else None


def place_itk(image: Any, geometry: Geometry) -> None:
    """Put an image of SimpleITK where a geometry says; ITK's x and y grow to the left and to the back."""
    n, spacing = image.GetDimension(), geometry.spacing_mm[::-1]
    spatial = min(n, 3, len(spacing))
    axes, origin, lengths = np.eye(n), np.zeros(n), np.ones(n)
    lengths[:spatial] = spacing[:spatial]
    turned = _LPS @ geometry.affine
    axes[:spatial, :spatial] = turned[:spatial, :spatial] / lengths[:spatial]
    origin[:spatial] = turned[:spatial, 3]
    image.SetSpacing(lengths.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(axes.ravel().tolist())


def affine_of_itk(image: Any) -> NDArray[np.float64]:
    """(4, 4) voxel index (x, y, z) to mm, RAS+, of a volume of SimpleITK."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.asarray(_LPS @ affine)


def check_same_place(path: Path, found: Geometry, reference_path: Path, expected: Geometry) -> tuple[str, ...]:
    """Check that two volumes of equal shape lie in the same place, by any of their affines.

    Returns:
        A note for people where a file tells no place, so that only the spacing was compared; else nothing.

    Raises:
        GeometryError: they do not.
    """
    ours, theirs = (found.affine, *found.others), (expected.affine, *expected.others)
    if any(_agree(mine, other) for mine in ours for other in theirs):
        return ()
    if not (found.placed and expected.placed):
        return _compare_spacing(path, found, reference_path, expected)
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


def _compare_spacing(path: Path, found: Geometry, reference_path: Path, expected: Geometry) -> tuple[str, ...]:
    """All that is left to compare; a header that was never filled in (1 mm everywhere) does not even tell that."""
    empty = not found.placed and set(found.spacing_mm) == {1.0}
    if not empty and not np.allclose(found.spacing_mm, expected.spacing_mm, rtol=_TOLERANCE, atol=0):
        lengths = [" x ".join(f"{length:g}" for length in each.spacing_mm) for each in (found, expected)]
        raise GeometryError(
            path,
            f"its voxels are {lengths[0]} mm, those of {reference_path} {lengths[1]} mm (slowest axis first).",
            "Resample the prediction onto the label's grid, or copy the header that is right to the other file.",
        )
    return (f"the {'label' if found.placed else 'prediction'} tells no place (sform and qform codes 0): not compared",)


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
