"""What must hold: gates, margins against a baseline, and how to score; from the command line and from TOML.

A gate is `AGGREGATE(METRIC) COMPARISON BOUND`, as in `mean(ECE) <= 0.05`, `p95(HD95[LV]) <= 12`, `pooled(ECE) < 0.02`,
`mean(|gap|) <= 0.01` or `n_failed <= 0`. Without a class in brackets it speaks of the metric's own overall row: the
mean over foreground classes (`mean`) or the number over all classes (`all`).

The same keys stand at the top of a gates.toml and in `[tool.calibeval.gates]` of a pyproject.toml:

    fail = ["mean(ECE) <= 0.05"]     # exit code 1 when one does not hold
    warn = ["p95(HD95) <= 12"]       # reported, never fatal
    margins = { DSC = 0.01 }         # --baseline: at most so much worse
    method = "ours"                  # when a table holds several
    signature = "paper|..."          # bounds belong to numbers of this protocol
    min_cases = 10                   # fewer make a gate impossible to evaluate
    alpha = 0.05                     # one-sided level of the comparison with a baseline
    score = { protocol = "paper" }   # for `calibeval check PREDS LABELS`
    integrity = { argmax = "warn" }  # fail, warn or off, by rule
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from calibeval.errors import UsageError
from calibeval.files import read_text
from calibeval.gates.rules import check_severities
from calibeval.metrics import METRICS, select_metrics
from calibeval.scoring.options import ScoreOptions, options_of_table
from calibeval.table import overall_class

Severity = Literal["fail", "warn"]

AGGREGATES = ("mean", "median", "min", "max", "pooled")  # beside pNN, a percentile over cases
# Counts of cases, and the statuses that count; none counts every case.
COUNTS: dict[str, tuple[str, ...]] = {
    "n_cases": (),
    "n_failed": ("failed",),
    "n_missing": ("missing",),
    "n_empty": ("empty_reference", "empty_prediction", "both_empty"),
    "n_empty_reference": ("empty_reference",),
    "n_empty_prediction": ("empty_prediction",),
    "n_both_empty": ("both_empty",),
}
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
_METRIC = r"(?P<metric>[A-Za-z][A-Za-z0-9_]*)\s*(?:\[(?P<class>.+)\])?"
_GATE = re.compile(
    rf"(?P<aggregate>[A-Za-z][\w.]*)\s*(?:\(\s*(?P<bar>\|?)\s*{_METRIC}\s*(?P=bar)\s*\))?"
    r"\s*(?P<comparison><=|>=|==|<|>)\s*(?P<bound>\S+)"
)
_MARGIN = re.compile(rf"{_METRIC}\s*")
_EXPECTED_GATE = "expected AGGREGATE(METRIC) <= BOUND, as in 'mean(ECE) <= 0.05', or n_failed <= 0."
_EXPECTED_MARGIN = "expected METRIC=NUMBER, as in DSC=0.01 or 'DSC[LV]=0.02'."


class Gate(NamedTuple):
    """One requirement on a results table.

    Attributes:
        aggregate: one of `AGGREGATES`, `pNN`, or a key of `COUNTS`.
        metric: key of `METRICS`; empty for a count over all metrics.
        class_name: class, region, `mean` or `all`.
        absolute: the aggregate is over absolute values.
        comparison: `<=`, `<`, `>=`, `>` or `==`.
        bound: as the user wrote it, so that it is shown unchanged.
        severity: what happens when the gate does not hold.
    """

    aggregate: str
    metric: str
    class_name: str
    absolute: bool
    comparison: str
    bound: str
    severity: Severity = "fail"

    @property
    def percent(self) -> float | None:
        """NN of an aggregate `pNN`, else None."""
        match = _PERCENTILE.fullmatch(self.aggregate)
        return float(match[1]) if match else None

    def __str__(self) -> str:
        """The gate as it is written, in one canonical form."""
        bar = "|" if self.absolute else ""
        what = f"({bar}{name_of(self.metric, self.class_name)}{bar})" if self.metric else ""
        return f"{self.aggregate}{what} {self.comparison} {self.bound}"


class Margin(NamedTuple):
    """How much worse than a baseline a metric's mean may be, in the metric's unit."""

    metric: str
    class_name: str
    margin: float


@dataclass(frozen=True)
class Policy:
    """Everything that is asked for; see the module's text.

    Attributes:
        gates: in the order given.
        margins: at most one for each metric and class.
        method: of the table; empty when it has one only.
        signature: that the table must have; empty for any.
        min_cases: smallest number of cases that a gate can be decided on.
        alpha: one-sided level of the comparison with a baseline.
        score: options of `calibeval score`, by their names.
        integrity: severity by rule, where it is not the rule's own.
        source: where it comes from, for people.
    """

    gates: tuple[Gate, ...] = ()
    margins: tuple[Margin, ...] = ()
    method: str = ""
    signature: str = ""
    min_cases: int = 1
    alpha: float = 0.05
    score: Mapping[str, Any] = field(default_factory=dict)
    integrity: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def options(self) -> ScoreOptions:
        """`score`, understood."""
        return options_of_table(self.score, self.source)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that are asked for, in the registry's order."""
        asked = {gate.metric for gate in self.gates} | {margin.metric for margin in self.margins}
        return tuple(name for name in METRICS if name in asked)

    def extended(self, gates: Iterable[Gate], margins: Iterable[Margin]) -> Policy:
        """Add gates, and margins, which replace those of the same metric and class."""
        merged = {(margin.metric, margin.class_name): margin for margin in (*self.margins, *margins)}
        return replace(self, gates=tuple(dict.fromkeys((*self.gates, *gates))), margins=tuple(merged.values()))


