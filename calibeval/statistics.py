"""Sufficient statistics of one case: everything that overlap and calibration metrics are computed from.

A case's probabilities are read once, plane by plane; what stays is a confusion matrix and a few histograms, whose
counts and sums add up over cases. So pooled numbers and reliability curves need no second pass.

Conventions: arrays are flat, voxels in any one order shared by probabilities and labels; labels are uint8 class
indices, 255 is ignored; counts are int64, sums float64. A histogram's *cell* 0 holds p = 0 exactly, cell k > 0 holds
edges[k-1] < p <= edges[k], compared as float32, so every voxel is in exactly one cell.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import CalibevalError
from calibeval.protocol import Protocol

IGNORED = 255
MAX_CLASSES = 254  # labels are uint8; 254 and 255 mean "unknown" and "ignored"
CHUNK = 1 << 18  # voxels of a range; fixed, so that sums do not depend on threads or readers
_BLOCK = 256  # voxels of a kernel's block; CHUNK is a multiple
_RANGE_TOLERANCE = 1e-5  # beyond [0, 1]: interpolation and softmax in float32 overshoot by less, and are clipped

Labels = NDArray[np.uint8]
Plane = NDArray[Any]  # float32 or float64


class ProbabilityError(CalibevalError):
    """Values that are no probabilities: not finite, out of [0, 1], or not summing to 1 over the classes."""


class PlaneChunk(NamedTuple):
    """Probabilities of one class at the voxels start, start + 1, ...

    `start` is a multiple of `CHUNK`, and a chunk ends there or with the plane. The chunks of one voxel range come
    in the order of their classes.
    """

    class_index: int
    start: int
    values: Plane


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
        squared_error: (C,) sum of (p_c - [y = c])^2; zero unless asked for.
        log_loss: (C,) sum of -log p_c over voxels with y = c; zero unless asked for.
    """

    confusion: NDArray[np.int64]
    top: Histogram
    classes: Histogram
    foreground: Histogram
    boundary: Histogram
    squared_error: NDArray[np.float64]
    log_loss: NDArray[np.float64]

    def __add__(self, other: Statistics) -> Statistics:
        """Pool two sets of voxels."""
        return Statistics(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

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


class _Cells(NamedTuple):
    """Cells of a histogram as the kernels take them; the threshold is infinite when it is no edge of its own."""

    edges: NDArray[np.float32]
    threshold: np.float32

    @staticmethod
    def of(bins: int, threshold: float | None = None) -> _Cells:
        cut = threshold is not None and cell_edges(bins, threshold).size > bins + 1
        return _Cells(cell_edges(bins), np.float32(threshold if cut else np.inf))


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
        squared_error=np.zeros(classes),
        log_loss=np.zeros(classes),
    )


def compare_labels(reference: Labels, predicted: Labels, classes: int, protocol: Protocol) -> Statistics:
    """Statistics of two label maps: a confusion matrix, and empty histograms.

    Args:
        reference: (N,) class indices; 255 is ignored.
        predicted: (N,) class indices, 0..classes-1 where the reference is not ignored.
        classes: C, background included.
        protocol: gives the shape of the histograms.
    """
    from calibeval._histogram_kernels import label_kernels

    statistics = empty_statistics(classes, protocol)
    labels = _LabelMap.of(reference)
    label_kernels().count_pairs(labels.values, predicted, labels.low, labels.high, statistics.confusion)
    return statistics


