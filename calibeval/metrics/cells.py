"""Fine histograms of every class over all voxels, from which numbers without coarse bins are computed.

`CELLS` equal cells, right-closed like bins and nested in those of 10 and 15, and one for p = 0. Only cells that hold a
voxel are kept: a class whose probabilities are nearly all 0 or 1 takes a few bytes, a dense one 31 kB a case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

CELLS = 960


@dataclass(frozen=True)
class Cells:
    """Cells that hold a voxel, (n,) each, in ascending order of their codes.

    Attributes:
        code: int64, class * (CELLS + 1) + cell; cell 0 is p = 0, cell k is (k-1)/CELLS < p <= k/CELLS.
        count: int64 voxels.
        positive: int64 voxels with y = c.
        total: float64 summed p.
    """

    code: NDArray[np.int64]
    count: NDArray[np.int64]
    positive: NDArray[np.int64]
    total: NDArray[np.float64]

    @staticmethod
    def none() -> Cells:
        """Of no voxel: the neutral element of `+`."""
        whole = np.zeros(0, np.int64)
        return Cells(whole, whole, whole, np.zeros(0))

    @staticmethod
    def of_class(c: int, count: NDArray[np.int64], total: NDArray[np.float64]) -> Cells:
        """Keep the cells of one class that hold a voxel; count and total are (2, CELLS + 1), by target."""
        cell = np.flatnonzero(count.sum(axis=0))
        inside = count[:, cell]
        return Cells(c * (CELLS + 1) + cell, inside.sum(axis=0), inside[1], total[:, cell].sum(axis=0))

    @staticmethod
    def join(parts: Iterable[Cells]) -> Cells:
        """Put the cells of classes 0, 1, ... side by side."""
        listed = [Cells.none(), *parts]
        return Cells(*(np.concatenate([getattr(part, field.name) for part in listed]) for field in fields(Cells)))

    def __add__(self, other: Cells) -> Cells:
        """Pool two sets of voxels."""
        both = Cells.join((self, other))
        code, place = np.unique(both.code, return_inverse=True)

        def add(values: NDArray[np.int64]) -> NDArray[np.int64]:
            added = np.zeros(code.size, np.int64)
            np.add.at(added, place, values)
            return added

        total = np.bincount(place, both.total, code.size).astype(np.float64)
        return Cells(code, add(both.count), add(both.positive), total)

    def of(self, c: int) -> Cells:
        """The cells of one class; their codes are cells."""
        first, last = np.searchsorted(self.code, (c * (CELLS + 1), (c + 1) * (CELLS + 1)))
        inside = slice(int(first), int(last))
        return Cells(self.code[inside] - c * (CELLS + 1), self.count[inside], self.positive[inside], self.total[inside])
