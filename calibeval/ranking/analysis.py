"""Rank methods: read, join, order, test, and say what it allows. The one entry is `rank_tables`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError, UsageError
from calibeval.metrics import METRICS
from calibeval.protocol import EMPTY_RULES
from calibeval.ranking.beside import contradictions, means_beside
from calibeval.ranking.design import Blocks, Design, by_data_set, case_blocks, make_design, one_metric
from calibeval.ranking.empty_rules import apply_empty_rule, has_empty_masks
from calibeval.ranking.friedman import Friedman, friedman_test
from calibeval.ranking.groups import settle_groups
from calibeval.ranking.inputs import Tables, differing, read_inputs, refuse_unequal
from calibeval.ranking.limits import notes_of, printed_ranks_notes, warnings_of
from calibeval.ranking.posthoc import against_control, posthoc_tests
from calibeval.ranking.result import Comparison, Ranking, RankSettings
from calibeval.ranking.schemes import MeanRanks, OrderRule, Tick, bootstrap_draws, make_blocks, mean_ranks
from calibeval.ranking.scores import (
    Scores,
    choose_directions,
    choose_metrics,
    left_out_metrics,
    make_scores,
    refuse_unheld,
)
from calibeval.ranking.stability import (
    Alternative,
    Order,
    compare_orders,
    kendall_tau,
    leave_one_out,
    make_order,
    paired_effects,
)
from calibeval.ranking.verdict import verdict_of
from calibeval.signature import Signature

StepProgress = Callable[[str, int, int], None]  # step, done, in all


def rank_tables(
    paths: Sequence[Path], settings: RankSettings | None = None, progress: StepProgress | None = None
) -> Ranking:  # fmt: skip
    """Rank the methods of score tables or wide CSVs.

    Args:
        paths: score tables of `calibeval score`, or wide CSVs (method x metric, columns `METRIC` or `DATASET/METRIC`).
        settings: every choice; None takes the defaults.
        progress: called with (step, done, in all) while it runs.

    Returns:
        The result; `to_dict` gives it for JSON.

    Raises:
        UsageError: options that contradict the data.
        TableError: a file that cannot be read or compared.
    """
    return rank_inputs(read_inputs(paths, _ticker(progress)("reading tables")), settings, progress)


def rank_inputs(
    inputs: Tables, settings: RankSettings | None = None, progress: StepProgress | None = None
) -> Ranking:  # fmt: skip
    """Rank what `read_inputs` gave; as `rank_tables`."""
    settings = settings or RankSettings()
    tick = _ticker(progress)
    tables, doubt = settle_groups(inputs, settings.group_by, settings.cases)
    chosen = replace(settings, blocks=settings.blocks or ("case" if tables.has_cases else "metric"))
    held, applied = _with_empty_rule(tables, settings.empty)
    metrics = choose_metrics(held, settings.metrics)
    refuse_unequal(tables.sources, metrics)
    refuse_unheld(tables, dict(settings.direction), "--direction")
    refuse_unheld(tables, dict(settings.min_effect), "--min-effect")
    scores = make_scores(held, metrics, choose_directions(metrics, dict(settings.direction)))
    if len(scores.methods) < 2:
        raise UsageError(f"There is nothing to compare: the only method is {scores.methods[0]!r}.")
    if settings.control is not None and settings.control not in scores.methods:
        raise UsageError(f"The control {settings.control!r} is no method. Known: {', '.join(scores.methods)}.")
    design, counted = make_design(scores, settings.missing)
    ranking = _analyse(chosen, tables.signature, scores, design, tick)
    ranking = replace(ranking, alternatives=tuple(_alternatives(tables, held, ranking, tick("other choices"))))
    ranking = replace(ranking, beside=means_beside(held, metrics))
    printed = printed_ranks_notes(tables.printed, ranking)
    return replace(
        ranking,
        warnings=(*doubt, *counted, *warnings_of(ranking), *contradictions(ranking)),
        notes=(
            *tables.notes,
            *scores.notes,
            *left_out_metrics(held, metrics, settings.metrics),
            *printed,
            *applied,
            *notes_of(ranking),
        ),
        verdict=verdict_of(ranking),
    )


def _analyse(
    settings: RankSettings, signature: Signature, scores: Scores, design: Design, tick: Callable[[str], Tick]
) -> Ranking:  # fmt: skip
    """Order and test; the other choices and the texts come later."""
    plan, alpha = _plan(settings), settings.alpha
    resampled = settings.bootstrap > 0 and len(design.units) > 1
    draws = bootstrap_draws(design.strata, settings.bootstrap if resampled else 0, settings.seed)
    overall, per_metric = _orders(design, settings, draws, tick("bootstrap"))
    blocks = make_blocks(design, plan.kind)
    posthoc = posthoc_tests(blocks, alpha, settings.seed)
    clusters = blocks if plan.kind == "case" else case_blocks(by_data_set(design))
    return Ranking(
        settings=settings,
        signature=signature,
        scores=scores,
        design=design,
        blocks=blocks,
        overall=overall,
        per_metric=per_metric,
        friedman=friedman_test(blocks, settings.seed, tick("permutations")),
        metric_friedman=_metric_tests(design, settings, tick),
        posthoc=posthoc,
        independent=posthoc if plan.kind == "case" else posthoc_tests(clusters, alpha, settings.seed),
        control=_compare_control(settings, scores.methods, clusters),
        effects=tuple(paired_effects(design, scores.better, alpha)),
        tau=_tau_interval(overall, alpha),
    )


def _plan(settings: RankSettings) -> OrderRule:
    return OrderRule(settings.scheme, settings.blocks or "case", settings.alpha)


def _orders(
    design: Design, settings: RankSettings, draws: NDArray[np.intp], tick: Tick
) -> tuple[Order, dict[str, Order]]:  # fmt: skip
    plan, alpha = _plan(settings), settings.alpha
    found = mean_ranks(design, plan)
    k, m = len(design.methods), len(design.metrics)
    drawn = MeanRanks(np.empty((0, k)), np.empty((0, m, k)))
    if len(draws):
        drawn = mean_ranks(design, plan, draws, tick)
    per_metric = {
        metric: make_order(found.per_metric[0, j], drawn.per_metric[:, j], alpha)
        for j, metric in enumerate(design.metrics)
        if design.complete[:, j].any()
    }
    return make_order(found.overall[0], drawn.overall, alpha), per_metric


def _metric_tests(design: Design, settings: RankSettings, tick: Callable[[str], Tick]) -> dict[str, Friedman]:
    return {
        metric: friedman_test(
            make_blocks(one_metric(design, j), _plan(settings).kind), settings.seed, tick(f"permutations of {metric}")
        )
        for j, metric in enumerate(design.metrics)
        if design.complete[:, j].any()
    }


def _compare_control(settings: RankSettings, methods: Sequence[str], clusters: Blocks) -> Comparison | None:
    if settings.control is None:
        return None
    return Comparison(settings.control, against_control(clusters, methods.index(settings.control), settings.posthoc))


def _tau_interval(order: Order, alpha: float) -> tuple[float, float, float]:
    """Mean and interval of Kendall's tau between the order and its draws."""
    taus = kendall_tau(order.mean_rank, order.drawn_ranks.astype(np.float64))
    taus = taus[~np.isnan(taus)]
    if not len(taus):
        return math.nan, math.nan, math.nan
    low, high = np.quantile(taus, [alpha / 2, 1 - alpha / 2])
    return float(taus.mean()), float(low), float(high)


