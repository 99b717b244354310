"""Find the surface elements of every class in one pass over a label map (private; see `calibeval.metrics.surface`).

A row of elements is packed into words of 64 bits, bit k of word w standing for x = 64 w + k. One set of bits serves
all classes: it marks where *some* class has a surface, and the label map tells whose it is.

Three kinds of element are described by two numbers. `reach` says where the neighbours of an element lie along each
axis: offsets -1..reach. `connectivity` is the largest number of axes along which a neighbour may be offset.
Faces are (1, 1), full is (1, 3). Corners between voxels are (0, 3): the element (z, y, x) then lies at the lower
corner of voxel (z, y, x), and each axis has one element more than voxels.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, int64, uint8, uint64, void
from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros
from numpy.typing import NDArray

from calibeval.metrics._kernels.compiling import helper, kernel, read_only
from calibeval.metrics._kernels.startup import compiler_is_off

Labels = NDArray[np.uint8]
Words = NDArray[np.uint64]
Word = np.uint64
Boxes = NDArray[np.int64]

LABELS, LABEL_ROW, WORDS, NEW_WORDS = read_only(uint8, 3), read_only(uint8), read_only(uint64, 3), uint64[:, :, ::1]

_ONE = np.uint64(1)
_LOWEST_BITS = np.uint64(0x0101010101010101)  # of each of eight bytes
_LOW_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_GATHER = np.uint64(0x0102040810204080)  # multiplied by eight bytes of 0 or 1, leaves them as bits in the top byte


if compiler_is_off():

    def zeros_below(word: Word) -> int:
        """Count the zeros below the lowest bit of a word; 64 without a bit."""
        return (int(word) & -int(word)).bit_length() - 1 if word else 64

    def zeros_above(word: Word) -> int:
        """Count the zeros above the highest bit of a word; 64 without a bit."""
        return 64 - int(word).bit_length()

else:

    @helper()
    def zeros_below(word: Word) -> int:
        """Count the zeros below the lowest bit of a word; 64 without a bit."""
        return np.int64(trailing_zeros(word))  # type: ignore[call-arg, return-value]

    @helper()
    def zeros_above(word: Word) -> int:
        """Count the zeros above the highest bit of a word; 64 without a bit."""
        return np.int64(leading_zeros(word))  # type: ignore[call-arg, return-value]


@helper(inline="always")
def _is_blank(row: Labels) -> bool:
    seen = np.uint8(0)
    for x in range(row.size):
        seen = np.uint8(seen | row[x])
    return bool(seen == 0)


@helper(inline="always")
def _compare(differs: Labels, row: Labels, other: Labels, offset: int) -> None:
    """Make differs[x] non-zero where row[x] and other[x + offset] differ; voxels outside the image are 0."""
    count = row.size
    first, last = max(0, -offset), count - max(0, offset)
    # Slices let the compiler see that no index is negative, without which it does not vectorise the loop.
    ours, row_part, other_part = differs[first:last], row[first:last], other[first + offset : last + offset]
    for x in range(ours.size):
        ours[x] |= row_part[x] ^ other_part[x]
    if offset < 0:
        differs[0] |= row[0]
        differs[count] |= other[count - 1]
    elif offset > 0:
        differs[count - 1] |= row[count - 1]


@helper(inline="always")
def _compare_neighbours(
    differs: Labels, labels: Labels, outside: Labels, z: int, y: int, depth: int, reach: int, connectivity: int
) -> None:
    """Compare a row of voxels with all rows of neighbours; depth is 0 in a planar image, else 1."""
    slices, rows, _ = labels.shape
    row = labels[z, y] if z < slices and y < rows else outside
    for dz in range(-depth, min(depth, reach) + 1):
        for dy in range(-1, reach + 1):
            inside = 0 <= z + dz < slices and 0 <= y + dy < rows
            other = labels[z + dz, y + dy] if inside else outside
            for dx in range(-1, reach + 1):
                if 0 < abs(dz) + abs(dy) + abs(dx) <= connectivity:
                    _compare(differs, row, other, dx)


@helper(inline="always")
def pack(eights: Words, words: Words) -> None:
    """Turn non-zero bytes, eight in a word, into bits."""
    for w in range(words.size):
        word = np.uint64(0)
        for k in range(8):
            eight = eights[8 * w + k]
            if eight:
                marked = ((((eight & _LOW_BITS) + _LOW_BITS) | eight) >> np.uint64(7)) & _LOWEST_BITS
                word |= (marked * _GATHER >> np.uint64(56)) << np.uint64(8 * k)
        words[w] = word


@helper(inline="always")
def _extend_boxes(words: Words, labels: Labels, z: int, y: int, sides: int, depth: int, boxes: Boxes) -> None:
    """Extend the boxes of the classes at the elements of a row.

    Voxels have one side, corners two: the voxels above and below along all axes. These suffice, for the outermost
    voxels of a class have such corners.
    """
    slices, rows, columns = labels.shape
    for w in range(words.size):
        word = words[w]
        while word:
            x = 64 * w + zeros_below(word)
            word &= word - _ONE
            for side in range(sides):
                near_z, near_y, near_x = z - depth * side, y - side, x - side
                if 0 <= near_z < slices and 0 <= near_y < rows and 0 <= near_x < columns:
                    box = boxes[labels[near_z, near_y, near_x]]
                    box[0], box[1], box[2] = min(box[0], z), min(box[1], y), min(box[2], x)
                    box[3], box[4], box[5] = max(box[3], z), max(box[4], y), max(box[5], x)


@kernel(void(LABELS, LABEL_ROW, boolean, *[int64] * 4, uint8[::1], uint64[::1], NEW_WORDS, int64[:, ::1]))
def mark_surfaces(
    labels: Labels,
    outside: Labels,
    planar: bool,
    reach: int,
    connectivity: int,
    first: int,
    last: int,
    differs: Labels,
    eights: Words,
    bits: Words,
    boxes: Boxes,
) -> None:
    """Mark the surface elements of all classes in slices first..last-1.

    Args:
        labels: label map (z, y, x).
        outside: zeros in place of a row outside the map.
        planar: whether neighbours along z do not count.
        reach: see the module's text.
        connectivity: see the module's text.
        first: first slice of elements.
        last: one more than the last slice.
        differs: working memory, 64 bytes for each word of a row and 64 more.
        eights: the same memory as words.
        bits: gets the elements (z, y, word); zero on entry.
        boxes: gets for each label the lowest (z, y, x) and the highest (z, y, x), extending what it holds.
    """
    corners = reach == 0
    depth = 0 if planar else 1
    columns = labels.shape[2]
    for z in range(first, last):
        for y in range(bits.shape[1]):
            if not corners and _is_blank(labels[z, y]):  # most rows of an image are: 15 ms instead of 27
                continue
            for k in range(eights.size):
                eights[k] = 0
            _compare_neighbours(differs, labels, outside, z, y, depth, reach, connectivity)
            if not corners:
                for x in range(columns):
                    differs[x] = differs[x] if labels[z, y, x] != 0 else np.uint8(0)
                differs[columns] = 0
            pack(eights, bits[z, y])
            _extend_boxes(bits[z, y], labels, z, y, 1 + corners, depth, boxes)


@helper(inline="always")
def _corner_code(labels: Labels, label: int, depth: int, z: int, y: int, x: int) -> int:
    """Give bit 4 i + 2 j + k for voxel (z - 1 + i, y - 1 + j, x - 1 + k) of the class, the voxels around a corner."""
    code = 0
    for dz in range(2):
        for dy in range(2):
            for dx in range(2):
                zz, yy, xx = z - depth * (1 - dz), y - 1 + dy, x - 1 + dx
                inside = 0 <= zz < labels.shape[0] and 0 <= yy < labels.shape[1] and 0 <= xx < labels.shape[2]
                if inside and labels[zz, yy, xx] == label:
                    code |= 1 << (4 * dz + 2 * dy + dx)
    return code


@kernel(int64(LABELS, int64, boolean, int64, WORDS, *[int64] * 3, NEW_WORDS, uint8[::1]))
def select_class(
    labels: Labels,
    label: int,
    planar: bool,
    reach: int,
    bits: Words,
    z0: int,
    y0: int,
    w0: int,
    selected: Words,
    codes: NDArray[np.uint8],
) -> int:
    """Copy one class's elements out of a box of the common bits.

    Args:
        labels: label map (z, y, x).
        label: the class.
        planar: whether the image has no z axis.
        reach: see the module's text.
        bits: from `mark_surfaces`.
        z0: first slice of the box.
        y0: first row.
        w0: first word.
        selected: gets the elements (z, y, word) of the box, with one zero word at both ends of each row.
        codes: gets each element's configuration in raster order: for corners the voxels around it, else 1.

    Returns:
        The number of elements.
    """
    depth = 0 if planar else 1
    count = 0
    slices, rows, words = selected.shape
    for z in range(z0, z0 + slices):
        for y in range(y0, y0 + rows):
            for w in range(w0, w0 + words - 2):
                word = bits[z, y, w]
                kept = np.uint64(0)
                while word:
                    bit = word & (~word + _ONE)
                    word ^= bit
                    x = 64 * w + zeros_below(bit)
                    if reach == 0:
                        code = _corner_code(labels, label, depth, z, y, x)
                    else:
                        code = 1 if labels[z, y, x] == label else 0
                    if code:
                        kept |= bit
                        codes[count] = code
                        count += 1
                selected[z - z0, y - y0, w - w0 + 1] = kept
    return count
