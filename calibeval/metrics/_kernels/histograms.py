"""Compiled loops behind `statistics`: one pass over the planes of a probability map.

Voxels are handled in blocks of `BLOCK`. A block whose probabilities share one cell and whose labels agree costs a
count and a sum; the others go through a few loops that vectorise, and one that does not. Planes arrive class by
class, so the largest probability so far and its class are kept per voxel, never C x N values; a block in which one
class is above `DECIDED` everywhere is done, and not even that is kept.

A *cell* is a histogram's column: cell 0 holds p = 0 exactly, cell k > 0 holds edges[k-1] < p <= edges[k]. Values and
edges are compared as float32; sums are float64. Non-negative floats order like their bits, and minima of integers
vectorise where minima of floats do not: hence the `bits` arguments. Every kernel releases the GIL.
"""

from __future__ import annotations

import math

import numpy as np
from numba import boolean, float32, float64, int32, int64, uint8, void
from numpy.typing import NDArray

from calibeval.metrics._kernels.compiling import helper, kernel, read_only
from calibeval.metrics._kernels.labels import BLOCK, IGNORED, INDEX, LABEL_BLOCKS, Index, Labels, Sets

Values = NDArray[np.float32] | NDArray[np.float64]
Bits = NDArray[np.int32] | NDArray[np.int64]
Single = NDArray[np.float32]
Float = NDArray[np.float64]
Codes = NDArray[np.int32]

DECIDED = 0.9  # no other class can reach this much where the classes sum to 1
_MIXED = -1  # the labels of a block do not agree

# One addition counts a voxel and sums its p: that of the bits of 256 + p as integers. Their exponent field, 1031, is
# odd, so that its multiple modulo 2^12 tells how many were added, and their lower 52 bits sum to p in units of 2^-44,
# without a carry as long as fewer than 256 were added. Rounding to that unit costs less than 3e-14 of each p; in the
# cell next to 0, where that could be much of p, it is added again (float32 has no such rest above 2^-20).
_UNIT = 256.0
_RESOLUTION = 2.0**-44
_COARSE = 2.0**-20
_COUNT_FACTOR = pow(1031, -1, 4096)
_LANES = 4  # 1.15 times as fast as one lane
_FLUSHED_TOGETHER = 3  # blocks, of which a lane takes a quarter: 192 voxels, and 3 of a last block


_ANY_ORDER = {"reassoc", "contract", "nsz"}  # sums vectorise: 1.7 times as fast; NaN and infinity keep their meaning
_inner = helper(fastmath=_ANY_ORDER)

_SUMS, _HISTOGRAM = float64[::1], (int64[:, ::1], float64[:, ::1])
_TYPES = ((read_only(float32), int32), (read_only(float64), int64))  # of probabilities, and of their bits


# --- planes ----------------------------------------------------------------------------------------------------------


@kernel(*(void(p, read_only(b), b[::1], b[::1], _SUMS, _SUMS) for p, b in _TYPES), fastmath=_ANY_ORDER)
def scan(values: Values, bits: Bits, low: Bits, high: Bits, sums: Float, squares: Float) -> None:
    """Write each block's smallest and largest value (as bits), its sum and its sum of squares."""
    for block in range(low.size):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        part_bits = bits[block * BLOCK : (block + 1) * BLOCK]
        smallest = largest = part_bits[0]
        total = square = 0.0
        for i in range(part.size):
            smallest = min(smallest, part_bits[i])
            largest = max(largest, part_bits[i])
            p = np.float64(part[i])
            total += p
            square += p * p
        low[block] = smallest
        high[block] = largest
        sums[block] = total
        squares[block] = square


@kernel(
    *(
        void(p, p, p, read_only(float64), *LABEL_BLOCKS, int64, boolean, read_only(float32), float32, *_HISTOGRAM)
        for p, _ in _TYPES
    ),
    fastmath=_ANY_ORDER,
    _nrt=True,
)
def add_plane(
    values: Values,
    low: Values,
    high: Values,
    sums: Float,
    labels: Labels,
    label_low: Labels,
    label_high: Labels,
    present: Sets,
    c: int,
    flip: bool,
    edges: Single,
    threshold: np.float32,
    count: Index,
    total: Float,
) -> None:
    """Add one plane to the histogram of (p, y = c), or with `flip` of (1 - p, y != c).

    `low`, `high` and `sums` are the blocks of `scan`; `label_low`, `label_high` and `present` those of
    `label_blocks`. `edges` are 0, 1/M, ..., 1 and, among them, `threshold`, which is infinite when there is none.
    """
    value, key, code = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    bits, rest = value.view(np.int64), np.empty(BLOCK, np.float64)
    sums_of_bits = np.zeros((_LANES, 3 * edges.size), np.int64)
    bins = np.float32(edges.size - 1 if threshold > 1 else edges.size - 2)
    waiting = 0
    for block in range(low.size):
        if label_low[block] == IGNORED:
            continue
        part = values[block * BLOCK : (block + 1) * BLOCK]
        target = _find_target(label_low[block], label_high[block], present[block], c)
        smallest, largest, sum_ = np.float64(low[block]), np.float64(high[block]), sums[block]
        if flip:
            smallest, largest, sum_ = 1.0 - largest, 1.0 - smallest, part.size - sum_
            target = target if target == _MIXED else 1 - target
        first, last = _cell(smallest, bins, threshold), _cell(largest, bins, threshold)
        if target != _MIXED and first == last:
            count[target, first] += part.size
            total[target, first] += sum_
            continue
        _take(part, flip, value, key)
        if first <= 1 and (smallest < _COARSE or part.itemsize == 8):
            _find_rests(part, flip, bits, key, edges[1], rest)
            _add_rests(rest, labels[block * BLOCK : (block + 1) * BLOCK], c, flip, total)
        _find_cells(key, part.size, bins, threshold, code)
        if target == _MIXED:
            _add_targets(labels[block * BLOCK : (block + 1) * BLOCK], c, flip, edges.size, code)
        _add_voxels(code, max(0, target) * edges.size, bits, part.size, sums_of_bits)
        waiting += 1
        if waiting == _FLUSHED_TOGETHER:
            _flush(sums_of_bits, count, total)
            waiting = 0
    _flush(sums_of_bits, count, total)


