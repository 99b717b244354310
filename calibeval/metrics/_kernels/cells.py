"""The compiled loop behind `calibeval.metrics.cells`: one class's plane in a thousand cells.

Most blocks lie in the first or last cell and cost a count and a sum, as in `histograms`. Of the others each voxel is
one addition, of 2^42 + p in units of 2^-22 as an integer: two neighbours of one cell then wait half as long for each
other as with a count and a float64 (the pass is twice as fast). A plane of 2^20 voxels in two lanes stays below 2^62.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, void

from calibeval.metrics._kernels.compiling import kernel, read_only
from calibeval.metrics._kernels.histograms import (
    _ANY_ORDER,
    _MIXED,
    _TYPES,
    Float,
    Values,
    _add_targets,
    _cell,
    _find_cells,
    _find_target,
)
from calibeval.metrics._kernels.labels import BLOCK, IGNORED, LABEL_BLOCKS, Index, Labels, Sets

_ONE = 1 << 42
_UNIT = 2.0**22


@kernel(
    *(void(p, p, p, read_only(float64), *LABEL_BLOCKS, int64, int64[:, ::1], float64[:, ::1]) for p, _ in _TYPES),
    fastmath=_ANY_ORDER,
    _nrt=True,
)
def add_cells(
    values: Values,
    low: Values,
    high: Values,
    sums: Float,
    labels: Labels,
    label_low: Labels,
    label_high: Labels,
    present: Sets,
    c: int,
    count: Index,
    total: Float,
) -> None:
    """Add one plane to `count` and `total` (3, M + 1): voxels with y != c, with y = c, and a row for ignored ones."""
    key, code = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    bits = np.empty(BLOCK, np.int64)
    bins, no_threshold = np.float32(total.shape[1] - 1), np.float32(np.inf)
    lanes = np.zeros((2, 3 * total.shape[1]), np.int64)
    for block in range(low.size):
        if label_low[block] == IGNORED:
            continue
        part = values[block * BLOCK : (block + 1) * BLOCK]
        target = _find_target(label_low[block], label_high[block], present[block], c)
        first = _cell(np.float64(low[block]), bins, no_threshold)
        if target != _MIXED and first == _cell(np.float64(high[block]), bins, no_threshold):
            count[target, first] += part.size
            total[target, first] += sums[block]
            continue
        for i in range(part.size):
            key[i] = np.float32(part[i])
            bits[i] = _ONE + np.int64(np.float64(part[i]) * _UNIT + 0.5)
        _find_cells(key, part.size, bins, no_threshold, code)
        if target == _MIXED:
            _add_targets(labels[block * BLOCK : (block + 1) * BLOCK], c, False, total.shape[1], code)
        offset = max(0, target) * total.shape[1]
        whole = part.size - part.size % 2
        for i in range(0, whole, 2):
            lanes[0, np.uint64(np.uint32(offset + code[i]))] += bits[i]
            lanes[1, np.uint64(np.uint32(offset + code[i + 1]))] += bits[i + 1]
        if whole < part.size:
            lanes[0, offset + code[whole]] += bits[whole]
    for lane in range(2):
        for target in range(3):
            for cell in range(total.shape[1]):
                held = lanes[lane, target * total.shape[1] + cell]
                count[target, cell] += held >> 42
                total[target, cell] += np.float64(held & (_ONE - 1)) / _UNIT
