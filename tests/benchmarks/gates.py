"""How often the comparison with a baseline fails a model that has not changed, and one that has.

`python -m tests.benchmarks.gates tables`: worsenings of cases drawn from five distributions, against a margin of one
standard deviation of a case; what Student's bound would pass at the margin, where 5% should pass; and the power that
the comparison tells, in the mean over samples, beside the true share of unchanged models that pass.

`python -m tests.benchmarks.gates phantom`: one model run twice on the cardiac phantom, unchanged or degraded. A run is
the true probabilities with smooth noise on the logits, drawn anew for each run and case. A pool of cases is scored once
for each run; a comparison draws its cases from the pool. The margins are those that `check --init` drafts from
the first run; a comparison against a margin that equals the true worsening should pass at the level.

`python -m tests.benchmarks.gates joint`: what `check --init` drafts from one to ten runs of a model, but for rounding,
and a further run of the same model, the first run being its baseline. A run has ten metrics of 20 cases; its seed moves
each mean by so many parts of the distance to perfect (standard deviation), and each case by twice as much. `ten bounds`
fails where the mean of any metric breaks its bound, as if none of them only warned.

All print shares of comparisons.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import stdtrit

from calibeval import make_protocol, score_case
from calibeval.gates.baseline import worsening
from calibeval.gates.bounds import gather_runs, slack, widest
from calibeval.gates.init import draft
from calibeval.gates.policy import make_policy
from calibeval.gates.power import power
from calibeval.gates.scores import ScoreTable, case_numbers, scores_of_rows
from calibeval.metrics import METRICS
from calibeval.metrics.intervals import mean_upper_bound
from calibeval.phantom import SHAPE, SPACING_MM, make_case, sharpen
from calibeval.table import Row, overall_class

ALPHA = 0.05
PHANTOM_METRICS = ("DSC", "ECE")
CASES = (12, 30, 100)  # of a comparison
NOISE = 0.4  # standard deviation on the logits
CORRELATION_VOXELS = 3.0

Values = NDArray[np.float64]
Planes = NDArray[np.float32]
Random = np.random.Generator

# Worsenings of mean 0 and standard deviation 1.
DISTRIBUTIONS: dict[str, Callable[[Random, int], Values]] = {
    "normal": lambda random, n: random.standard_normal(n),
    "heavy tails (t, 4 df)": lambda random, n: random.standard_t(4, n) / np.sqrt(2),
    "exponential": lambda random, n: random.exponential(1, n) - 1,
    "lognormal": lambda random, n: (random.lognormal(0, 1, n) - np.exp(0.5)) / np.sqrt(np.expm1(1.0) * np.exp(1.0)),
    "10% catastrophic (+8 sd)": lambda random, n: (
        (random.standard_normal(n) + 8 * (random.random(n) < 0.1) - 0.8) / np.sqrt(1 + 64 * 0.09)
    ),
}
# Distance of the mean over cases to a perfect value.
JOINT_METRICS = {
    "DSC": 0.15, "IoU": 0.25, "HD95": 5.0, "ASSD": 1.5, "NSD": 0.15,
    "ECE": 0.06, "CECE": 0.08, "ACE": 0.12, "Brier": 0.1, "NLL": 0.2,
}  # fmt: skip
JOINT_CASES = 20
JOINT_RUNS = ((0.05, "normal"), (0.1, "normal"), (0.1, "lognormal"))
RUNS_DRAFTED = (1, 3, 5, 10)
RUNS: dict[str, Callable[[Planes], Planes]] = {
    "main": lambda planes: planes,
    "unchanged": lambda planes: planes,
    "over-confident, power 1.05": lambda planes: sharpen(planes, 1.05),
    "over-confident, power 1.1": lambda planes: sharpen(planes, 1.1),
    "shifted by 1/4 voxel": lambda planes: _shifted(planes, 0.25),
    "shifted by 1/2 voxel": lambda planes: _shifted(planes, 0.5),
}


def simulate_tables(comparisons: int) -> None:
    """Print the shares of failures by number of cases, distribution, and true mean worsening."""
    print("| cases | a case's worsening | failed at 0 | half the margin | the margin | twice | passed at the margin "
          "| by Student's t | passed at 0 | power told |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for n in CASES:
        for name, sample in DISTRIBUTIONS.items():
            random = np.random.default_rng([1, n])
            samples = [sample(random, n) for _ in range(comparisons)]
            bounds = np.array([mean_upper_bound(values, ALPHA) for values in samples])
            students = np.array([values.mean() + _student_reach(values) for values in samples])
            told = np.mean([power(values, 1, ALPHA)[0] for values in samples])
            failed = [np.mean(bounds + part > 1) for part in (0, 0.5, 1, 2)]
            shares = (*failed, np.mean(bounds <= 0), np.mean(students <= 0), np.mean(bounds <= 1), told)
            print(f"| {n} | {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _student_reach(values: Values) -> float:
    return float(stdtrit(values.size - 1, 1 - ALPHA) * values.std(ddof=1) / np.sqrt(values.size))


def simulate_phantom(comparisons: int, pool: int) -> None:
    """Print the shares of failures by degradation, metric and number of cases."""
    runs = _score_pool(pool)
    margins = {margin.metric: margin.margin for margin in make_policy(tomllib.loads(draft(runs["main"])), "").margins}
    print("| run | metric | margin | mean worsening | sd of a case | cases | failed | passed at a margin of the mean |")
    print("|---|---|---|---|---|---|---|---|")
    for name in list(runs)[1:]:
        for metric in PHANTOM_METRICS:
            worse = worsening(metric, *(_values(runs[run], metric) for run in (name, "main")))
            for n in CASES:
                random = np.random.default_rng([2, n])
                draws = (worse[random.choice(pool, n, replace=False)] for _ in range(comparisons))
                bounds = np.array([mean_upper_bound(values, ALPHA) for values in draws])
                cells = (name, metric, f"{margins[metric]:g}", f"{worse.mean():.4f}", f"{worse.std():.4f}", n)
                shares = (np.mean(bounds > margins[metric]), np.mean(bounds <= worse.mean()))
                print(f"| {' | '.join(map(str, cells))} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def simulate_joint(comparisons: int) -> None:
    """Print the shares of unchanged models that a drafted file fails, by number of runs and by how runs differ."""
    print("| shift of a run | change of a case | runs | ten bounds | bounds that fail | margins | whole file |")
    print("|---|---|---|---|---|---|---|")
    for shift, change in JOINT_RUNS:
        for n in RUNS_DRAFTED:
            random = np.random.default_rng([4, n])
            failed = np.mean([_joint_failures(random, n, shift, DISTRIBUTIONS[change]) for _ in range(comparisons)], 0)
            print(f"| {shift:.0%} | {change} | {n} | {' | '.join(f'{share:.1%}' for share in failed)} |", flush=True)


def _joint_failures(random: Random, n: int, shift: float, change: Callable[[Random, int], Values]) -> Values:
    """Whether a further run fails any of all bounds, of those that fail, of the margins, and of the last two."""
    table = scores_of_rows("t.csv", make_protocol().signature, [Row("m", "A", "c", "mean", "DSC", 1.0, "")])
    runs = gather_runs(table, (table,) * (n - 1), tuple(JOINT_METRICS))
    bounds, margins = {}, {}
    for name in JOINT_METRICS:
        cases = 1 + 0.3 * random.standard_normal(JOINT_CASES)
        first, *also, further = (_simulated_run(random, name, cases, shift, change) for _ in range(n + 1))
        numbers = np.array([first.mean(), *(run.mean() for run in also)])
        worse = worsening(name, np.array([further.mean()]), np.array([numbers.mean()]))[0]
        bounds[name] = worse > slack(numbers, METRICS[name], runs)
        found = [_between(name, *pair) for pair in permutations((first, *also), 2)]
        margin = widest(numbers, found, METRICS[name], runs) if also else slack(numbers, METRICS[name], runs)
        margins[name] = _between(name, further, first)[1] > margin
    shown = [any(bounds.values()), any(bounds[name] for name in runs.primary), any(margins[n] for n in runs.primary)]
    return np.array([*shown, shown[1] or shown[2]], dtype=np.float64)


def _simulated_run(
    random: Random, name: str, cases: Values, shift: float, change: Callable[[Random, int], Values]
) -> Values:
    worse = cases + shift * (random.standard_normal() + 2 * change(random, JOINT_CASES))
    distances: Values = JOINT_METRICS[name] * worse
    return 1 - distances if METRICS[name].better == "higher" else distances


def _between(name: str, after: Values, before: Values) -> tuple[float, float]:
    """Mean worsening and its upper bound."""
    worse = worsening(name, after, before)
    return float(worse.mean()), mean_upper_bound(worse, ALPHA)


def _score_pool(pool: int) -> dict[str, ScoreTable]:
    """Each run's table of all cases."""
    rows: dict[str, list[Row]] = {name: [] for name in RUNS}
    for index in range(1, pool + 1):
        case = make_case(index)
        for run, (name, degrade) in enumerate(RUNS.items()):
            planes = degrade(_noisy(case.probabilities, np.random.default_rng([3, run, index])))
            scored = score_case(planes, case.label, spacing_mm=SPACING_MM, metrics=PHANTOM_METRICS, case=case.name)
            rows[name] += scored.rows
    return {name: scores_of_rows(name, make_protocol().signature, of_run) for name, of_run in rows.items()}


