"""Cross-fitting: what calibration would do on cases that it has not seen, case by case, method by method.

The groups (patients) are dealt into folds; each fold's cases are scored as they are, and once more after a calibrator
that was fitted on the other folds. Differences are paired by case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from calibeval.calibrate.calibrator import Calibrator
from calibeval.calibrate.fitting import deal_out, fit_calibrator
from calibeval.calibrate.sampling import Sample
from calibeval.errors import UsageError
from calibeval.io.cases import Case
from calibeval.metrics import METRICS
from calibeval.metrics.intervals import group_means, mean_interval
from calibeval.scoring.job import MethodScore, collect
from calibeval.scoring.plan import ScoreJob
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
    predicted: dict[str, Any]


def cross_fit(
    job: ScoreJob,
    open_one: Callable[[str], Case],
    samples: Mapping[str, Sample],
    groups: Mapping[str, str],
    *,
    methods: Sequence[str],
    folds: int,
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
        progress: called with each case's id.

    Raises:
        UsageError: fewer groups than folds, or what no method can be fitted on.
    """
    names = sorted({groups[case] for case in samples})
    if folds < 2 or len(names) < folds:
        raise UsageError(f"--folds {folds}: expected 2 at least and {len(names)}, the number of groups, at most.")
    fold_of = deal_out(names, folds)
    planes = _plane_names(samples, job)
    fitted: dict[str, list[Calibrator]] = {method: [] for method in methods}
    for fold in range(folds):
        train = [sample for case, sample in samples.items() if fold_of[groups[case]] != fold]
        for method in methods:
            fitted[method].append(fit_calibrator(train, groups, method, planes, {}))
    before: dict[str, CaseScore] = {}
    after: dict[str, dict[str, CaseScore]] = {method: {} for method in methods}
    changed = dict.fromkeys(methods, 0)
    for case_id in samples:
        case = open_one(case_id)
        plain = _score(case, None, job)
        before[case_id] = plain.score
        for method in methods:
            mended = _score(case, fitted[method][fold_of[groups[case_id]]], job)
            after[method][case_id] = mended.score
            changed[method] += sum(
                int(np.count_nonzero(mask != mended.predicted[name])) for name, mask in plain.predicted.items()
            )
        progress(case_id)
    first = collect(job, BEFORE, before)
    return first, [
        Evaluation(
            method,
            (score := collect(job, method, after[method])),
            tuple(_changes(job.metrics, first.rows, score.rows, groups)),
            tuple(fitted[method]),
            changed[method],
        )
        for method in methods
    ]


def _plane_names(samples: Mapping[str, Sample], job: ScoreJob) -> tuple[str, ...]:
    problems = tuple(next(iter(samples.values())).p)
    return job.scheme.names if problems == ("",) else problems


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
