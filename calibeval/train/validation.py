"""What the validation cases say of a network: calibeval's own metrics, as `calibeval score` has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.statistics import IGNORED
from calibeval.score import score_case
from calibeval.table import overall_class
from calibeval.train.volumes import Volume

CURVES = ("DSC", "IoU", "HD95", "ECE", "CECE", "NLL")  # columns `val_...` of metrics.csv

Scores = dict[str, float]


def score_volume(probabilities: NDArray[np.float32], volume: Volume) -> Scores:
    """Each of `CURVES` for one volume under the protocol `paper`, masks as the mean over foreground classes.

    Args:
        probabilities: (D, C, H, W).
        volume: with its label.

    Returns:
        NaN where a metric is undefined: HD95 without geometry, or of a class that is missing in either mask.
    """
    if volume.label is None:
        raise ValueError(f"case {volume.name} has no label")
    scored = score_case(
        np.ascontiguousarray(probabilities.swapaxes(0, 1)),
        volume.label,
        spacing_mm=None if volume.geometry is None else (1.0, *volume.geometry.spacing_mm)[-3:],
        metrics=CURVES,
        ignore_label=IGNORED,
    )
    return {row.metric: row.value for row in scored.rows if row.class_name == overall_class(row.metric)}


def mean_scores(scores: Iterable[Mapping[str, float]]) -> Scores:
    """Means over the volumes where a metric is defined, as columns of metrics.csv; without any, DSC is 0."""
    listed = list(scores)
    known = {name: [value[name] for value in listed if not math.isnan(value[name])] for name in CURVES}
    means = {f"val_{name}": math.fsum(values) / len(values) if values else math.nan for name, values in known.items()}
    return means if known["DSC"] else means | {"val_DSC": 0.0}
