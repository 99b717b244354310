"""Exact distances from each surface element to the nearest element of another surface (private; see `surface`).

Both surfaces are bits in one box, (z, y, word), with a zero word at both ends of each row. A query is an element of
the first surface, and its squared distance is (dz^2 + dy^2) + dx^2 with each offset multiplied by the spacing.

Most queries lie near the other surface: `near_distances` looks at the rows around them in order of distance, finds
the nearest bit of a row by counting zeros, and stops at the first row that is farther away than the best bit so far.
The rest is left pending for `far_distances`: a two-dimensional distance transform of each slice of the other
surface, computed only at the columns and rows of pending queries, which then look along z for their nearest slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int32, int64, uint64, void
from numpy.typing import NDArray

from calibeval.metrics._kernels.compiling import helper, kernel
from calibeval.metrics._kernels.surfaces import NEW_WORDS, Word, Words, zeros_above, zeros_below

Float = NDArray[np.float64]
Index = NDArray[np.signedinteger[Any]]

REACH = 32  # voxels along x within which `near_distances` sees bits

_ONE = np.uint64(1)
_HALF = np.uint64(32)
_NOWHERE = 1 << 30  # a position farther away than any image is wide, twice over
_PATIENCE = 8  # after so many queries in a row without a near target, in one column of words,
_RETRY = 256  # only each so-manieth is tried: the others are far as well, or lose nothing but time (110 ms, not 320)

_FLOATS, _INDICES = float64[::1], int64[::1]


@helper()
def _window(row: Words, x: int) -> Word:
    """Give the 64 bits around x: bit 32 is x itself."""
    start = x + REACH  # the row's zero word in front shifts it by 64
    word, shift = start >> 6, np.uint64(start & 63)
    bits: Word = (row[word] >> shift) | ((row[word + 1] << _ONE) << (np.uint64(63) - shift))
    return bits


@helper()
def _nearest_in_rows(
    target: Words,
    z: int,
    y: int,
    x: int,
    near_z: Index,
    near_y: Index,
    near_squared: Float,
    squares: Float,
    limit: float,
) -> float:
    """Give the squared distance to the nearest target around a query, or limit when none is nearer."""
    best = limit
    for k in range(near_squared.size):
        if near_squared[k] >= best:
            break
        row_z, row_y = z + near_z[k], y + near_y[k]
        if 0 <= row_z < target.shape[0] and 0 <= row_y < target.shape[1]:
            window = _window(target[row_z, row_y], x)
            if window:
                steps = min(zeros_below(window >> _HALF), zeros_above(window << _HALF) + 1)
                best = min(best, near_squared[k] + squares[steps])
    return best


@kernel(int64(*[NEW_WORDS] * 2, *[_INDICES] * 2, *[_FLOATS] * 2, float64, _INDICES, NEW_WORDS, _FLOATS))
def near_distances(
    query: Words,
    target: Words,
    near_z: Index,
    near_y: Index,
    near_squared: Float,
    squares: Float,
    limit: float,
    misses: Index,
    pending: Words,
    distances: Float,
) -> int:
    """Find the distances of the queries that have a target nearer than the limit.

    Args:
        query: surface whose elements ask.
        target: surface that they ask for.
        near_z: offsets along z of the rows around a query, in order of their distance.
        near_y: the same along y.
        near_squared: squared distances of the rows.
        squares: squared distances along x of 0..REACH voxels.
        limit: all rows with a smaller squared distance are listed; at most the square of REACH voxels.
        misses: working memory, one for each word of a row; zero on entry.
        pending: gets the queries left to `far_distances`; zero on entry.
        distances: gets the distance of each other query, in raster order.

    Returns:
        The number of pending queries.
    """
    slices, rows, words = query.shape
    k, left = 0, 0
    for z in range(slices):
        for y in range(rows):
            for w in range(1, words - 1):
                word = query[z, y, w]
                while word:
                    bit = word & (~word + _ONE)
                    word ^= bit
                    best = limit
                    if misses[w] < _PATIENCE or misses[w] % _RETRY == 0:
                        x = 64 * (w - 1) + zeros_below(bit)
                        best = _nearest_in_rows(target, z, y, x, near_z, near_y, near_squared, squares, limit)
                    if best < limit:
                        distances[k] = np.sqrt(best)
                        misses[w] = 0
                    else:
                        pending[z, y, w] |= bit
                        misses[w] += 1
                        left += 1
                    k += 1
    return left


@helper()
def _last_before(row: Words, x: int) -> int:
    """Give the position of the last bit at or before x, or -_NOWHERE."""
    word = (x >> 6) + 1
    bits = row[word] << np.uint64(63 - (x & 63))
    if bits:
        return x - zeros_above(bits)
    while word > 1:
        word -= 1
        if row[word]:
            return 64 * word - 1 - zeros_above(row[word])
    return -_NOWHERE


@helper()
def _first_after(row: Words, x: int) -> int:
    """Give the position of the first bit at or after x, or _NOWHERE."""
    word = (x >> 6) + 1
    bits = row[word] >> np.uint64(x & 63)
    if bits:
        return x + zeros_below(bits)
    while word < row.size - 1:
        word += 1
        if row[word]:
            return 64 * (word - 1) + zeros_below(row[word])
    return _NOWHERE


@helper()
def _push(envelope: Float, count: int, site: int, height: float, scale: float) -> int:
    """Add the parabola (i - site)^2 / scale + height to a lower envelope; give its new number of pieces.

    Piece k has its site and height in rows 0 and 1, and is the lowest from half of row 2 on (the algorithm of
    10.4086/toc.2012.v008a019). Sites come in ascending order.
    """
    bound = -np.inf
    while count:
        last = envelope[0, count - 1]
        bound = (height - envelope[1, count - 1]) * scale / (site - last) + (site + last)
        if bound > envelope[2, count - 1]:
            break
        count -= 1
        bound = -np.inf
    envelope[0, count], envelope[1, count], envelope[2, count] = site, height, bound
    return count + 1


@helper()
def _enqueue(pending: Words, w: int, masks: Words, queue: Index) -> tuple[int, Word]:
    """List the non-zero pending words with their (z, y), in order of (y, z); give their number and their union."""
    slices, rows, _ = pending.shape
    waiting, columns = 0, np.uint64(0)
    for y in range(rows):
        for z in range(slices):
            word = pending[z, y, w]
            if word:
                columns |= word
                masks[waiting], queue[0, waiting], queue[1, waiting] = word, z, y
                waiting += 1
    return waiting, columns


@helper()
def _transform_column(
    target: Words,
    extents: Index,
    x: int,
    wanted: Index,
    steps: Float,
    around: Index,
    envelope: Float,
    squared: Float,
) -> None:
    """Set squared[y, z], for each wanted y, to the squared distance from (y, x) to the nearest target of slice z.

    around[0] and around[1] hold each row's last bit before and first bit after the previous column, ordered (z, y);
    a row is looked at again only when x has passed the latter.
    """
    slices, rows, _ = target.shape
    scale = 1 / steps[1] ** 2
    for z in range(slices):
        count = 0
        for y in range(extents[z, 0], extents[z, 1] + 1):
            row = z * rows + y
            if around[1, row] < x:
                around[0, row] = _last_before(target[z, y], x)
                around[1, row] = _first_after(target[z, y], x)
            away = min(x - around[0, row], around[1, row] - x)
            if away < _NOWHERE // 2:
                count = _push(envelope, count, y, (away * steps[2]) ** 2, scale)
        k = 0
        for y in wanted:
            while k + 1 < count and envelope[2, k + 1] < 2 * y:
                k += 1
            squared[y, z] = ((y - envelope[0, k]) * steps[1]) ** 2 + envelope[1, k] if count else np.inf


@helper()
def _rank(word: Word, bit: Word) -> int:
    """Count the bits of a word below a bit."""
    below = word & (bit - _ONE)
    count = 0
    while below:
        below &= below - _ONE
        count += 1
    return count


@helper()
def _resolve_column(
    query: Words,
    starts: Index,
    w: int,
    bit: Word,
    steps: Float,
    queue: Index,
    hits: Index,
    envelope: Float,
    squared: Float,
    distances: Float,
) -> None:
    """Find the distances of one column's waiting queries from those to each slice, squared (y, z)."""
    scale = 1 / steps[0] ** 2
    current, count, k = -1, 0, 0
    for i in hits:
        z, y = queue[0, i], queue[1, i]
        if y != current:
            current, count, k = y, 0, 0
            for site in range(squared.shape[1]):
                if squared[y, site] < np.inf:
                    count = _push(envelope, count, site, squared[y, site], scale)
        while k + 1 < count and envelope[2, k + 1] < 2 * z:
            k += 1
        best = ((z - envelope[0, k]) * steps[0]) ** 2 + envelope[1, k]
        distances[starts[z, y, w] + _rank(query[z, y, w], bit)] = np.sqrt(best)


