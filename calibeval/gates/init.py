"""A first gates.toml from a results table: today's values, each made worse by a tenth of its distance to perfect.

It is .005, .1 mm or .1 mL at least, since less lies within what two trainings of one model differ by. All that is a
start, not a law: the comments give today's value and its 95% interval over cases, so that a reader can
judge each bound. The file passes on the table that it was written from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from calibeval._version import __version__
from calibeval.errors import TableError
from calibeval.gates.policy import COUNTS, name_of
from calibeval.gates.scores import CaseNumbers, ScoreTable, case_numbers, cases_with_status
from calibeval.metrics import METRICS, Metric
from calibeval.metrics.intervals import mean_interval
from calibeval.protocol import PROTOCOLS
from calibeval.scoring.options import options_of_command
from calibeval.signature import Signature
from calibeval.table import ALL, MEAN, overall_class

_SHARE = 0.1  # of the distance to a perfect value
_LEAST = {"mm": 0.1, "mL": 0.1}  # by unit; two trainings of one model differ by as much
_LEAST_OTHERWISE = 0.005
_COUNTED = ("n_failed", "n_missing", "n_empty_prediction")


def draft(scores: ScoreTable, *, named_method: bool = False) -> str:
    """Write a policy that the table passes.

    Args:
        scores: of one method.
        named_method: the user named the method, so the gates are for that one.

    Raises:
        TableError: no case has a value, so every bound would be made up.
    """
    if scores.frame["value"].isna().all():
        raise TableError(f"{scores.name}: no case has a value, so there is nothing to draft gates from.")
    method = f"method = {json.dumps(scores.method, ensure_ascii=False)}"
    names = [name for name in METRICS if name in set(scores.frame["metric"])]
    return "\n".join(
        [
            f"# Gates for calibeval check, drafted by calibeval {__version__} from {scores.name}.",
            "# Each bound is today's value, made worse by a tenth of its distance to perfect,",
            "# and by 0.005, 0.1 mm or 0.1 mL at least. Edit them.",
            "",
            method if named_method else f"# {method}  # when a table holds several",
            "# The bounds belong to numbers of this protocol; others are refused.",
            f"signature = {json.dumps(scores.signature, ensure_ascii=False)}",
            f"# min_cases = {len(cases_with_status(scores, ()))}  # decide no gate on fewer cases with a value",
            "",
            "# Exit code 1 when one of these does not hold.",
            "fail = [",
            *(f"  {line}" for line in _count_gates(scores)),
            *(f"  {line}" for name in names for line in _overall_gate(scores, METRICS[name])),
            "]",
            "",
            "# Reported, never fatal.",
            "warn = [",
            *(f"  {line}" for name in names for line in _class_gates(scores, METRICS[name])),
            "]",
            "",
            "# calibeval check NEW.csv --baseline MAIN.csv: how much worse the mean may be, case by case.",
            "alpha = 0.05  # a model that is worse by the margin passes with this probability",
            "",
            "[margins]",
            *(line for name in names for line in _margin(scores, METRICS[name])),
            "",
            "# calibeval check PREDS LABELS: options of calibeval score.",
            "[score]",
            *_score_options(scores),
            "",
        ]
    )


def _count_gates(scores: ScoreTable) -> Iterator[str]:
    everything = len(cases_with_status(scores, ()))
    for name in _COUNTED:
        try:
            today = len(cases_with_status(scores, COUNTS[name]))
        except TableError:
            continue
        if 0 < today == everything:  # a gate that every table passes is none
            yield f"# {name}: every case today, so that no bound would say anything"
            continue
        comment = f"  # 0 is what you want; {today} today" if today else ""
        yield f'"{name} <= {today}",{comment}'


def _overall_gate(scores: ScoreTable, metric: Metric) -> Iterator[str]:
    try:
        yield _mean_gate(case_numbers(scores, metric.name, overall_class(metric.name)), metric, "mean")
    except TableError as error:
        yield f"# {metric.name}: {error}"


def _class_gates(scores: ScoreTable, metric: Metric) -> Iterator[str]:
    """The mean of each class; of distances, the 95th percentile over cases too."""
    of_metric = scores.frame[scores.frame["metric"] == metric.name]
    if metric.needs == "surfaces" and MEAN in set(of_metric["class"]):
        yield _mean_gate(case_numbers(scores, metric.name, MEAN), metric, "p95")
    for class_name in dict.fromkeys(of_metric["class"]):
        if class_name not in (MEAN, ALL):
            yield _mean_gate(case_numbers(scores, metric.name, class_name), metric, "mean", class_name)


def _mean_gate(numbers: CaseNumbers, metric: Metric, aggregate: str, class_name: str = "") -> str:
    name = name_of(metric.name, class_name or overall_class(metric.name))
    absolute = metric.better == "zero"
    values = np.abs(numbers.values) if absolute else numbers.values
    values = values[~np.isnan(values)]
    if not values.size or not np.isfinite(values).all():
        return f"# {name}: {'no case has a value' if not values.size else 'infinite in some case'} today"
    today = float(values.mean() if aggregate == "mean" else np.percentile(values, 95))
    what = f"{aggregate}(|{name}|)" if absolute else f"{aggregate}({name})"
    bound, higher = _bound(today, metric), metric.better == "higher"
    if float(bound) <= metric.low if higher else float(bound) >= metric.high:  # a gate that every table passes is none
        return f"# {name}: {today:.4g} today, about as bad as can be, so that no bound would say anything"
    gate = f"{what} {'>=' if higher else '<='} {bound}"
    low, high = mean_interval(values, limits=(0.0 if absolute else metric.low, metric.high))
    interval = f", 95% interval {low:.4g} to {high:.4g}" if aggregate == "mean" and not math.isnan(low) else ""
    return f"{json.dumps(gate, ensure_ascii=False)},  # today {today:.4g}{interval}, {values.size} cases"


def _bound(today: float, metric: Metric) -> str:
    """Today's value, worse by the slack, rounded to two digits of the slack and to the worse side."""
    slack = _slack(today, metric)
    decimals = max(0, 1 - math.floor(math.log10(slack)))
    scale = 10.0**decimals
    worse, rounded = (-slack, math.floor) if metric.better == "higher" else (slack, math.ceil)
    steps = rounded(round((today + worse) * scale, 6))  # what is whole but for rounding errors stays
    return f"{steps / scale:.{decimals}f}"


