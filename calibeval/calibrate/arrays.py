"""Calibration of arrays in memory: `fit` on cases with labels, `apply` to the probabilities of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibeval.calibrate.calibrator import Calibrator, check_planes
from calibeval.calibrate.fitting import fit_calibrator, plane_names
from calibeval.calibrate.sampling import USUAL, Draw, check_domain, sample_case
from calibeval.errors import UsageError
from calibeval.io.classes import ClassScheme
from calibeval.io.in_memory import case_of_arrays
from calibeval.planes import CHUNK


def fit(
    probabilities: Sequence[ArrayLike],
    references: Sequence[ArrayLike],
    method: str = "temperature",
    *,
    groups: Sequence[str] | None = None,
    domain: str = "all",
    voxels: int = USUAL.voxels,
    seed: int = USUAL.seed,
    spacing_mm: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
    ignore_label: int | None = None,
    regions: dict[str, Sequence[int]] | None = None,
) -> Calibrator:
    """Fit a calibrator on some cases, as `calibeval calibrate fit` does.

    Args:
        probabilities: of each case (C, *spatial), C >= 2, background first, summing to 1; or one sigmoid map for each
            of `regions`.
        references: of each case (*spatial), class indices 0..C-1, 2-D or 3-D.
        method: key of `calibeval.calibrate.METHODS`.
        groups: to whom each case belongs (patients, which weigh the same); None takes each case by itself.
        domain: voxels that are fitted: `all`, `foreground` or `boundary`.
        voxels: drawn from each case.
        seed: of the draw.
        spacing_mm: voxel size along the axes of the references, which the domain `boundary` needs.
        classes: names; None gives `0`, `1`, ...
        ignore_label: value of the references that counts nowhere.
        regions: name to the class indices it unites.

    Returns:
        A calibrator for `apply`; `write_calibrator` writes its file.

    Raises:
        CalibevalError: shapes, labels or probabilities that cannot be, or nothing to fit on.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> true = random.random((100, 100))
        >>> label = (random.random(true.shape) < true).astype(int)
        >>> odds = (true / (1 - true)) ** 2
        >>> p = odds / (1 + odds)
        >>> calibrator = fit([np.stack([1 - p, p])], [label])
        >>> abs(calibrator.parameters[""]["temperature"] - 2) < 0.1
        True
    """
    named = [f"case {index}" for index in range(len(probabilities))]
    if not named or len(references) != len(named) or (groups is not None and len(groups) != len(named)):
        given = f"{len(probabilities)} of probabilities, {len(references)} of labels"
        given += "" if groups is None else f", {len(groups)} names of groups"
        raise UsageError(f"Expected sequences of as many cases, one at least; found {given}.")
    scheme = ClassScheme(
        names=tuple(classes or ()),
        regions={name: tuple(members) for name, members in (regions or {}).items()},
        ignore=ignore_label,
        source="the arrays",
    )
    draw = Draw(check_domain(domain), voxels, seed)
    samples = []
    for name, p, y in zip(named, probabilities, references, strict=True):
        case = case_of_arrays(name, scheme, p, y, predicted=None, spacing_mm=spacing_mm)
        samples.append(sample_case(case, draw))
        if not regions:  # the first case tells how many classes there are
            scheme = case.scheme
    belongs = dict(zip(named, groups or named, strict=True))
    fitted = fit_calibrator(samples, belongs, method, plane_names(samples, case.scheme.names))
    return replace(fitted, cases={}, fitted={**draw._asdict(), **fitted.fitted})  # numbers are no names of cases


def apply(calibrator: Calibrator, probabilities: ArrayLike) -> NDArray[np.floating]:
    """Give the calibrated probabilities of one case.

    Args:
        calibrator: from `fit` or `read_calibrator`.
        probabilities: (C, *spatial), background first, summing to 1; of regions (R, *spatial).

    Returns:
        The same shape and floating type (float64 where there is none); NaN where a class is NaN. An empty array gives
        an empty one.

    Raises:
        ProbabilityError: not the number of classes that the calibrator was fitted on.
        UsageError: it is a conformal one, which gives masks.
    """
    p = np.asarray(probabilities)
    check_planes(calibrator, len(p), sigmoid=calibrator.of_regions)
    q = np.empty(p.shape, p.dtype if p.dtype.kind == "f" else np.float64)
    flat, new = p.reshape(len(p), -1), q.reshape(len(p), -1)
    for start in range(0, flat.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        new[:, part] = calibrator.of_planes(flat[:, part])
    return q
