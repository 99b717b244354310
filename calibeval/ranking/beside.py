"""What stands beside a ranking by the paper's metrics: the numbers that are best for a model that says the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibeval.metrics import METRICS
from calibeval.metrics.intervals import group_means
from calibeval.ranking.inputs import Tables, differing
from calibeval.ranking.scores import OK, Array, choose_directions, make_scores

if TYPE_CHECKING:
    from calibeval.ranking.result import Ranking

BESIDE = ("gap", "Brier", "NLL")
_PROPER = ("Brier", "NLL")


def means_beside(tables: Tables, metrics: tuple[str, ...]) -> dict[str, Array]:
    """Means (k,) over the cases, or groups, that all methods have, of metrics of `BESIDE` that are not ranked."""
    found, held = {}, set(tables.frame["metric"].unique())
    for name in BESIDE if tables.has_cases else ():
        if name in held and name not in metrics and not differing(tables.sources, (name,)):
            scores = make_scores(tables, (name,), choose_directions((name,), {}))
            values, there = scores.values[:, 0], (scores.states[:, 0] == OK).all(axis=1)
            units = np.flatnonzero(there)
            groups = [f"{scores.units[i].dataset}/{scores.groups[i]}" for i in units] if scores.groups else None
            if units.size:
                found[name] = np.array([group_means(column, groups).mean() for column in values[there].T])
    return found


def contradictions(ranking: Ranking) -> tuple[str, ...]:
    """A warning where a ranked calibration metric puts another method first than Brier and NLL, which agree."""
    first = {ranking.methods[int(means.argmin())] for name, means in ranking.beside.items() if name in _PROPER}
    if len(first) != 1:
        return ()
    (best,) = first
    others: dict[str, list[str]] = {}
    for name, order in ranking.per_metric.items():
        other = ranking.methods[int(order.mean_rank.argmin())]
        if name in METRICS and METRICS[name].caution and other != best:
            others.setdefault(other, []).append(name)
    by = " and ".join(name for name in _PROPER if name in ranking.beside)
    return tuple(
        f"{', '.join(names)} {'puts' if len(names) == 1 else 'put'} {other} first, {by} {best}: of these only {by} are "
        "best in the mean for a model that says the true probabilities."
        for other, names in others.items()
    )
