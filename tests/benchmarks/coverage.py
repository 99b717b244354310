"""How often intervals of a mean over cases hold the true mean: `python -m tests.benchmarks.coverage`.

For each distribution and number of cases it prints the share of simulated tables whose 95% interval holds the true
mean, and in brackets the interval's median width, for the interval that calibeval uses and for its rivals.

`--pooled` prints the same of numbers pooled over cases, sums over sums, whose sizes are lognormal.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from calibeval.metrics.intervals import mean_interval, resample
from calibeval.scoring.pooled import interval_of

Values = NDArray[np.float64]
Random = np.random.Generator
CASES = (5, 8, 12, 25, 50)
RATIO = (0.0, 1.0)
FREE = (-math.inf, math.inf)


def _with_missed_organs(random: Random, n: int) -> Values:
    values = np.clip(0.88 + 0.04 * random.standard_normal(n), 0, 1)
    values[random.random(n) < 0.1] = 0
    return values


# What a case's value may be: how it is drawn, its mean, its limits.
DISTRIBUTIONS: dict[str, tuple[Callable[[Random, int], Values], float, tuple[float, float]]] = {
    "normal": (lambda random, n: random.standard_normal(n), 0.0, FREE),
    "DSC, beta(8, 2)": (lambda random, n: random.beta(8, 2, n), 0.8, RATIO),
    "exponential": (lambda random, n: random.exponential(size=n), 1.0, (0.0, math.inf)),
    "HD95, lognormal": (lambda random, n: np.exp(random.standard_normal(n)), math.exp(0.5), (0.0, math.inf)),
    "0 or 1, half each": (lambda random, n: (random.random(n) < 0.5).astype(float), 0.5, RATIO),
    "0 or 1, a fifth 1": (lambda random, n: (random.random(n) < 0.2).astype(float), 0.2, RATIO),
    "DSC, 10% missed": (_with_missed_organs, 0.88 * 0.9, RATIO),
}


def percentile(values: Values, _limits: tuple[float, float]) -> tuple[float, float]:
    """What calibeval 0.1 used."""
    low, high = np.quantile(values[resample(values.size)].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def student(values: Values, limits: tuple[float, float]) -> tuple[float, float]:
    """Student's t."""
    reach = stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size)
    return max(values.mean() - reach, limits[0]), min(values.mean() + reach, limits[1])


def bootstrap_t(values: Values, limits: tuple[float, float]) -> tuple[float, float]:
    """Resampled t; draws without spread are left out."""
    draws = values[resample(values.size, 999)]
    spread = draws.std(axis=1, ddof=1)
    if not (spread > 0).any():
        return math.nan, math.nan
    t = (draws.mean(axis=1)[spread > 0] - values.mean()) / spread[spread > 0]
    high, low = values.mean() - np.quantile(t, [0.025, 0.975]) * values.std(ddof=1)
    return max(low, limits[0]), min(high, limits[1])


INTERVALS: dict[str, Callable[[Values, tuple[float, float]], tuple[float, float]]] = {
    "calibeval": lambda values, limits: mean_interval(values, limits=limits),
    "percentile": percentile,
    "Student": student,
    "bootstrap-t": bootstrap_t,
}


def _dice(random: Random, sizes: Values) -> tuple[Values, Values]:
    overlap = np.clip(random.beta(8, 2, sizes.size) + 0.03 * np.log(sizes), 0, 1)  # the larger, the better
    return overlap * sizes, sizes


# What is summed above and below the line, of cases of these sizes.
POOLED: dict[str, Callable[[Random, Values], tuple[Values, Values]]] = {
    "DSC": _dice,
    "recall": lambda random, sizes: (sizes * random.beta(4, 1.5, sizes.size), sizes),
    "gap": lambda random, sizes: (sizes * random.normal(0.05, 0.04, sizes.size), sizes),
    "Brier": lambda random, sizes: (sizes * random.gamma(4, 0.02, sizes.size), np.full(sizes.size, 50.0)),
    "NLL": lambda random, sizes: (sizes * np.exp(random.normal(-3, 0.7, sizes.size)), sizes**0.3),
}


def pooled(runs: int) -> None:
    """Print the table of pooled numbers."""
    print("| number | sd of log size | 8 cases | 12 | 25 |\n|---|---|---|---|---|")
    for name, draw in POOLED.items():
        for spread in (0.3, 0.6, 1.0):
            above, below = draw(np.random.default_rng(99), _sizes(np.random.default_rng(98), 2_000_000, spread))
            truth = above.sum() / below.sum()
            cells = []
            for n in (8, 12, 25):
                random = np.random.default_rng([1012, n])
                hits = sum(_holds(name, draw, _sizes(random, n, spread), random, truth) for _ in range(runs))
                cells.append(f"{hits / runs:.1%}")
            print(f"| {name} | {spread} | {' | '.join(cells)} |", flush=True)


def _sizes(random: Random, n: int, spread: float) -> Values:
    return np.exp(random.normal(0, spread, n))


def _holds(name: str, draw: Any, sizes: Values, random: Random, truth: float) -> bool:
    above, below = draw(random, sizes)
    value, without = above.sum() / below.sum(), (above.sum() - above) / (below.sum() - below)
    low, high = interval_of(name, "all", value, without, {"": sizes})
    return bool(low <= truth <= high)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--pooled", action="store_true")
    options = parser.parse_args()
    runs = options.runs
    if options.pooled:
        pooled(runs)
        return
    print(f"| values | cases | {' | '.join(INTERVALS)} |\n|---|---|{'---|' * len(INTERVALS)}")
    for name, (draw, mean, limits) in DISTRIBUTIONS.items():
        for n in CASES:
            random = np.random.default_rng([1001, n])
            tables = [draw(random, n) for _ in range(runs)]
            cells = []
            for interval in INTERVALS.values():
                ends = np.array([interval(values, limits) for values in tables])
                width = np.nanmedian(ends[:, 1] - ends[:, 0])
                cells.append(f"{np.mean((ends[:, 0] <= mean) & (mean <= ends[:, 1])):.1%} ({width:.2f})")
            print(f"| {name} | {n} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
