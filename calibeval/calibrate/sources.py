"""Planes that pass through a calibrator on their way, and planes of a compressed file made readable at random."""

from __future__ import annotations

import errno
import math
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.planes import CHUNK, Plane, PlaneSource

Array = NDArray[np.float64]


def calibrated_planes(source: PlaneSource, apply: Callable[[Array], Array]) -> PlaneSource:
    """Planes of new probabilities, each voxel's from all classes of that voxel.

    Args:
        source: planes that sum to 1.
        apply: gives q (C, n) for p (C, n).
    """
    read = random_access(source).read
    done = threading.local()  # the classes of a range are asked for one after the other, by one thread

    def calibrated(c: int, start: int) -> Plane:
        if getattr(done, "start", None) != start:
            p = np.stack([read(k, start) for k in range(source.classes)])  # type: ignore[misc]
            done.start, done.q = start, apply(p.astype(np.float64))
        return np.ascontiguousarray(done.q[c])

    return replace(source, dtype=np.dtype(np.float64), read=calibrated, stream=None)


def mean_planes(sources: Sequence[PlaneSource]) -> PlaneSource:
    """Mean of the planes of several sources of one shape."""
    readable = [random_access(source) for source in sources]
    tolerance = max(source.tolerance for source in sources)

    def mean(c: int, start: int) -> Plane:
        values = [source.read(c, start) for source in readable]  # type: ignore[misc]
        return np.asarray(np.mean(values, axis=0, dtype=np.float64))

    return replace(readable[0], dtype=np.dtype(np.float64), read=mean, tolerance=tolerance)


def random_access(source: PlaneSource) -> PlaneSource:
    """The same planes, readable in any order: those of a compressed file are unpacked into a temporary one."""
    if source.read is not None:
        return source
    planes = temporary_array((source.classes, source.voxels), source.dtype)
    for chunk in source.chunks():
        planes[chunk.class_index, chunk.start : chunk.start + chunk.values.size] = chunk.values
    return replace(source, read=lambda c, start: planes[c, start : start + CHUNK], stream=None)


def temporary_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array in a file without a name, gone with the last reference to it; memory holds what is in use.

    Raises:
        OSError: the disk has no room; without asking, the first write would end the process.
    """
    with tempfile.TemporaryFile(prefix="calibeval-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, math.prod(shape) * dtype.itemsize))
        except (AttributeError, OSError) as error:  # not every system or disk can
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
        return np.memmap(file, dtype, "w+", shape=shape)
