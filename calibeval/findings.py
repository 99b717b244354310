"""What a table of lesions tells together: how many were found, of which size, and whether sure findings are real.

A *finding* is what was predicted: a found lesion of the reference, or a false positive. Its confidence is the largest
probability within it. Cases, or the groups that they come in (patients), are the unit of intervals and of the test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.lesion_table import LesionRow
from calibeval.metrics.calibration_test import sign_flip_test
from calibeval.metrics.intervals import pooled_interval
from calibeval.wording import count_of

EDGES_MM3 = (100.0, 1000.0, 10000.0)  # of the strata of volume: 0.1, 1 and 10 mL
RATES = (
    1 / 8,
    1 / 4,
    1 / 2,
    1,
    2,
    4,
    8,
)  # false positives a case at which a FROC curve is read (10.1016/j.media.2017.06.015)
BINS = 10  # of confidence

Float = NDArray[np.float64]


class Stratum(NamedTuple):
    """Lesions of the reference of one size.

    Attributes:
        low: smallest volume in mm^3, included.
        high: largest, excluded.
        n: lesions.
        found: of them.
        dsc: mean over those found; NaN where none was.
    """

    low: float
    high: float
    n: int
    found: int
    dsc: float

    def __str__(self) -> str:
        """In mL, and how many were found."""
        low, high = (f"{volume / 1000:g}" for volume in (self.low, self.high))
        size = f"< {high}" if not self.low else f">= {low}" if math.isinf(self.high) else f"{low} to {high}"
        return f"{size} mL {self.found} of {self.n}"


class LesionConfidence(NamedTuple):
    """Whether findings are as often real as they say.

    Attributes:
        n: findings with a confidence.
        says: mean confidence.
        real: share of them that are lesions of the reference.
        gap: says - real; above 0 is over-confident.
        low: end of the 95% interval of the gap, over groups of cases; NaN where there is none.
        high: other end.
        p: of the hypothesis that the findings are calibrated, by flipping the signs of groups; None where too few
            groups hold both outcomes.
        bins: of confidence, where some finding lies: its mean, the share that is real, and how many.
    """

    n: int
    says: float
    real: float
    gap: float
    low: float
    high: float
    p: float | None
    bins: tuple[tuple[float, float, int], ...]

    def __str__(self) -> str:
        """The sentence."""
        text = f"findings say {self.says:.1%}, are real in {self.real:.1%}"
        ends = "" if math.isnan(self.low) else f"; the gap is {100 * self.low:.1f} to {self.high:.1%}"
        return f"{text}{ends}" + ("" if self.p is None else f"; test p = {self.p:.2g}")


def strata(rows: Iterable[LesionRow], edges_mm3: Sequence[float] = EDGES_MM3) -> list[Stratum]:
    """Count the lesions of the reference by volume; strata without one are left out.

    Args:
        rows: of any cases and classes; lesions of unknown volume are left out.
        edges_mm3: ascending, between the strata.
    """
    lesions = [row for row in rows if row.in_reference]
    found = []
    for low, high in pairwise((0.0, *edges_mm3, math.inf)):
        inside = [row for row in lesions if low <= row.volume_mm3 < high]
        fits = [row.dsc for row in inside if row.matched]
        if inside:
            found.append(Stratum(low, high, len(inside), len(fits), math.fsum(fits) / len(fits) if fits else math.nan))
    return found


def froc(rows: Iterable[LesionRow], cases: int) -> tuple[Float, Float, Float]:
    """The free-response curve: what is found, and what is predicted for nothing, when less sure findings are dropped.

    Args:
        rows: of any number of classes.
        cases: how many were scored, those without a lesion among them.

    Returns:
        Thresholds of confidence, descending; at each, false positives a case, and the share of the lesions of the
        reference that are found (NaN without one). Source: 10.1117/12.945110.
    """
    rows = list(rows)
    wanted = sum(row.in_reference for row in rows)
    told = [row for row in rows if not math.isnan(row.max_confidence) and (row.matched or not row.in_reference)]
    thresholds = np.unique([row.max_confidence for row in told])[::-1]
    real = np.array([row.max_confidence for row in told if row.in_reference])
    false = np.array([row.max_confidence for row in told if not row.in_reference])
    found = np.array([(real >= t).sum() for t in thresholds]) / (wanted or math.nan)
    return thresholds, np.array([(false >= t).sum() for t in thresholds]) / cases, found


def froc_score(rows: Iterable[LesionRow], cases: int) -> float:
    """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a case; NaN without a lesion."""
    _, rates, found = froc(rows, cases)
    best = [max((f for f, r in zip(found, rates, strict=True) if r <= rate), default=0.0) for rate in RATES]
    return float(np.mean(best)) if found.size else math.nan


def lesion_confidence(rows: Iterable[LesionRow], groups: Mapping[str, str] | None = None) -> LesionConfidence | None:
    """Compare the confidence of findings with how often they are real.

    Args:
        rows: of any cases and classes; None is given where no finding has a confidence.
        groups: case to what it is sampled with; None takes each case for its own.
    """
    told = [row for row in rows if not math.isnan(row.max_confidence)]
    if not told:
        return None
    said = np.array([row.max_confidence for row in told])
    real = np.array([float(row.in_reference and row.matched) for row in told])
    names = [groups.get(row.case, row.case) if groups else row.case for row in told]
    _, group = np.unique(names, return_inverse=True)
    index = np.clip(np.ceil(said * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts, sums, hits = (_sums(group, index, weight) for weight in (np.ones(said.size), said, real))
    n, gaps = counts.sum(axis=1), (sums - hits).sum(axis=1)
    gap = float(gaps.sum() / n.sum())
    without = (gaps.sum() - gaps) / np.where(n.sum() > n, n.sum() - n, math.nan)
    low, high = pooled_interval(gap, without, n, limits=(-1.0, 1.0))
    p, _ = sign_flip_test((sums - hits)[:, None], (hits > 0)[:, None], (counts > hits)[:, None])
    by_bin = zip(sums.sum(axis=0), hits.sum(axis=0), counts.sum(axis=0), strict=True)
    bins = tuple((float(s / c), float(h / c), int(c)) for s, h, c in by_bin if c)
    return LesionConfidence(len(told), float(said.mean()), float(real.mean()), gap, low, high, p, bins)


def lesion_words(rows: Sequence[LesionRow], cases: int, groups: Mapping[str, str] | None = None) -> Iterator[str]:
    """Sentences: what is found, by volume, and whether findings are as often real as they say.

    Args:
        rows: of one method.
        cases: how many were scored.
        groups: as for `lesion_confidence`.
    """
    wanted = [row for row in rows if row.in_reference]
    found = sum(row.matched for row in wanted)
    share = f" ({found / len(wanted):.0%})" if wanted else ""
    sizes = "; by volume " + ", ".join(map(str, strata(wanted))) if strata(wanted) else ""
    false = f"{len(rows) - len(wanted)} false in {count_of(cases, 'case')}"
    yield f"finds {found} of {count_of(len(wanted), 'lesion')}{share}, {false}{sizes}"
    confidence = lesion_confidence(rows, groups)
    if confidence is not None:
        yield str(confidence)


def _sums(group: NDArray[np.intp], index: NDArray[np.int64], weights: Float) -> Float:
    """Sums (groups, bins)."""
    total = np.zeros((int(group.max()) + 1, BINS))
    np.add.at(total, (group, index), weights)
    return total
