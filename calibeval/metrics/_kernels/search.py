"""Surface elements of each class and the distances between them (private; see `calibeval.metrics.surface`).

The order of work: mark the elements of all classes in one pass over each label map; then, class by class, copy its
elements out of the common marks into the class's box and ask for each one's nearest partner. Slices and classes are
spread over threads, and every task writes its own output, so the number of threads changes no bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics._kernels import blocks as _blocks
from calibeval.metrics._kernels import distances as _distance_kernels
from calibeval.metrics._kernels import surfaces as _surface_kernels

Labels = NDArray[np.uint8]
Words = NDArray[np.uint64]
Index = NDArray[np.int64]
Float = NDArray[np.float64]
Run = Callable[[Callable[..., Any], Sequence[Any]], list[Any]]
NearRows = tuple[Index, Index, Float, Float, float]

# (reach, connectivity) of the kinds of surface element, see `_surface_kernels`.
_ELEMENTS = {"faces": (1, 1), "full": (1, 3), "corners": (0, 3)}
_NEAR_ROWS = 400  # rows around a query that are searched before it counts as far
_CELL = 12.0  # voxels along an edge of a cell of `_blocks`, were spacing equal along all axes
_BLOCKS_COST = 125  # nanoseconds a query, as measured where `_blocks` does well
_SMALL_COST = 1e7  # nanoseconds that a transform may take before anything else is tried
_SLICES_PER_TASK = 16
_SMALL = 1 << 20  # voxels below which threads cost more than they save


class Grid(NamedTuple):
    """What both label maps have in common.

    Attributes:
        elements: which surface elements, see `calibeval.protocol.HD95Definition.surface`.
        spacing: voxel size along z, y, x.
        planar: whether the image is two-dimensional, with a z axis of one slice put before.
    """

    elements: Literal["faces", "full", "corners"]
    spacing: tuple[float, float, float]
    planar: bool


class Distances(NamedTuple):
    """Of one class: each element's distance to the other surface and its configuration, in raster order."""

    reference_to_prediction: Float
    prediction_to_reference: Float
    reference_codes: Labels
    prediction_codes: Labels


class _Task(NamedTuple):
    """What the search for one class needs to know besides the class."""

    grid: Grid
    near: NearRows
    run: Run


class _Marks(NamedTuple):
    """One label map's elements of all classes: bits (z, y, word), boxes (label, lowest and highest z, y, x)."""

    labels: Labels
    bits: Words
    boxes: Index


class _Surface(NamedTuple):
    """One class's elements in a box: bits (z, y, word) with a zero word at both ends of each row, codes (n,)."""

    bits: Words
    codes: Labels


def class_distances(
    reference: Labels, prediction: Labels, labels: Sequence[int], grid: Grid, threads: int
) -> list[Distances]:
    """Compute the distances of each wanted class.

    Args:
        reference: label map (z, y, x), C-contiguous; voxels outside the image count as label 0.
        prediction: the same.
        labels: wanted labels, 1..255.
        grid: how the voxels lie and what a surface is.
        threads: how many to use.
    """
    near = _near_rows(reference.shape[0], reference.shape[1], grid.spacing)
    with _runner(threads if reference.size > _SMALL else 1) as run:
        marks = [_mark(array, grid, run) for array in (reference, prediction)]
        boxes = [_common_box(marks, label) for label in labels]
        largest_first = sorted(range(len(labels)), key=lambda i: -_volume(boxes[i]))
        task = _Task(grid, near, run if len(labels) == 1 else _in_turn)
        found = run(lambda i: _distances(marks, labels[i], boxes[i], task), largest_first)
    by_position = dict(zip(largest_first, found, strict=True))
    return [by_position[i] for i in range(len(labels))]


