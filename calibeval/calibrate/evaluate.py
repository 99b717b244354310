"""Cross-fitting: what calibration would do on cases that it has not seen, case by case, method by method.

The groups (patients) are dealt into folds; each fold's cases are scored as they are, and once more after a calibrator
that was fitted on the other folds. Differences are paired by case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from calibeval.bins import pool
from calibeval.calibrate.calibrator import Calibrator
from calibeval.calibrate.fitting import deal_out, fit_calibrator, plane_names
from calibeval.calibrate.sampling import Sample
from calibeval.calibrate.sources import random_access
from calibeval.errors import UsageError
from calibeval.io.cases import Case
from calibeval.metrics import METRICS
from calibeval.metrics.calibration import top_bins
from calibeval.metrics.intervals import group_means, mean_interval
from calibeval.protocol import Protocol
from calibeval.scoring.job import MethodScore, collect
from calibeval.scoring.plan import ScoreJob
from calibeval.scoring.problems import Labels
from calibeval.scoring.readout import read_case
from calibeval.scoring.rows import case_rows
from calibeval.scoring.shards import CaseScore
from calibeval.table import ALL, MEAN, POOLED, Row

BEFORE = "before"


class Change(NamedTuple):
    """One metric before and after, over the cases with both.

    Attributes:
        metric: key of `METRICS`.
        before: mean over the groups.
        after: mean over the groups.
        difference: after minus before; of absolute values where the best value is 0.
        low: end of the 95% interval of the difference.
        high: other end.
        n: groups.
    """

    metric: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Evaluation:
    """One method's result.

    Attributes:
        method: key of `METHODS`.
        score: of all cases after calibration, each by a calibrator that had not seen it.
        changes: by metric.
        calibrators: one a fold.
        changed: voxels whose predicted class changed.
    """

    method: str
    score: MethodScore
    changes: tuple[Change, ...]
    calibrators: tuple[Calibrator, ...]
    changed: int


class Scored(NamedTuple):
    """A case's rows and statistics, and its predicted label map."""

    score: CaseScore
    predicted: dict[str, Labels]


def cross_fit(
    job: ScoreJob,
    open_one: Callable[[str], Case],
    samples: Mapping[str, Sample],
    groups: Mapping[str, str],
    *,
    methods: Sequence[str],
    folds: int,
    seed: int,
    progress: Callable[[str], None] = lambda _case: None,
) -> tuple[MethodScore, list[Evaluation]]:
    """Score all cases as they are, and calibrated by each method.

    Args:
        job: protocol and metrics.
        open_one: opens a case by its id.
        samples: by case id.
        groups: to whom each case belongs.
        methods: keys of `METHODS`.
        folds: number of folds of groups.
        seed: of the folds.
        progress: called with each case's id.

    Raises:
        UsageError: fewer groups than folds, or what no method can be fitted on.
    """
    fold_of = _deal_cases(samples, groups, folds, seed)
    classes = plane_names(list(samples.values()), job.scheme.names)
    fitted: dict[str, list[Calibrator]] = {method: [] for method in methods}
    for fold in range(folds):
        train = [sample for case, sample in samples.items() if fold_of[case] != fold]
        for method in methods:
            fitted[method].append(fit_calibrator(train, groups, method, classes))
    found: dict[str, dict[str, CaseScore]] = {method: {} for method in (BEFORE, *methods)}
    changed = dict.fromkeys(methods, 0)
    for case_id in samples:
        case = _readable(open_one(case_id))
        plain = _score(case, None, job)
        found[BEFORE][case_id] = plain.score
        for method in methods:
            mended = _score(case, fitted[method][fold_of[case_id]], job)
            found[method][case_id] = mended.score
            changed[method] += _differing(plain.predicted, mended.predicted)
        progress(case_id)
    before, *after = (collect(job, method, scores) for method, scores in found.items())
    return before, [
        Evaluation(
            score.method,
            score,
            tuple(_changes(job.metrics, before.rows, score.rows, groups)),
            tuple(fitted[score.method]),
            changed[score.method],
        )
        for score in after
    ]


def reliability(score: MethodScore, protocol: Protocol) -> list[tuple[float, float, float]]:
    """The points of a reliability diagram, over the voxels of all cases and problems: n, mean confidence, share right.

    Args:
        score: of a method.
        protocol: its bins of ECE.
    """
    bins = [top_bins(statistics, protocol) for statistics in pool(score.bins.values()).values()]
    n, confidence, right = (
        np.sum([getattr(part, name) for part in bins], axis=0) for name in ("n", "p_sum", "positive")
    )
    filled = n > 0
    points = zip(n[filled], confidence[filled] / n[filled], right[filled] / n[filled], strict=True)
    return [(float(count), float(mean), float(share)) for count, mean, share in points]


def _deal_cases(cases: Iterable[str], groups: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    """The fold of each case; those of a group stay together."""
    names = sorted({groups[case] for case in cases})
    if folds < 2 or len(names) < folds:
        raise UsageError(f"--folds {folds}: expected 2 at least and {len(names)}, the number of groups, at most.")
    fold_of = deal_out(names, folds, seed)
    return {case: fold_of[groups[case]] for case in cases}


def _readable(case: Case) -> Case:
    """A case that is unpacked once, to be scored many times."""
    return case if case.source is None else replace(case, source=random_access(case.source))


def _differing(old: Mapping[str, Labels], new: Mapping[str, Labels]) -> int:
    return sum(int(np.count_nonzero(mask != new[name])) for name, mask in old.items())


def _score(case: Case, calibrator: Calibrator | None, job: ScoreJob) -> Scored:
    source = case.source
    if calibrator is not None and source is not None:
        source = calibrator.planes(source, sigmoid=case.sigmoid)
    mended = replace(case, source=source)
    readout = read_case(mended, job.protocol, job.metrics)
    rows = case_rows(mended, readout, job.protocol, job.metrics, 1)
    predicted = {name: mask for name, (_, mask) in readout.masks.items()}
    return Scored(CaseScore(tuple(rows), readout.bins, tuple(readout.notes)), predicted)


def _changes(
    metrics: Sequence[str], before: Sequence[Row], after: Sequence[Row], groups: Mapping[str, str]
) -> list[Change]:
    changes = []
    for metric in metrics:
        old, new = (_values(rows, metric) for rows in (before, after))
        cases = [case for case in old if case in new]
        if METRICS[metric].better == "zero":
            old, new = ({case: abs(value) for case, value in values.items()} for values in (old, new))
        belongs = [groups[case] for case in cases]
        x, y = (np.array([values[case] for case in cases]) for values in (old, new))
        first, second, differences = (group_means(values, belongs) for values in (x, y, y - x))
        means = [float(values.mean()) if cases else math.nan for values in (first, second, differences)]
        low, high = mean_interval(y - x, belongs)
        changes.append(Change(metric, means[0], means[1], means[2], low, high, len(differences)))
    return changes


def _values(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """Each case's own number of a metric, where it has one."""
    overall = ALL if ALL in METRICS[metric].rows else MEAN
    return {
        row.case: row.value
        for row in rows
        if row.metric == metric and row.class_name == overall and row.case != POOLED and not math.isnan(row.value)
    }
