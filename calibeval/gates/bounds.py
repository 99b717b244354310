"""How far a drafted bound lies from today's number: what a model that has not changed, trained anew, stays within.

From one run nothing tells how much a second one differs: a bound is today's number, made worse by a tenth of its
distance to perfect. From R runs (seeds) of one model on the same cases, with the standard deviation s over their
numbers, it is the mean over runs made worse by t s sqrt(1 + 1/R), the prediction bound of one more run where runs are
normal; a margin is t s sqrt(2) + r, for the difference of two runs, r being the largest distance from a mean worsening
to its upper bound in any pair of the given runs. t is Student's quantile with R - 1 degrees of freedom at 1 - .05 / K,
K the number of bounds and margins that can fail (Bonferroni), so that all hold together with 95% at least. No bound or
margin is nearer than .005, .1 mm or .1 mL, nor so near that one of the given runs would fail it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError, UsageError
from calibeval.gates.baseline import compare
from calibeval.gates.policy import Margin, Policy
from calibeval.gates.scores import ScoreTable, cases_with_status
from calibeval.metrics import Metric
from calibeval.table import overall_class

LEAST_RUNS = 3  # of two, the bound lies 47 standard deviations off
JOINT = 0.05  # chance that a model which has not changed fails a drafted file
_SHARE = 0.1  # of the distance to a perfect value
_LEAST = {"mm": 0.1, "mL": 0.1}  # by unit; two trainings of one model differ by as much
_LEAST_OTHERWISE = 0.005
# How much of the structure, how far off, how good the probabilities: of each kind the first that is in the table.
_PRIMARY = (("DSC", "IoU"), ("HD95",), ("Brier", "NLL", "ECE"))

Values = NDArray[np.float64]


class Runs(NamedTuple):
    """One model's tables.

    Attributes:
        tables: of the first run, then of further ones.
        names: metrics of the first, in the registry's order.
        primary: those whose bounds and margins can fail.
    """

    tables: tuple[ScoreTable, ...]
    names: tuple[str, ...]
    primary: tuple[str, ...]

    def quantile(self) -> float:
        """Student's t of a bound; there are several runs."""
        from scipy.special import stdtrit

        return float(stdtrit(len(self.tables) - 1, 1 - JOINT / (2 * len(self.primary))))


def gather_runs(scores: ScoreTable, also: Sequence[ScoreTable], names: tuple[str, ...]) -> Runs:
    """Take runs together.

    Raises:
        UsageError: there are two runs, which tell next to nothing of a third.
        TableError: they were scored by other protocols, or are of other cases.
    """
    if 0 < len(also) < LEAST_RUNS - 1:
        raise UsageError(
            f"Bounds from the spread over runs take {LEAST_RUNS} runs at least: from 2 they would lie 47 standard "
            "deviations off. Give --also once more."
        )
    for run in also:
        differing = run.signature.differs(scores.signature, names)
        if differing:
            raise TableError(f"{scores.name} and {run.name} were scored by different protocols: {differing}.")
        if set(cases_with_status(run, ())) != set(cases_with_status(scores, ())):
            raise TableError(f"{scores.name} and {run.name} hold different cases: score each run on the same labels.")
    found = [next((name for name in kind if name in names), "") for kind in _PRIMARY]
    return Runs((scores, *also), names, tuple(filter(None, found)) or names[:1])


def slack(numbers: Values, metric: Metric, runs: Runs) -> float:
    """How much worse than the mean of its numbers (one a run) a bound lies."""
    mean, least = float(numbers.mean()), _least(metric)
    if numbers.size == 1:
        perfect = metric.high if metric.better == "higher" else 0.0
        return max(_SHARE * abs(perfect - mean), least)
    worst = mean - numbers.min() if metric.better == "higher" else numbers.max() - mean
    return max(least, float(worst), runs.quantile() * float(numbers.std(ddof=1)) * math.sqrt(1 + 1 / numbers.size))


def margin_of(numbers: Values, metric: Metric, runs: Runs) -> float:
    """A margin that a further run keeps against another, from the mean of each run.

    Raises:
        TableError: the runs cannot be compared.
    """
    if numbers.size == 1:
        return slack(numbers, metric, runs)
    policy = Policy(margins=(Margin(metric.name, overall_class(metric.name), 0.0),))
    outcomes = [outcome for pair in permutations(runs.tables, 2) for outcome in compare(*pair, policy)]
    for outcome in outcomes:
        if outcome.status == "error":
            raise TableError(outcome.message)
    return widest(numbers, [(outcome.value, outcome.limit) for outcome in outcomes], metric, runs)


def widest(numbers: Values, found: Sequence[tuple[float, float]], metric: Metric, runs: Runs) -> float:
    """The margin of several runs, from the means and upper bounds that were found between them."""
    reach = max(limit - mean for mean, limit in found)
    predicted = runs.quantile() * float(numbers.std(ddof=1)) * math.sqrt(2) + reach
    return max(_least(metric), predicted, *(limit for _, limit in found))


def rounded(number: float, distance: float, *, up: bool) -> str:
    """A number with two digits of its distance to today's, rounded to the worse side."""
    decimals = max(0, 1 - math.floor(math.log10(distance)))
    scale = 10.0**decimals
    towards = math.ceil if up else math.floor
    return f"{towards(round(number * scale, 6)) / scale:.{decimals}f}"  # what is whole but for rounding errors stays


def _least(metric: Metric) -> float:
    return _LEAST.get(metric.unit, _LEAST_OTHERWISE)
