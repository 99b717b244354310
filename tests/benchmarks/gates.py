"""How often the comparison with a baseline fails a model that has not changed, and one that has.

`python -m tests.benchmarks.gates tables`: worsenings of cases drawn from three distributions, against a margin of one
standard deviation of a case. `python -m tests.benchmarks.gates phantom`: re-runs of one model on the cardiac phantom.
A re-run is the true probabilities with smooth noise on the logits, as another seed of a training would give; margins
are those that `calibeval check --init` drafts from the first re-run, and the second number is a degradation on top of
the noise. Both print, for each setting, the share of failed comparisons.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval import make_protocol, score_case
from calibeval.gates.baseline import compare, mean_upper_bound, worsening
from calibeval.gates.init import draft
from calibeval.gates.policy import Margin, Policy, make_policy
from calibeval.gates.scores import ScoreTable, case_numbers, scores_of_rows
from calibeval.phantom import SHAPE, SPACING_MM, PhantomCase, make_case, sharpen
from calibeval.table import Row

ALPHA = 0.05
METRICS = ("DSC", "ECE")
CLASS_OF = {"DSC": "mean", "ECE": "all"}
NOISE = 0.4  # standard deviation on the logits
CORRELATION_VOXELS = 3.0

Values = NDArray[np.float64]
Sampler = Callable[[np.random.Generator, int], Values]
# Worsenings of mean 0 and standard deviation 1.
DISTRIBUTIONS: dict[str, Sampler] = {
    "normal": lambda random, n: random.standard_normal(n),
    "heavy tails (t, 4 df)": lambda random, n: random.standard_t(4, n) / np.sqrt(2),
    "skewed (few cases much worse)": lambda random, n: random.exponential(1, n) - 1,
}


def simulate_tables(runs: int, seed: int = 1) -> None:
    """Print shares of failures for numbers of cases, distributions, and true worsenings in parts of the margin."""
    print("| cases | worsening of a case | true mean 0 | half the margin | the margin | twice the margin |")
    print("|---|---|---|---|---|---|")
    for n in (12, 30, 100):
        for name, sample in DISTRIBUTIONS.items():
            random = np.random.default_rng([seed, n])
            bounds = np.array([mean_upper_bound(sample(random, n), ALPHA) for _ in range(runs)])
            shares = [np.mean(bounds + part > 1) for part in (0, 0.5, 1, 2)]
            print(f"| {n} | {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")


class Rerun(NamedTuple):
    """Tables of one re-run: unchanged and degraded."""

    same: ScoreTable
    hotter: ScoreTable
    shifted: ScoreTable


def simulate_phantom(runs: int, cases: int, temperature: float) -> None:
    """Print the shares of failures over re-runs, each compared with the one before it."""
    phantom = [make_case(index) for index in range(1, cases + 1)]
    reruns = [_rerun(phantom, np.random.default_rng([5, run]), temperature) for run in range(runs + 1)]
    policy = make_policy(tomllib.loads(draft(reruns[0].same)), "draft")
    print(f"{runs} comparisons of re-runs of {cases} cases at level {ALPHA}")
    for margin in policy.margins:
        changes = np.array([_worsening(b.same, a.same, margin.metric) for a, b in pairwise(reruns)])
        print(f"{margin.metric}: margin {margin.margin:g} (drafted), a case's worsening has sd {changes.std():.4f}")
    for name in Rerun._fields:
        for margin in policy.margins:
            _report(name, margin, reruns)


def _report(name: str, margin: Margin, reruns: list[Rerun]) -> None:
    """Compare all re-runs with the drafted margin, and with one that equals the true mean worsening."""
    failed, mean = _compare_all(name, margin, reruns)
    line = f"{name}: {margin.metric} worse by {mean:.5f} in the mean, {failed:.1%} failed"
    if mean > 0.1 * margin.margin:
        at_margin, _ = _compare_all(name, margin._replace(margin=mean), reruns)
        line += f"; against a margin of exactly that {1 - at_margin:.1%} passed"
    print(line)


def _compare_all(name: str, margin: Margin, reruns: list[Rerun]) -> tuple[float, float]:
    """Share of failures, and the mean worsening."""
    policy = Policy(margins=(margin,), alpha=ALPHA)
    outcomes = [compare(getattr(after, name), before.same, policy)[0] for before, after in pairwise(reruns)]
    failed = [outcome.status == "failed" for outcome in outcomes]
    return float(np.mean(failed)), float(np.mean([outcome.value for outcome in outcomes]))


def _rerun(phantom: list[PhantomCase], random: np.random.Generator, temperature: float) -> Rerun:
    same: list[Row] = []
    hotter: list[Row] = []
    shifted: list[Row] = []
    for case in phantom:
        probabilities = _noisy(case.probabilities, random)
        same += _score(case, probabilities)
        hotter += _score(case, sharpen(probabilities, temperature))
        shifted += _score(case, _half_voxel_off(probabilities))
    return Rerun(*(scores_of_rows("re-run", make_protocol().signature, rows) for rows in (same, hotter, shifted)))


def _noisy(probabilities: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    width = (0, 0, CORRELATION_VOXELS, CORRELATION_VOXELS)
    noise = gaussian_filter(random.standard_normal((len(probabilities), *SHAPE), dtype=np.float32), width)
    logits = np.log(probabilities + 2.0**-13) + NOISE * noise / noise.std()
    raised = np.exp(logits - logits.max(axis=0))
    noisy: NDArray[np.float32] = (raised / raised.sum(axis=0)).astype(np.float32)
    return noisy


def _half_voxel_off(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    moved: NDArray[np.float32] = (probabilities + np.roll(probabilities, 1, axis=-1)) / 2
    return moved


def _score(case: PhantomCase, probabilities: NDArray[np.float32]) -> list[Row]:
    scored = score_case(probabilities, case.label, spacing_mm=SPACING_MM, metrics=METRICS, case=case.name)
    return [row._replace(method="m", dataset="phantom") for row in scored.rows]


def _worsening(after: ScoreTable, before: ScoreTable, metric: str) -> Values:
    values = [case_numbers(table, metric, CLASS_OF[metric]).values for table in (after, before)]
    return worsening(metric, *values)


def main() -> None:
    """Run one of the two simulations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tables", "phantom"))
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--temperature", type=float, default=1.2, help="power on the probabilities")
    arguments = parser.parse_args()
    if arguments.what == "tables":
        simulate_tables(arguments.runs)
    else:
        simulate_phantom(arguments.runs, arguments.cases, arguments.temperature)


if __name__ == "__main__":
    main()