def parse_gate(text: str, severity: Severity = "fail") -> Gate:
    """Read one gate.

    Raises:
        UsageError: not of that form, or an unknown metric or aggregate, or one that the metric does not have.
    """
    match = _GATE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"Gate {text!r}: {_EXPECTED_GATE}")
    aggregate = match["aggregate"].lower()
    if match["metric"]:
        metric, class_name = _metric_and_class(match, f"Gate {text!r}")
    elif aggregate in COUNTS:
        metric, class_name = "", ""
    elif aggregate in AGGREGATES or _PERCENTILE.fullmatch(aggregate):
        raise UsageError(f"Gate {text!r}: {aggregate} of which metric? As in '{aggregate}(ECE) <= 0.05'.")
    else:
        raise UsageError(f"Gate {text!r}: {_EXPECTED_GATE}")
    gate = Gate(
        aggregate, metric, class_name, bool(match["bar"]), match["comparison"], _bound(match["bound"], text), severity
    )
    if aggregate not in (*AGGREGATES, *COUNTS) and not gate.percent:
        raise UsageError(
            f"Gate {text!r}: unknown aggregate {aggregate!r}. Known: {', '.join(AGGREGATES)}, pNN (as in p95), "
            f"{', '.join(COUNTS)}."
        )
    if aggregate == "pooled" and not METRICS[metric].pooled:
        raise UsageError(f"Gate {text!r}: {metric} has no pooled number, only numbers of cases.")
    return gate


def parse_margin(name: str, margin: str | float) -> Margin:
    """Read a margin of `METRIC` or `METRIC[CLASS]`.

    Raises:
        UsageError: an unknown metric, or a margin that is no number, or below 0.
    """
    where = f"Margin {name}={margin}"
    match = _MARGIN.fullmatch(name.strip())
    if match is None:
        raise UsageError(f"{where}: {_EXPECTED_MARGIN}")
    metric, class_name = _metric_and_class(match, where)
    try:
        number = math.nan if isinstance(margin, bool) else float(margin)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{where}: {margin!r} is no number.") from error
    if not 0 <= number < math.inf:
        raise UsageError(f"{where}: a margin is how much worse a metric may be: 0 or more, in its unit.")
    return Margin(metric, class_name, number)


