"""Scoring an opened case: against its reference, or against each of several raters in one pass.

With several raters the numbers of a case are the means over them. Beside these stand, named in the column `rater`:
those of each rater; of `soft` labels, for which every rater is a draw; and for metrics of masks those against their
`consensus`, and of the raters `among` themselves, the mean over pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from calibeval.bins import pool
from calibeval.errors import InputError
from calibeval.io.cases import Case
from calibeval.metrics import METRICS, RATED, asked
from calibeval.metrics.rated import RATED_FUNCTIONS, RatedSums
from calibeval.metrics.raters import CONSENSUS_FUNCTIONS
from calibeval.metrics.statistics import IGNORED, Statistics
from calibeval.scoring.annotated import annotated_rows
from calibeval.scoring.lesions import lesion_rows
from calibeval.scoring.plan import ScoreJob
from calibeval.scoring.problems import WHOLE, Readout
from calibeval.scoring.readout import TELL_AXES, is_turned, read_case, read_views
from calibeval.scoring.rows import MaskValue, case_rows, mask_rows, mean_row, pooled_rows, voxel_ml
from calibeval.scoring.shards import CaseScore
from calibeval.table import AMONG, CONSENSUS, NOT_COMPUTED, SOFT, Row


def score_opened(case: Case, job: ScoreJob, threads: int) -> CaseScore:
    """Score a case: against its reference, or against its raters."""
    if not case.raters:
        return _score(case, read_case(case, job.protocol, job.metrics, threads), job, threads)
    agreed = CONSENSUS_FUNCTIONS[job.protocol.consensus](list(case.raters.values()))
    views = [replace(case, reference=labels, raters={}) for labels in case.raters.values()]
    sums = RatedSums(list(case.raters.values()), job.protocol.levels) if asked(job.metrics, "raters") else None
    if sums and case.source and case.source.shape == case.reference.shape:
        views[0] = replace(views[0], source=case.source.map(sums.add))
    views.append(replace(case, reference=agreed, source=None, raters={}))
    readouts = read_views(views, job.protocol, job.metrics, threads)
    *each, of_consensus = [_score(view, readout, job, threads) for view, readout in zip(views, readouts, strict=True)]
    by_rater = {rater: score.rows for rater, score in zip(case.raters, each, strict=True)}
    bins = pool(score.bins for score in each)
    rows = [
        *_means(by_rater),
        *(_rated_rows(case, views[0], readouts[0], sums, job) if sums and case.source else ()),
        *_named({**by_rater, CONSENSUS: of_consensus.rows, SOFT: _soft_rows(case, bins, job)}),
        *_named({AMONG: _means(_among(case, job, threads))}),
    ]
    notes = dict.fromkeys(note for score in each for note in score.notes)
    said = f"{len(each)} raters; their consensus is by {job.protocol.consensus}, lesions are of it"
    return CaseScore(tuple(rows), bins, (*notes, said), lesions=of_consensus.lesions)


def _score(case: Case, readout: Readout, job: ScoreJob, threads: int) -> CaseScore:
    rows = case_rows(case, readout, job.protocol, job.metrics, threads)
    found = tuple(lesion_rows(case, readout, job.protocol))
    partly = job.annotated.get(case.name)
    if partly is None:
        return CaseScore(tuple(rows), readout.bins, readout.notes, lesions=found)
    known = tuple(row for row in found if row.class_name in partly)
    return CaseScore(tuple(annotated_rows(rows, partly)), {}, readout.notes, lesions=known)


def _means(by_view: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Mean of each number over the views where it is defined; the others are named."""
    return [_mean(dict(zip(by_view, rows, strict=True))) for rows in zip(*by_view.values(), strict=True)]


def _mean(by_view: Mapping[str, Row]) -> Row:
    first, *others = by_view.values()
    values = [MaskValue(view, row.value, row.status, row.note) for view, row in by_view.items()]
    mean = mean_row(first.case, METRICS[first.metric], values, first.unit)
    if all(row.status == first.status for row in others):
        mean = mean._replace(status=first.status)
    diagonal = first.diagonal if math.isnan(mean.value) else math.nan
    return mean._replace(class_name=first.class_name, diagonal=diagonal)


def _named(by_view: Mapping[str, Sequence[Row]]) -> list[Row]:
    return [row._replace(rater=view) for view, rows in by_view.items() for row in rows]


def _rated_rows(case: Case, first: Case, readout: Readout, sums: RatedSums, job: ScoreJob) -> list[Row]:
    """Numbers that are of all raters at once."""
    if is_turned(first, readout):
        raise InputError(
            case.origin, "holds regions, or lies otherwise than the labels: no metrics of raters.", TELL_AXES
        )
    volume = voxel_ml(case.spacing_mm)
    predicted = readout.masks[WHOLE][1]
    rated = {name: sums.finish(c, predicted, volume) for c, name in enumerate(case.scheme.names) if c}
    rows = []
    for name in (name for name in job.metrics if name in RATED):
        metric = METRICS[name]
        found = {mask: RATED_FUNCTIONS[name](each, job.protocol) for mask, each in rated.items()}
        values = [
            MaskValue(mask, value, NOT_COMPUTED if math.isnan(value) else "ok", metric.undefined * math.isnan(value))
            for mask, value in found.items()
        ]
        rows += mask_rows(case.name, metric, values, metric.unit)
    partly = job.annotated.get(case.name)
    return rows if partly is None else annotated_rows(rows, partly)


def _soft_rows(case: Case, bins: dict[str, Statistics], job: ScoreJob) -> list[Row]:
    """Calibration over voxels times raters."""
    if case.source is None or not bins:
        return []
    metrics = [name for name in job.metrics if METRICS[name].needs == "probabilities"]
    return [row._replace(case=case.name) for row in pooled_rows(bins, case.scheme, job.protocol, metrics)]


def _among(case: Case, job: ScoreJob, threads: int) -> dict[str, tuple[Row, ...]]:
    """Each pair of raters: the earlier is the reference, the later the prediction; both ignore what either does."""
    metrics = tuple(name for name in job.metrics if METRICS[name].of_masks)
    found: dict[str, tuple[Row, ...]] = {}
    if not metrics:
        return found
    for (one, first), (other, second) in combinations(case.raters.items(), 2):
        ignored = (first == IGNORED) | (second == IGNORED)
        pair = replace(
            case,
            reference=np.where(ignored, np.uint8(IGNORED), first),
            predicted=np.where(ignored, np.uint8(0), second),
            source=None,
            segmentation=None,
            raters={},
        )
        alone = replace(job, metrics=metrics)
        readout = read_case(pair, job.protocol, metrics, threads)
        found[f"{one} and {other}"] = _score(pair, readout, alone, threads).rows
    return found