@kernel(
    void(
        *[NEW_WORDS] * 3,
        int64[:, :, ::1],
        int64[:, ::1],
        _FLOATS,
        uint64[::1],
        int32[:, ::1],
        *[float64[:, ::1]] * 2,
        _FLOATS,
    )
)
def far_distances(
    query: Words,
    pending: Words,
    target: Words,
    starts: Index,
    extents: Index,
    steps: Float,
    masks: Words,
    indices: Index,
    envelope: Float,
    squared: Float,
    distances: Float,
) -> None:
    """Find the distances of pending queries, column by column.

    Args:
        query: surface whose elements ask.
        pending: those of them that still ask.
        target: surface that they ask for; not empty.
        starts: how many queries precede each word of query.
        extents: first and last row with a target in each slice; first > last in an empty one.
        steps: spacing along z, y, x.
        masks: working memory (slices * rows).
        indices: working memory (6, slices * rows); -1 on entry.
        envelope: working memory (3, the larger of slices and rows).
        squared: working memory (rows, slices).
        distances: gets the distances, in raster order of all queries.
    """
    around, queue, hits, wanted = indices[:2], indices[2:4], indices[4], indices[5]
    for w in range(1, query.shape[2] - 1):
        waiting, columns = _enqueue(pending, w, masks, queue)
        while columns:
            bit = columns & (~columns + _ONE)
            columns ^= bit
            x = 64 * (w - 1) + zeros_below(bit)
            found, heights = 0, 0
            for i in range(waiting):
                if masks[i] & bit:
                    hits[found] = i
                    found += 1
                    if heights == 0 or wanted[heights - 1] != queue[1, i]:
                        wanted[heights] = queue[1, i]
                        heights += 1
            _transform_column(target, extents, x, wanted[:heights], steps, around, envelope, squared)
            _resolve_column(query, starts, w, bit, steps, queue, hits[:found], envelope, squared, distances)
