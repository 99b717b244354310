"""Voxels near the boundary of a reference, for boundary ECE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.statistics import IGNORED

Index = NDArray[np.int64]

_MANY_ROWS = 4000  # around each row, as a radius of 36 voxels has: beyond, distances cost no more than bits


def near_boundary(labels: NDArray[np.uint8], spacing_mm: tuple[float, ...], width_mm: float) -> NDArray[np.uint8]:
    """Keep labels within a distance of a boundary between labels, and set 255 elsewhere.

    A boundary voxel has a face neighbour of another label, ignored voxels left aside; distances are Euclidean,
    between voxel centres.

    Args:
        labels: class indices of a 2-D or 3-D image, 255 ignored.
        spacing_mm: of the array's axes.
        width_mm: the distance; 0 keeps the boundary voxels alone.

    Returns:
        Labels of the same shape; all 255 when there is no boundary.
    """
    from calibeval.metrics._kernels import bands

    flat = 3 - labels.ndim  # axes of one voxel that are put before the image's
    volume = np.ascontiguousarray(labels).reshape((1,) * flat + labels.shape)
    spacing = (1.0,) * flat + tuple(spacing_mm)
    words = -(-volume.shape[2] // 64)
    boundary, row = np.empty((*volume.shape[:2], words), np.uint64), np.empty(8 * words, np.uint64)
    bands.mark_boundary(volume, row.view(np.uint8), row, boundary)
    rows = _rows_around(volume.shape, spacing, width_mm)
    if rows[0].size <= _MANY_ROWS:
        near = np.zeros_like(boundary)
        bands.dilate(boundary, *rows, near)
        kept = _unpack(near, volume.shape)
    elif boundary.any():
        from scipy.ndimage import distance_transform_edt

        kept = distance_transform_edt(~_unpack(boundary, volume.shape), sampling=spacing) <= width_mm
    else:
        kept = np.zeros(volume.shape, bool)
    return np.where(kept.reshape(labels.shape), labels, np.uint8(IGNORED))


def _unpack(bits: NDArray[np.uint64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(bits.view(np.uint8), axis=2, count=shape[2], bitorder="little").view(np.bool_)


def _rows_around(shape: tuple[int, ...], spacing_mm: tuple[float, ...], width_mm: float) -> tuple[Index, Index, Index]:
    """List the rows within a distance of a row by their offsets along z and y, and how far along x they reach.

    Offsets beyond the image are left out; the longest reach comes first.
    """
    farthest = [int(min(width_mm / step + 1, count - 1)) for step, count in zip(spacing_mm, shape, strict=True)]
    z, y, x = (np.arange(-reach, reach + 1) for reach in farthest)
    squared_y, squared_x = (y * spacing_mm[1]) ** 2, (x[x >= 0] * spacing_mm[2]) ** 2
    reaches = np.array(
        [
            (np.sqrt((step * spacing_mm[0]) ** 2 + squared_y[:, None] + squared_x) <= width_mm).sum(axis=1) - 1
            for step in z
        ]
    )
    kept = np.argwhere(reaches >= 0)
    kept = kept[np.argsort(-reaches[*kept.T], kind="stable")]
    return z[kept[:, 0]], y[kept[:, 1]], reaches[*kept.T]
