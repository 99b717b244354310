"""What a calibrator is fitted on: a seeded sample of voxels of each case, chosen by the prediction alone.

Nearly all voxels of a case are background that a model is sure of. So half of a sample is drawn among the voxels whose
largest probability is above .999 and half among the others, and each voxel weighs as many as it stands for. Choosing
voxels by the reference would select on the outcome, and a calibrator fitted on them would not be calibrated. Every
group (patient) weighs the same, and in it every case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from calibeval.calibrate.sources import random_access
from calibeval.errors import InputError, UsageError
from calibeval.io.cases import Case
from calibeval.metrics.boundary import near_boundary
from calibeval.metrics.intervals import SEED
from calibeval.metrics.statistics import IGNORED
from calibeval.planes import CHUNK, PlaneSource
from calibeval.protocol import make_protocol
from calibeval.scoring.problems import WHOLE, Readout
from calibeval.scoring.readout import read_case

Domain = Literal["foreground", "all", "boundary"]
DOMAINS = ("foreground", "all", "boundary")
_SURE = 1e-3
BAND_MM = 5.0

Array = NDArray[np.float64]


class Draw(NamedTuple):
    """Which voxels of a case are taken.

    Attributes:
        domain: `all`; `foreground`, where 1 - p_0 or a region's p is above .001; `boundary`, within 5 mm of the
            boundary of the predicted mask.
        voxels: of a case at most; `calibrate fit` prints how little more would change.
        seed: of the draw.
    """

    domain: Domain = "all"
    voxels: int = 5_000
    seed: int = SEED


USUAL = Draw()


class Sample(NamedTuple):
    """Voxels of one case, by problem (the classes of the case, or a region against its complement).

    Attributes:
        case: id.
        p: problem to probabilities (n, C).
        y: problem to class indices (n,).
        w: (n,) weights, of sum 1.
        hard: share of the domain's probabilities that are exactly 0 or 1.
    """

    case: str
    p: dict[str, Array]
    y: dict[str, NDArray[np.intp]]
    w: Array
    hard: float


class Pool(NamedTuple):
    """The voxels of many cases for one problem: p (n, C), y (n,), w (n,)."""

    p: Array
    y: NDArray[np.intp]
    w: Array


def check_domain(name: str) -> Domain:
    """Give a domain by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in DOMAINS:
        raise UsageError(f"Unknown domain {name!r}. Known: {', '.join(DOMAINS)}.")
    return cast(Domain, name)


def sample_case(case: Case, draw: Draw = USUAL) -> Sample:
    """Check a case as `score` does, then draw voxels.

    Raises:
        InputError: the case holds no probabilities, or what `score` refuses.
    """
    source, readout = read_probabilities(case)
    references = {name: reference.ravel() for name, (reference, _) in readout.masks.items()}
    known = next(iter(references.values())) != IGNORED
    in_domain = known & _in_domain(case, source, readout, draw.domain)
    random = np.random.default_rng([draw.seed, *case.name.encode()])
    chosen, w = _draw(in_domain, _sure(case, source), draw.voxels, random)
    planes = np.stack([_values(source, c, chosen) for c in range(source.classes)], axis=1)
    if case.sigmoid:
        p = {name: np.stack([1 - plane, plane], axis=1) for name, plane in zip(references, planes.T, strict=True)}
    else:
        p = {WHOLE: planes}
    y = {name: reference[chosen].astype(np.intp) for name, reference in references.items()}
    return Sample(case.name, p, y, w, float(w @ ((planes == 0) | (planes == 1)).mean(axis=1)))


def read_probabilities(case: Case) -> tuple[PlaneSource, Readout]:
    """A case's planes, readable in any order, after the checks that `score` makes; masks of regions only where sigmoid.

    Raises:
        InputError: the case holds no probabilities, or what `score` refuses.
    """
    if case.source is None:
        raise InputError(case.origin, "holds labels, not probabilities.", "Save the probabilities before the argmax.")
    source = random_access(case.source)
    whole = replace(case.scheme, regions=case.scheme.regions if case.sigmoid else {})
    return source, read_case(replace(case, source=source, scheme=whole), make_protocol(), ())


