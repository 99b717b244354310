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
from functools import cache
from typing import Any, NamedTuple

import numba as nb
import numpy as np

BLOCK = 256
IGNORED = 255  # label of voxels that count nowhere
DECIDED = 0.9  # no other class can reach this much where the classes sum to 1
_MIXED = -1  # the labels of a block do not agree

# One addition counts a voxel and sums its p: that of the bits of 256 + p as integers. Their exponent field, 1031, is
# odd, so that its multiple modulo 2^12 tells how many were added, and their lower 52 bits sum to p in units of 2^-44,
# without a carry as long as fewer than 256 were added. Rounding to that unit costs less than 3e-14 of each p.
_UNIT = 256.0
_RESOLUTION = 2.0**-44
_COUNT_FACTOR = pow(1031, -1, 4096)
_LANES = 4
_FLUSHED_TOGETHER = 3  # blocks, of which a lane takes a quarter: 192 voxels, and 3 of a last block

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},  # lets sums vectorise; NaN and infinity keep their meaning
}
_inner = nb.njit(**_OPTIONS)


class Kernels(NamedTuple):
    """The compiled functions for one dtype of probabilities."""

    scan: Any
    add_plane: Any
    update_largest: Any


class LabelKernels(NamedTuple):
    """The compiled functions that see only labels."""

    label_blocks: Any
    count_pairs: Any
    match: Any


@cache
def kernels(dtype: str) -> Kernels:
    """Compile (or load from numba's cache) the kernels for `float32` or `float64` probabilities."""
    values, bits = _value_types(dtype)
    value_bits = _read_only(bits)
    histogram = (_read_only(nb.float32), nb.float32, nb.int64[:, ::1], nb.float64[:, ::1])
    largest = (_read_only(nb.int64), bits[::1], nb.uint8[::1], bits[::1], nb.uint8[::1])
    plane = (values, values, values, _read_only(nb.float64))
    return Kernels(
        scan=_compile(_scan, values, value_bits, bits[::1], bits[::1], nb.float64[::1]),
        add_plane=_compile(_add_plane, *plane, *_label_types(), nb.int64, nb.boolean, *histogram),
        update_largest=_compile(_update_largest, value_bits, nb.int64, value_bits, value_bits, bits, *largest),
    )


@cache
def label_kernels() -> LabelKernels:
    """Compile (or load) the kernels on labels."""
    labels, out = _read_only(nb.uint8), nb.uint8[::1]
    return LabelKernels(
        label_blocks=_compile(_label_blocks, labels, out, out, nb.uint64[:, ::1]),
        count_pairs=_compile(_count_pairs, labels, labels, labels, labels, nb.int64[:, ::1]),
        match=_compile(_match, labels, labels, _read_only(nb.int64), _read_only(nb.int64), nb.boolean, out),
    )


@cache
def proper_scores(dtype: str) -> Any:
    """Compile (or load) the sums behind Brier score and NLL, which few runs ask for."""
    values, _ = _value_types(dtype)
    sums = nb.float64[::1]
    return _compile(_proper_scores, values, *_label_types(), nb.int64, nb.float64, sums, sums)


def _compile(function: Any, *signature: Any) -> Any:
    return nb.njit(nb.void(*signature), **_OPTIONS)(function)


def _value_types(dtype: str) -> tuple[Any, Any]:
    return (_read_only(nb.float32), nb.int32) if dtype == "float32" else (_read_only(nb.float64), nb.int64)


def _label_types() -> tuple[Any, ...]:
    """Types of labels and of what `label_blocks` writes."""
    labels = _read_only(nb.uint8)
    return labels, labels, labels, nb.types.Array(nb.uint64, 2, "C", readonly=True)


def _read_only(scalar: Any) -> Any:
    """A contiguous array type that accepts memory maps and ordinary arrays alike."""
    return nb.types.Array(scalar, 1, "C", readonly=True)


# --- labels ----------------------------------------------------------------------------------------------------------


def _label_blocks(labels, low, high, present):
    """Write each block's smallest and largest label, and the set of its labels as 256 bits."""
    for block in range(low.size):
        part = labels[block * BLOCK : (block + 1) * BLOCK]
        low[block], high[block] = _label_range(part)
        if low[block] == high[block]:
            present[block, low[block] >> 6] |= np.uint64(1) << np.uint64(low[block] & 63)
            continue
        for i in range(part.size):
            present[block, part[i] >> 6] |= np.uint64(1) << np.uint64(part[i] & 63)


