"""Exact distances of queries far from the other surface, block by block (private; see `search`).

Both surfaces are sorted into cells of some 16 voxels along each axis. The queries q of a cell share what can be said
of their box: let r be the target nearest to its centre, the *rival*. Another target t matters only if it is nearer
than r to some q, and |t - q|^2 - |r - q|^2 is linear in q, so its least value over the box is a sum over the axes. Few
targets are left, and they are compared with each query. On blobs far from a compact organ (155 x 240 x 240, 400,000
queries) this takes 50 ms where the transform of `distances` takes 120; among dense noise the transform is faster.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, void
from numpy.typing import NDArray

from calibeval.metrics._kernels.compiling import helper, kernel, read_only
from calibeval.metrics._kernels.surfaces import NEW_WORDS, Words, zeros_below

Index = NDArray[np.int64]
Float = NDArray[np.float64]

_ONE = np.uint64(1)
_CELL_COST = 10  # of a look at a target cell, in looks at a target: these take about a nanosecond
_FLOATS, _INDEX = float64[:, ::1], read_only(int64)


@kernel(void(NEW_WORDS, NEW_WORDS, _INDEX, int64[::1], _FLOATS, int64[::1]))
def sort_into_cells(bits: Words, wanted: Words, shifts: Index, ends: Index, places: Float, order: Index) -> None:
    """Sort elements by cell; those of one cell stay in raster order.

    Args:
        bits: a surface's elements in a box, with one zero word at both ends of each row.
        wanted: those of them to be sorted.
        shifts: a cell has 2^shift voxels along z, y, x.
        ends: gets where each cell ends, in raster order of cells; zero on entry.
        places: gets z, y, x of each element (3, n).
        order: gets each element's place among those of bits.
    """
    slices, rows, words = bits.shape
    cells_y, cells_x = ((rows - 1) >> shifts[1]) + 1, ((64 * (words - 2) - 1) >> shifts[2]) + 1
    for counting in (True, False):
        k = 0
        for z in range(slices):
            for y in range(rows):
                first = ((z >> shifts[0]) * cells_y + (y >> shifts[1])) * cells_x
                for w in range(1, words - 1):
                    word = bits[z, y, w]
                    while word:
                        bit = word & (~word + _ONE)
                        word ^= bit
                        if wanted[z, y, w] & bit:
                            x = 64 * (w - 1) + zeros_below(bit)
                            cell = first + (x >> shifts[2])
                            if not counting:
                                place = ends[cell]
                                places[0, place], places[1, place], places[2, place], order[place] = z, y, x, k
                            ends[cell] += 1
                        k += 1
        if counting:
            total = 0
            for cell in range(ends.size):
                total, ends[cell] = total + ends[cell], total


@helper()
def _squared(z: float, y: float, x: float, steps: tuple[float, float, float]) -> float:
    z, y, x = z * steps[0], y * steps[1], x * steps[2]
    return z * z + y * y + x * x


@helper()
def _middle(values: Float) -> tuple[float, float]:
    """Give the middle of the smallest and the largest value, and half of their difference."""
    smallest = largest = values[0]
    for i in range(values.size):
        smallest, largest = min(smallest, values[i]), max(largest, values[i])
    return (smallest + largest) / 2, (largest - smallest) / 2


@helper()
def _lead(t: float, centre: float, half: float, rival: float) -> float:
    """Give the least of (t - q)^2 - (r - q)^2 over all q within half of the centre, plus (r - centre)^2."""
    return (t - centre) ** 2 - 2 * half * abs(t - rival)


@helper()
def _least_lead(low: float, high: float, centre: float, half: float, rival: float) -> float:
    """Give the least lead of any t from low to high: it is a parabola on either side of the rival."""
    above, below = max(low, min(high, centre + half)), max(low, min(high, centre - half))
    return min(_lead(above, centre, half, rival), _lead(below, centre, half, rival))


@helper()
def _nearest(
    centre: tuple[float, float, float],
    targets: Float,
    starts: Index,
    low: Float,
    high: Float,
    steps: tuple[float, float, float],
    rival: int,
) -> tuple[int, float, int]:
    """Give the target nearest to a point, its squared distance and the work; rival is where the search begins."""
    z, y, x = centre
    least = _squared(z - targets[0, rival], y - targets[1, rival], x - targets[2, rival], steps)
    work = 0
    for k in range(starts.size - 1):
        gap_z, gap_y = max(low[0, k] - z, z - high[0, k], 0.0), max(low[1, k] - y, y - high[1, k], 0.0)
        if _squared(gap_z, gap_y, max(low[2, k] - x, x - high[2, k], 0.0), steps) < least:
            work += starts[k + 1] - starts[k]
            for t in range(starts[k], starts[k + 1]):
                squared = _squared(z - targets[0, t], y - targets[1, t], x - targets[2, t], steps)
                if squared < least:
                    least, rival = squared, t
    return rival, least, work


@helper()
def _compare(
    z: Float, y: Float, x: Float, targets: Float, t: int, steps: tuple[float, float, float], best: Float
) -> None:
    """Bring the best squared distances of a block's queries up to date with a target."""
    tz, ty, tx = targets[0, t], targets[1, t], targets[2, t]
    for i in range(best.size):
        squared = _squared(z[i] - tz, y[i] - ty, x[i] - tx, steps)
        best[i] = squared if squared < best[i] else best[i]


