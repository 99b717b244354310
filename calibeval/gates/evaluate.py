"""Deciding gates on a results table.

An aggregate is over the cases that have a value; the others are counted beside it. A mean is over groups, where the
table has them, of the mean within each; medians, percentiles, extremes, counts and `min_cases` stay with cases. Cases
that are missing or failed have no value anywhere: whether they may be is asked by `n_missing` and `n_failed`, and when
no gate asks, a table with such cases does not pass.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError
from calibeval.gates.policy import COUNTS, Gate, Policy
from calibeval.gates.report import LISTED, CaseValue, Outcome
from calibeval.gates.scores import (
    CaseNumbers,
    ScoreTable,
    case_numbers,
    cases_with_status,
    classes_left_out,
    pooled_number,
    show_case,
    show_status,
)
from calibeval.metrics import METRICS
from calibeval.signature import Signature
from calibeval.table import MEAN
from calibeval.wording import count_of

Values = NDArray[np.float64]
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
}
_UNSCORED = {"n_failed": "failed", "n_missing": "missing"}


def evaluate_gates(scores: ScoreTable, policy: Policy) -> list[Outcome]:
    """Decide every gate, and whether all cases were scored as far as no gate asks that.

    Args:
        scores: of one method.
        policy: gates, their signature, and the smallest number of cases.
    """
    outcomes = [evaluate_gate(gate, scores, policy) for gate in policy.gates]
    return [*outcomes, *_all_scored(scores, policy)]


def evaluate_gate(gate: Gate, scores: ScoreTable, policy: Policy) -> Outcome:
    """Decide one gate; what cannot be decided is an `error`, whatever the gate's severity."""
    try:
        check_signature(scores, policy.signature, filter(None, (gate.metric,)))
        return _decide_count(gate, scores) if gate.aggregate in COUNTS else _decide_value(gate, scores, policy)
    except TableError as error:
        return Outcome(str(gate), "gate", "error", str(error))


def check_signature(scores: ScoreTable, signature: str, metrics: Iterable[str]) -> None:
    """Refuse numbers of another protocol than the gates are for, as far as these metrics use it.

    Raises:
        TableError: the signatures differ.
    """
    differing = scores.signature.differs(Signature.parse(signature), metrics) if signature else ""
    if differing:
        raise TableError(
            f"{scores.name} was scored by another protocol than the gates are for: {differing}. Score it alike, or "
            "renew the gates with --init."
        )


def _decide_count(gate: Gate, scores: ScoreTable) -> Outcome:
    statuses = COUNTS[gate.aggregate]
    cases = cases_with_status(scores, statuses, gate.metric, gate.class_name)
    everything = len(cases_with_status(scores, ()))
    message = f"{len(cases)}" if not statuses else f"{len(cases)} of {count_of(everything, 'case')}"
    named = [CaseValue(show_case(key, scores), float("nan")) for key in cases[:LISTED]] if statuses else []
    return _outcome(gate, float(len(cases)), message, tuple(named))


def _decide_value(gate: Gate, scores: ScoreTable, policy: Policy) -> Outcome:
    numbers = case_numbers(scores, gate.metric, gate.class_name)
    values = np.abs(numbers.values) if gate.absolute else numbers.values
    defined = values[~np.isnan(values)]
    left_out = "; ".join(filter(None, (numbers.left_out(), _fewer_classes(gate, scores, numbers))))
    if defined.size < max(policy.min_cases, 1):
        found = ", ".join(filter(None, (f"{count_of(defined.size, 'case')} with a value", left_out)))
        raise TableError(f"{found}; the gate needs {policy.min_cases}.")
    worst: tuple[CaseValue, ...] = ()
    if gate.aggregate == "pooled":
        pooled = pooled_number(scores, gate.metric, gate.class_name)
        value = abs(pooled) if gate.absolute else pooled
    else:
        units = numbers.means(values) if gate.aggregate == "mean" else defined
        value, worst = _reduce(gate, units), _worst_cases(gate, scores, numbers, values)
    if np.isnan(value):
        raise TableError(f"{gate.aggregate} of {gate.metric} is not a number.")
    counted = numbers.counted() if gate.aggregate == "mean" else count_of(defined.size, "case")
    quantity = " ".join(filter(None, (show_number(value, gate), _unit(gate, scores))))
    message = "; ".join(filter(None, (f"{quantity}, {counted}", left_out, _wrong_way(gate))))
    return _outcome(gate, value, message, worst)