@_inner
def _label_range(part):
    smallest = largest = part[0]
    for i in range(part.size):
        smallest = min(smallest, part[i])
        largest = max(largest, part[i])
    return smallest, largest


def _count_pairs(labels, predicted, low, high, confusion):
    """Add the confusion matrix of two label maps; rows are `labels`."""
    for block in range(low.size):
        if low[block] == IGNORED:
            continue
        part = predicted[block * BLOCK : (block + 1) * BLOCK]
        reference = labels[block * BLOCK : (block + 1) * BLOCK]
        if low[block] == high[block]:
            smallest, largest = _label_range(part)
            if smallest == largest:
                confusion[low[block], smallest] += part.size
                continue
        for i in range(part.size):
            if reference[i] != IGNORED:
                confusion[reference[i], part[i]] += 1


# --- planes ----------------------------------------------------------------------------------------------------------


def _scan(values, bits, low, high, sums):
    """Write each block's smallest and largest value (as bits) and its sum."""
    for block in range(low.size):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        part_bits = bits[block * BLOCK : (block + 1) * BLOCK]
        smallest = largest = part_bits[0]
        total = 0.0
        for i in range(part.size):
            smallest = min(smallest, part_bits[i])
            largest = max(largest, part_bits[i])
            total += np.float64(part[i])
        low[block] = smallest
        high[block] = largest
        sums[block] = total


def _add_plane(
    values, low, high, sums, labels, label_low, label_high, present, c, flip, edges, threshold, count, total
):
    """Add one plane to the histogram of (p, y = c), or with `flip` of (1 - p, y != c).

    `low`, `high` and `sums` are the blocks of `_scan`; `label_low`, `label_high` and `present` those of
    `_label_blocks`. The cells end at `edges` (0, 1/M, ..., 1) and at `threshold`, infinite when there is none.
    """
    value, key, code = np.empty(BLOCK, np.float64), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    bits = value.view(np.int64)
    sums_of_bits = np.zeros((_LANES, 3 * edges.size + 3), np.int64)
    waiting = 0
    for block in range(low.size):
        if label_low[block] == IGNORED:
            continue
        part = values[block * BLOCK : (block + 1) * BLOCK]
        target = _find_target(label_low[block], label_high[block], present[block], c)
        smallest, largest, sum_ = np.float64(low[block]), np.float64(high[block]), sums[block]
        if flip:
            smallest, largest = 1.0 - largest, 1.0 - smallest
        first = _cell(smallest, edges, threshold)
        if target != _MIXED and first == _cell(largest, edges, threshold):
            count[1 - target if flip else target, first] += part.size
            total[1 - target if flip else target, first] += _sum_of_rest(part) if flip else sum_
            continue
        size = part.size
        _take(part, flip, value, key)
        _find_cells(key, size, edges, threshold, code)
        _add_targets(labels[block * BLOCK : (block + 1) * BLOCK], target, c, flip, count.shape[1], code)
        _add_voxels(code, bits, size, sums_of_bits)
        waiting += 1
        if waiting == _FLUSHED_TOGETHER:
            _flush(sums_of_bits, count, total)
            waiting = 0
    _flush(sums_of_bits, count, total)


@_inner
def _find_target(label_low, label_high, present, c):
    """1 or 0 when y = c holds or fails for all labels of a block, else `_MIXED`."""
    if label_high == IGNORED:
        return _MIXED
    if (present[c >> 6] >> np.uint64(c & 63)) & np.uint64(1):
        return 1 if label_low == label_high else _MIXED
    return 0


@_inner
def _sum_of_rest(part):
    sum_ = 0.0
    for i in range(part.size):
        sum_ += 1.0 - np.float64(part[i])
    return sum_


@_inner
def _cell(value, edges, threshold):
    """Index of the cell that holds a value: the number of edges, the threshold among them, below it.

    The product may be rounded to the wrong side of an edge, but by one cell at most; the quotients are the edges.
    """
    key, bins = np.float32(value), np.float32(edges.size - 1)
    k = np.int32(key * bins)
    k += (np.int32(1) if key > np.float32(k) / bins else np.int32(0)) + (
        np.int32(1) if key > np.float32(k + 1) / bins else np.int32(0)
    )
    return k + (np.int32(1) if key > threshold else np.int32(0))