@helper()
def _find_rests(part: Values, flip: bool, bits: Index, key: Single, edge: np.float32, rest: Float) -> None:
    """Write what rounding to the unit of the sums took from values up to an edge.

    It is read out of the bits: the compiler makes 0 of p - ((p + 256) - 256), whatever the flags of this function.
    """
    start, sign = (1.0, -1.0) if flip else (0.0, 1.0)
    for i in range(part.size):
        p = start + sign * np.float64(part[i])
        rest[i] = p - _total_of(bits[i]) if key[i] <= edge else 0.0


@_inner
def _add_rests(rest: Float, label: Labels, c: int, flip: bool, total: Float) -> None:
    """Add the rests to the totals of cell 1."""
    hits = misses = 0.0
    for i in range(label.size):
        hits += rest[i] if label[i] == c else 0.0
        misses += rest[i] if label[i] != c and label[i] != IGNORED else 0.0
    total[0 if flip else 1, 1] += hits
    total[1 if flip else 0, 1] += misses


@_inner
def _count_of(bits: np.int64) -> np.int64:
    return ((bits >> 52) * _COUNT_FACTOR) & 0xFFF


@_inner
def _total_of(bits: np.int64) -> np.float64:
    return np.float64(bits & 0xFFFFFFFFFFFFF) * _RESOLUTION


@_inner
def _find_target(label_low: np.uint8, label_high: np.uint8, present: Sets, c: int) -> int:
    """1 or 0 when y = c holds or fails for all labels of a block, else `_MIXED`."""
    if label_high == IGNORED:
        return _MIXED
    if (present[c >> 6] >> np.uint64(c & 63)) & np.uint64(1):
        return 1 if label_low == label_high else _MIXED
    return 0


@_inner
def _cell(value: np.float64, bins: np.float32, threshold: np.float32) -> np.int32:
    """Index of the cell that holds a value: the number of edges, the threshold among them, below it.

    The product may be rounded to the wrong side of an edge, but by one cell at most; the quotients are the edges.
    """
    key = np.float32(value)
    k = np.int32(key * bins)
    k += (np.int32(1) if key > np.float32(k) / bins else np.int32(0)) + (
        np.int32(1) if key > np.float32(k + 1) / bins else np.int32(0)
    )
    return k + (np.int32(1) if key > threshold else np.int32(0))


@_inner
def _take(part: Values, flip: bool, value: Float, key: Single) -> None:
    """Take a block's values, or 1 - them: as `_UNIT` + float64, and as float32 for the comparison with edges."""
    start, sign = (1.0, -1.0) if flip else (0.0, 1.0)
    for i in range(part.size):
        p = start + sign * np.float64(part[i])
        key[i] = np.float32(p)
        value[i] = p + _UNIT


@_inner
def _find_cells(key: Single, size: int, bins: np.float32, threshold: np.float32, code: Codes) -> None:
    """The same as `_cell` for a whole block, in a form that vectorises; divides only where a value is near an edge."""
    if _find_cells_off_edges(key, size, bins, code):
        for i in range(size):
            k = np.int32(key[i] * bins)
            above = np.int32(1) if key[i] > np.float32(k) / bins else np.int32(0)
            far_above = np.int32(1) if key[i] > np.float32(k + 1) / bins else np.int32(0)
            code[i] = k + above + far_above
    if threshold < np.float32(1):
        for i in range(size):
            code[i] += np.int32(1) if key[i] > threshold else np.int32(0)


