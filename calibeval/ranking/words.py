"""Words that the texts and figures of a ranking share: names, ranks, p-values, units, tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

from calibeval.ranking.result import Ranking
from calibeval.wording import count_of

NAMED = 6  # names listed before "and N more"
TESTS = {
    "permutation": "The permuted range",
    "nemenyi": "Nemenyi's test",
    "conover": "Conover's test (Holm)",
    "wilcoxon-holm": "Wilcoxon's test (Holm)",
}


def names(words: Sequence[str]) -> str:
    """Join names, at most six of them."""
    if len(words) > NAMED:
        return ", ".join(words[:NAMED]) + f" and {len(words) - NAMED} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


def p_text(p: float) -> str:
    """A p-value for reading."""
    if math.isnan(p):
        return "undefined"
    return "< .0001" if p < 1e-4 else f"= {p:.4f}".replace("= 0.", "= .")


def rank_text(rank: float) -> str:
    """A mean rank for reading; rounded first, so that every view rounds 2.795 the same way."""
    return f"{round(float(rank), 9):.2f}"


def units_text(ranking: Ranking) -> str:
    """The independent units, counted and named."""
    number = ranking.friedman.n_clusters
    if ranking.settings.blocks != "case":
        return count_of(number, "data set")
    text = count_of(number, unit_name(ranking))
    return f"{text} of {ranking.design.n_cases} cases" if ranking.design.grouped else text


def unit_name(ranking: Ranking) -> str:
    """What one number of a metric stands for."""
    if not ranking.scores.has_cases:
        return "data set"
    return "group" if ranking.design.grouped else "case"


def test_name(ranking: Ranking) -> str:
    """The chosen test of pairs in words."""
    return TESTS[ranking.settings.posthoc]
