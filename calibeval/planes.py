"""Probability maps as planes: one class after the other, chunk by chunk, never C x N in memory.

A `PlaneSource` gives either chunks at random (`read`: arrays in memory, memory maps) or all chunks in file order
(`stream`: compressed files). Planes hold their voxels in C order of the spatial shape, slowest axis first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 20  # voxels of a chunk

Plane = NDArray[Any]  # float32 or float64


class PlaneChunk(NamedTuple):
    """Probabilities of one class at the voxels start, start + 1, ...

    `start` is a multiple of `CHUNK`, and a chunk ends there or with the plane. The chunks of one range come in the
    order of their classes.
    """

    class_index: int
    start: int
    values: Plane


@dataclass(frozen=True)
class PlaneSource:
    """Planes of C classes over N voxels.

    Attributes:
        classes: C.
        shape: spatial, slowest axis first; N is its product.
        dtype: float32 or float64, of the values given.
        tolerance: how far from 1 a mean sum over classes may be, by the stored type.
        read: values of class c at the voxels start, start + 1, ... (one chunk); None when only `stream` exists.
        stream: all chunks, class by class; None when `read` exists.
    """

    classes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    tolerance: float
    read: Callable[[int, int], Plane] | None = None
    stream: Callable[[], Iterator[PlaneChunk]] | None = None

    @property
    def voxels(self) -> int:
        """N."""
        return math.prod(self.shape)

    def chunks(self) -> Iterator[PlaneChunk]:
        """All chunks, class by class."""
        if self.stream is not None:
            yield from self.stream()
        elif self.read is not None:
            for c in range(self.classes):
                for start in range(0, self.voxels, CHUNK):
                    yield PlaneChunk(c, start, self.read(c, start))

    def keeping_largest(self) -> tuple[PlaneSource, NDArray[np.float32]]:
        """The same source, and (N,) the largest probability of a class but the first, filled while it is read."""
        largest = np.zeros(self.voxels, np.float32)

        def keep(values: Plane, c: int, start: int) -> Plane:
            if c:
                part = largest[start : start + values.size]
                np.maximum(part, values, out=part, casting="same_kind")
            return values

        return self.map(keep), largest

    def map(self, function: Callable[[Plane, int, int], Plane]) -> PlaneSource:
        """Apply a function of (values, class, start) to every chunk."""
        read, stream = self.read, self.stream

        def mapped() -> Iterator[PlaneChunk]:
            for chunk in stream():  # type: ignore[misc]
                yield chunk._replace(values=function(chunk.values, chunk.class_index, chunk.start))

        if read is None:
            return replace(self, stream=mapped)
        return replace(self, read=lambda c, start: function(read(c, start), c, start))
