"""What `calibeval score` says of lesions and of the order of cases, in words and for machines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from calibeval.confidence import case_confidence
from calibeval.escape import finite
from calibeval.findings import froc, froc_score, lesion_confidence, lesion_words, strata
from calibeval.selective import aurc
from calibeval.table import MEAN, POOLED

if TYPE_CHECKING:
    from calibeval.scoring.job import MethodScore


def lesion_lines(method: MethodScore) -> Iterator[str]:
    """Sentences on a method's lesions; none where no metric is of lesions."""
    if method.lesions is not None:
        yield from lesion_words(method.lesions, len(_scored(method)), method.groups)


def lesion_json(method: MethodScore) -> dict[str, Any] | None:
    """Lesions of a method for machines, by stratum, with the FROC curve; None where no metric is of lesions."""
    if method.lesions is None:
        return None
    cases = len(_scored(method))
    thresholds, rates, found = froc(method.lesions, max(cases, 1))
    confidence = lesion_confidence(method.lesions, method.groups)
    return {
        "n": sum(row.in_reference for row in method.lesions),
        "found": sum(row.matched for row in method.lesions),
        "false_positives": sum(not row.in_reference for row in method.lesions),
        "strata": finite([each._asdict() for each in strata(method.lesions)]),
        "froc": {
            "threshold": thresholds.tolist(),
            "false_positives_per_case": rates.tolist(),
            "recall": finite(found.tolist()),
            "score": finite(froc_score(method.lesions, max(cases, 1))),
        },
        "confidence": confidence and finite(confidence._asdict()),
    }


def selective_json(method: MethodScore) -> dict[str, Any] | None:
    """Whether a case's mean confidence ranks cases by 1 - DSC; None without probabilities or DSC."""
    says = {case: case_confidence(parts.values()) for case, parts in method.bins.items()}
    dsc = {row.case: row.value for row in method.rows if (row.metric, row.class_name) == ("DSC", MEAN)}
    cases = [case for case in says if case in dsc and case != POOLED and not math.isnan(says[case])]
    if not cases:
        return None
    return dict(finite(aurc([says[case] for case in cases], [1 - dsc[case] for case in cases])._asdict()))


def _scored(method: MethodScore) -> set[str]:
    return {row.case for row in method.rows if row.status not in ("missing", "failed") and row.case != POOLED}