def _in_turn(function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
    return [function(item) for item in items]


@contextmanager
def _runner(threads: int) -> Iterator[Run]:
    if threads <= 1:
        yield _in_turn
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda function, items: list(pool.map(function, items))


def _mark(labels: Labels, grid: Grid, run: Run) -> _Marks:
    reach, connectivity = _ELEMENTS[grid.elements]
    corners = grid.elements == "corners"
    slices, rows, columns = (count + corners for count in labels.shape)
    slices -= corners and grid.planar
    bits = np.zeros((slices, rows, -(-columns // 64)), np.uint64)
    outside = np.zeros(labels.shape[2], np.uint8)

    def mark_slices(limits: tuple[int, int]) -> Index:
        boxes = np.repeat([[np.iinfo(np.int64).max, -1]], 256, axis=0).repeat(3, axis=1)
        row = np.empty(8 * bits.shape[2] + 8, np.uint64)
        _surface_kernels.mark_surfaces(
            labels, outside, grid.planar, reach, connectivity, *limits, row.view(np.uint8), row, bits, boxes
        )
        return boxes

    boxes = np.stack(run(mark_slices, list(pairwise([*range(0, slices, _SLICES_PER_TASK), slices]))))
    return _Marks(labels, bits, np.hstack([boxes[:, :, :3].min(axis=0), boxes[:, :, 3:].max(axis=0)]))


def _common_box(marks: Sequence[_Marks], label: int) -> Index:
    boxes = np.stack([mark.boxes[label] for mark in marks])
    return np.concatenate([boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)])


def _volume(box: Index) -> int:
    return int(np.prod(box[3:] - box[:3] + 1)) if box[3] >= 0 else 0


def _distances(marks: Sequence[_Marks], label: int, box: Index, task: _Task) -> Distances:
    if _volume(box) == 0:
        return Distances(np.empty(0), np.empty(0), np.empty(0, np.uint8), np.empty(0, np.uint8))
    reference, prediction = (_select(mark, label, box, task.grid) for mark in marks)
    pairs = [(reference, prediction), (prediction, reference)]
    forth, back = task.run(lambda pair: _directed(pair[0], pair[1], task), pairs)
    return Distances(forth, back, reference.codes, prediction.codes)


def _select(mark: _Marks, label: int, box: Index, grid: Grid) -> _Surface:
    z0, y0, x0, z1, y1, x1 = (int(value) for value in box)
    first, words = x0 >> 6, (x1 >> 6) - (x0 >> 6) + 1
    bits = np.zeros((z1 - z0 + 1, y1 - y0 + 1, words + 2), np.uint64)
    inside = mark.bits[z0 : z1 + 1, y0 : y1 + 1, first : first + words]
    codes = np.empty(int(np.bitwise_count(inside).sum()), np.uint8)
    reach, _ = _ELEMENTS[grid.elements]
    count = _surface_kernels.select_class(mark.labels, label, grid.planar, reach, mark.bits, z0, y0, first, bits, codes)
    return _Surface(bits, codes[:count].copy())


def _directed(query: _Surface, target: _Surface, task: _Task) -> Float:
    distances = np.full(query.codes.size, np.inf)
    if query.codes.size == 0 or target.codes.size == 0:
        return distances
    pending = np.zeros_like(query.bits)
    misses = np.zeros(pending.shape[2], np.int64)
    if _distance_kernels.near_distances(query.bits, target.bits, *task.near, misses, pending, distances):
        _find_far(query.bits, pending, target.bits, task.grid.spacing, distances)
    return distances


def _near_rows(slices: int, rows: int, spacing: tuple[float, float, float]) -> NearRows:
    """List the rows around a query in order of distance, and the squared distance up to which the list is complete.

    Returns:
        Offsets along z and y, their squared distances, the squared distances of 0..REACH voxels along x, the limit.
    """
    steps, step_x, counts = np.array(spacing[:2]), spacing[2], np.array([slices, rows])
    squares: Float = (np.arange(_distance_kernels.REACH + 1.0) * step_x) ** 2
    # A disc of this radius holds that many rows; in an image of few slices (rows) the list grows along the other axis.
    radius = np.sqrt(_NEAR_ROWS * steps[0] * steps[1] / np.pi)
    reaches = np.maximum(np.ceil(radius / steps), _NEAR_ROWS // (2 * counts[::-1]))
    reaches = np.minimum(np.minimum(reaches, _distance_kernels.REACH * step_x // steps), counts - 1)
    z, y = np.mgrid[tuple(slice(-reach, reach + 1) for reach in reaches.astype(int))].reshape(2, -1)
    squared = (z * steps[0]) ** 2 + (y * steps[1]) ** 2
    order = np.argsort(squared, kind="stable")
    kept, left_out = order[:_NEAR_ROWS], order[_NEAR_ROWS : _NEAR_ROWS + 1]
    unlisted = (((reaches + 1) * steps) ** 2)[reaches < counts - 1]
    limit = min([float(squares[-1]), *squared[left_out].tolist(), *unlisted.tolist()])
    return z[kept], y[kept], squared[kept], squares, limit


def _find_far(
    query: Words, pending: Words, target: Words, spacing: tuple[float, float, float], distances: Float
) -> None:
    """Find the distances of pending queries in the way that is likely to be faster."""
    extents = _extents(target)
    count = int(np.bitwise_count(pending).sum())
    cost = _transform_cost(pending, extents, count)
    try_blocks = cost > max(_SMALL_COST, _BLOCKS_COST * count)
    if not (try_blocks and _search_blocks(query, pending, target, spacing, int(2 * cost), distances)):
        _transform(query, pending, target, extents, spacing, distances)


def _transform_cost(pending: Words, extents: Index, count: int) -> float:
    """Estimate in nanoseconds what `_transform` takes for so many pending queries, from measurements."""
    in_rows = np.bitwise_or.reduce(pending, axis=0)
    columns = np.bitwise_count(np.bitwise_or.reduce(in_rows, axis=0)).sum()
    lengths = np.maximum(extents[:, 1] - extents[:, 0] + 1, 0)
    return float(6 * columns * lengths.sum() + 15 * count + 13 * np.bitwise_count(in_rows).sum() * (lengths > 0).sum())


def _search_blocks(
    query: Words, pending: Words, target: Words, spacing: tuple[float, float, float], most: int, distances: Float
) -> bool:
    """Find the distances of pending queries block by block, unless that takes too long; say whether it did not."""
    steps = np.array(spacing)
    finer = np.log2(steps).mean() - np.log2(steps)
    shifts = np.clip(np.rint(np.log2(_CELL) + finer), 1, 6).astype(np.int64)
    places, ends, order = _sort_into_cells(query, pending, shifts)
    targets, target_ends, _ = _sort_into_cells(target, target, shifts)
    starts = np.unique(np.append(0, target_ends))
    low, high = (function.reduceat(targets, starts[:-1], axis=1) for function in (np.minimum, np.maximum))
    best = np.full(order.size, np.inf)
    if _blocks.block_distances(places, ends, targets, starts, low, high, steps, most, best) > most:
        return False
    distances[order] = np.sqrt(best)
    return True


def _sort_into_cells(bits: Words, wanted: Words, shifts: Index) -> tuple[Float, Index, Index]:
    slices, rows, words = bits.shape
    ends = np.zeros(np.prod((np.array([slices, rows, 64 * (words - 2)]) - 1 >> shifts) + 1), np.int64)
    count = int(np.bitwise_count(wanted).sum())
    places, order = np.empty((3, count)), np.empty(count, np.int64)
    _blocks.sort_into_cells(bits, wanted, shifts, ends, places, order)
    return places, ends, order


def _transform(
    query: Words, pending: Words, target: Words, extents: Index, spacing: tuple[float, float, float], distances: Float
) -> None:
    slices, rows, _ = query.shape
    counts = np.bitwise_count(query).astype(np.int64)
    starts = counts.cumsum().reshape(query.shape) - counts
    masks, indices = np.empty(slices * rows, np.uint64), np.full((6, slices * rows), -1, np.int32)
    envelope, squared = np.empty((3, max(slices, rows))), np.empty((rows, slices))
    _distance_kernels.far_distances(
        query,
        pending,
        target,
        starts,
        extents,
        np.array(spacing),
        masks,
        indices,
        envelope,
        squared,
        distances,
    )


def _extents(bits: Words) -> Index:
    """Give the first and last row with an element in each slice; first > last in an empty slice."""
    occupied = np.bitwise_or.reduce(bits, axis=2) != 0
    rows = occupied.shape[1]
    first = np.where(occupied.any(axis=1), occupied.argmax(axis=1), rows)
    last = np.where(first < rows, rows - 1 - occupied[:, ::-1].argmax(axis=1), -1)
    return np.stack([first, last], axis=1)