def _noisy(probabilities: Planes, random: Random) -> Planes:
    width = (0, 0, CORRELATION_VOXELS, CORRELATION_VOXELS)
    noise = gaussian_filter(random.standard_normal((len(probabilities), *SHAPE), dtype=np.float32), width)
    logits = np.log(probabilities + 2.0**-13) + NOISE * noise / noise.std()
    raised = np.exp(logits - logits.max(axis=0))
    noisy: Planes = (raised / raised.sum(axis=0)).astype(np.float32)
    return noisy


def _shifted(planes: Planes, voxels: float) -> Planes:
    moved: Planes = ((1 - voxels) * planes + voxels * np.roll(planes, 1, axis=-1)).astype(np.float32)
    return moved


def _values(scores: ScoreTable, metric: str) -> Values:
    return case_numbers(scores, metric, overall_class(metric)).values


def main() -> None:
    """Run one of the three simulations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("joint", "tables", "phantom"), nargs="?", default="joint")
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--pool", type=int, default=1000, help="phantom cases that are scored")
    arguments = parser.parse_args()
    if arguments.what == "joint":
        simulate_joint(arguments.comparisons)
    elif arguments.what == "tables":
        simulate_tables(arguments.comparisons)
    else:
        simulate_phantom(arguments.comparisons, arguments.pool)


if __name__ == "__main__":
    main()
