"""Calibration metrics: how honest probabilities are, from bin statistics alone.

Conventions: a metric takes `Bins` (voxels, summed probability and positives of each of M equal bins) or the
`Statistics` of a case, and gives one float, NaN when no voxel counts. Bins are right-closed; p = 0 belongs to the
first, unless a protocol drops it. conf_b is the mean probability of a bin, acc_b its share of positives, N all
voxels of the domain. Nothing here is averaged over cases or classes unless its name says so.

Sources: Guo et al., arXiv:1706.04599 (ECE); Kumar et al., arXiv:1909.10155 (why bins mislead); "We Care Each Pixel:
Calibrating on Medical Segmentation Model" (CECE with a threshold, pECE). Citations stand in `metrics.METRICS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.binless import adaptive_ece, likely, miscalibration, smooth_ece
from calibeval.metrics.cells import Cells
from calibeval.metrics.registry import join
from calibeval.metrics.statistics import Edges, Histogram, Statistics
from calibeval.protocol import Protocol

Float = NDArray[np.float64]


class Bins(NamedTuple):
    """Bin statistics, each array (M,).

    Attributes:
        n: voxels, as float64.
        p_sum: summed probability; the mean is p_sum / n.
        positive: voxels whose target is 1.
        negative_p_sum: the same of the voxels whose target is 0.
        voxels: N; more than `count.sum()` when a protocol leaves p = 0 out of the bins.
    """

    n: Float
    p_sum: Float
    positive: Float
    negative_p_sum: Float
    voxels: float

    @property
    def confidence(self) -> Float:
        """`p_sum`, as 0.1 called it."""
        return self.p_sum

    @property
    def false_positive(self) -> Float:
        """`negative_p_sum`, as 0.1 called it."""
        return self.negative_p_sum


def to_bins(
    histogram: Histogram,
    edges: NDArray[np.float32],
    bins: int,
    *,
    threshold: float | None = None,
    zero_in_first_bin: bool = True,
) -> Bins:
    """Merge a histogram's cells into M equal bins.

    Args:
        histogram: counts and totals (2, B).
        edges: (B,) its cells' upper edges.
        bins: M.
        threshold: leave out cells at or below it, and their voxels from N.
        zero_in_first_bin: False leaves p = 0 out of the bins, but in N.
    """
    keep = np.ones(edges.size, bool) if threshold is None else edges > np.float32(threshold)
    inside = keep.copy()
    inside[0] &= zero_in_first_bin
    uniform = (np.arange(1, bins + 1) / bins).astype(np.float32)
    index = np.searchsorted(uniform, edges)

    def merge(cells: Float) -> Float:
        return np.bincount(index[inside], cells[inside], minlength=bins).astype(np.float64)

    count, total = histogram.count.astype(np.float64), histogram.total
    return Bins(
        merge(count.sum(axis=0)), merge(total.sum(axis=0)), merge(count[1]), merge(total[0]), count[:, keep].sum()
    )


def ece(bins: Bins) -> float:
    """Expected calibration error, sum_b n_b/N |acc_b - conf_b|; arXiv:1706.04599."""
    return float(np.abs(bins.positive - bins.p_sum).sum() / bins.voxels) if bins.voxels else float("nan")


def pece(bins: Bins, fp_weight: float) -> float:
    """Pixel-wise ECE (Algorithm 1), sum_b n_b/N |conf_b - acc_b + w FPconf_b|, FPconf_b the mean p of false positives.

    It is not 0 for a calibrated model: the second term charges every background voxel's probability again.
    """
    if not bins.voxels:
        return float("nan")
    negative = bins.n - bins.positive
    mean_false_positive = np.divide(bins.negative_p_sum, negative, out=np.zeros_like(negative), where=negative > 0)
    charge = fp_weight * mean_false_positive * bins.n
    return float(np.abs(bins.p_sum - bins.positive + charge).sum() / bins.voxels)


def ace(bins: Bins) -> float:
    """Average calibration error: unweighted mean of |acc_b - conf_b| over non-empty bins; arXiv:2403.06759."""
    return float(_gaps(bins).mean()) if bins.n.any() else float("nan")


def mce(bins: Bins) -> float:
    """Maximum calibration error: largest |acc_b - conf_b| over non-empty bins; 10.1609/aaai.v29i1.9602."""
    return float(_gaps(bins).max()) if bins.n.any() else float("nan")


def _gaps(bins: Bins) -> Float:
    full = bins.n > 0
    return np.abs(bins.positive[full] - bins.p_sum[full]) / bins.n[full]


def signed_gap(bins: Bins) -> float:
    """Mean confidence minus accuracy: above 0 over-confident, below 0 under-confident."""
    return float((bins.p_sum.sum() - bins.positive.sum()) / bins.voxels) if bins.voxels else float("nan")


def top_bins(statistics: Statistics, protocol: Protocol) -> Bins:
    """Bins behind ECE: the top label's, or the foreground's where the protocol says so."""
    edges = Edges.of(protocol)
    if protocol.ece_confidence == "foreground":
        return foreground_bins(statistics, protocol)
    return to_bins(statistics.top, edges.top, protocol.ece_bins, zero_in_first_bin=protocol.zero_in_first_bin)


def boundary_bins(statistics: Statistics, protocol: Protocol) -> Bins:
    """Bins behind bECE: the top label's, near the reference boundary."""
    return to_bins(statistics.boundary, Edges.of(protocol).top, protocol.ece_bins)


