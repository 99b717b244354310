"""Is a model no worse than another? Compared case by case, against a margin.

For every case that both tables hold, the *worsening* is the difference in the metric's own direction: above 0 is
worse, whether the metric is better when higher, when lower, or when near 0 (then absolute values are compared). A
metric passes when the upper end of a one-sided interval of the mean worsening lies within the margin; so a
model that is truly worse by the margin passes with the probability alpha, however few the cases. This is a test of
non-inferiority: too few cases for the margin fail it, they do not pass unseen.

Where the tables have groups, as patients of several images, the mean is over groups of the mean within each.

The interval is the one of `metrics.intervals`, which allows for skewness: most cases hardly change and a few become
much worse.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError
from calibeval.gates.policy import Margin, Policy, name_of
from calibeval.gates.power import power, show_power
from calibeval.gates.report import LISTED, CaseValue, Outcome
from calibeval.gates.scores import (
    UNSCORED,
    CaseKey,
    CaseNumbers,
    ScoreTable,
    case_numbers,
    classes_left_out,
    show_case,
)
from calibeval.metrics import METRICS, badness
from calibeval.metrics.intervals import LEAST, mean_upper_bound
from calibeval.table import MEAN

Values = NDArray[np.float64]


def compare(scores: ScoreTable, baseline: ScoreTable, policy: Policy) -> list[Outcome]:
    """Compare each metric that has a margin with the baseline.

    Args:
        scores: of the model.
        baseline: of the model that it must not be worse than.
        policy: margins and level.
    """
    return [_compare_metric(scores, baseline, margin, policy) for margin in policy.margins]


def worsening(metric: str, after: Values, before: Values) -> Values:
    """How much worse each case became, in the metric's unit; below 0 is better."""
    better = METRICS[metric].better
    return badness(after, better) - badness(before, better)


def _span(metric: str) -> float:
    """What no mean can be worse by more than, however few the cases."""
    return METRICS[metric].high - METRICS[metric].low


def _compare_metric(scores: ScoreTable, baseline: ScoreTable, margin: Margin, policy: Policy) -> Outcome:
    name = f"{name_of(margin.metric, margin.class_name)} not worse by more than {margin.margin:g}"
    try:
        differing = scores.signature.differs(baseline.signature, (margin.metric,))
        if differing:
            raise TableError(
                f"{scores.name} and {baseline.name} were scored by different protocols: {differing}. Score both with "
                "the same options."
            )
        kept, before, notes = _paired(scores, baseline, margin, policy)
    except TableError as error:
        return Outcome(name, "baseline", "error", str(error))
    worse = worsening(margin.metric, kept.values, before)
    mean = float(kept.means(worse).mean())
    limit = min(mean_upper_bound(worse, policy.alpha, kept.groups), _span(margin.metric))
    passed = limit <= margin.margin
    chance, needed = power(worse, margin.margin, policy.alpha, _span(margin.metric), kept.groups)
    described = _describe(mean, limit, margin.margin, policy.alpha, passed=passed)
    message = "; ".join((described, kept.counted(), show_power(chance, needed, kept.units), *notes))
    order = [int(i) for i in np.argsort(-worse, kind="stable")[:LISTED] if worse[i] > 0]
    worst = tuple(CaseValue(show_case(kept.cases[i], scores), float(kept.values[i]), float(before[i])) for i in order)
    return Outcome(name, "baseline", "passed" if passed else "failed", message, mean, limit, worst, chance)


def _describe(mean: float, limit: float, margin: float, alpha: float, *, passed: bool) -> str:
    change = f"{'worse' if mean > 0 else 'better'} by {abs(mean):.3g} in the mean" if mean else "equal in the mean"
    bound = f"at most {limit:.3g} worse" if limit >= 0 else f"at least {-limit:.3g} better"
    text = f"{change}, {bound} at level {alpha:g}"
    if passed or mean > margin:
        return text
    return f"{text}: not shown to be within the margin, which takes more cases or a wider margin"


