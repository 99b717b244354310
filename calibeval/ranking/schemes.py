"""From a design to an order of the methods, under three schemes, for the data or for many bootstrap draws at once.

- `rank-then-aggregate`: rank in each block, average the ranks.
- `aggregate-then-rank`: average each metric over its units, rank the averages, average those ranks over the metrics.
- `test`: for each metric count the methods that a method is significantly better than (Wilcoxon with Holm), rank
  those counts, average over the metrics.

The names are those of challengeR (Wiesenfarth et al. 2021, doi:10.1038/s41598-021-82017-6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.intervals import resample
from calibeval.ranking.design import (
    Blocks,
    Design,
    by_data_set,
    case_blocks,
    metric_blocks,
    one_metric,
    rank_within,
    round_means,
    take_units,
    weighted_means,
)
from calibeval.ranking.posthoc import significant_wins
from calibeval.ranking.scores import Array

Scheme = Literal["rank-then-aggregate", "aggregate-then-rank", "test"]
BlockKind = Literal["case", "metric"]
Tick = Callable[[int, int], None]
_CHUNK = 20_000_000  # elements of the largest intermediate array


class OrderRule(NamedTuple):
    """How an order is made.

    Attributes:
        scheme: see the module's text.
        kind: of the blocks, see `calibeval.ranking.design`.
        alpha: level of the tests of the scheme `test`, and of decisions that orders are compared by.
    """

    scheme: Scheme
    kind: BlockKind
    alpha: float


class MeanRanks(NamedTuple):
    """Mean ranks for b draws.

    Attributes:
        overall: (b, k).
        per_metric: (b, m, k).
    """

    overall: Array
    per_metric: Array


def mean_ranks(
    design: Design, plan: OrderRule, draws: NDArray[np.intp] | None = None, tick: Tick | None = None
) -> MeanRanks:
    """Mean ranks of the methods.

    Args:
        design: what is ranked.
        plan: how.
        draws: (b, n) units of each bootstrap draw; None gives the data themselves, b = 1.
        tick: called with (draws done, draws in all).
    """
    found = _mean_ranks(design, plan, draws, tick)
    return MeanRanks(round_means(found.overall), round_means(found.per_metric))


def _mean_ranks(design: Design, plan: OrderRule, draws: NDArray[np.intp] | None, tick: Tick | None) -> MeanRanks:
    if plan.scheme == "test":
        return _tested(design, plan, draws, tick)
    if draws is None:
        return _weighted(design, plan, np.ones((1, len(design.units))))
    data_sets = len({unit.dataset for unit in design.units}) if plan.kind == "metric" else 1
    step = max(1, _CHUNK // (data_sets * design.values[0].size))
    parts = []
    for start in range(0, len(draws), step):
        chunk = draws[start : start + step]
        parts.append(_weighted(design, plan, draw_counts(chunk, len(design.units))))
        if tick is not None:
            tick(start + len(chunk), len(draws))
    return MeanRanks(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def bootstrap_draws(strata: NDArray[np.intp], number: int, seed: int) -> NDArray[np.intp]:
    """Units (number, u) drawn with replacement within each stratum."""
    draws = []
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        draws.append(members[resample(len(members), number, seed + int(stratum))])
    return np.concatenate(draws, axis=1)


def draw_counts(draws: NDArray[np.intp], units: int) -> Array:
    """How often (b, u) each unit was drawn."""
    offsets = np.arange(len(draws))[:, None] * units
    return np.bincount((draws + offsets).ravel(), minlength=len(draws) * units).reshape(-1, units).astype(np.float64)


def make_blocks(design: Design, kind: BlockKind) -> Blocks:
    """Blocks of the Friedman test: one a unit, or one a metric of a data set."""
    return case_blocks(design) if kind == "case" else metric_blocks(by_data_set(design))


def places(means: Array) -> NDArray[np.intp]:
    """Final places over the last axis, 1 for the best; equal mean ranks share the better place. NaN comes last."""
    from scipy.stats import rankdata

    rounded = np.where(np.isnan(means), np.inf, np.round(means, 9))
    return rankdata(rounded, method="min", axis=-1).astype(np.intp)


def _weighted(design: Design, plan: OrderRule, weights: Array) -> MeanRanks:
    if plan.scheme == "aggregate-then-rank":
        ranked = _ranked(weighted_means(design, weights))
        return MeanRanks(_mean_over(ranked, (1,)), ranked)
    if plan.kind == "metric" and len({unit.dataset for unit in design.units}) < len(design.units):
        return _ranked_data_sets(design, weights)
    return _averaged_ranks(design, plan.kind, weights)


def _averaged_ranks(design: Design, kind: BlockKind, weights: Array) -> MeanRanks:
    u, m, k = design.ranks.shape
    complete = design.complete.astype(np.float64)
    counts = weights @ complete
    sums = (weights @ design.ranks.reshape(u, m * k)).reshape(-1, m, k)
    with np.errstate(invalid="ignore"):
        per_metric = sums / counts[..., None]
        if kind == "metric":
            return MeanRanks(sums.sum(axis=1) / counts.sum(axis=1, keepdims=True), per_metric)
        of_unit = design.ranks.sum(axis=1) / np.maximum(complete.sum(axis=1), 1)[:, None]
        used = weights @ (complete.sum(axis=1) > 0)
        return MeanRanks(weights @ of_unit / used[:, None], per_metric)


def _ranked_data_sets(design: Design, weights: Array) -> MeanRanks:
    """Blocks are averages over the drawn cases of each data set."""
    names = sorted({unit.dataset for unit in design.units})
    member = np.array([[unit.dataset == name for unit in design.units] for name in names], dtype=np.float64)
    means = np.stack([weighted_means(design, weights * row) for row in member], axis=1)
    ranked = _ranked(means)
    return MeanRanks(_mean_over(ranked, (1, 2)), _mean_over(ranked, (1,)))


def _ranked(means: Array) -> Array:
    """Ranks over the last axis; NaN where a mean does not exist, which is so for all methods alike."""
    undefined = np.asarray(np.isnan(means).any(axis=-1))
    return np.where(undefined[..., None], np.nan, rank_within(round_means(means), ~undefined))


def _mean_over(values: Array, axes: tuple[int, ...]) -> Array:
    """Mean that leaves out NaN; NaN where nothing remains."""
    known = (~np.isnan(values)).sum(axis=axes)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=axes) / known)


def _tested(design: Design, plan: OrderRule, draws: NDArray[np.intp] | None, tick: Tick | None) -> MeanRanks:
    """The scheme `test`: the same tests for the data and for each draw."""
    if draws is None:
        blocks = [make_blocks(one_metric(design, j), plan.kind) for j in range(len(design.metrics))]
        ranked = np.stack([_rank_wins(significant_wins(block.keys, plan.alpha)) for block in blocks])[None]
        if plan.kind == "case":
            return MeanRanks(ranked.mean(axis=1), ranked)
        pooled = make_blocks(design, plan.kind)
        return MeanRanks(_rank_wins(significant_wins(pooled.keys, plan.alpha))[None], ranked)
    results = []
    for done, draw in enumerate(draws):
        results.append(_tested(take_units(design, draw), plan, None, None))
        if tick is not None:
            tick(done + 1, len(draws))
    return MeanRanks(*(np.concatenate(arrays) for arrays in zip(*results, strict=True)))


def _rank_wins(wins: Array) -> Array:
    from scipy.stats import rankdata

    return np.asarray(rankdata(-wins))