def _with_empty_rule(tables: Tables, rule: str | None) -> tuple[Tables, tuple[str, ...]]:
    """The tables under the rule asked for, and a note that says so."""
    if rule is None:
        return tables, ()
    if not tables.has_cases:
        raise UsageError("--empty needs score tables: a wide CSV does not say which masks were empty.")
    if not has_empty_masks(tables.frame):
        return tables, (f"No mask is empty, so the empty rule {rule!r} changes nothing.",)
    held = tables._replace(frame=apply_empty_rule(tables.frame, rule))
    return held, (f"Overlaps and distances were recomputed from the class rows under the empty rule {rule!r}.",)


def _alternatives(tables: Tables, held: Tables, ranking: Ranking, tick: Tick) -> Iterator[Alternative]:
    yield from _other_schemes(ranking)
    yield from leave_one_out(ranking.design, ranking.overall.mean_rank, _plan(ranking.settings), tick)
    yield from _other_rules(tables, ranking)
    yield from _other_definitions(held, ranking)


def _other_schemes(ranking: Ranking) -> Iterator[Alternative]:
    """The order by ranks instead of averages, or the other way round, where cases are ranked."""
    if not ranking.scores.has_cases:
        return
    for scheme in ("rank-then-aggregate", "aggregate-then-rank"):
        if scheme != ranking.settings.scheme:
            means = mean_ranks(ranking.design, _plan(ranking.settings)._replace(scheme=scheme)).overall[0]
            yield compare_orders(("scheme", scheme), ranking.overall.mean_rank, means, ranking.methods)


def _other_rules(tables: Tables, ranking: Ranking) -> Iterator[Alternative]:
    """The order under each other empty rule that the table's statuses allow."""
    if not tables.has_cases or not has_empty_masks(tables.frame):
        return
    own = ranking.settings.empty or ranking.signature.get("empty")
    for rule in EMPTY_RULES:
        if rule == own:
            continue
        try:
            held = tables._replace(frame=apply_empty_rule(tables.frame, rule))
            yield _order_of(held, ranking, ranking.scores.metrics, "empty rule", rule)
        except TableError:
            continue  # the table lacks what this rule needs; asked for by --empty it is an error


def _other_definitions(tables: Tables, ranking: Ranking) -> Iterator[Alternative]:
    """The order with one metric replaced by another definition of the same thing, where the tables hold it."""
    if not tables.has_cases:
        return
    held = set(tables.frame["metric"].unique())
    for metric in ranking.scores.metrics:
        for other in METRICS[metric].siblings if metric in METRICS else ():
            if other in held and other not in ranking.scores.metrics and not differing(tables.sources, (other,)):
                metrics = tuple(other if name == metric else name for name in ranking.scores.metrics)
                yield _order_of(tables, ranking, metrics, "definition", f"{other} for {metric}")


def _order_of(tables: Tables, ranking: Ranking, metrics: tuple[str, ...], kind: str, name: str) -> Alternative:
    settings = ranking.settings
    scores = make_scores(tables, metrics, choose_directions(metrics, dict(settings.direction)))
    design, _ = make_design(scores, settings.missing)
    means = mean_ranks(design, _plan(settings)).overall[0]
    return compare_orders((kind, name), ranking.overall.mean_rank, means, ranking.methods)


def _ticker(progress: StepProgress | None) -> Callable[[str], Tick]:
    """Bind a step's name to the progress callback."""

    def bind(step: str) -> Tick:
        return lambda done, total: progress(step, done, total) if progress is not None else None

    return bind
