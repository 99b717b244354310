"""What is measured: the registry of metrics, and pure functions on arrays that compute them; no files, no printing.

Module by module, from the bottom: `registry` (what is known of each metric), `statistics` (what a case's metrics are
computed from), `accumulate` (one pass over its probabilities), `overlap`, `surface`, `boundary`, `calibration` (the
metrics themselves), `empty` (what an undefined value becomes), `intervals` (how sure a mean over cases is).
"""

from __future__ import annotations

from calibeval.metrics.registry import (
    CAUTIONS,
    DEFAULT,
    LESIONS,
    METRICS,
    PAPER,
    RATED,
    Better,
    Metric,
    asked,
    badness,
    cautions,
    join,
    select_metrics,
)

__all__ = [
    "CAUTIONS",
    "DEFAULT",
    "LESIONS",
    "METRICS",
    "PAPER",
    "RATED",
    "Better",
    "Metric",
    "asked",
    "badness",
    "cautions",
    "join",
    "select_metrics",
]
