"""Areas of the surface elements at the corners between voxels (private; see `calibeval.metrics.surface`).

Around a corner lie eight voxels; some belong to the mask. Marching cubes (10.1145/37402.37422) separates them from
the others by polygons through the middles of the edges between voxel centres. This needs only a rule for the smaller
side: whichever of the voxels inside and those outside are fewer fall into components connected along edges, and each
component is cut off by one polygon whose shape depends on the component alone:

| component | polygon | area vectors of its flat pieces, in units of a voxel's faces |
|---|---|---|
| one voxel | triangle | d/8 |
| two along axis a | rectangle | (d - a)/2 |
| three, an L with normal n | triangle and trapezium | n/2, 3d/8 |
| four, a square with normal n | square | n |
| four, a tripod | hexagon | 3d/4 |
| four, a chain along a, then b, then c | hexagon in three pieces | (d - a)/4, (d - c)/4, d/2 |

Here a, b, c, n are unit vectors of the axes and d = (1, 1, 1). Only the lengths matter, so signs are left out. With
spacing each component of a vector is multiplied by the area of the voxel face that it is normal to.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Voxel = tuple[int, int, int]

_DIAGONAL = np.ones(3)
_AXES = np.eye(3)
_VOXELS: list[Voxel] = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]


def corner_areas(spacing_mm: tuple[float, float, float]) -> Float:
    """Give the area in mm^2 for each of 256 codes; bit 4 i + 2 j + k stands for the voxel at (i, j, k) in {0, 1}^3."""
    z, y, x = spacing_mm
    return np.asarray(np.linalg.norm(_all_pieces() * (y * x, z * x, z * y), axis=2).sum(axis=1))


def corner_lengths(spacing_mm: tuple[float, float]) -> Float:
    """Give the length in mm for each of 256 codes of a planar image, whose voxels are present at i = 0 and 1 alike."""
    y, x = spacing_mm
    diagonal = 0.5 * (y**2 + x**2) ** 0.5
    by_square = [0.0, diagonal, diagonal, x, diagonal, y, 2 * diagonal, diagonal]
    by_square += by_square[::-1]
    return np.array([by_square[code & 15] for code in range(256)])


@cache
def _all_pieces() -> Float:
    """Give the area vectors for each code, (code, piece, axis), with zeros after the last piece."""
    table = np.zeros((256, 4, 3))
    for code in range(256):
        pieces = _pieces(code)
        table[code, : len(pieces)] = np.reshape(pieces, (-1, 3))
    return table


def _pieces(code: int) -> list[Float]:
    inside = [voxel for bit, voxel in enumerate(_VOXELS) if code >> bit & 1]
    voxels = inside if len(inside) <= 4 else [voxel for voxel in _VOXELS if voxel not in inside]
    return [piece for component in _components(voxels) for piece in _polygon(component)]


def _components(voxels: list[Voxel]) -> list[list[Voxel]]:
    components: list[list[Voxel]] = []
    for voxel in voxels:
        touching = [component for component in components if any(_axis(voxel, other) >= 0 for other in component)]
        components = [component for component in components if component not in touching]
        components.append([voxel, *(other for component in touching for other in component)])
    return components


def _axis(voxel: Voxel, other: Voxel) -> int:
    """Give the axis along which two voxels are neighbours, or -1."""
    differing = [axis for axis in range(3) if voxel[axis] != other[axis]]
    return differing[0] if len(differing) == 1 else -1


def _polygon(component: list[Voxel]) -> list[Float]:
    """Give the area vectors of the polygon that cuts off a component; see the module's text."""
    if len(component) == 1:
        return [_DIAGONAL / 8]
    neighbours = {voxel: [axis for other in component if (axis := _axis(voxel, other)) >= 0] for voxel in component}
    if len(component) == 2:
        return [(_DIAGONAL - _AXES[neighbours[component[0]][0]]) / 2]
    flat = [axis for axis in range(3) if len({voxel[axis] for voxel in component}) == 1]
    if flat:
        normal = _AXES[flat[0]]
        return [normal] if len(component) == 4 else [normal / 2, _DIAGONAL * 3 / 8]
    ends = [axes[0] for axes in neighbours.values() if len(axes) == 1]
    if len(ends) == 3:
        return [_DIAGONAL * 3 / 4]
    return [*((_DIAGONAL - _AXES[axis]) / 4 for axis in ends), _DIAGONAL / 2]
