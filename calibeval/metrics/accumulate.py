"""One pass over a case's probability planes: from chunks of values to `Statistics` and the argmax.

Voxels are handled in ranges of `CHUNK`. Each range has statistics of its own until the end, so that sums are added in
one order, and the bits do not depend on the order of reading or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import ProbabilityError
from calibeval.metrics.cells import CELLS, Cells
from calibeval.metrics.statistics import (
    IGNORED,
    Histogram,
    LabelBlocks,
    Labels,
    Statistics,
    cell_edges,
    empty_statistics,
)
from calibeval.planes import CHUNK, Plane, PlaneChunk
from calibeval.protocol import Protocol

_RANGE_TOLERANCE = 1e-5  # beyond [0, 1]: interpolation and softmax in float32 overshoot by less, and are clipped


class Accumulator:
    """Takes a case's planes chunk by chunk; gives `Statistics` and the argmax label map `predicted`.

    Args:
        reference: (N,) labels.
        classes: C.
        protocol: bins and domains.
        dtype: float32 or float64, of all chunks.
        proper: also the sums for Brier score and NLL.
        fine: also the cells for numbers without bins.
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
        fine: bool = False,
        boundary: Labels | None = None,
        sum_tolerance: float = 1e-4,
    ) -> None:
        self.predicted = np.empty(reference.size, np.uint8)
        self.settings = _Settings.of(classes, protocol, dtype, proper=proper, fine=fine, sum_tolerance=sum_tolerance)
        self._reference, self._boundary = reference, boundary
        self._ranges: dict[int, _Range] = {}

    def take(self, read: Callable[[int, int], Plane], threads: int = 1) -> Statistics:
        """Read all chunks at random, range by range, and finish; see `take_all`."""
        return take_all([self], read, threads)[0]

    def add(self, chunk: PlaneChunk) -> None:
        """Add one chunk."""
        self.add_scanned(chunk, _scan_chunk(chunk, self.settings))

    def add_scanned(self, chunk: PlaneChunk, plane: _Scanned) -> None:
        """Add one chunk whose values were looked at."""
        if chunk.start not in self._ranges:
            voxels = slice(chunk.start, chunk.start + CHUNK)
            boundary = None if self._boundary is None else self._boundary[voxels]
            self._ranges[chunk.start] = _Range(self.settings, self._reference[voxels], self.predicted[voxels], boundary)
        self._ranges[chunk.start].add(chunk.class_index, plane)

    def finish_range(self, start: int) -> None:
        """Free what only the adding of a range's chunks needs."""
        self._ranges[start].finish()

    def finish(self) -> Statistics:
        """Give the statistics once every chunk was added."""
        for start in self._ranges:
            self.finish_range(start)
        return self.sum()

    def sum(self) -> Statistics:
        """The statistics of all ranges, each of which is finished."""
        parts = (self._ranges[start].statistics for start in sorted(self._ranges))
        return sum(parts, start=empty_statistics(self.settings.classes, self.settings.protocol))


def add_to_all(accumulators: Sequence[Accumulator], chunk: PlaneChunk) -> None:
    """Add one chunk to accumulators of the same planes; its values are looked at once."""
    plane = _scan_chunk(chunk, accumulators[0].settings)
    for each in accumulators:
        each.add_scanned(chunk, plane)


def take_all(
    accumulators: Sequence[Accumulator], read: Callable[[int, int], Plane], threads: int = 1
) -> list[Statistics]:
    """Read all chunks at random, range by range and each once, into accumulators of the same planes, and finish.

    Args:
        accumulators: of other labels each.
        read: gives the values of (class, start).
        threads: ranges are shared among so many.
    """

    def take_range(start: int) -> None:
        for c in range(accumulators[0].settings.classes):
            add_to_all(accumulators, PlaneChunk(c, start, read(c, start)))
        for each in accumulators:
            each.finish_range(start)

    starts = range(0, accumulators[0].predicted.size, CHUNK)
    if threads == 1 or len(starts) == 1:
        for start in starts:
            take_range(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(take_range, starts))
    return [each.sum() for each in accumulators]


class _Cells(NamedTuple):
    """Cells of a histogram as the kernels take them; the threshold is infinite when it is no edge of its own."""

    edges: NDArray[np.float32]
    threshold: np.float32

    @staticmethod
    def of(bins: int, threshold: float | None = None) -> _Cells:
        edges = cell_edges(bins, threshold)
        return _Cells(edges, np.float32(np.inf if threshold is None or edges.size == bins + 1 else threshold))


