"""Empty rules: what a number becomes when a mask is empty or a prediction is missing.

The results table keeps each row's status, so a rule can be applied when scoring and again, differently, to a stored
table. A formula that still has a value keeps it: the DSC of a missed structure is 0 under every rule. A rule only
speaks where the formula is 0/0 or a distance has no surface to end at.
"""

from __future__ import annotations

import math

from calibeval.metrics import METRICS, Metric

_EMPTY = ("empty_reference", "empty_prediction", "both_empty")


def apply_rule(rule: str, metric: str, status: str, value: float, diagonal_mm: float) -> float:
    """Give the value that an empty rule assigns to one mask's metric.

    Args:
        rule: key of `protocol.EMPTY_RULES`.
        metric: key of `METRICS`; only overlap and surface metrics know empty masks, others pass unchanged.
        status: of the row.
        value: what the formula gives, NaN where it gives nothing.
        diagonal_mm: length of the image's diagonal, the `worst` distance, in the distance's unit.
    """
    known = METRICS.get(metric)
    if known is None or known.needs == "probabilities" or status not in _EMPTY or known.better == "zero":
        return value
    distance = known.high == math.inf
    perfect = 0.0 if distance else 1.0
    if rule == "worst":
        return perfect if status == "both_empty" else (diagonal_mm if distance else 0.0)
    if rule == "nacl":
        return value if status == "empty_prediction" else perfect
    if rule == "sdc-repo":
        return perfect if status == "both_empty" else (math.inf if distance else 0.0)
    if rule == "deepmind" and distance:
        return math.inf
    return value


def worst_value(metric: Metric, diagonal_mm: float, fp_weight: float, nll_clip: float) -> float:
    """The worst value a metric can take, for a prediction that is missing; NaN where there is no worst."""
    if metric.needs == "surfaces" and metric.high == math.inf:
        return diagonal_mm
    if metric.better == "zero":
        return math.nan
    if metric.name == "pECE":
        return 1 + fp_weight  # one bin of background voxels that all say p = 1
    if metric.name == "NLL":
        return -math.log(nll_clip)
    return metric.low if metric.better == "higher" else metric.high
