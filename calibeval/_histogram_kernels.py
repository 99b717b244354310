"""Compiled loops behind `statistics`: one pass over the planes of a probability map.

Voxels are handled in blocks of `BLOCK`. A block whose probabilities share one cell and whose labels agree costs a
count and a sum; only the others are looked at more closely. Planes arrive class by class, so the largest
probability so far and its class are kept per voxel, never C x N values.

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

_FEW_CELLS = 8  # up to here, counting above each edge beats looking at each voxel
_MIXED = -1  # the labels of a block do not agree

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
    proper_scores: Any


@cache
def kernels(dtype: str) -> Kernels:
    """Compile (or load from numba's cache) the kernels for `float32` or `float64` probabilities."""
    value, bits = (nb.float32, nb.int32) if dtype == "float32" else (nb.float64, nb.int64)
    values, value_bits, labels = _read_only(value), _read_only(bits), _read_only(nb.uint8)
    sums, histogram = nb.float64[::1], (nb.int64[:, ::1], nb.float64[:, ::1])
    blocks = (labels, labels, labels)
    edges = _read_only(nb.float32)

    def compiled(function: Any, *signature: Any) -> Any:
        return nb.njit(nb.void(*signature), **_OPTIONS)(function)

    plane = (values, values, values, _read_only(nb.float64))
    largest = (bits[::1], nb.uint8[::1], bits[::1])
    return Kernels(
        scan=compiled(_scan, values, value_bits, bits[::1], bits[::1], sums),
        add_plane=compiled(_add_plane, *plane, *blocks, nb.int64, nb.boolean, edges, *histogram),
        update_largest=compiled(_update_largest, value_bits, nb.int64, bits[::1], bits[::1], *largest),
        proper_scores=compiled(_proper_scores, values, *blocks, nb.int64, nb.float64, sums, sums),
    )


class LabelKernels(NamedTuple):
    """The compiled functions that see only labels."""

    label_blocks: Any
    count_pairs: Any


@cache
def label_kernels() -> LabelKernels:
    """Compile (or load) the kernels on labels."""
    labels = _read_only(nb.uint8)
    return LabelKernels(
        label_blocks=nb.njit(nb.void(labels, nb.uint8[::1], nb.uint8[::1]), **_OPTIONS)(_label_blocks),
        count_pairs=nb.njit(nb.void(labels, labels, labels, labels, nb.int64[:, ::1]), **_OPTIONS)(_count_pairs),
    )


def _read_only(scalar: Any) -> Any:
    """A contiguous array type that accepts memory maps and ordinary arrays alike."""
    return nb.types.Array(scalar, 1, "C", readonly=True)


def _label_blocks(labels, low, high):
    """Write each block's smallest and largest label."""
    for block in range(low.size):
        part = labels[block * BLOCK : (block + 1) * BLOCK]
        smallest = largest = part[0]
        for i in range(part.size):
            smallest = min(smallest, part[i])
            largest = max(largest, part[i])
        low[block] = smallest
        high[block] = largest


def _count_pairs(labels, predicted, low, high, confusion):
    """Add the confusion matrix of two label maps; rows are `labels`."""
    for block in range(low.size):
        part = predicted[block * BLOCK : (block + 1) * BLOCK]
        reference = labels[block * BLOCK : (block + 1) * BLOCK]
        agree = 0
        for i in range(part.size):
            agree += part[i] == part[0]
        if agree == part.size and low[block] == high[block]:
            if low[block] != IGNORED:
                confusion[low[block], part[0]] += part.size
            continue
        for i in range(part.size):
            if reference[i] != IGNORED:
                confusion[reference[i], part[i]] += 1


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


def _add_plane(values, low, high, sums, labels, label_low, label_high, c, flip, edges, count, total):
    """Add one plane to the histogram of (p, y = c), or with `flip` of (1 - p, y != c).

    `low`, `high` and `sums` are the blocks of `_scan`, `label_low` and `label_high` those of `_label_blocks`.
    """
    scratch = _new_scratch(edges)
    for block in range(low.size):
        if label_low[block] == IGNORED:
            continue
        target = _block_target(label_low[block], label_high[block], c)
        part = values[block * BLOCK : (block + 1) * BLOCK]
        smallest, largest = np.float64(low[block]), np.float64(high[block])
        if flip:
            smallest, largest = 1.0 - largest, 1.0 - smallest
        first, last = _cell(smallest, edges), _cell(largest, edges)
        if target != _MIXED and first == last and not flip:
            count[target, first] += part.size
            total[target, first] += sums[block]
            continue
        _fill(part, flip, scratch)
        role = scratch.role[: part.size]
        if target == _MIXED:
            _find_roles(labels[block * BLOCK : (block + 1) * BLOCK], c, flip, role)
        else:
            role[:] = target != flip
        _add_block(scratch, part.size, target != _MIXED, first, last, edges, count, total)
    _flush(scratch, count, total)


@_inner
def _block_target(label_low, label_high, c):
    """1 or 0 when y = c holds or fails in a whole block, else `_MIXED`."""
    if label_high == IGNORED:
        return _MIXED
    if label_low == label_high:
        return 1 if label_low == c else 0
    return 0 if c < label_low or c > label_high else _MIXED


@_inner
def _find_roles(label, c, flip, role):
    hit, miss = np.int32(0 if flip else 1), np.int32(1 if flip else 0)
    for i in range(role.size):
        role[i] = hit if label[i] == c else miss
    for i in range(role.size):
        role[i] = np.int32(2) if label[i] == IGNORED else role[i]


@_inner
def _cell(value, edges):
    """Index of the cell that holds a value: the number of edges below it."""
    key = np.float32(value)
    low, high = 0, edges.size - 1
    while low < high:
        middle = (low + high) // 2
        if edges[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


class _Scratch(NamedTuple):
    """Room for one block: `key` decides the cell, `wide` is the key as float64, `value` is summed.

    `role` is a voxel's target, or 2 where it does not count. `counts` and `totals` have four lanes, so that
    neighbouring voxels of one cell do not wait for each other.
    """

    key: Any
    wide: Any
    value: Any
    role: Any
    counts: Any
    totals: Any


@_inner
def _new_scratch(edges):
    return _Scratch(
        np.empty(BLOCK, np.float32),
        np.empty(BLOCK, np.float64),
        np.empty(BLOCK, np.float64),
        np.empty(BLOCK, np.int32),
        np.zeros((4, 3 * edges.size), np.int64),
        np.zeros((4, 3 * edges.size), np.float64),
    )


@_inner
def _fill(part, flip, scratch):
    key, wide, value = scratch.key[: part.size], scratch.wide[: part.size], scratch.value[: part.size]
    if flip:
        for i in range(part.size):
            value[i] = 1.0 - np.float64(part[i])
    else:
        for i in range(part.size):
            value[i] = np.float64(part[i])
    for i in range(key.size):
        key[i] = np.float32(value[i])
    for i in range(key.size):
        wide[i] = np.float64(key[i])


@_inner
def _add_block(scratch, size, uniform, first, last, edges, count, total):
    """Add one block whose values lie in the cells first..last; `uniform` when all voxels have one role."""
    if uniform and last - first <= _FEW_CELLS:
        role = scratch.role[0]
        _add_uniform(
            scratch.key[:size], scratch.wide[:size], scratch.value[:size], first, last, edges, count[role], total[role]
        )
    else:
        _add_mixed(scratch, size, first, last, edges)


@_inner
def _add_uniform(key, wide, value, first, last, edges, count, total):
    """Count and sum what lies above each edge, then take differences: every loop vectorises."""
    above = key.size
    sum_above = 0.0
    for i in range(value.size):
        sum_above += value[i]
    for cell in range(first, last):
        edge, wide_edge = edges[cell], np.float64(edges[cell])
        n = np.int32(0)
        for i in range(key.size):
            n += np.int32(1) if key[i] > edge else np.int32(0)
        s = 0.0
        for i in range(value.size):
            s += value[i] if wide[i] > wide_edge else 0.0
        if n < above:
            count[cell] += above - n
            total[cell] += sum_above - s
        above, sum_above = n, s
    count[last] += above
    total[last] += sum_above


@_inner
def _add_mixed(scratch, size, first, last, edges):
    """Find each voxel's cell (this vectorises), then count and sum voxel by voxel into the lanes."""
    key, code, value = scratch.key[:size], scratch.role[:size], scratch.value[:size]
    cells = edges.size
    for i in range(size):
        code[i] = np.int32(code[i] * cells + first)
    for cell in range(first, last):
        edge = edges[cell]
        for i in range(size):
            code[i] += np.int32(1) if key[i] > edge else np.int32(0)
    whole = size - size % 4
    for start in range(0, whole, 4):
        for lane in range(4):
            scratch.counts[lane, code[start + lane]] += 1
            scratch.totals[lane, code[start + lane]] += value[start + lane]
    for i in range(whole, size):
        scratch.counts[0, code[i]] += 1
        scratch.totals[0, code[i]] += value[i]


@_inner
def _flush(scratch, count, total):
    cells = count.shape[1]
    for lane in range(4):
        for role in range(2):
            for cell in range(cells):
                count[role, cell] += scratch.counts[lane, role * cells + cell]
                total[role, cell] += scratch.totals[lane, role * cells + cell]


def _update_largest(bits, c, low, high, largest, argument, largest_low):
    """Keep each voxel's largest value so far (as bits) and its class; the first maximum wins."""
    klass = np.uint8(c)
    for block in range(low.size):
        if c > 0 and high[block] <= largest_low[block]:
            continue
        part = bits[block * BLOCK : (block + 1) * BLOCK]
        best = largest[block * BLOCK : (block + 1) * BLOCK]
        arg = argument[block * BLOCK : (block + 1) * BLOCK]
        if c == 0:
            best[:] = part
            arg[:] = 0
            largest_low[block] = low[block]
            continue
        for i in range(part.size):
            arg[i] = klass if part[i] > best[i] else arg[i]
        smallest = max(part[0], best[0])
        for i in range(part.size):
            best[i] = max(part[i], best[i])
            smallest = min(smallest, best[i])
        largest_low[block] = smallest


def _proper_scores(values, labels, label_low, label_high, c, clip, squared_error, log_loss):
    """Add the plane's squared errors (p_c - [y = c])^2 and, where y = c, -log max(p_c, clip)."""
    squares = 0.0
    logs = 0.0
    for block in range(label_low.size):
        if label_low[block] == IGNORED:
            continue
        part = values[block * BLOCK : (block + 1) * BLOCK]
        if label_high[block] != IGNORED and (c < label_low[block] or c > label_high[block]):
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