@_inner
def _take(part, flip, value, key):
    """Take a block's values, or 1 - them: as `_UNIT` + float64, and as float32 for the comparison with edges."""
    if flip:
        for i in range(part.size):
            key[i] = np.float32(1.0 - np.float64(part[i]))
        for i in range(part.size):
            value[i] = 1.0 - np.float64(part[i]) + _UNIT
    else:
        for i in range(part.size):
            key[i] = np.float32(part[i])
        for i in range(part.size):
            value[i] = np.float64(part[i]) + _UNIT


@_inner
def _find_cells(key, size, edges, threshold, code):
    """The same as `_cell` for a whole block, in a form that vectorises; divides only where a value is near an edge."""
    bins = np.float32(edges.size - 1)
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
def _find_cells_off_edges(key, size, bins, code):
    """Cells of values that are no nearer to an edge k/M than rounding, or 0, or 1; whether there are any others."""
    below, above = bins * np.float32(1 - 2**-21), bins * np.float32(1 + 2**-21)
    last = bins - np.float32(0.5)
    differ = np.int32(0)
    for i in range(size):
        k = np.int32(key[i] * below)
        differ |= k ^ np.int32(min(key[i] * above, last))
        code[i] = k + (np.int32(1) if key[i] > np.float32(0) else np.int32(0))
    return differ != 0


@_inner
def _add_targets(label, target, c, flip, cells, code):
    """Add to each cell the offset of its histogram: target 0, target 1, or voxels that count nowhere."""
    hit, miss = np.int32(0 if flip else cells), np.int32(cells if flip else 0)
    if target != _MIXED:
        for i in range(label.size):
            code[i] += hit if target == 1 else miss
        return
    for i in range(label.size):
        code[i] += hit if label[i] == c else miss
    for i in range(label.size):
        code[i] = np.int32(2 * cells) if label[i] == IGNORED else code[i]


@_inner
def _add_voxels(code, bits, size, sums):
    """Add each voxel's bits to its cell; several lanes, so that neighbours of one cell do not wait for each other."""
    whole = size - size % _LANES
    for start in range(0, whole, _LANES):
        for lane in range(_LANES):
            sums[lane, np.uint64(np.uint32(code[start + lane]))] += bits[start + lane]
    for i in range(whole, size):
        sums[0, code[i]] += bits[i]


@_inner
def _flush(sums, count, total):
    """Read counts and totals out of the sums of bits, and clear these."""
    cells = count.shape[1]
    for lane in range(_LANES):
        for target in range(2):
            for cell in range(cells):
                bits = sums[lane, target * cells + cell]
                count[target, cell] += ((bits >> 52) * _COUNT_FACTOR) & 0xFFF
                total[target, cell] += np.float64(bits & 0xFFFFFFFFFFFFF) * _RESOLUTION
    sums[:] = 0


# --- largest class ---------------------------------------------------------------------------------------------------


def _update_largest(bits, c, low, high, decided, rows, largest, argument, largest_low, state):
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


def _match(predicted, labels, blocks, rows, foreground, match):
    """Write the agreement of the listed blocks into these rows: 1, 0, or 255 where a voxel does not count.

    `foreground` leaves out voxels with label 0.
    """
    for place in range(blocks.size):
        start = blocks[place] * BLOCK
        part, label = predicted[start : start + BLOCK], labels[start : start + BLOCK]
        right = match[rows[place] * BLOCK : rows[place] * BLOCK + part.size]
        for i in range(right.size):
            right[i] = np.uint8(1) if part[i] == label[i] else np.uint8(0)
        for i in range(right.size):
            right[i] = np.uint8(IGNORED) if label[i] == IGNORED or (foreground and label[i] == 0) else right[i]


def _proper_scores(values, labels, label_low, label_high, present, c, clip, squared_error, log_loss):
    """Add the plane's squared errors (p_c - [y = c])^2 and, where y = c, -log max(p_c, clip)."""
    squares = 0.0
    logs = 0.0
    for block in range(label_low.size):
        if label_low[block] == IGNORED:
            continue
        part = values[block * BLOCK : (block + 1) * BLOCK]
        if _find_target(label_low[block], label_high[block], present[block], c) == 0:
            for i in range(part.size):
                squares += np.float64(part[i]) * np.float64(part[i])
            continue
        for i in range(part.size):
            label = labels[block * BLOCK + i]
            if label == IGNORED:
                continue
            p = np.float64(part[i])
            if label == c:
                squares += (1.0 - p) * (1.0 - p)
                logs -= math.log(max(p, clip))
            else:
                squares += p * p
    squared_error[0] += squares
    log_loss[0] += logs
