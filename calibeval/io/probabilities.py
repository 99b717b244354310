"""Probability maps as planes: one class after the other, converted on the way, never C x N in memory.

A `PlaneSource` gives either chunks at random (`read`: arrays in memory, memory maps) or all chunks in file order
(`stream`: compressed files). The functions below build a source from files and wrap one source in another: scale,
softmax of logits, the missing background. Whatever the layout of the file, planes come out with their voxels in
C order of the spatial shape, slowest axis first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import ProbabilityError
from calibeval.io.array_file import ArrayFile, reading
from calibeval.io.stored import check_end, fill
from calibeval.planes import CHUNK, PlaneChunk, PlaneSource

Values = NDArray[Any]


def array_source(probabilities: Values, stored: np.dtype[Any] | None = None) -> PlaneSource:
    """Planes of an array (C, *spatial) in memory or in a memory map.

    A plane that does not lie in one piece is gathered once, when its first chunk is read.
    """
    stored = stored or probabilities.dtype
    dtype = _wide_enough(stored)
    gathered: dict[int, Values] = {}

    def plane(c: int, start: int) -> Values:
        if probabilities[c].flags.c_contiguous:
            whole: Values = probabilities[c].reshape(-1)
            return whole
        if start == 0 or c not in gathered:
            gathered.clear()
            gathered[c] = np.ascontiguousarray(probabilities[c]).reshape(-1)
        return gathered[c]

    def read(c: int, start: int) -> Values:
        return np.ascontiguousarray(plane(c, start)[start : start + CHUNK], dtype)

    tolerance = _sum_tolerance(stored)
    source = PlaneSource(len(probabilities), probabilities.shape[1:], dtype, tolerance, read)
    if all(plane.flags.c_contiguous for plane in probabilities):
        return source
    return replace(source, read=None, stream=source.chunks)


def file_source(file: ArrayFile, shape: tuple[int, ...], scale: float | None = None) -> PlaneSource:
    """Planes of an opened file whose array is (C, *spatial), classes slowest.

    Args:
        file: the file; its array has C * prod(shape) values.
        shape: spatial.
        scale: divide by this (255 for uint8 probabilities); None takes the header's slope and intercept.
    """
    classes = math.prod(file.shape) // math.prod(shape)
    if file.part is not None:
        return _scaled(_part_source(file, classes, shape), file, scale)
    if file.stream is None:
        return _scaled(array_source(file.load().reshape(classes, *shape), file.dtype), file, scale)
    raw = _stream_source(file, classes, shape)
    return _scaled(raw, file, scale)


def transposed_source(file: ArrayFile, array: Values, scale: float | None = None) -> PlaneSource:
    """Planes of a loaded array, brought to (C, *spatial) by views, with the file's scale."""
    return _scaled(array_source(array, file.dtype), file, scale)


def stack_sources(sources: list[PlaneSource]) -> PlaneSource:
    """Planes of several one-class sources, in their order."""

    def stream() -> Iterator[PlaneChunk]:
        for c, source in enumerate(sources):
            for chunk in source.chunks():
                yield chunk._replace(class_index=c, values=chunk.values.astype(dtype, copy=False))

    dtype = max((source.dtype for source in sources), key=lambda dtype: dtype.itemsize)
    tolerance = max(source.tolerance for source in sources) * len(sources)
    return PlaneSource(len(sources), sources[0].shape, dtype, tolerance, stream=stream)


def with_background(source: PlaneSource) -> PlaneSource:
    """Put 1 - sum of the classes before them, as class 0; in float64, so that 1 - p_0 gives the classes back.

    Where rounding makes the sum a little larger than 1, the background is 0. Several classes that leave no background
    anywhere hold it already, and the classes were counted wrongly.
    """

    def stream() -> Iterator[PlaneChunk]:
        rest = np.ones(source.voxels)
        for chunk in source.chunks():
            rest[chunk.start : chunk.start + CHUNK] -= chunk.values
        if source.classes > 1 and np.abs(rest).max() <= source.tolerance:
            n = source.classes
            raise ProbabilityError(f"the {n} maps sum to 1, so the background is among them: {n} classes, not {n + 1}")
        if source.classes > 1 and (over := int(np.count_nonzero(rest < -source.tolerance))):
            raise ProbabilityError(
                f"the {source.classes} maps without background sum to more than 1 in {over} voxels: they overlap, so "
                "they are --regions and no classes"
            )
        rest[(rest < 0) & (rest >= -source.tolerance)] = 0
        for start in range(0, source.voxels, CHUNK):
            yield PlaneChunk(0, start, rest[start : start + CHUNK])
        for chunk in source.chunks():
            yield PlaneChunk(chunk.class_index + 1, chunk.start, chunk.values.astype(np.float64))

    return replace(source, classes=source.classes + 1, dtype=np.dtype(np.float64), read=None, stream=stream)


