"""The verdict in plain words: what each method's probabilities are worth, and what may be said of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calibeval.confidence import find_confidence
from calibeval.metrics import METRICS
from calibeval.metrics.calibration_test import calibration_test
from calibeval.ranking.result import Ranking
from calibeval.ranking.words import names
from calibeval.report.collect import Entry
from calibeval.report.page import Card, Gap, Method
from calibeval.summary import SummaryRow
from calibeval.wording import count_of, number

TONES = {"over-confident": "over", "under-confident": "under", "keeps its word": "kept"}
_TOLD = {  # of one method, of several
    "over": ("is over-confident", "are over-confident"),
    "under": ("is under-confident", "are under-confident"),
    "kept": ("keeps its word", "keep their word"),
    "open": ("cannot be told to keep its word or not", "cannot be told to keep their word or not"),
}


def card_of(entry: Entry, method: Method) -> Card | Gap:
    """What is said of a method's probabilities, or why nothing is."""
    if entry.bins is None:
        return Gap(entry.label, entry.why)
    found = find_confidence(entry.rows, entry.bins.cases, entry.bins.class_names[0])
    if found is None:
        return Gap(entry.label, "the table does not hold the metric gap. Score with --metrics default.")
    where = str(found).partition("; ")[2]  # the sentence without what the card says large
    details = (
        f"{where[:1].upper()}{where[1:]} (n = {found.n})." if where else f"No interval: n = {found.n}.",
        _test(entry),
    )
    tone = TONES.get(found.verdict, "open")
    return Card(method, found.verdict, tone, f"{found.says:.1%}", f"{found.right:.1%}", found.most, details)


def _test(entry: Entry) -> str:
    if entry.bins is None or entry.protocol is None:
        return "No test of calibration: the table does not say by which protocol it was scored."
    text = str(calibration_test(entry.bins.cases, entry.protocol, entry.groups))
    return f"{text[:1].upper()}{text[1:]}."


def lead_of(cards: Sequence[Card]) -> tuple[tuple[str, str], ...]:
    """(methods, what is said of them), a pair a tone, the gravest first."""
    by_tone: dict[str, list[Card]] = {}
    for card in cards:
        by_tone.setdefault(card.tone, []).append(card)
    return tuple(
        (names([card.method.name for card in by_tone[tone]]), _said(by_tone[tone])) for tone in _TOLD if tone in by_tone
    )


def _said(cards: Sequence[Card]) -> str:
    one, many = _TOLD[cards[0].tone]
    return many if len(cards) > 1 else f"{one}, most in {cards[0].most}" if cards[0].most else one


def headline_of(cards: Sequence[Card], ranking: Ranking | None, summaries: Mapping[str, Sequence[SummaryRow]]) -> str:
    """The one sentence that is true of these data."""
    if ranking is not None:
        return _comparison(ranking)
    if len(summaries) == 1 and cards:
        card = cards[0]
        verb = "keeps its word" if card.tone == "kept" else f"is {card.verdict}" if card.tone != "open" else ""
        return f"{card.method.name} {verb}." if verb else f"Whether {card.method.name} keeps its word cannot be told."
    label, rows = next(iter(summaries.items()))
    if len(summaries) == 1:
        return f"{label}: {rows[0].metric} {number(rows[0].mean)} over {count_of(rows[0].n, 'case')}."
    return f"{count_of(len(summaries), 'method')}, side by side."


def _comparison(ranking: Ranking) -> str:
    leader = ranking.best_first()[0]
    beaten = ranking.claims().better[leader]
    if beaten.sum() == len(ranking.methods) - 1 and len(ranking.methods) > 1:
        others = ranking.methods[int(beaten.argmax())] if beaten.sum() == 1 else f"all {beaten.sum()} others"
        return f"{ranking.methods[leader]} is better than {others}.".replace("all 2 others", "both others")
    masks, probabilities = (_differ(ranking, of_masks) for of_masks in (True, False))
    if masks is False and probabilities:
        return "The masks do not tell these models apart. Their probabilities do."
    if masks and probabilities is False:
        return "The masks tell these models apart. Their probabilities do not."
    if masks or probabilities:
        return "These models differ, and none is better than all others."
    return "No difference between these models is shown."


def _differ(ranking: Ranking, of_masks: bool) -> bool | None:
    """Whether some metric of masks, or else of probabilities, tells methods apart (Bonferroni); None without one."""
    tests = [
        test.cluster_permutation.p
        for name, test in ranking.metric_friedman.items()
        if name in METRICS and METRICS[name].of_masks == of_masks
    ]
    return any(p * len(tests) < ranking.settings.alpha for p in tests) if tests else None