@kernel(int64(_FLOATS, _INDEX, _FLOATS, _INDEX, _FLOATS, _FLOATS, float64[::1], int64, float64[::1]))
def block_distances(
    queries: Float,
    query_ends: Index,
    targets: Float,
    starts: Index,
    low: Float,
    high: Float,
    spacing: Float,
    most: int,
    best: Float,
) -> int:
    """Find the squared distances of all queries, unless this takes too long.

    Args:
        queries: z, y, x of each query (3, n), sorted by cell.
        query_ends: where each cell ends; some are empty.
        targets: the same of the targets (3, m).
        starts: where each target cell starts, and m; none is empty.
        low: smallest z, y, x in each target cell (3, cells).
        high: the largest.
        spacing: along z, y, x.
        most: looks at targets after which the search is given up.
        best: gets the squared distances; infinite on entry.

    Returns:
        How many looks it took; more than `most` when the search was given up.
    """
    steps = (spacing[0], spacing[1], spacing[2])
    wz, wy, wx = steps[0] ** 2, steps[1] ** 2, steps[2] ** 2
    work, first, rival = 0, 0, 0
    for last in query_ends:
        if last == first:
            continue
        z, y, x, found = queries[0, first:last], queries[1, first:last], queries[2, first:last], best[first:last]
        (cz, hz), (cy, hy), (cx, hx) = _middle(z), _middle(y), _middle(x)
        rival, least, looks = _nearest((cz, cy, cx), targets, starts, low, high, steps, rival)
        _compare(z, y, x, targets, rival, steps, found)
        rz, ry, rx = targets[0, rival], targets[1, rival], targets[2, rival]
        work += looks + _CELL_COST * (starts.size - 1)
        for k in range(starts.size - 1):
            lead = wz * _least_lead(low[0, k], high[0, k], cz, hz, rz)
            lead += wy * _least_lead(low[1, k], high[1, k], cy, hy, ry)
            if lead + wx * _least_lead(low[2, k], high[2, k], cx, hx, rx) >= least:
                continue
            work += starts[k + 1] - starts[k]
            for t in range(starts[k], starts[k + 1]):
                lead = wz * _lead(targets[0, t], cz, hz, rz) + wy * _lead(targets[1, t], cy, hy, ry)
                if lead + wx * _lead(targets[2, t], cx, hx, rx) < least:
                    _compare(z, y, x, targets, t, steps, found)
                    work += found.size
        if work > most:
            break
        first = last
    return work
