"""Sufficient statistics of one case: everything that overlap and calibration metrics are computed from.

A case's probabilities are read once, plane by plane; what stays is a confusion matrix and a few histograms, whose
counts and sums add up over cases. So pooled numbers and reliability curves need no second pass.

Conventions: arrays are flat, voxels in any one order shared by probabilities and labels; labels are uint8 class
indices, 255 is ignored; counts are int64, sums float64. A histogram's *cell* 0 holds p = 0 exactly, cell k > 0 holds
edges[k-1] < p <= edges[k], compared as float32, so every voxel is in exactly one cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.cells import Cells
from calibeval.protocol import Protocol

IGNORED = 255
MAX_CLASSES = 254  # labels are uint8; 254 and 255 mean "unknown" and "ignored"

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Histogram:
    """Voxels and their summed probability, by target and cell.

    Attributes:
        count: (..., 2, B) int64; the second last axis is the target, 0 or 1.
        total: (..., 2, B) float64.
    """

    count: NDArray[np.int64]
    total: NDArray[np.float64]

    def __add__(self, other: Histogram) -> Histogram:
        """Pool two sets of voxels."""
        return Histogram(self.count + other.count, self.total + other.total)

    def __sub__(self, other: Histogram) -> Histogram:
        """Take voxels away again."""
        return Histogram(self.count - other.count, self.total - other.total)

    def of(self, c: int) -> Histogram:
        """The histogram of one class, sharing its memory."""
        return Histogram(self.count[c], self.total[c])


@dataclass(frozen=True)
class Statistics:
    """Additive statistics of a case or of many; C classes.

    Attributes:
        confusion: (C, C) voxels by reference (row) and predicted (column) class.
        top: (max_c p_c, [yhat = y]) over the protocol's ECE domain.
        classes: (C, ...) of (p_c, [y = c]) over the CECE domain.
        foreground: (1 - p_0, [y > 0]) over all voxels.
        boundary: like `top`, over voxels near the reference boundary; empty unless asked for.
        selected: like `top`, over voxels with 1 - p_0 above the protocol's gap threshold, whatever their label.
        squared_error: (C,) sum of (p_c - [y = c])^2; zero unless asked for.
        log_loss: (C,) sum of -log p_c over voxels with y = c; zero unless asked for.
        cells: fine histograms of (p_c, [y = c]) over all voxels; empty unless asked for.
    """

    confusion: NDArray[np.int64]
    top: Histogram
    classes: Histogram
    foreground: Histogram
    boundary: Histogram
    selected: Histogram
    squared_error: NDArray[np.float64]
    log_loss: NDArray[np.float64]
    cells: Cells

    def __add__(self, other: Statistics) -> Statistics:
        """Pool two sets of voxels."""
        return Statistics(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __sub__(self, other: Statistics) -> Statistics:
        """Take voxels away again; fine histograms stay out."""
        slim = replace(self, cells=Cells.none())
        rest = (name for name in self.__dataclass_fields__ if name != "cells")
        return replace(slim, **{name: getattr(self, name) - getattr(other, name) for name in rest})

    @property
    def has_probabilities(self) -> bool:
        """False when only label maps were compared."""
        return bool(self.foreground.count.any())


@cache
def cell_edges(bins: int, threshold: float | None = None) -> NDArray[np.float32]:
    """Upper edges of the cells: 0, k/bins for k = 1..bins, and the threshold; float32, ascending, read-only."""
    extra = [] if threshold is None else [threshold]
    edges: NDArray[np.float32] = np.unique(np.append(np.arange(bins + 1) / bins, extra).astype(np.float32))
    edges.setflags(write=False)
    return edges


class Edges(NamedTuple):
    """Edges of a protocol's histograms."""

    top: NDArray[np.float32]
    classes: NDArray[np.float32]
    foreground: NDArray[np.float32]

    @staticmethod
    def of(protocol: Protocol) -> Edges:
        """Edges that a protocol asks for."""
        return Edges(
            cell_edges(protocol.ece_bins),
            cell_edges(protocol.cece_bins, protocol.cece_threshold),
            cell_edges(protocol.pece_bins),
        )


def empty_statistics(classes: int, protocol: Protocol) -> Statistics:
    """Statistics of no voxel: the neutral element of `+`."""
    edges = Edges.of(protocol)

    def histogram(*shape: int) -> Histogram:
        return Histogram(np.zeros(shape, np.int64), np.zeros(shape))

    return Statistics(
        confusion=np.zeros((classes, classes), np.int64),
        top=histogram(2, edges.top.size),
        classes=histogram(classes, 2, edges.classes.size),
        foreground=histogram(2, edges.foreground.size),
        boundary=histogram(2, edges.top.size),
        selected=histogram(2, edges.top.size),
        squared_error=np.zeros(classes),
        log_loss=np.zeros(classes),
        cells=Cells.none(),
    )


def compare_labels(reference: Labels, predicted: Labels, classes: int, protocol: Protocol) -> Statistics:
    """Statistics of two label maps: a confusion matrix, and empty histograms.

    Args:
        reference: (N,) class indices; 255 is ignored.
        predicted: (N,) class indices, 0..classes-1 where the reference is not ignored.
        classes: C, background included.
        protocol: gives the shape of the histograms.
    """
    from calibeval.metrics._kernels.labels import count_pairs

    statistics = empty_statistics(classes, protocol)
    labels = LabelBlocks.of(reference)
    count_pairs(labels.values, predicted, labels.low, labels.high, statistics.confusion)
    return statistics


class LabelBlocks(NamedTuple):
    """Labels with the smallest, the largest and the set (as 256 bits) of the labels of each block of a kernel."""

    values: Labels
    low: Labels
    high: Labels
    present: NDArray[np.uint64]

    @staticmethod
    def of(values: Labels) -> LabelBlocks:
        """Look at each block once."""
        from calibeval.metrics._kernels.labels import BLOCK, label_blocks

        blocks = -(-values.size // BLOCK)
        sets = np.zeros((blocks, 4), np.uint64)
        labels = LabelBlocks(values, np.empty(blocks, np.uint8), np.empty(blocks, np.uint8), sets)
        label_blocks(*labels)
        return labels
