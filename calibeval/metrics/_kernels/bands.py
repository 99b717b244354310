"""Voxels near a boundary between labels, as bits (private; see `calibeval.metrics.boundary`).

Rows are packed as in `surfaces`: bit k of word w stands for x = 64 w + k. On 155 x 240 x 240 voxels the bits of a band
of 2 mm take 11 ms, where distances from every voxel to the boundary take 750.
"""

from __future__ import annotations

import numpy as np
from numba import int64, uint8, uint64, void
from numpy.typing import NDArray

from calibeval.metrics._kernels.compiling import helper, kernel, read_only
from calibeval.metrics._kernels.surfaces import LABELS, NEW_WORDS, WORDS, Labels, Words, pack

Index = NDArray[np.int64]

_IGNORED = np.uint8(255)
_ONE, _LAST = np.uint64(1), np.uint64(63)
_INDEX = read_only(int64)


@kernel(void(LABELS, uint8[::1], uint64[::1], NEW_WORDS))
def mark_boundary(labels: Labels, differs: Labels, eights: Words, bits: Words) -> None:
    """Mark the voxels that have a face neighbour of another label, neither of the two being ignored.

    Args:
        labels: label map (z, y, x).
        differs: working memory, 64 bytes for each word of a row.
        eights: the same memory as words.
        bits: gets the voxels (z, y, word).
    """
    slices, rows, columns = labels.shape
    for z in range(slices):
        for y in range(rows):
            row = labels[z, y]
            for k in range(eights.size):
                eights[k] = 0
            _compare(differs[1:columns], row[1:], row[:-1])
            _compare(differs[: columns - 1], row[:-1], row[1:])
            if y > 0:
                _compare(differs[:columns], row, labels[z, y - 1])
            if y < rows - 1:
                _compare(differs[:columns], row, labels[z, y + 1])
            if z > 0:
                _compare(differs[:columns], row, labels[z - 1, y])
            if z < slices - 1:
                _compare(differs[:columns], row, labels[z + 1, y])
            pack(eights, bits[z, y])


@helper()
def _compare(differs: Labels, row: Labels, other: Labels) -> None:
    for x in range(row.size):
        differs[x] |= row[x] ^ other[x] if row[x] != _IGNORED and other[x] != _IGNORED else np.uint8(0)


@kernel(void(WORDS, _INDEX, _INDEX, _INDEX, NEW_WORDS))
def dilate(bits: Words, offsets_z: Index, offsets_y: Index, reaches: Index, near: Words) -> None:
    """Mark what lies near any bit, by its rows: those at an offset reach so many voxels along x to either side.

    Rows with the longest reach are taken first and grow by a voxel at a time while the next ones join them, so that
    each row of the result grows once and not once an offset.

    Args:
        bits: (z, y, word).
        offsets_z: of each row around a row, along z.
        offsets_y: the same along y.
        reaches: in voxels, descending.
        near: gets the result (z, y, word); zero on entry. Bits beyond the last column mean nothing.
    """
    slices, rows, words = bits.shape
    for z in range(slices):
        for y in range(rows):
            row, found = near[z, y], np.uint64(0)
            for k in range(reaches.size):
                row_z, row_y = z + offsets_z[k], y + offsets_y[k]
                if 0 <= row_z < slices and 0 <= row_y < rows:
                    for w in range(words):
                        row[w] |= bits[row_z, row_y, w]
                        found |= row[w]
                if found:
                    left = reaches[k + 1] if k + 1 < reaches.size else 0
                    for _ in range(reaches[k] - left):
                        _grow(row)


@helper()
def _grow(row: Words) -> None:
    """Add the neighbours of each bit."""
    before = np.uint64(0)
    for w in range(row.size):
        word, after = row[w], row[w + 1] if w + 1 < row.size else np.uint64(0)
        row[w] = word | (word << _ONE) | (word >> _ONE) | (before >> _LAST) | (after << _LAST)
        before = word
