"""Compiled loops over label maps: what `statistics` knows of labels.

Voxels are handled in blocks of `BLOCK`, and a block whose labels agree costs next to nothing.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, int64, uint8, uint64, void
from numpy.typing import NDArray

from calibeval.metrics._kernels.compiling import helper, kernel, read_only

Labels = NDArray[np.uint8]
Sets = NDArray[np.uint64]
Index = NDArray[np.int64]

BLOCK = 256
IGNORED = 255  # label of voxels that count nowhere

LABELS, INDEX = read_only(uint8), read_only(int64)
LABEL_BLOCKS = (LABELS, LABELS, LABELS, read_only(uint64, 2))  # labels and what `label_blocks` writes


@kernel(void(LABELS, uint8[::1], uint8[::1], uint64[:, ::1]))
def label_blocks(labels: Labels, low: Labels, high: Labels, present: Sets) -> None:
    """Write each block's smallest and largest label, and the set of its labels as 256 bits."""
    for block in range(low.size):
        part = labels[block * BLOCK : (block + 1) * BLOCK]
        low[block], high[block] = _label_range(part)
        if low[block] == high[block]:
            present[block, low[block] >> 6] |= np.uint64(1) << np.uint64(low[block] & 63)
            continue
        for i in range(part.size):
            present[block, part[i] >> 6] |= np.uint64(1) << np.uint64(part[i] & 63)


@helper()
def _label_range(part: Labels) -> tuple[np.uint8, np.uint8]:
    smallest = largest = part[0]
    for i in range(part.size):
        smallest = min(smallest, part[i])
        largest = max(largest, part[i])
    return smallest, largest


@kernel(void(*[LABELS] * 4, int64[:, ::1]))
def count_pairs(labels: Labels, predicted: Labels, low: Labels, high: Labels, confusion: Index) -> None:
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


@kernel(void(LABELS, LABELS, INDEX, INDEX, boolean, uint8[::1]))
def match(predicted: Labels, labels: Labels, blocks: Index, rows: Index, foreground: bool, matches: Labels) -> None:
    """Write the agreement of the listed blocks into these rows: 1, 0, or 255 where a voxel does not count.

    `foreground` leaves out voxels with label 0.
    """
    for place in range(blocks.size):
        start = blocks[place] * BLOCK
        part, label = predicted[start : start + BLOCK], labels[start : start + BLOCK]
        right = matches[rows[place] * BLOCK : rows[place] * BLOCK + part.size]
        for i in range(right.size):
            right[i] = np.uint8(1) if part[i] == label[i] else np.uint8(0)
        for i in range(right.size):
            right[i] = np.uint8(IGNORED) if label[i] == IGNORED or (foreground and label[i] == 0) else right[i]
