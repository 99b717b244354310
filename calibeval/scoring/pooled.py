"""Intervals of pooled numbers: how sure a number over the whole data set is, from the statistics of its cases.

Only numbers that are smooth ratios of sums have one: each group of cases is left out in turn. Errors of absolute values
(ECE, CECE, pECE, ACE, MCE, bECE and their kin) are biased by the number of cases, and no interval was seen to cover.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibeval.bins import pool
from calibeval.io.classes import ClassScheme
from calibeval.metrics import METRICS
from calibeval.metrics.cells import Cells
from calibeval.metrics.intervals import LEAST, effective_number, mean_interval, pooled_interval
from calibeval.metrics.statistics import Statistics
from calibeval.protocol import Protocol
from calibeval.scoring.problems import WHOLE
from calibeval.scoring.rows import mask_sizes, pooled_rows
from calibeval.table import ALL, MEAN

SMOOTH = ("DSC", "IoU", "precision", "recall", "RVD", "gap", "Brier", "NLL")
Interval = tuple[float, float]
Sizes = NDArray[np.float64]


def pooled_intervals(
    bins: Mapping[str, Mapping[str, Statistics]],
    class_names: tuple[str, ...],
    protocol: Protocol,
    metrics: Iterable[str],
    groups: Mapping[str, str],
) -> dict[tuple[str, str], Interval]:
    """95% intervals of pooled numbers by (metric, class); of what has none there is no entry.

    Args:
        bins: case to problem to statistics.
        class_names: background first.
        protocol: of the numbers.
        metrics: those of `SMOOTH` among them are looked at.
        groups: case to group.
    """
    smooth = [name for name in metrics if name in SMOOTH]
    by_group: dict[str, list[dict[str, Statistics]]] = {}
    for case, problems in bins.items():
        slim = {name: replace(part, cells=Cells.none()) for name, part in problems.items()}
        by_group.setdefault(groups.get(case, case), []).append(slim)
    if not smooth or len(by_group) < LEAST:
        return {}
    parts = [pool(cases) for cases in by_group.values()]
    whole = pool(parts)
    scheme = ClassScheme(names=class_names, regions={name: (1,) for name in whole if name != WHOLE})

    def values(statistics: dict[str, Statistics]) -> dict[tuple[str, str], float]:
        rows = pooled_rows(statistics, scheme, protocol, smooth)
        return {(row.metric, row.class_name): row.value for row in rows}

    without = [values({name: whole[name] - part[name] for name in whole}) for part in parts]
    sizes = _sizes([mask_sizes(scheme, part, protocol) for part in parts])
    return {
        (name, label): interval_of(
            name, label, value, np.array([each.get((name, label), math.nan) for each in without]), sizes
        )
        for (name, label), value in values(whole).items()
    }


def interval_of(name: str, label: str, value: float, without: Sizes, sizes: dict[str, Sizes]) -> Interval:
    """By the sizes of the masks; a proper score is a sum over all voxels, nearly a mean over cases, and skewed."""
    metric = METRICS[name]
    limits = metric.low, metric.high
    if metric.also_needs != "proper":
        return pooled_interval(value, without, sizes.get(label, sizes[""]), limits=limits)
    if name == "NLL" and label != ALL:  # a ratio of sums and skewed: nothing was seen to cover
        return math.nan, math.nan
    n = without.size
    return mean_interval(n * value - (n - 1) * without, limits=limits)


def _sizes(of_groups: list[dict[str, int]]) -> dict[str, Sizes]:
    """Voxels of each mask by group, of all masks under the empty name; a mean is as unsure as its worst mask."""
    sizes = {mask: np.array([group[mask] for group in of_groups], np.float64) for mask in of_groups[0]}
    worst = min(sizes.values(), key=effective_number)
    return {**sizes, MEAN: worst, "": sum(sizes.values(), np.zeros(len(of_groups)))}