def selected_bins(statistics: Statistics, protocol: Protocol) -> Bins:
    """Bins behind gap: the top label's, where the prediction leaves room for foreground."""
    return to_bins(statistics.selected, Edges.of(protocol).top, protocol.ece_bins)


def foreground_bins(statistics: Statistics, protocol: Protocol) -> Bins:
    """Bins behind pECE: 1 - p_0 against [y > 0]."""
    return to_bins(
        statistics.foreground,
        Edges.of(protocol).foreground,
        protocol.pece_bins,
        zero_in_first_bin=protocol.zero_in_first_bin,
    )


def class_bins(statistics: Statistics, protocol: Protocol) -> dict[int, Bins]:
    """Bins behind CECE, for each class of the protocol's class set: p_c against [y = c]."""
    classes = range(len(statistics.confusion))
    if protocol.cece_classes == "up-to-reference-maximum":
        present = statistics.confusion.sum(axis=1).nonzero()[0]
        classes = range(int(present.max(initial=-1)) + 1)
    edges = Edges.of(protocol).classes
    return {
        c: to_bins(
            statistics.classes.of(c),
            edges,
            protocol.cece_bins,
            threshold=protocol.cece_threshold if protocol.cece_threshold_on == "voxels" else None,
            zero_in_first_bin=protocol.zero_in_first_bin,
        )
        for c in classes
    }


class Calibration(NamedTuple):
    """A metric over all classes, and class by class where that exists."""

    overall: float
    by_class: dict[int, float]


def _top_and_classes(function: Callable[[Bins], float]) -> Callable[[Statistics, Protocol], Calibration]:
    def metric(statistics: Statistics, protocol: Protocol) -> Calibration:
        by_class = {c: function(bins) for c, bins in class_bins(statistics, protocol).items()}
        return Calibration(function(top_bins(statistics, protocol)), by_class)

    return metric


def _ece(statistics: Statistics, protocol: Protocol) -> Calibration:
    return Calibration(ece(top_bins(statistics, protocol)), {})


def _cece(statistics: Statistics, protocol: Protocol) -> Calibration:
    """Mean over the classes that have a voxel in the domain, and that a threshold on classes leaves in."""
    least = -1.0 if protocol.cece_threshold is None else protocol.cece_threshold
    by_class = {
        c: ece(bins) if protocol.cece_threshold_on == "voxels" or bins.p_sum.sum() > least * bins.voxels else math.nan
        for c, bins in class_bins(statistics, protocol).items()
    }
    values = [value for value in by_class.values() if not math.isnan(value)]
    return Calibration(sum(values) / len(values) if values else float("nan"), by_class)


def _pece(statistics: Statistics, protocol: Protocol) -> Calibration:
    return Calibration(pece(foreground_bins(statistics, protocol), protocol.fp_weight), {})


def _gap(statistics: Statistics, protocol: Protocol) -> Calibration:
    """Of each class over the domain of CECE, voxels with p = 0 included: in a difference they are no harmless zeros."""
    bins = class_bins(statistics, replace(protocol, zero_in_first_bin=True))
    by_class = {c: signed_gap(of_class) for c, of_class in bins.items()}
    return Calibration(signed_gap(selected_bins(statistics, protocol)), by_class)


def _brier(statistics: Statistics, protocol: Protocol) -> Calibration:
    """Over all voxels, whatever the protocol's domains: a proper score of a part is none of the whole."""
    voxels = statistics.confusion.sum()
    errors = statistics.squared_error
    by_class = {c: _mean(error, voxels) for c, error in enumerate(errors)}
    return Calibration(_mean(errors.sum(), voxels), by_class)


def _nll(statistics: Statistics, protocol: Protocol) -> Calibration:
    """Over all voxels; class c's value is the mean over the voxels with y = c."""
    voxels = statistics.confusion.sum(axis=1)
    losses = statistics.log_loss
    by_class = {c: _mean(loss, n) for c, (loss, n) in enumerate(zip(losses, voxels, strict=True))}
    return Calibration(_mean(losses.sum(), voxels.sum()), by_class)


def _bece(statistics: Statistics, protocol: Protocol) -> Calibration:
    return Calibration(ece(boundary_bins(statistics, protocol)), {})


def _of_cells(function: Callable[[Cells], float]) -> Callable[[Statistics, Protocol], Calibration]:
    """Of each class over the voxels that may hold it, and the mean over classes that have any."""

    def metric(statistics: Statistics, protocol: Protocol) -> Calibration:
        by_class = {c: function(likely(statistics.cells.of(c))) for c in range(len(statistics.confusion))}
        known = [value for value in by_class.values() if not math.isnan(value)]
        return Calibration(math.fsum(known) / len(known) if known else float("nan"), by_class)

    return metric


def _mcb(statistics: Statistics, protocol: Protocol) -> Calibration:
    by_class = {c: miscalibration(statistics.cells.of(c)) for c in range(len(statistics.confusion))}
    return Calibration(math.fsum(by_class.values()), by_class)


def _mean(total: float, n: int) -> float:
    return float(total / n) if n else float("nan")


CALIBRATION_FUNCTIONS: dict[str, Callable[[Statistics, Protocol], Calibration]] = join(
    "probabilities",
    {
        "ECE": _ece,
        "CECE": _cece,
        "pECE": _pece,
        "ACE": _top_and_classes(ace),
        "MCE": _top_and_classes(mce),
        "gap": _gap,
        "Brier": _brier,
        "NLL": _nll,
        "bECE": _bece,
        "aECE": _of_cells(adaptive_ece),
        "smECE": _of_cells(smooth_ece),
        "MCB": _mcb,
    },
)