def _fewer_classes(gate: Gate, scores: ScoreTable, numbers: CaseNumbers) -> str:
    """In how many cases the mean over classes leaves one out, and which; empty when in none."""
    if gate.class_name != MEAN or gate.aggregate == "pooled":
        return ""
    valued = {case for case, value in zip(numbers.cases, numbers.values, strict=True) if not np.isnan(value)}
    found = [classes for case, classes in classes_left_out(scores, gate.metric).items() if case in valued]
    if not found:
        return ""
    names = dict.fromkeys(
        f"{name} ({show_status(status) or 'undefined'})" for classes in found for name, status in classes.items()
    )
    return f"in {len(found)} of them without {', '.join(names)}"


def _unit(gate: Gate, scores: ScoreTable) -> str:
    return str(scores.frame.loc[scores.frame["metric"] == gate.metric, "unit"].iloc[0])


def _reduce(gate: Gate, values: Values) -> float:
    """Aggregate; percentiles and the median interpolate linearly, and are infinite towards infinity."""
    percent = 50.0 if gate.aggregate == "median" else gate.percent
    if percent is not None:
        return _percentile(values, percent)
    return float(getattr(np, gate.aggregate)(values))


def _percentile(values: Values, percent: float) -> float:
    if np.isfinite(values).all():
        return float(np.percentile(values, percent))
    ordered, place = np.sort(values), percent / 100 * (values.size - 1)
    low, high = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
    return low if low == high else low + (place - math.floor(place)) * (high - low)


def _outcome(gate: Gate, value: float, message: str, cases: tuple[CaseValue, ...]) -> Outcome:
    if COMPARISONS[gate.comparison](value, float(gate.bound)):
        return Outcome(str(gate), "gate", "passed", message, value)
    return Outcome(str(gate), "gate", "failed" if gate.severity == "fail" else "warned", message, value, cases=cases)


def _worst_cases(gate: Gate, scores: ScoreTable, numbers: CaseNumbers, values: Values) -> tuple[CaseValue, ...]:
    """The cases furthest on the wrong side of the comparison; without direction, furthest from the bound."""
    keys = {"<": -values, ">": values}.get(gate.comparison[0], -np.abs(values - float(gate.bound)))
    order = [int(i) for i in np.argsort(keys, kind="stable") if not np.isnan(values[i])]
    return tuple(
        CaseValue(show_case(numbers.cases[i], scores), float(numbers.values[i]), note=show_status(numbers.statuses[i]))
        for i in order[:LISTED]
    )


def _wrong_way(gate: Gate) -> str:
    """A gate that keeps a model from being good is most likely a mistake."""
    better = METRICS[gate.metric].better
    if (better, gate.comparison[0]) in (("higher", "<"), ("lower", ">")):
        return f"note: {gate.metric} is better when {better}, and this gate bounds it from the good side"
    return ""


def show_number(value: float, gate: Gate) -> str:
    """A value with four digits, or as many as show on which side of the bound it lies."""
    holds, bound = COMPARISONS[gate.comparison], float(gate.bound)
    return next(
        (text for digits in range(4, 17) if holds(float(text := f"{value:.{digits}g}"), bound) == holds(value, bound)),
        repr(value),
    )


def _all_scored(scores: ScoreTable, policy: Policy) -> list[Outcome]:
    """Whether cases are missing or failed, as far as no gate bounds their number."""
    asked = {gate.aggregate for gate in policy.gates if not gate.metric}
    statuses = [status for count, status in _UNSCORED.items() if count not in asked]
    if not statuses:
        return []
    name = f"no case {' or '.join(statuses)}"
    cases = cases_with_status(scores, statuses)
    everything = len(cases_with_status(scores, ()))
    if not cases:
        return [Outcome(name, "cases", "passed", count_of(everything, "case"), 0.0)]
    gates = " and ".join(f"n_{status}" for status in statuses)
    message = (
        f"{len(cases)} of {count_of(everything, 'case')}, and no gate allows that; a gate on {gates} would decide it"
    )
    named = tuple(CaseValue(show_case(key, scores), float("nan")) for key in cases[:LISTED])
    return [Outcome(name, "cases", "incomplete", message, float(len(cases)), cases=named)]