def softmax_source(logits: PlaneSource) -> PlaneSource:
    """Softmax over the classes of logits; reads them twice."""
    normaliser = np.empty(0)

    def log_sum_exp() -> NDArray[np.float64]:
        total = np.full(logits.voxels, -np.inf)
        for chunk in logits.chunks():
            part = slice(chunk.start, chunk.start + CHUNK)
            total[part] = np.logaddexp(total[part], chunk.values)
        return total

    def softmax(values: Values, _c: int, start: int) -> Values:
        nonlocal normaliser
        if not normaliser.size:
            normaliser = log_sum_exp()
        with np.errstate(invalid="ignore"):  # infinite logits give NaN, which is refused as no probability
            return np.exp(values - normaliser[start : start + CHUNK]).astype(logits.dtype)

    return logits.map(softmax)


def sigmoid_source(logits: PlaneSource) -> PlaneSource:
    """Sigmoid of each plane of logits."""
    from scipy.special import expit

    return logits.map(lambda values, _c, _start: expit(values))


def _scaled(source: PlaneSource, file: ArrayFile, scale: float | None) -> PlaneSource:
    """Apply the scale of the header or of the type; its result is float64, as exact as the stored integers.

    Integers may have been cut rather than rounded, so each class may lack up to one step of the sum.
    """
    if scale is None and not file.scaled:
        return source
    factor, offset = (file.slope, file.intercept) if scale is None else (1 / scale, 0.0)
    step = abs(factor) if file.dtype.kind in "iu" else 0.0
    wide = np.dtype(np.float64)

    def convert(values: Values, _c: int, _start: int) -> Values:
        exact = values.astype(wide)
        return exact / scale if scale is not None else exact * factor + offset

    converted = source.map(convert)
    return replace(converted, dtype=wide, tolerance=max(source.tolerance, step * source.classes))


def _part_source(file: ArrayFile, classes: int, shape: tuple[int, ...]) -> PlaneSource:
    voxels, dtype = math.prod(shape), _wide_enough(file.dtype)

    def read(c: int, start: int) -> Values:
        with reading(file.path):
            part = file.part(c * voxels + start, min(CHUNK, voxels - start))  # type: ignore[misc]
        return part.astype(dtype, copy=False)

    return PlaneSource(classes, shape, dtype, _sum_tolerance(file.dtype), read)


def _stream_source(file: ArrayFile, classes: int, shape: tuple[int, ...]) -> PlaneSource:
    voxels, dtype = math.prod(shape), _wide_enough(file.dtype)

    def stream() -> Iterator[PlaneChunk]:
        raw = np.empty(min(CHUNK, voxels), file.dtype)
        with reading(file.path), file.stream() as bytes_:  # type: ignore[misc]
            for c in range(classes):
                for start in range(0, voxels, CHUNK):
                    part = raw[: min(CHUNK, voxels - start)]
                    fill(bytes_, part.view(np.uint8).data)
                    yield PlaneChunk(c, start, part.astype(dtype, copy=False))
            check_end(bytes_, file.path)

    return PlaneSource(classes, shape, dtype, _sum_tolerance(file.dtype), stream=stream)


def _wide_enough(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Float type that holds every value of a stored type."""
    return np.dtype(np.float32 if np.can_cast(stored, np.float32) else np.float64)


def _sum_tolerance(stored: np.dtype[Any]) -> float:
    """How far the mean of a block's sums may be from 1: rounding in the stored type, and a little for softmax in it."""
    return 1e-3 if stored.name == "float16" else 1e-4
