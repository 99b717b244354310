"""Voxels near the boundary of a reference, for boundary ECE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.statistics import IGNORED


def near_boundary(labels: NDArray[np.uint8], spacing_mm: tuple[float, ...], width_mm: float) -> NDArray[np.uint8]:
    """Keep labels within a distance of a boundary between labels, and set 255 elsewhere.

    A boundary voxel has a face neighbour of another label, ignored voxels left aside; distances are Euclidean,
    between voxel centres.

    Args:
        labels: class indices, 255 ignored.
        spacing_mm: of the array's axes.
        width_mm: the distance; 0 keeps the boundary voxels alone.

    Returns:
        Labels of the same shape; all 255 when there is no boundary.
    """
    from scipy.ndimage import distance_transform_edt

    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        before = (*[slice(None)] * axis, slice(None, -1))
        after = (*[slice(None)] * axis, slice(1, None))
        differ = (labels[before] != labels[after]) & (labels[before] != IGNORED) & (labels[after] != IGNORED)
        edge[before] |= differ
        edge[after] |= differ
    if not edge.any():
        return np.full(labels.shape, IGNORED, np.uint8)
    near = distance_transform_edt(~edge, sampling=spacing_mm) <= width_mm
    return np.where(near, labels, np.uint8(IGNORED)).astype(np.uint8, copy=False)
