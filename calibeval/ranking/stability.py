"""How much of the order is chance, and how much hangs on one choice: bootstrap, leave-one-out, other definitions.

Draws are of whole units (cases), so that all metrics of a case stay together; level is 1 - alpha everywhere.
Kendall's tau compares an order with the full one and is 1 when they agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics import Better
from calibeval.metrics.intervals import mean_interval
from calibeval.ranking.design import Design, drop_method, keep_metrics, take_units
from calibeval.ranking.posthoc import critical_difference
from calibeval.ranking.schemes import OrderRule, Tick, make_blocks, mean_ranks, places
from calibeval.ranking.scores import Array


class Order(NamedTuple):
    """An order of k methods with its bootstrap.

    Attributes:
        mean_rank: (k,).
        rank: (k,) final places, 1 for the best; equal mean ranks share the better place.
        mean_interval: (2, k) low and high of the mean rank; NaN without bootstrap.
        rank_interval: (2, k) low and high of the place; NaN without bootstrap.
        p_first: (k,) share of draws in which the method is first, a tie for it shared; NaN without bootstrap.
        drawn_ranks: (b, k) place in each draw.
    """

    mean_rank: Array
    rank: NDArray[np.intp]
    mean_interval: Array
    rank_interval: Array
    p_first: Array
    drawn_ranks: NDArray[np.intp]


class Effect(NamedTuple):
    """Paired difference of two methods in one metric.

    Attributes:
        metric: its name.
        a: first method.
        b: second method.
        difference: mean of a minus b over the cases in which all methods have a finite value, in the metric's unit;
            of absolute values where the best value is 0.
        low: lower end of its interval over the cases; NaN for fewer than five, or where all differ alike.
        high: upper end.
        n: number of cases, or of groups.
    """

    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    n: int


class Alternative(NamedTuple):
    """The order under one other choice.

    Attributes:
        kind: `scheme`, `without metric`, `without data set`, `without method`, `empty rule` or `definition`.
        name: what is left out or put in place.
        kendall_tau: agreement with the full order.
        first: methods in the first place.
        changed_pairs: pairs of methods whose Nemenyi decision changes; only for `without method`, else -1.
    """

    kind: str
    name: str
    kendall_tau: float
    first: tuple[str, ...]
    changed_pairs: int = -1


def make_order(mean_rank: Array, drawn: Array, alpha: float) -> Order:
    """Make an order of mean ranks (k,) and of those in bootstrap draws (b, k)."""
    k = len(mean_rank)
    if not len(drawn):
        nothing = np.full((2, k), math.nan)
        empty = np.empty((0, k), dtype=np.intp)
        return Order(mean_rank, places(mean_rank), nothing, nothing, np.full(k, math.nan), empty)
    tails = [alpha / 2, 1 - alpha / 2]
    ranks = places(drawn)
    first = ranks == 1
    return Order(
        mean_rank=mean_rank,
        rank=places(mean_rank),
        mean_interval=np.nanquantile(drawn, tails, axis=0),
        rank_interval=np.quantile(ranks, tails, axis=0, method="inverted_cdf"),
        p_first=np.asarray((first / first.sum(axis=1, keepdims=True)).mean(axis=0)),
        drawn_ranks=ranks,
    )


def kendall_tau(reference: Array, others: Array) -> Array:
    """Kendall's tau-b of (k,) with each row of (b, k); NaN where all of a row are tied."""
    first, second = np.triu_indices(len(reference), 1)
    ours = np.sign(np.round(reference[first] - reference[second], 9))
    theirs = np.sign(np.round(others[:, first] - others[:, second], 9))
    with np.errstate(invalid="ignore"):
        return np.asarray(theirs @ ours / np.sqrt((ours**2).sum() * (theirs**2).sum(axis=1)))


def paired_effects(design: Design, better: Sequence[Better], alpha: float) -> list[Effect]:
    """Mean paired differences of all pairs in every metric, with their intervals over the units."""
    effects = []
    for j, metric in enumerate(design.metrics):
        numbers_there = design.measured[:, j] & np.isfinite(design.values[:, j])
        used = design.complete[:, j] & numbers_there.all(axis=1)
        values = design.values[used, j] * (-1 if better[j] == "higher" else 1)
        for a, b in combinations(range(len(design.methods)), 2):
            differences = values[:, a] - values[:, b]
            mean = float(differences.mean()) if differences.size else math.nan
            interval = mean_interval(differences, level=1 - alpha)
            effects.append(Effect(metric, design.methods[a], design.methods[b], mean, *interval, len(values)))
    return effects


def leave_one_out(design: Design, full: Array, plan: OrderRule, tick: Tick) -> Iterator[Alternative]:
    """The order without each metric, each data set and each method; nothing where only one or two are there."""
    if len(design.metrics) > 1:
        for j, metric in enumerate(design.metrics):
            rest = keep_metrics(design, [i for i in range(len(design.metrics)) if i != j])
            yield from _rest_order("without metric", metric, full, rest, plan)
    data_sets = sorted({unit.dataset for unit in design.units})
    for name in data_sets if len(data_sets) > 1 else []:
        others = np.flatnonzero([unit.dataset != name for unit in design.units])
        yield from _rest_order("without data set", name, full, take_units(design, others), plan)
    if len(design.methods) > 2:
        yield from _without_methods(design, full, plan, tick)


def compare_orders(name: tuple[str, str], full: Array, means: Array, methods: Sequence[str]) -> Alternative:
    """Compare mean ranks (k,) under another choice, named by its kind and name, with those of the full ranking."""
    first = tuple(method for method, place in zip(methods, places(means), strict=True) if place == 1)
    return Alternative(*name, float(kendall_tau(full, means[None])[0]), first)


def _rest_order(kind: str, name: str, full: Array, rest: Design, plan: OrderRule) -> Iterator[Alternative]:
    if rest.complete.any():
        yield compare_orders((kind, name), full, mean_ranks(rest, plan).overall[0], rest.methods)


def _without_methods(design: Design, full: Array, plan: OrderRule, tick: Tick) -> Iterator[Alternative]:
    k = len(design.methods)
    decided = _nemenyi_decisions(design, plan)
    for j, method in enumerate(design.methods):
        others = [i for i in range(k) if i != j]
        rest = drop_method(design, j)
        changed = _nemenyi_decisions(rest, plan) != decided[np.ix_(others, others)]
        order = compare_orders(
            ("without method", method), full[others], mean_ranks(rest, plan).overall[0], rest.methods
        )
        yield order._replace(changed_pairs=int(changed.sum()) // 2)
        tick(j + 1, k)


def _nemenyi_decisions(design: Design, plan: OrderRule) -> NDArray[np.bool_]:
    scores = make_blocks(design, plan.kind).scores
    means = scores.mean(axis=0)
    return np.asarray(np.abs(means[:, None] - means) > critical_difference(scores.shape[1], len(scores), plan.alpha))
