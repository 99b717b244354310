"""What the numbers allow one to say, in plain sentences.

Three rules hold every sentence: a difference is claimed only if the cluster-permutation test and the chosen test of
pairs over independent units both find it, in the direction that is claimed; "better" takes a difference that matters in
some metric and none against it in another (`claims`); and when no outcome could have been significant, that is said
first. What limits the result stands in `limits`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibeval.ranking.limits import FEW_UNITS
from calibeval.ranking.result import Ranking
from calibeval.ranking.words import names, p_text, rank_text, test_name, unit_name, units_text


def verdict_of(ranking: Ranking) -> tuple[str, ...]:
    """The verdict: who is first, whether methods differ, which pairs do, and how stable that is."""
    return tuple(filter(None, (_first(ranking), _difference(ranking), _pairs(ranking), _stability(ranking))))


def _first(ranking: Ranking) -> str:
    first = [name for name, place in zip(ranking.methods, ranking.overall.rank, strict=True) if place == 1]
    best = ranking.overall.mean_rank.min()
    share = "share" if len(first) > 1 else "has"
    return f"{names(first)} {share} the best mean rank ({rank_text(best)}) of {len(ranking.methods)} methods."


def _difference(ranking: Ranking) -> str:
    test, alpha = ranking.friedman.cluster_permutation, ranking.settings.alpha
    if math.isnan(ranking.friedman.chi2):
        return _tied(ranking)
    if ranking.friedman.n_clusters == 1:
        return (
            f"With {units_text(ranking)} nothing is repeated independently, so no test can tell a difference between "
            "methods from chance: the order describes these numbers and no more."
        )
    how = f"cluster-permutation p {p_text(test.p)}, {'exact' if test.exact else 'sampled'}, {units_text(ranking)}"
    if test.p < alpha:
        return f"The methods differ ({how})."
    if test.smallest > alpha:
        return f"No difference can be shown: this design cannot give a p below {alpha:g} ({how})."
    return f"No difference between the methods is shown ({how}): the order may be chance."


def _tied(ranking: Ranking) -> str:
    if all(math.isnan(test.chi2) for test in ranking.metric_friedman.values()):
        return "All methods are tied in every block: nothing here tells them apart."
    return (
        "All methods are tied in every block, since the metrics contradict each other: taken together they tell no "
        "methods apart; rank each alone with --metrics."
    )


def _pairs(ranking: Ranking) -> str:
    if not ranking.friedman.cluster_permutation.p < ranking.settings.alpha:
        return ""
    if ranking.control is not None:
        return _against_control(ranking)
    k = len(ranking.methods)
    count, total = int(ranking.significant().sum()) // 2, k * (k - 1) // 2
    test = f"{test_name(ranking)} over {units_text(ranking)}"
    if count == 0:
        return f"{test} tells no pair of methods apart."
    return " ".join((f"{test} tells {count} of {total} pairs apart.", *_of_the_leader(ranking)))


def _of_the_leader(ranking: Ranking) -> Iterator[str]:
    """What may be said of the first method against each other one."""
    claims, order = ranking.claims(), ranking.best_first()
    leader, others = order[0], order[1:]
    name = ranking.methods[leader]

    def those(pairs: NDArray[np.bool_]) -> list[str]:
        return [ranking.methods[j] for j in others if pairs[j]]

    beaten, mixed, slight = (those(pairs[leader]) for pairs in claims)
    against = those(np.any([pairs[:, leader] for pairs in claims], axis=0))
    open_ = those(~ranking.significant()[leader])
    if beaten:
        yield f"{name} is better than {names(beaten)}" + (
            f"; it is not told apart from {names(open_)}." if open_ else "."
        )
    elif len(open_) == len(others):
        yield f"It does not tell {name} apart from any other."
    elif open_:
        yield f"{name} is not told apart from {names(open_)}."
    if slight:
        yield f"{name} differs from {names(slight)} by less than matters in every metric ({_least(ranking)})."
    for other in mixed:
        yield f"{name} stands above {other}, yet is worse in {_losses(ranking, leader, other)}: neither is better."
    if against:
        yield f"The test favours {names(against)} over {name}, against this order: ranks and averages disagree."


def _least(ranking: Ranking) -> str:
    """The differences that matter, as in `DSC 0.005, HD95 0.1 mm`."""
    return ", ".join(f"{metric} {least:g}" for metric, least in ranking.least_differences.items())


def _losses(ranking: Ranking, method: int, other: str) -> str:
    """The metrics in which a method's mean is worse by as much as matters."""
    gains = ranking.gains()[:, method, ranking.methods.index(other)]
    lost = [
        f"{metric} by {-gain:.3g}"
        for (metric, least), gain in zip(ranking.least_differences.items(), gains, strict=True)
        if gain <= -max(least, 1e-12)
    ]
    return names(lost)


def _against_control(ranking: Ranking) -> str:
    assert ranking.control is not None
    control = ranking.control.method
    own, found = ranking.methods.index(control), ranking.control.p < ranking.settings.alpha
    favours = ranking.independent.favours(ranking.settings.posthoc)
    better = [name for name, yes in zip(ranking.methods, found & favours[:, own], strict=True) if yes]
    worse = [name for name, yes in zip(ranking.methods, found & favours[own], strict=True) if yes]
    same = [name for name in ranking.methods if name not in (control, *better, *worse)]
    return (
        f"Against the control {control} (Holm over {len(found) - 1} comparisons, {units_text(ranking)}): "
        f"better {names(better)}; worse {names(worse)}; not told apart from it {names(same)}."
    )


def _stability(ranking: Ranking) -> str:
    if not len(ranking.overall.drawn_ranks) or len(ranking.design.units) < FEW_UNITS:
        return ""
    if (ranking.overall.rank == 1).sum() > 1:
        return ""
    leader = ranking.best_first()[0]
    low, high = ranking.overall.rank_interval[:, leader]
    return (
        f"Drawn again from the same {unit_name(ranking)}s, {ranking.methods[leader]} stays first in "
        f"{100 * ranking.overall.p_first[leader]:.0f}% of {len(ranking.overall.drawn_ranks)} draws "
        f"(its place: {low:.0f} to {high:.0f})."
    )