class _Settings(NamedTuple):
    """What all ranges of a case share. `one` and `decided` are the bits of 1 and of the kernels' `DECIDED`."""

    classes: int
    protocol: Protocol
    dtype: np.dtype[Any]
    bits: np.dtype[Any]
    one: int
    decided: int
    sum_tolerance: float
    top: _Cells
    of_class: _Cells
    foreground: _Cells
    proper: bool
    fine: bool
    kernels: ModuleType
    label_kernels: ModuleType
    cell_kernels: ModuleType

    @staticmethod
    def of(
        classes: int, protocol: Protocol, dtype: np.dtype[Any], *, proper: bool, fine: bool, sum_tolerance: float
    ) -> _Settings:
        from calibeval.metrics._kernels import cells, histograms, labels

        bits = np.dtype(f"i{dtype.itemsize}")
        one, decided = (int(np.array([p], dtype).view(bits)[0]) for p in (1, histograms.DECIDED))
        return _Settings(
            classes,
            protocol,
            dtype,
            bits,
            one,
            decided,
            sum_tolerance,
            _Cells.of(protocol.ece_bins),
            _Cells.of(protocol.cece_bins, protocol.cece_threshold),
            _Cells.of(protocol.pece_bins),
            proper,
            fine,
            histograms,
            labels,
            cells,
        )


class _Scanned(NamedTuple):
    """Values with each block's smallest and largest value (as bits), sum, and sum of squares."""

    values: Plane
    low: NDArray[Any]
    high: NDArray[Any]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]


