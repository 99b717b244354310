"""Compiled loops over label maps, and how all loops behind `statistics` are compiled.

Voxels are handled in blocks of `BLOCK`, and a block whose labels agree costs next to nothing. Kernels have one fixed
signature each and are kept on disk; they release the GIL.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from calibeval.metrics._kernels.setup import provide_kernel_cache

BLOCK = 256
IGNORED = 255  # label of voxels that count nowhere

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},  # lets sums vectorise; NaN and infinity keep their meaning
}
inner = nb.njit(**_OPTIONS)
exact = nb.njit(**{**_OPTIONS, "fastmath": False})


class LabelKernels(NamedTuple):
    """The compiled functions that see only labels."""

    label_blocks: Any
    count_pairs: Any
    match: Any


@cache
def label_kernels() -> LabelKernels:
    """Compile (or load) the kernels on labels."""
    labels, out = read_only(nb.uint8), nb.uint8[::1]
    return LabelKernels(
        label_blocks=compile_kernel(_label_blocks, labels, out, out, nb.uint64[:, ::1]),
        count_pairs=compile_kernel(_count_pairs, labels, labels, labels, labels, nb.int64[:, ::1]),
        match=compile_kernel(_match, labels, labels, read_only(nb.int64), read_only(nb.int64), nb.boolean, out),
    )


def compile_kernel(function: Any, *signature: Any) -> Any:
    """Compile a function for one signature, or load it from numba's cache."""
    provide_kernel_cache()
    return nb.njit(nb.void(*signature), cache=True, **_OPTIONS)(function)


def read_only(scalar: Any) -> Any:
    """A contiguous array type that accepts memory maps and ordinary arrays alike."""
    return nb.types.Array(scalar, 1, "C", readonly=True)


def block_label_types() -> tuple[Any, ...]:
    """Types of labels and of what `label_blocks` writes."""
    labels = read_only(nb.uint8)
    return labels, labels, labels, nb.types.Array(nb.uint64, 2, "C", readonly=True)


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


@inner
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