def parse_margin_option(text: str) -> Margin:
    """Read `METRIC=NUMBER`, as given on the command line.

    Raises:
        UsageError: as `parse_margin`, or there is no `=`.
    """
    name, equals, number = text.rpartition("=")
    if not equals:
        raise UsageError(f"Margin {text!r}: {_EXPECTED_MARGIN}")
    return parse_margin(name, number)


def _metric_and_class(match: re.Match[str], where: str) -> tuple[str, str]:
    """Name of the metric as in the registry, and of the class: the metric's overall row unless another is named."""
    try:
        (metric,) = select_metrics([match["metric"]])
    except (UsageError, ValueError) as error:
        raise UsageError(f"{where}: unknown metric {match['metric']!r}. Known: {', '.join(METRICS)}.") from error
    return metric, (match["class"] or "").strip() or overall_class(metric)


def name_of(metric: str, class_name: str) -> str:
    """`METRIC`, or `METRIC[CLASS]` for anything but its overall row."""
    return metric if class_name == overall_class(metric) else f"{metric}[{class_name}]"


def _bound(text: str, gate: str) -> str:
    try:
        if math.isfinite(float(text)):
            return text
    except ValueError:
        pass
    raise UsageError(f"Gate {gate!r}: the bound {text!r} is no number like 0.05.")


def read_policy(path: Path | None, folder: Path) -> Policy:
    """Read a gates.toml, or else `[tool.calibeval.gates]` of the pyproject.toml in a folder, where there is one.

    Raises:
        UsageError: the file is missing or broken, or holds something unknown.
    """
    if path is not None:
        return make_policy(_load(path), str(path))
    project = folder / "pyproject.toml"
    if not project.is_file():
        return Policy()
    tool = _load(project).get("tool", {})
    section = tool.get("calibeval", {}) if isinstance(tool, dict) else {}
    if not isinstance(section, dict) or "gates" not in section:
        return Policy()
    return make_policy(section["gates"], f"{project.name} [tool.calibeval.gates]")


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}). `calibeval check --init` writes one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is no valid TOML: {error}.") from error


_TYPES: dict[str, tuple[type, ...]] = {
    "fail": (list,),
    "warn": (list,),
    "margins": (dict,),
    "method": (str,),
    "signature": (str,),
    "min_cases": (int,),
    "alpha": (float,),
    "score": (dict,),
    "integrity": (dict,),
}


def make_policy(keys: Any, source: str) -> Policy:
    """Build a policy from TOML's keys; an unknown key is an error, so that no gate is lost to a typing mistake.

    Raises:
        UsageError: an unknown key or rule, or a value of the wrong kind.
    """
    if not isinstance(keys, dict):
        raise UsageError(f"{source}: expected a table of keys: {', '.join(_TYPES)}.")
    for key, value in keys.items():
        if key not in _TYPES:
            raise UsageError(f"{source}: unknown key {key!r}. Known: {', '.join(_TYPES)}.")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise UsageError(f"{source}: {key} is {value!r}; expected {_TYPES[key][0].__name__}.")
    plain = {key: value for key, value in keys.items() if key not in ("fail", "warn", "margins")}
    policy = Policy(source=source, **plain)
    if policy.min_cases < 1 or not 0 < policy.alpha < 0.5:
        raise UsageError(f"{source}: min_cases must be 1 or more, and alpha between 0 and 0.5.")
    check_severities(policy.integrity, source)
    _ = policy.options  # refused also where nothing is to be scored this time
    try:
        gates = [*_gates(keys, "fail"), *_gates(keys, "warn")]
        margins = [parse_margin(name, margin) for name, margin in keys.get("margins", {}).items()]
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    return policy.extended(gates, margins)


def _gates(keys: dict[str, Any], severity: Severity) -> list[Gate]:
    texts = keys.get(severity, [])
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{severity} must be a list of gates in quotes.")
    return [parse_gate(text, severity) for text in texts]