class Accumulator:
    """Takes a case's planes chunk by chunk; gives `Statistics` and the argmax label map `predicted`.

    Each voxel range has statistics of its own until the end, so that sums are added in one order, whatever the
    order of reading and the number of threads.

    Args:
        reference: (N,) labels.
        classes: C.
        protocol: bins and domains.
        dtype: float32 or float64, of all chunks.
        proper: also the sums for Brier score and NLL.
        boundary: (N,) labels with 255 away from the reference boundary, for bECE; None for no bECE.
        sum_tolerance: largest difference from 1 of the mean, over 256 neighbouring voxels, of the sum over classes.
    """

    def __init__(
        self,
        reference: Labels,
        classes: int,
        protocol: Protocol,
        dtype: np.dtype[Any],
        *,
        proper: bool = False,
        boundary: Labels | None = None,
        sum_tolerance: float = 1e-4,
    ) -> None:
        from calibeval._histogram_kernels import DECIDED, kernels, label_kernels, proper_scores

        self.predicted = np.empty(reference.size, np.uint8)
        self._kernels, self._label_kernels = kernels(str(dtype)), label_kernels()
        self._proper_scores = proper_scores(str(dtype)) if proper else None
        self._classes, self._protocol = classes, protocol
        self._top_cells, self._foreground_cells = _Cells.of(protocol.ece_bins), _Cells.of(protocol.pece_bins)
        self._class_cells = _Cells.of(protocol.cece_bins, protocol.cece_threshold)
        self._sum_tolerance = sum_tolerance
        self._boundary = boundary
        self._labels = _LabelMap.of(reference)
        self._class_labels = self._labels
        if protocol.cece_domain == "foreground":
            self._class_labels = _LabelMap.of(_without_background(reference))
        self._dtype, self._bits = dtype, np.dtype(f"i{dtype.itemsize}")
        self._one, self._decided = (int(np.array([p], dtype).view(self._bits)[0]) for p in (1, DECIDED))
        self._largest: dict[int, NDArray[Any]] = {}  # by range, of the blocks that the first class does not decide
        self._rows = np.empty(self._labels.low.size, np.int64)  # where in `_largest` a block's values are
        self._largest_low = np.empty(self._labels.low.size, self._bits)
        self._state = np.zeros(self._labels.low.size, np.uint8)
        self._sums = np.zeros(self._labels.low.size)
        self._parts = [empty_statistics(classes, protocol) for _ in range(0, reference.size, CHUNK)]

    def take(self, read: Callable[[int, int], Plane], threads: int = 1) -> Statistics:
        """Read all chunks at random, range by range, and finish.

        Args:
            read: gives the values of (class, start).
            threads: ranges are shared among so many.
        """

        def take_range(start: int) -> None:
            for c in range(self._classes):
                self.add(PlaneChunk(c, start, read(c, start)))
            self._finish(start)

        if threads == 1:
            for start in self._starts():
                take_range(start)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(take_range, self._starts()))
        return self._sum()

    def finish(self) -> Statistics:
        """Give the statistics once every chunk was added."""
        for start in self._starts():
            self._finish(start)
        return self._sum()

    def _starts(self) -> range:
        return range(0, self.predicted.size, CHUNK)

    def _sum(self) -> Statistics:
        return sum(self._parts, start=empty_statistics(self._classes, self._protocol))

    def add(self, chunk: PlaneChunk) -> None:
        """Add one chunk to the histograms of its class, and keep the largest probability of each voxel."""
        c, part = chunk.class_index, self._parts[chunk.start // CHUNK]
        voxels, blocks = _extent(chunk.start)
        plane = self._scan(chunk.values)
        if plane.low.min() < 0 or plane.high.max() > self._one:
            plane = self._scan(_clip(chunk))
        self._sums[blocks] += plane.sums
        labels = self._labels.at(chunk.start)
        self._add_plane(plane, self._class_labels.at(chunk.start), c, self._class_cells, part.classes.of(c))
        if c == 0:
            self._add_plane(plane, labels, c, self._foreground_cells, part.foreground, flip=True)
        if self._proper_scores is not None:
            scores = part.squared_error[c : c + 1], part.log_loss[c : c + 1]
            self._proper_scores(plane.values, *labels, c, self._protocol.nll_clip, *scores)
        if c == 0:
            undecided = plane.low <= self._decided
            self._rows[blocks] = np.cumsum(undecided) - 1
            self._largest[chunk.start] = np.empty(np.count_nonzero(undecided) * _BLOCK, self._bits)
        largest = self._rows[blocks], self._largest[chunk.start], self.predicted[voxels]
        state = self._largest_low[blocks], self._state[blocks]
        bits = plane.values.view(self._bits)
        self._kernels.update_largest(bits, c, plane.low, plane.high, self._decided, *largest, *state)
        decided_now = np.flatnonzero(self._state[blocks] == 1)
        if decided_now.size:
            self._add_top(_gather(plane.values, decided_now), decided_now, chunk.start)

    def _finish(self, start: int) -> None:
        """Confusion matrix and what is left of the top-label histograms, once all classes of a range are in."""
        part, (voxels, blocks) = self._parts[start // CHUNK], _extent(start)
        labels = self._labels.at(start)
        self._check_sums(start)
        self._label_kernels.count_pairs(labels.values, self.predicted[voxels], labels.low, labels.high, part.confusion)
        undecided = np.flatnonzero(self._state[blocks] == 0)
        largest = self._largest.pop(start).view(self._dtype)
        self._add_top(_gather(largest, self._rows[blocks][undecided]), undecided, start)

    def _add_top(self, values: Plane, blocks: NDArray[np.int64], start: int) -> None:
        """Add (max_c p_c, [yhat = y]) over some blocks of a range, whose values stand one after the other."""
        part, (voxels, _) = self._parts[start // CHUNK], _extent(start)
        plane, predicted = self._scan(values), self.predicted[voxels]

        def add(labels: Labels, only_foreground: bool, into: Histogram) -> None:
            right = np.empty(blocks.size * _BLOCK, np.uint8)
            self._label_kernels.match(predicted, labels[voxels], blocks, only_foreground, right)
            self._add_plane(plane, _LabelMap.of(right[: values.size]), 1, self._top_cells, into)

        add(self._labels.values, self._protocol.ece_domain == "foreground", part.top)
        if self._boundary is not None:
            add(self._boundary, False, part.boundary)

    def _scan(self, values: Plane) -> _Plane:
        blocks = -(-values.size // _BLOCK)
        plane = _Plane(values, np.empty(blocks, self._bits), np.empty(blocks, self._bits), np.empty(blocks))
        self._kernels.scan(values, values.view(self._bits), plane.low, plane.high, plane.sums)
        return plane

    def _add_plane(
        self, plane: _Plane, labels: _LabelMap, c: int, cells: _Cells, into: Histogram, *, flip: bool = False
    ) -> None:
        extremes = plane.low.view(self._dtype), plane.high.view(self._dtype)
        self._kernels.add_plane(plane.values, *extremes, plane.sums, *labels, c, flip, *cells, into.count, into.total)

    def _check_sums(self, start: int) -> None:
        """Refuse maps that do not sum to 1: by the mean of each block, and voxel by voxel for a largest p below 1/C."""
        voxels, blocks = _extent(start)
        sizes = np.full(self._sums[blocks].size, _BLOCK)
        sizes[-1] = self.predicted[voxels].size - _BLOCK * (sizes.size - 1)
        means = self._sums[blocks] / sizes
        worst = means[np.abs(means - 1).argmax()]
        if abs(worst - 1) > self._sum_tolerance:
            raise ProbabilityError(f"the {self._classes} classes of a voxel sum to {worst:.4g} on average, not to 1")
        largest = self._largest_low[blocks].view(self._dtype).min()
        if largest < 1 / self._classes - self._sum_tolerance:
            raise ProbabilityError(
                f"the {self._classes} classes of a voxel do not sum to 1: the largest is only {largest:.4g}"
            )


class _Plane(NamedTuple):
    """A chunk's values with each block's smallest and largest value (as bits) and sum."""

    values: Plane
    low: NDArray[Any]
    high: NDArray[Any]
    sums: NDArray[np.float64]


class _LabelMap(NamedTuple):
    """Labels with each block's smallest and largest, and the set of its labels as 256 bits."""

    values: Labels
    low: Labels
    high: Labels
    present: NDArray[np.uint64]

    @staticmethod
    def of(values: Labels) -> _LabelMap:
        from calibeval._histogram_kernels import label_kernels

        blocks = -(-values.size // _BLOCK)
        sets = np.zeros((blocks, 4), np.uint64)
        labels = _LabelMap(values, np.empty(blocks, np.uint8), np.empty(blocks, np.uint8), sets)
        label_kernels().label_blocks(*labels)
        return labels

    def at(self, start: int) -> _LabelMap:
        """The labels of one range."""
        voxels, blocks = _extent(start)
        return _LabelMap(self.values[voxels], self.low[blocks], self.high[blocks], self.present[blocks])


def _gather(values: Plane, blocks: NDArray[np.int64]) -> Plane:
    """Blocks of a chunk, one after the other; only the chunk's last block may be short."""
    whole = values.size // _BLOCK
    if blocks.size * _BLOCK >= values.size:
        return values
    gathered: Plane = values[: whole * _BLOCK].reshape(whole, _BLOCK)[blocks[blocks < whole]].reshape(-1)
    return np.concatenate([gathered, values[whole * _BLOCK :]]) if blocks.size and blocks[-1] == whole else gathered


def _without_background(labels: Labels) -> Labels:
    counted: Labels = np.where(labels == 0, np.uint8(IGNORED), labels)
    return counted


def _extent(start: int) -> tuple[slice, slice]:
    """Voxels and blocks of the range that starts here."""
    return slice(start, start + CHUNK), slice(start // _BLOCK, (start + CHUNK) // _BLOCK)


def _clip(chunk: PlaneChunk) -> Plane:
    """Clip what overshoots [0, 1] by rounding; refuse what is no probability."""
    values = chunk.values
    bad = ~((values >= -_RANGE_TOLERANCE) & (values <= 1 + _RANGE_TOLERANCE))
    if bad.any():
        worst = values[bad][0]
        what = "lies outside [0, 1]" if np.isfinite(worst) else "is not finite"
        raise ProbabilityError(f"class {chunk.class_index} holds the value {worst:.6g}, which {what}")
    clipped: Plane = np.clip(values, 0, 1) + values.dtype.type(0)  # + 0 turns -0 into 0
    return clipped
