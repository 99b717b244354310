"""What limits a ranking, and what else should be known of it, a sentence each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from calibeval.metrics import METRICS
from calibeval.ranking.posthoc import smallest_wilcoxon_holm
from calibeval.ranking.result import Ranking
from calibeval.ranking.stability import Alternative
from calibeval.ranking.wide import PrintedRanks
from calibeval.ranking.words import NAMED, TESTS, names, unit_name, units_text
from calibeval.wording import count_of

FEW_UNITS = 6
_ALIKE = 0.9  # correlation of the ranks within cases
_PRINTED = 0.005 + 1e-9  # half of the last of two printed decimals
_ORDER_MATTERS = ("empty rule", "definition")
_DEPENDS = {
    "without metric": ("The first place hangs on one metric", "without"),
    "without data set": ("The first place hangs on one data set", "without"),
    "without method": ("The first place hangs on which other methods are compared", "without"),
    "empty rule": ("The order depends on the empty rule", "under"),
    "definition": ("The order depends on the metric's definition", "with"),
    "scheme": ("The first place hangs on the scheme", "by"),
}


def warnings_of(ranking: Ranking) -> tuple[str, ...]:
    """What limits the result, apart from what the design already counted."""
    return tuple(
        filter(
            None,
            (
                _dependent_blocks(ranking),
                _all_tied(ranking),
                _perfect_agreement(ranking),
                _overall_unattainable(ranking),
                _cd_unattainable(ranking),
                _wilcoxon_unattainable(ranking),
                _few_units(ranking),
                _joint_blocks(ranking),
                _near_copies(ranking),
                *_other_choices(ranking),
                _pool(ranking),
            ),
        )
    )


def notes_of(ranking: Ranking) -> tuple[str, ...]:
    """What does not limit the result but should be known: choices without effect, and what a metric charges for."""
    notes = []
    for kind, what in (("empty rule", "under the empty rules"), ("definition", "with")):
        items = [item for item in ranking.alternatives if item.kind == kind]
        if items and all(np.isclose(item.kendall_tau, 1) for item in items):
            notes.append(f"The order is the same {what} {', '.join(item.name for item in items)}.")
    data_sets = len({unit.dataset for unit in ranking.design.units})
    if ranking.scores.has_cases and ranking.settings.blocks == "case" and data_sets > 1:
        notes.append(
            f"The {unit_name(ranking)}s of {data_sets} data sets are pooled; each counts once, so a large data set "
            "weighs more."
        )
    notes += [
        f"{name} is not 0 for a calibrated model: a lower {name} need not mean better calibration."
        for name in ranking.design.metrics
        if name in METRICS and METRICS[name].needs_caution(ranking.signature)
    ]
    return tuple(notes)


def printed_ranks_notes(printed: Sequence[PrintedRanks], ranking: Ranking) -> tuple[str, ...]:
    """Compare a published table's own mean ranks with those of its values; differences are named, never fitted."""
    notes = []
    here = dict(zip(ranking.methods, ranking.overall.mean_rank, strict=True))
    for column in printed:
        gaps = {name: rank - here[name] for name, rank in column.ranks.items() if abs(rank - here[name]) > _PRINTED}
        k, total = len(column.ranks), sum(column.ranks.values())
        if not gaps:
            notes.append(f"{column.source}: all {k} printed ranks are those of the printed values.")
            continue
        listed = ", ".join(f"{name} {gap:+.2f}" for name, gap in gaps.items())
        text = f"{column.source}: {len(gaps)} of {k} printed ranks are not those of the printed values ({listed})"
        off = abs(total - k * (k + 1) / 2) > _PRINTED * k
        if off:
            text += f"; they sum to {total:.2f}, ranks of {k} methods to {k * (k + 1) / 2:g}"
        notes.append(f"{text}.")
    return tuple(notes)


def _dependent_blocks(ranking: Ranking) -> str:
    result = ranking.friedman
    if result.n_blocks == result.n_clusters:
        return ""
    return (
        f"The {result.n_blocks} blocks are metrics of {units_text(ranking)}. Metrics of the same cases are not "
        "independent, yet chi2, F, the permutation p and the tests of pairs count them as if they were: with nine "
        "methods and five metrics correlated at .3, such a test at 5% rejects about half of all true null "
        "hypotheses. Go by the cluster-permutation p."
    )


def _all_tied(ranking: Ranking) -> str:
    if not math.isnan(ranking.friedman.chi2):
        return ""
    return "Since all methods are tied in every block, chi2, F and W do not exist, and there is no order."


def _perfect_agreement(ranking: Ranking) -> str:
    n = ranking.friedman.n_blocks
    if n < 2 or not math.isnan(ranking.friedman.f) or math.isnan(ranking.friedman.chi2):
        return ""
    return f"All {n} blocks agree on the order: F and Conover's statistic are infinite, however small the differences."


def _overall_unattainable(ranking: Ranking) -> str:
    smallest, alpha = ranking.friedman.cluster_permutation.smallest, ranking.settings.alpha
    if smallest <= alpha:
        return ""
    return (
        f"No overall result could be significant at {alpha:g}: with {units_text(ranking)} and "
        f"{len(ranking.methods)} methods the cluster-permutation p is never below {smallest:.2g}."
    )