@_inner
def _find_cells_off_edges(key: Single, size: int, bins: np.float32, code: Codes) -> bool:
    """Cells of values that are no nearer to an edge k/M than rounding, or 0, or 1; whether there are any others.

    Without this shortcut a plane takes 6% longer.
    """
    below, above = bins * np.float32(1 - 2**-21), bins * np.float32(1 + 2**-21)
    last = bins - np.float32(0.5)
    differ = np.int32(0)
    for i in range(size):
        k = np.int32(key[i] * below)
        differ |= k ^ np.int32(min(key[i] * above, last))
        code[i] = k + (np.int32(1) if key[i] > np.float32(0) else np.int32(0))
    return bool(differ != 0)


@_inner
def _add_targets(label: Labels, c: int, flip: bool, cells: int, code: Codes) -> None:
    """Add to each cell the offset of its histogram: target 0, target 1, or voxels that count nowhere."""
    hit, miss, nowhere = np.int32(0 if flip else cells), np.int32(cells if flip else 0), np.int32(2 * cells)
    for i in range(label.size):
        code[i] = nowhere if label[i] == IGNORED else code[i] + (hit if label[i] == c else miss)


@_inner
def _add_voxels(code: Codes, offset: int, bits: Index, size: int, sums: Index) -> None:
    """Add each voxel's bits to its cell; several lanes, so that neighbours of one cell do not wait for each other."""
    whole = size - size % _LANES
    for start in range(0, whole, _LANES):
        for lane in range(_LANES):
            sums[lane, np.uint64(np.uint32(offset + code[start + lane]))] += bits[start + lane]
    for i in range(whole, size):
        sums[0, offset + code[i]] += bits[i]


@_inner
def _flush(sums: Index, count: Index, total: Float) -> None:
    """Read counts and totals out of the sums of bits, and clear these."""
    cells = count.shape[1]
    for lane in range(_LANES):
        for target in range(2):
            for cell in range(cells):
                bits = sums[lane, target * cells + cell]
                count[target, cell] += _count_of(bits)
                total[target, cell] += _total_of(bits)
    sums[:] = 0


# --- largest class ---------------------------------------------------------------------------------------------------


@kernel(
    *(
        void(read_only(b), int64, read_only(b), read_only(b), b, INDEX, b[::1], uint8[::1], b[::1], uint8[::1])
        for _, b in _TYPES
    )
)
def update_largest(
    bits: Bits,
    c: int,
    low: Bits,
    high: Bits,
    decided: int,
    rows: Index,
    largest: Bits,
    argument: Labels,
    largest_low: Bits,
    state: Labels,
) -> None:
    """Keep each voxel's largest value so far (as bits) and its class; the first maximum wins.

    `state` of a block becomes 1 when this plane decides it, every value being above `decided`, and 2 after that. The
    values of other blocks are kept in `largest`, one after the other, at the place that `rows` counts in blocks.
    """
    klass = np.uint8(c)
    for block in range(low.size):
        if state[block]:
            state[block] = 2
            continue
        arg = argument[block * BLOCK : (block + 1) * BLOCK]
        if low[block] > decided or c == 0:
            for i in range(arg.size):
                arg[i] = klass
            largest_low[block] = low[block]
            state[block] = 1 if low[block] > decided else 0
        if state[block] or (c > 0 and high[block] <= largest_low[block]):
            continue
        part = bits[block * BLOCK : (block + 1) * BLOCK]
        best = largest[rows[block] * BLOCK : rows[block] * BLOCK + part.size]
        if c == 0:
            for i in range(best.size):
                best[i] = part[i]
            continue
        for i in range(part.size):
            arg[i] = klass if part[i] > best[i] else arg[i]
        smallest = max(part[0], best[0])
        for i in range(part.size):
            best[i] = max(part[i], best[i])
            smallest = min(smallest, best[i])
        largest_low[block] = smallest


@kernel(*(void(p, p, _SUMS, *LABEL_BLOCKS, int64, float64, _SUMS, _SUMS) for p, _ in _TYPES), fastmath=_ANY_ORDER)
def proper_scores(
    values: Values,
    low: Values,
    block_squares: Float,
    labels: Labels,
    label_low: Labels,
    label_high: Labels,
    present: Sets,
    c: int,
    clip: float,
    squared_error: Float,
    log_loss: Float,
) -> None:
    """Add the plane's squared errors (p_c - [y = c])^2 and, where y = c, -log max(p_c, clip).

    `low` and `block_squares` are those of `scan`: most blocks are not of the class, or are and say 1 everywhere.
    """
    squares = 0.0
    logs = 0.0
    for block in range(label_low.size):
        if label_low[block] == IGNORED:
            continue
        target = _find_target(label_low[block], label_high[block], present[block], c)
        if target == 0:
            squares += block_squares[block]
            continue
        if target == 1 and low[block] == 1:
            continue
        part = values[block * BLOCK : (block + 1) * BLOCK]
        for i in range(part.size):
            label = labels[block * BLOCK + i]
            if label == IGNORED:
                continue
            p = np.float64(part[i])
            if label == c:
                if p < 1:
                    squares += (1.0 - p) * (1.0 - p)
                    logs -= math.log(max(p, clip))
            else:
                squares += p * p
    squared_error[0] += squares
    log_loss[0] += logs
