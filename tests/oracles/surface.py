"""Surface distances by brute force: every element against every other. Slow, and written from the definitions alone."""

from __future__ import annotations

from itertools import product

import numpy as np

from calibeval.protocol import HD95_DEFINITIONS


def elements(mask, surface):
    """Indices (n, ndim) of a mask's surface elements in raster order."""
    if surface == "corners":
        blocks = np.stack([_moved(mask, offset, corners=True) for offset in product((-1, 0), repeat=mask.ndim)])
        return np.argwhere(blocks.any(axis=0) & ~blocks.all(axis=0)).astype(float)
    if surface == "voxels":
        return np.argwhere(mask).astype(float)
    neighbours = [
        _moved(mask, offset)
        for offset in product((-1, 0, 1), repeat=mask.ndim)
        if surface == "full" or np.abs(offset).sum() == 1
    ]
    return np.argwhere(mask & ~np.all(neighbours, axis=0)).astype(float)


def _moved(mask, offset, corners=False):
    """What lies at an offset from each voxel (or corner); nothing outside the image."""
    padded = np.pad(mask, 1)
    return padded[
        tuple(slice(1 + step, 1 + step + count + corners) for step, count in zip(offset, mask.shape, strict=True))
    ]


def nearest(queries, targets):
    """Distance from each query to the nearest target; inf without a target."""
    if len(targets) == 0:
        return np.full(len(queries), np.inf)
    return np.array([np.sqrt(((targets - query) ** 2).sum(axis=1).min()) for query in queries])


def distances(reference, prediction, spacing_mm, definition):
    """Both directed distances of two masks."""
    chosen = HD95_DEFINITIONS[definition]
    step = np.array(spacing_mm if chosen.spacing else [1.0] * reference.ndim)
    ours, theirs = (elements(mask, chosen.surface) * step for mask in (reference, prediction))
    return nearest(ours, theirs), nearest(theirs, ours)


def distances_by_map(reference, prediction, spacing_mm, definition):
    """The same from scipy's erosion and distance maps of the whole image, for larger masks."""
    from scipy import ndimage

    chosen = HD95_DEFINITIONS[definition]
    step = spacing_mm if chosen.spacing else [1.0] * reference.ndim
    structure = ndimage.generate_binary_structure(reference.ndim, reference.ndim if chosen.surface == "full" else 1)
    ours, theirs = (mask & ~ndimage.binary_erosion(mask, structure) for mask in (reference, prediction))
    if chosen.surface == "voxels":
        ours, theirs = reference, prediction
    return tuple(
        ndimage.distance_transform_edt(~target, sampling=step)[query] if target.any() else np.full(query.sum(), np.inf)
        for query, target in ((ours, theirs), (theirs, ours))
    )