def _in_domain(case: Case, source: PlaneSource, readout: Readout, domain: Domain) -> NDArray[np.bool_]:
    """Voxels (N,) that count, by the prediction."""
    if domain == "all":
        return np.ones(source.voxels, bool)
    if domain == "boundary":
        if readout.spacing_mm is None:
            raise InputError(case.origin, "has no spacing, which --domain boundary needs.", "Give --spacing.")
        bands = [near_boundary(mask, readout.spacing_mm, BAND_MM) for _, mask in readout.masks.values()]
        return np.asarray(np.any([band.ravel() != IGNORED for band in bands], axis=0))
    foreground = np.zeros(source.voxels, bool)
    for c in range(source.classes if case.sigmoid else 1):
        for start in range(0, source.voxels, CHUNK):
            values = source.read(c, start)  # type: ignore[misc]
            foreground[start : start + CHUNK] |= (values if case.sigmoid else 1 - values) > _SURE
    return foreground


def _sure(case: Case, source: PlaneSource) -> NDArray[np.bool_]:
    """Voxels (N,) of which the model is all but certain: the largest probability is above .999, or each region's."""
    sure = np.full(source.voxels, case.sigmoid)
    for start in range(0, source.voxels, CHUNK):
        part = sure[start : start + CHUNK]
        for c in range(source.classes):
            values = source.read(c, start)  # type: ignore[misc]
            if case.sigmoid:
                part &= np.maximum(values, 1 - values) > 1 - _SURE
            else:
                part |= values > 1 - _SURE
    return sure


def _draw(
    candidates: NDArray[np.bool_], sure: NDArray[np.bool_], voxels: int, random: np.random.Generator
) -> tuple[NDArray[np.intp], Array]:
    """Voxels, ascending, half of them sure ones as far as there are any; and their weights."""
    unsure, certain = np.flatnonzero(candidates & ~sure), np.flatnonzero(candidates & sure)
    most = max(voxels // 2, voxels - certain.size), max(voxels // 2, voxels - unsure.size)
    parts, weights = [], []
    for stratum, number in zip((unsure, certain), most, strict=True):
        drawn = stratum if stratum.size <= number else random.choice(stratum, number, replace=False)
        parts.append(drawn)
        weights.append(np.full(drawn.size, stratum.size / max(drawn.size, 1)))
    chosen, w = np.concatenate(parts), np.concatenate(weights)
    order = np.argsort(chosen)
    return chosen[order], w[order] / max(w.sum(), 1)


def _values(source: PlaneSource, c: int, voxels: NDArray[np.intp]) -> Array:
    """Probabilities of one class at some voxels, ascending."""
    found = np.empty(voxels.size)
    for start in range(0, source.voxels, CHUNK):
        first, last = np.searchsorted(voxels, (start, start + CHUNK))
        if first < last:
            found[first:last] = source.read(c, start)[voxels[first:last] - start]  # type: ignore[misc]
    return np.clip(found, 0, 1)


def pool(samples: Iterable[Sample], problem: str, groups: Mapping[str, str]) -> Pool:
    """Put cases together; `groups` says to whom each case belongs.

    Raises:
        UsageError: none of them has a voxel.
    """
    kept = [sample for sample in samples if len(sample.y[problem])]
    if not kept:
        raise UsageError(f"No voxel{_of(problem)} to fit on: none is in the domain. Try --domain all.")
    sizes = Counter(groups[sample.case] for sample in kept)
    weights = [sample.w / sizes[groups[sample.case]] for sample in kept]
    return Pool(
        np.concatenate([sample.p[problem] for sample in kept]),
        np.concatenate([sample.y[problem] for sample in kept]),
        np.concatenate(weights),
    )


def _of(problem: str) -> str:
    return f" of {problem}" if problem else ""


def thinned(data: Pool, most: int) -> Pool:
    """At most so many voxels, drawn by a seed."""
    if len(data.y) <= most:
        return data
    kept = np.sort(np.random.default_rng(0).choice(len(data.y), most, replace=False))
    return Pool(data.p[kept], data.y[kept], data.w[kept])
