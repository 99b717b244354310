"""From samples of cases to a calibrator: one fit for each problem, and how sure its parameters are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.calibrate.calibrator import Calibrator
from calibeval.calibrate.methods import (
    METHODS,
    SHRINKAGE,
    Parameters,
    check_methods,
    fit_dirichlet,
    negative_log_likelihood,
)
from calibeval.calibrate.sampling import Pool, Sample, pool, thinned
from calibeval.errors import UsageError
from calibeval.metrics.intervals import SEED
from calibeval.scoring.problems import WHOLE

_INNER_FOLDS = 3  # that choose the shrinkage
_ENOUGH = 20_000  # voxels that choose it
_LEAST_CLIP = 1e-7
_LARGEST_CLIP = 1e-2
_STEPS = (0.5, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)  # of the smallest probability that is not 0
_HALVES = 4  # random halves of the voxels that tell how sure the parameters are

Array = NDArray[np.float64]


def fit_calibrator(
    samples: Sequence[Sample],
    groups: Mapping[str, str],
    method: str,
    classes: Sequence[str],
    hashes: Mapping[str, str] | None = None,
) -> Calibrator:
    """Fit a method to the samples of some cases.

    Args:
        samples: of the cases, one at least.
        groups: to whom each case belongs.
        method: key of `METHODS`.
        classes: names of the planes.
        hashes: SHA-256 of each case's prediction, for the record.

    Raises:
        UsageError: no voxel to fit on, one class alone, probabilities that are all 0 or 1, or cases of classes beside
            cases of regions.
    """
    check_methods([method])
    _refuse_mixture(samples)
    clip = _choose_clip(samples, groups)
    parameters: dict[str, Parameters] = {}
    likelihood: dict[str, Any] = {}
    for problem in samples[0].p:
        data = pool(samples, problem, groups)
        _refuse_hopeless(data, problem, classes)
        parameters[problem] = _fit(samples, groups, problem, method, clip)
        q = METHODS[method].apply(data.p, parameters[problem], clip)
        likelihood[problem] = {
            "before": negative_log_likelihood(data.p, data.y, data.w, _LEAST_CLIP),
            "after": negative_log_likelihood(q, data.y, data.w, _LEAST_CLIP),
        }
    cases = {sample.case: (hashes or {}).get(sample.case, "") for sample in samples}
    fitted = {"groups": len({groups[case] for case in cases}), "likelihood": likelihood}
    return Calibrator(method, tuple(classes), parameters, clip, cases, fitted)


def plane_names(samples: Sequence[Sample], names: Sequence[str]) -> tuple[str, ...]:
    """Names of the planes: of the regions, or those of the classes."""
    problems = tuple(samples[0].p)
    return tuple(names) if problems == (WHOLE,) else problems


def _refuse_mixture(samples: Sequence[Sample]) -> None:
    """Refuse cases that hold other planes than the first one."""

    def held(sample: Sample) -> dict[str, int]:
        return {problem: p.shape[1] for problem, p in sample.p.items()}

    first = samples[0]
    if other := next((sample for sample in samples if held(sample) != held(first)), None):
        raise UsageError(
            f"{other.case} holds {_describe(other)}, and {first.case} {_describe(first)}: a calibrator is of one kind."
        )


def _describe(sample: Sample) -> str:
    return f"{sample.p[WHOLE].shape[1]} classes" if WHOLE in sample.p else f"the regions {', '.join(sample.p)}"


def _choose_clip(samples: Sequence[Sample], groups: Mapping[str, str]) -> float:
    """What an exact 0 stands for in a logarithm: 1e-7 where there is none, else what makes the labels most likely.

    In a quantised map a 0 says "below a step": the smallest probability that is written tells the step, but not how far
    below it zeros lie.
    """
    pools = [thinned(pool(samples, problem, groups), _ENOUGH) for problem in samples[0].p]
    if not any((data.p == 0).any() for data in pools):
        return _LEAST_CLIP
    smallest = min(float(data.p[data.p > 0].min(initial=1.0)) for data in pools)
    candidates = [smallest * step for step in _STEPS if smallest * step < _LARGEST_CLIP] or [_LEAST_CLIP]

    def loss(clip: float) -> float:
        fits = ((data, METHODS["temperature"].fit(*data, clip)) for data in pools)
        return sum(
            negative_log_likelihood(METHODS["temperature"].apply(data.p, fit, clip), data.y, data.w, _LEAST_CLIP)
            for data, fit in fits
        )

    return min(candidates, key=loss)


def _refuse_hopeless(data: Pool, problem: str, classes: Sequence[str]) -> None:
    where = f" of {problem}" if problem else ""
    present = np.unique(data.y)
    if present.size == 1:
        name = problem or classes[int(present[0])]
        raise UsageError(f"All voxels{where} that count have one label ({name}), so there is nothing to learn from.")
    if ((data.p == 0) | (data.p == 1)).all():
        raise UsageError(f"The probabilities{where} are all 0 or 1: save them before the argmax.")
    if not problem and (missing := sorted(set(range(data.p.shape[1])) - set(present.tolist()))):
        names = ", ".join(classes[c] for c in missing)
        raise UsageError(f"No voxel that counts has the label {names}: no calibrator can be fitted for a class unseen.")


def _fit(samples: Sequence[Sample], groups: Mapping[str, str], problem: str, method: str, clip: float) -> Parameters:
    data = pool(samples, problem, groups)
    if method == "dirichlet":
        return fit_dirichlet(*data, clip, _choose_shrinkage(samples, groups, problem, clip))
    return METHODS[method].fit(*data, clip)


def _choose_shrinkage(samples: Sequence[Sample], groups: Mapping[str, str], problem: str, clip: float) -> float:
    """The penalty whose calibrators have the best likelihood on groups that they were not fitted on."""
    fold_of = deal_out(sorted({groups[sample.case] for sample in samples}), _INNER_FOLDS, SEED)
    if len(set(fold_of.values())) < 2:
        return SHRINKAGE[len(SHRINKAGE) // 2]
    losses = np.zeros(len(SHRINKAGE))
    for fold in set(fold_of.values()):
        held: list[Sample] = []
        kept: list[Sample] = []
        for sample in samples:
            (held if fold_of[groups[sample.case]] == fold else kept).append(sample)
        train, test = (thinned(pool(part, problem, groups), _ENOUGH) for part in (kept, held))
        for i, shrinkage in enumerate(SHRINKAGE):
            q = METHODS["dirichlet"].apply(test.p, fit_dirichlet(*train, clip, shrinkage), clip)
            losses[i] += negative_log_likelihood(q, test.y, test.w, clip) * test.w.sum()
    return SHRINKAGE[int(losses.argmin())]


def deal_out(groups: Sequence[str], folds: int, seed: int) -> dict[str, int]:
    """Groups shuffled by a seed and dealt out in turn."""
    order = np.random.default_rng(seed).permutation(len(groups))
    return {groups[position]: rank % folds for rank, position in enumerate(order)}


def spread(samples: Sequence[Sample], groups: Mapping[str, str], calibrator: Calibrator) -> dict[str, float | None]:
    """Standard deviation over draws of voxels of the least sure parameter, by problem.

    Parameters fitted on random halves of the voxels deviate from those of all by as much as all deviate from an
    endless sample. None where there are no such parameters: curves with corners of their own, or shrunk ones.
    """
    return {problem: _spread(pool(samples, problem, groups), calibrator, problem) for problem in calibrator.parameters}


def _spread(data: Pool, calibrator: Calibrator, problem: str) -> float | None:
    whole = _numbers(calibrator.parameters[problem])
    if whole is None or calibrator.method == "dirichlet":
        return None
    random = np.random.default_rng(SEED)
    deviations = []
    for _ in range(_HALVES):
        kept = random.random(len(data.y)) < 0.5
        fitted = METHODS[calibrator.method].fit(data.p[kept], data.y[kept], data.w[kept], calibrator.clip)
        half = _numbers(fitted)
        deviations.append(np.inf if half is None else np.abs(half - whole).max())
    return float(np.sqrt(np.mean(np.square(deviations))))


def _numbers(parameters: Parameters) -> Array | None:
    """Parameters as one array; None for curves with corners of their own."""
    try:
        return np.concatenate([np.ravel(np.asarray(value, np.float64)) for value in parameters.values()])
    except (TypeError, ValueError):
        return None