class _Range:
    """The voxels of one range: their statistics, and what is known of them so far."""

    def __init__(self, settings: _Settings, reference: Labels, predicted: Labels, boundary: Labels | None) -> None:
        self.statistics = empty_statistics(settings.classes, settings.protocol)
        self._settings, self._predicted, self._boundary = settings, predicted, boundary
        self._labels = self._class_labels = LabelBlocks.of(reference)
        self._cells: list[Cells] = []  # of the classes so far
        self._selected = reference  # labels with 255 where class 0 is all but sure
        if settings.protocol.cece_domain == "foreground":
            self._class_labels = LabelBlocks.of(np.where(reference == 0, np.uint8(IGNORED), reference))
        blocks = self._labels.low.size
        self._sums = np.zeros(blocks)
        self._state = np.zeros(blocks, np.uint8)  # of a block: undecided 0, decided by the plane at hand 1, before 2
        self._largest_low = np.empty(blocks, settings.bits)  # smallest in a block of the largest values so far
        self._largest = np.empty(0, settings.bits)  # largest values so far, of the blocks that class 0 leaves open
        self._rows = np.empty(blocks, np.int64)  # where in `_largest` a block's values are

    def add(self, c: int, plane: _Scanned) -> None:
        """Add one chunk to the histograms of its class, and keep the largest probability of each voxel."""
        settings = self._settings
        self._sums += plane.sums
        self._add_plane(plane, self._class_labels, c, settings.of_class, self.statistics.classes.of(c))
        if c == 0:
            sure = plane.values >= settings.dtype.type(1 - settings.protocol.gap_threshold)
            self._selected = np.where(sure, np.uint8(IGNORED), self._labels.values)
            self._add_plane(plane, self._labels, c, settings.foreground, self.statistics.foreground, flip=True)
        if settings.fine:
            self._cells.append(self._find_cells(plane, c))
        if settings.proper:
            scores = self.statistics.squared_error[c : c + 1], self.statistics.log_loss[c : c + 1]
            values, low = self._with_extremes(plane)[:2]
            clip = settings.protocol.nll_clip
            settings.kernels.proper_scores(values, low, plane.squares, *self._labels, c, clip, *scores)
        self._update_largest(plane, c)

    def _find_cells(self, plane: _Scanned, c: int) -> Cells:
        count, total = np.zeros((3, CELLS + 1), np.int64), np.zeros((3, CELLS + 1))
        self._settings.cell_kernels.add_cells(*self._with_extremes(plane), *self._labels, c, count, total)
        return Cells.of_class(c, count[:2], total[:2])

    def _update_largest(self, plane: _Scanned, c: int) -> None:
        settings = self._settings
        if c == 0:
            is_open = plane.low <= settings.decided
            self._rows = np.cumsum(is_open) - 1
            self._largest = np.zeros(np.count_nonzero(is_open) * _block(), settings.bits)
        settings.kernels.update_largest(
            plane.values.view(settings.bits),
            c,
            plane.low,
            plane.high,
            settings.decided,
            self._rows,
            self._largest,
            self._predicted,
            self._largest_low,
            self._state,
        )
        decided = np.flatnonzero(self._state == 1)
        if decided.size:
            self._add_top(plane, decided, decided)

    def finish(self) -> None:
        """Confusion matrix and what is left of the top-label histograms, once all classes are in."""
        self._check_sums()
        labels = self._labels
        self._settings.label_kernels.count_pairs(
            labels.values, self._predicted, labels.low, labels.high, self.statistics.confusion
        )
        undecided = np.flatnonzero(self._state == 0)
        if undecided.size:
            largest = _scan(self._largest.view(self._settings.dtype), self._settings)
            self._add_top(largest, undecided, self._rows[undecided])
        self._largest = np.empty(0, self._settings.bits)
        self.statistics = replace(self.statistics, cells=Cells.join(self._cells))

    def _add_top(self, plane: _Scanned, blocks: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Add (max_c p_c, [yhat = y]) over some blocks of the range, whose values stand in these rows of the plane."""

        def add(labels: Labels, only_foreground: bool, into: Histogram) -> None:
            right = np.full(plane.values.size, IGNORED, np.uint8)
            self._settings.label_kernels.match(self._predicted, labels, blocks, rows, only_foreground, right)
            self._add_plane(plane, LabelBlocks.of(right), 1, self._settings.top, into)

        domain, counted = self._settings.protocol.ece_domain, self._labels.values
        if domain == "predicted-foreground":
            counted = np.where(self._predicted == 0, np.uint8(IGNORED), counted)
        add(counted, domain == "foreground", self.statistics.top)
        add(self._selected, False, self.statistics.selected)
        if self._boundary is not None:
            add(self._boundary, False, self.statistics.boundary)

    def _add_plane(
        self, plane: _Scanned, labels: LabelBlocks, c: int, cells: _Cells, into: Histogram, *, flip: bool = False
    ) -> None:
        blocks = self._with_extremes(plane)
        self._settings.kernels.add_plane(*blocks, *labels, c, flip, *cells, into.count, into.total)

    def _with_extremes(self, plane: _Scanned) -> tuple[Plane, Plane, Plane, NDArray[np.float64]]:
        """Values, and each block's smallest, largest and sum, as the kernels take them."""
        dtype = self._settings.dtype
        return plane.values, plane.low.view(dtype), plane.high.view(dtype), plane.sums

    def _check_sums(self) -> None:
        """Refuse maps that do not sum to 1: by the mean of each block, and voxel by voxel for a largest p below 1/C."""
        classes, tolerance = self._settings.classes, self._settings.sum_tolerance
        sizes = np.full(self._sums.size, _block())
        sizes[-1] = self._predicted.size - _block() * (sizes.size - 1)
        means = self._sums / sizes
        worst = means[np.abs(means - 1).argmax()]
        if abs(worst - 1) > tolerance:
            raise ProbabilityError(f"the {classes} classes of a voxel sum to {worst:.4g} on average, not to 1")
        largest = self._largest_low.view(self._settings.dtype).min()
        if largest < 1 / classes - tolerance:
            raise ProbabilityError(
                f"the {classes} classes of a voxel do not sum to 1: the largest is only {largest:.4g}"
            )


def _scan_chunk(chunk: PlaneChunk, settings: _Settings) -> _Scanned:
    plane = _scan(chunk.values, settings)
    if plane.low.min() < 0 or plane.high.max() > settings.one:
        return _scan(_clip(chunk), settings)
    return plane


def _scan(values: Plane, settings: _Settings) -> _Scanned:
    blocks = -(-values.size // _block())
    plane = _Scanned(values, np.empty(blocks, settings.bits), np.empty(blocks, settings.bits), *np.empty((2, blocks)))
    settings.kernels.scan(values, values.view(settings.bits), *plane[1:])
    return plane


def _block() -> int:
    from calibeval.metrics._kernels.labels import BLOCK

    return BLOCK


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