def _slack(today: float, metric: Metric) -> float:
    perfect = metric.high if metric.better == "higher" else 0.0
    return max(_SHARE * abs(perfect - today), _LEAST.get(metric.unit, _LEAST_OTHERWISE))


def _margin(scores: ScoreTable, metric: Metric) -> Iterator[str]:
    try:
        values = case_numbers(scores, metric.name, overall_class(metric.name)).values
    except TableError:
        return
    values = np.abs(values[np.isfinite(values)])
    if values.size:
        unit = f"  # {metric.unit}" if metric.unit else ""
        yield f"{metric.name} = {_slack(float(values.mean()), metric):.1g}{unit}"


def _score_options(scores: ScoreTable) -> Iterator[str]:
    """Every choice behind the table: as its command has them, else as far as its signature tells."""
    options = options_of_command(scores.command) or _options_of_signature(scores.signature)
    named = {"protocol": scores.signature.name} if scores.signature.name in PROTOCOLS else {}
    for key, value in (named | options).items():
        if key not in ("metrics", "manifest"):  # the gates name the metrics, and `check` takes folders
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _options_of_signature(signature: Signature) -> dict[str, Any]:
    """Options that make a named protocol's choices these, of those that an option can change."""
    usual = PROTOCOLS[signature.name].signature if signature.name in PROTOCOLS else signature
    changed = {key: value for key, value in signature.parts.items() if value != usual.parts.get(key)}
    return {option: read(changed[key]) for key, (option, read) in _OPTIONS.items() if key in changed}


_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "pECE": ("fp_weight", lambda text: float(text.rpartition(",w")[2])),
    "HD95": ("hd95", str),
    "empty": ("empty", str),
    "NSD": ("nsd_tolerance", lambda text: float(text.removesuffix("mm"))),
    "bECE": ("boundary", lambda text: float(text.removesuffix("mm"))),
    "regions": ("regions", lambda text: text.replace("+", ",")),
    "ignore": ("ignore_label", int),
    "map": ("map", lambda text: text.replace(";", ",")),
}
