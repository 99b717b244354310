"""Empty rules: what a number becomes when a mask is empty or a prediction is missing.

The results table keeps each row's status, so a rule can be applied when scoring and again, differently, to a stored
table. A formula that still has a value keeps it: the DSC of a missed structure is 0 under every rule. A rule only
speaks where the formula is 0/0 or a distance has no surface to end at.
"""

from __future__ import annotations

import math

from calibeval.metrics import METRICS

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
    if known is None or not known.follows_empty_rule or status not in _EMPTY:
        return value
    distance = known.is_distance
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