def _paired(
    scores: ScoreTable, baseline: ScoreTable, margin: Margin, policy: Policy
) -> tuple[CaseNumbers, Values, list[str]]:
    """The numbers of the cases that have a value in both tables, those of the baseline, and notes on those left out.

    A case that was not scored is left out; whether that may be is another gate's question. A case that has lost its
    value for another reason cannot be, nor a mean that has lost a class: leaving out a missed organ would hide what is
    to be found.
    """
    new = case_numbers(scores, margin.metric, margin.class_name)
    old = case_numbers(baseline, margin.metric, margin.class_name)
    _refuse_other_cases(scores, baseline, new.cases, old.cases)
    row = {case: i for i, case in enumerate(old.cases)}
    there = [row[case] for case in new.cases]
    before = old.values[there]
    groups = _shared_groups(new, old.groups and tuple(old.groups[i] for i in there))
    both = ~np.isnan(new.values) & ~np.isnan(before)
    _refuse_lost_values(scores, baseline, margin, new, before)
    kept = CaseNumbers(
        tuple(compress(new.cases, both)), new.values[both], tuple(compress(new.statuses, both)),
        groups and tuple(compress(groups, both)),
    )  # fmt: skip
    least = LEAST if margin.margin < _span(margin.metric) else 1
    if both.sum() < policy.min_cases or kept.means(kept.values).size < least:
        needed = max(LEAST, policy.min_cases) if groups is None else f"{LEAST} groups and {policy.min_cases} cases"
        raise TableError(f"Only {kept.counted()} with a value in both tables; the comparison needs {needed}.")
    if not (np.isfinite(new.values[both]).all() and np.isfinite(before[both]).all()):
        raise TableError(f"{margin.metric} is infinite in some case, so that no mean says anything. Use --empty worst.")
    return kept, before[both], _notes(new, int((~both).sum()))


def _shared_groups(new: CaseNumbers, before: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The groups of whichever table says some.

    Raises:
        TableError: the tables contradict each other.
    """
    if new.groups and before and new.groups != before:
        case, *of = next(each for each in zip(new.cases, new.groups, before, strict=True) if each[1] != each[2])
        raise TableError(
            f"The tables put the case {case[1]} into different groups ({' against '.join(of)}). Score both with the "
            "same --group-by."
        )
    return new.groups or before


def _refuse_lost_values(
    scores: ScoreTable, baseline: ScoreTable, margin: Margin, new: CaseNumbers, before: Values
) -> None:
    """Refuse cases that lost their value, and means that lost a class because the model missed it."""
    had = {case for case, value in zip(new.cases, before, strict=True) if not np.isnan(value)}
    lost = {
        case
        for case, value, status in zip(new.cases, new.values, new.statuses, strict=True)
        if case in had and np.isnan(value) and status not in UNSCORED
    }
    found = "is undefined in"
    if margin.class_name == MEAN and not lost:
        lost = had & _cases_missing_a_class(scores, baseline, margin.metric)
        found = "leaves out a class in"
    if lost:
        raise TableError(
            f"{margin.metric} {found} {_listed(case for _, case in lost)}, where the baseline has a value: a structure "
            "is missed, most likely. Score both tables with --empty worst, so that it counts."
        )


def _cases_missing_a_class(scores: ScoreTable, baseline: ScoreTable, metric: str) -> set[CaseKey]:
    """Cases in which the model has no mask of a class that counts in the baseline's mean."""
    before = classes_left_out(baseline, metric)
    return {
        case
        for case, classes in classes_left_out(scores, metric).items()
        for name, status in classes.items()
        if status == "empty_prediction" and name not in before.get(case, ())
    }


def _notes(new: CaseNumbers, left_out: int) -> list[str]:
    return [f"{left_out} of {len(new.cases)} left out: no value in one of the tables"] if left_out else []


def _refuse_other_cases(
    scores: ScoreTable, baseline: ScoreTable, new: tuple[CaseKey, ...], old: tuple[CaseKey, ...]
) -> None:
    if set(new) == set(old):
        return
    if {case for _, case in new} == {case for _, case in old}:
        sets = (_listed({dataset for dataset, _ in cases}) for cases in (new, old))
        raise TableError(f"The data sets have different names: {' against '.join(sets)}. Give both one with --dataset.")
    only_new = _listed(case for _, case in set(new) - set(old))
    only_old = _listed(case for _, case in set(old) - set(new))
    raise TableError(
        f"The tables hold different cases: only {scores.name} has {only_new or 'none'}; only {baseline.name} has "
        f"{only_old or 'none'}. Score both on the same labels."
    )


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return ", ".join(found[:LISTED]) + more
