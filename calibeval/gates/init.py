"""A first gates.toml from a results table, or from the tables of several runs of one model.

How far its bounds lie from today's values says `bounds`. A file that fails whenever anything moves is soon switched
off: only the primary metrics fail, one for each of three questions; the others, each class, and the tail over cases
warn. All that is a start, not a law: the comments give today's value and its 95% interval over cases or groups, so that
a reader can judge each bound. The file passes on the tables that it was written from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from calibeval._version import __version__
from calibeval.errors import TableError
from calibeval.gates.bounds import JOINT, LEAST_RUNS, Runs, Values, gather_runs, margin_of, rounded, slack
from calibeval.gates.policy import COUNTS, name_of
from calibeval.gates.scores import ScoreTable, case_numbers, cases_with_status
from calibeval.metrics import METRICS, Metric
from calibeval.metrics.intervals import mean_interval
from calibeval.protocol import PROTOCOLS
from calibeval.scoring.options import options_of_command
from calibeval.signature import Signature
from calibeval.table import ALL, MEAN, overall_class

_FAILURES = ("n_failed", "n_missing")
_MISSES = ("n_empty_prediction",)


def draft(scores: ScoreTable, also: Sequence[ScoreTable] = (), *, named_method: bool = False) -> str:
    """Write a policy that the tables pass.

    Args:
        scores: of one method.
        also: of further runs of the same model, on the same cases.
        named_method: the user named the method, so the gates are for that one.

    Raises:
        TableError: no case has a value, so every bound would be made up; or the runs do not belong together.
        UsageError: there are too few runs to tell their spread.
    """
    if scores.frame["value"].isna().all():
        raise TableError(f"{scores.name}: no case has a value, so there is nothing to draft gates from.")
    method = f"method = {json.dumps(scores.method, ensure_ascii=False)}"
    in_table = set(scores.frame["metric"])
    runs = gather_runs(scores, also, tuple(name for name in METRICS if name in in_table))
    others = [name for name in runs.names if name not in runs.primary]
    return "\n".join(
        [
            f"# Gates for calibeval check, drafted by calibeval {__version__} from {scores.name}.",
            *_how(runs),
            "",
            method if named_method else f"# {method}  # when a table holds several",
            "# The bounds belong to numbers of this protocol; others are refused.",
            f"signature = {json.dumps(scores.signature, ensure_ascii=False)}",
            f"# min_cases = {len(cases_with_status(scores, ()))}  # decide no gate on fewer cases with a value",
            "",
            "# Exit code 1 when one of these does not hold.",
            "fail = [",
            *(f"  {line}" for line in _count_gates(runs, _FAILURES)),
            *(f"  {_gate(runs, METRICS[name], 'mean')}" for name in runs.primary),
            "]",
            "",
            "# Reported, never fatal: other metrics, each class, and the worst cases, which a mean hides.",
            "warn = [",
            *(f"  {line}" for line in _count_gates(runs, _MISSES)),
            *(f"  {_gate(runs, METRICS[name], 'mean')}" for name in others),
            *(f"  {line}" for name in runs.names for line in _class_gates(runs, METRICS[name])),
            "]",
            "",
            "# calibeval check NEW.csv --baseline MAIN.csv: how much worse the mean may be, case by case.",
            "alpha = 0.05  # a model that is worse by the margin passes with this probability",
            "",
            "[margins]",
            *(_margin(runs, METRICS[name]) for name in runs.primary),
            "",
            "# calibeval check PREDS LABELS: options of calibeval score.",
            "[score]",
            *_score_options(scores),
            "",
        ]
    )


def _how(runs: Runs) -> Iterator[str]:
    n = len(runs.tables)
    least = "and by 0.005, 0.1 mm or 0.1 mL at least. Edit them."
    if n == 1:
        yield "# Each bound is today's value, made worse by a tenth of its distance to perfect,"
        yield f"# {least}"
        yield "# One run cannot tell how much a model differs from itself, trained anew: it may fail these bounds."
        yield f"# --init --also MORE.csv, of {LEAST_RUNS} runs or more in all, takes them from the spread over runs."
        return
    t = f"{runs.quantile():.3g}"
    yield f"# Each bound is the mean over {n} runs, made worse by {t} sqrt(1 + 1/{n}) standard deviations of a run,"
    yield f"# {least}"
    yield "# A model that has not changed, trained anew and scored on the same cases, passes all of `fail` and"
    yield f"# [margins] together with {1 - JOINT:.0%}, as far as runs differ normally."


def _count_gates(runs: Runs, counts: Sequence[str]) -> Iterator[str]:
    everything = len(cases_with_status(runs.tables[0], ()))
    for name in counts:
        try:
            today = max(len(cases_with_status(run, COUNTS[name])) for run in runs.tables)
        except TableError:
            continue
        if 0 < today == everything:  # a gate that every table passes is none
            yield f"# {name}: every case today, so that no bound would say anything"
            continue
        comment = f"  # 0 is what you want; {today} today" if today else ""
        yield f'"{name} <= {today}",{comment}'


def _class_gates(runs: Runs, metric: Metric) -> Iterator[str]:
    """The tail over cases of the overall number, and the mean of each class."""
    yield _gate(runs, metric, "p5" if metric.better == "higher" else "p95")
    frame = runs.tables[0].frame
    for class_name in dict.fromkeys(frame.loc[frame["metric"] == metric.name, "class"]):
        if class_name not in (MEAN, ALL):
            yield _gate(runs, metric, "mean", class_name)


def _gate(runs: Runs, metric: Metric, aggregate: str, class_name: str = "") -> str:
    """A gate, or a comment that says why there is none."""
    name = name_of(metric.name, class_name or overall_class(metric.name))
    absolute, higher = metric.better == "zero", metric.better == "higher"
    what = f"{aggregate}(|{name}|)" if absolute else f"{aggregate}({name})"
    try:
        values = [_values(run, metric, class_name, aggregate) for run in runs.tables]
    except TableError as error:
        return f"# {what}: {error}"
    numbers = np.array([_reduce(of_run, aggregate) for of_run in values])
    today = float(numbers.mean())
    distance = slack(numbers, metric, runs)
    bound = rounded(today - distance if higher else today + distance, distance, up=not higher)
    if float(bound) <= metric.low if higher else float(bound) >= metric.high:  # a gate that every table passes is none
        return f"# {what}: {today:.4g} today, about as bad as can be, so that no bound would say anything"
    gate = json.dumps(f"{what} {'>=' if higher else '<='} {bound}", ensure_ascii=False)
    units = "groups" if aggregate == "mean" and (runs.tables[0].frame["group"] != "").any() else "cases"
    if len(values) > 1:
        return f"{gate},  # mean over runs {today:.4g}, sd {numbers.std(ddof=1):.2g}; {values[0].size} {units}"
    low, high = mean_interval(values[0], limits=(0.0 if absolute else metric.low, metric.high))
    interval = f", 95% interval {low:.4g} to {high:.4g}" if aggregate == "mean" and not math.isnan(low) else ""
    return f"{gate},  # today {today:.4g}{interval}, {values[0].size} {units}"


def _values(run: ScoreTable, metric: Metric, class_name: str = "", aggregate: str = "mean") -> Values:
    """A metric of the cases that have one, for a mean of their groups; absolute values where it should be near 0.

    Raises:
        TableError: there is no finite one.
    """
    numbers = case_numbers(run, metric.name, class_name or overall_class(metric.name))
    every = np.abs(numbers.values) if metric.better == "zero" else numbers.values
    values = numbers.means(every) if aggregate == "mean" else every[~np.isnan(every)]
    if not values.size:
        raise TableError("no case has a value today")
    if not np.isfinite(values).all():
        raise TableError("infinite in some case today")
    return values


def _reduce(values: Values, aggregate: str) -> float:
    return float(values.mean() if aggregate == "mean" else np.percentile(values, float(aggregate[1:])))


def _margin(runs: Runs, metric: Metric) -> str:
    unit = f"  # {metric.unit}" if metric.unit else ""
    try:
        margin = margin_of(np.array([_values(run, metric).mean() for run in runs.tables]), metric, runs)
    except TableError as error:
        return f"# {metric.name}: {error}"
    if margin >= metric.high - metric.low:
        return f"# {metric.name}: the runs differ so much that no margin would say anything"
    return f"{metric.name} = {rounded(margin, margin, up=True)}{unit}"


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