def _cd_unattainable(ranking: Ranking) -> str:
    k, cd = len(ranking.methods), ranking.independent.cd
    if ranking.settings.posthoc != "nemenyi" or cd <= k - 1:
        return ""
    return (
        f"No pair could be told apart by Nemenyi's test: with {units_text(ranking)} its critical difference is "
        f"{cd:.2f}, and mean ranks of {k} methods differ by at most {k - 1}."
    )


def _wilcoxon_unattainable(ranking: Ranking) -> str:
    k, alpha = len(ranking.methods), ranking.settings.alpha
    if ranking.settings.posthoc != "wilcoxon-holm":
        return ""
    counts = {ranking.independent.n_blocks: units_text(ranking)}
    counts.setdefault(ranking.posthoc.n_blocks, count_of(ranking.posthoc.n_blocks, "block"))
    smallest = {what: smallest_wilcoxon_holm(k, n) for n, what in counts.items()}
    texts = [f"with {what} the smallest p is {p:.4f}" for what, p in smallest.items() if p > alpha]
    if not texts:
        return ""
    pairs = k * (k - 1) // 2
    plural = f"{pairs} pairs" if pairs > 1 else "one pair"
    return f"No pair could be told apart by Wilcoxon's test with Holm over {plural}: {' and '.join(texts)}."


def _few_units(ranking: Ranking) -> str:
    number = len(ranking.design.units)
    what = unit_name(ranking)
    if number < 2:
        return f"One {what} cannot be drawn again: there are no bootstrap intervals."
    if number >= FEW_UNITS or not len(ranking.overall.drawn_ranks):
        return ""
    samples = math.comb(2 * number - 1, number)
    return (
        f"Bootstrap intervals and P(first) come from {number} {what}s, which have only {samples} different draws: "
        "they are too narrow to rely on."
    )


def _joint_blocks(ranking: Ranking) -> str:
    if ranking.settings.blocks != "case" or len(ranking.design.metrics) == 1 or ranking.settings.posthoc != "nemenyi":
        return ""
    if math.isnan(ranking.friedman.chi2) or ranking.friedman.n_clusters == 1:
        return ""
    text = (
        f"The joint tests rank each of {units_text(ranking)} by the mean rank over {len(ranking.design.metrics)} "
        "metrics; such means vary less than single ranks, so Nemenyi's critical difference is too wide"
    )
    if not ranking.friedman.cluster_permutation.p < ranking.settings.alpha:
        return f"{text}."
    counts = {name: int((ranking.posthoc.adjusted(name) < ranking.settings.alpha).sum()) // 2 for name in TESTS}
    return f"{text}. Pairs told apart: {', '.join(f'{count} by {name}' for name, count in counts.items())}."


def _near_copies(ranking: Ranking) -> str:
    """Metrics that rank the methods alike in nearly every case: together they count one thing several times."""
    ranks = ranking.design.ranks[ranking.design.complete.all(axis=1)]
    varied = [j for j in range(ranks.shape[1]) if np.ptp(ranks[:, j]) > 0] if len(ranks) else []
    if len(varied) < 2:
        return ""
    alike = np.atleast_2d(np.corrcoef(ranks[:, varied].swapaxes(0, 1).reshape(len(varied), -1)) > _ALIKE)
    pairs = [(varied[a], varied[b]) for a, b in combinations(range(len(varied)), 2) if alike[a, b]]
    if not pairs:
        return ""
    copies = names([ranking.design.metrics[j] for j in sorted({j for pair in pairs for j in pair})])
    return (
        f"{copies} rank the methods nearly alike (rank correlation above {_ALIKE:g}), so the mean over metrics counts "
        "one property several times: choose one of them with --metrics."
    )


def _other_choices(ranking: Ranking) -> list[str]:
    """Which choices change the first place, or for rules and definitions the order, a sentence a kind of choice."""
    first = {name for name, place in zip(ranking.methods, ranking.overall.rank, strict=True) if place == 1}
    kinds: dict[str, list[Alternative]] = {}
    for item in ranking.alternatives:
        lost = item.kind == "without method" and item.name in first
        changed = set(item.first) != first and not lost
        if changed or (item.kind in _ORDER_MATTERS and not np.isclose(item.kendall_tau, 1)):
            kinds.setdefault(item.kind, []).append(item)
    return [_choices_text(items) for items in kinds.values()]


def _choices_text(items: Sequence[Alternative]) -> str:
    what, preposition = _DEPENDS[items[0].kind]
    texts = []
    for item in items[:NAMED]:
        verb = "are" if len(item.first) > 1 else "is"
        tau = "" if math.isnan(item.kendall_tau) else f" (Kendall's tau {item.kendall_tau:.2f})"
        texts.append(f"{preposition} {item.name}, {names(item.first)} {verb} first{tau}")
    return f"{what}: {'; '.join(texts)}."


def _pool(ranking: Ranking) -> str:
    changes = {item.name: item.changed_pairs for item in ranking.alternatives if item.changed_pairs > 0}
    if ranking.settings.posthoc != "nemenyi" or not changes:
        return ""
    worst = max(changes, key=lambda name: changes[name])
    return (
        f"Nemenyi's decisions depend on which methods are compared: leaving out {worst} changes {changes[worst]} of "
        f"the pairs that remain ({len(changes)} of {len(ranking.methods)} methods change some)."
    )
