"""Level and power of the test of calibration: `python -m tests.benchmarks.calibration_test [RUNS]`, 1000 by default.

*Blobs*: each case is one lesion of 100 voxels, wholly true with the stated probability p: the hardest calibrated model,
since the labels come in all-or-nothing pieces. *Lesions*: each case has K lesions of 30 to 300 voxels, wholly true with
probabilities between .02 and .98, of which the model tells the truth or, for the power, odds^1.6. Rejected at .05 is
given as a share of all runs, and beside it the share in which there was a p at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.calibration_test import sign_flip_test

BINS = 15
Case = tuple[NDArray[np.float64], NDArray[np.bool_]]  # probabilities and outcomes of its voxels
Draw = Callable[[np.random.Generator], Case]


def blob(p: float) -> Draw:
    """A lesion of 100 voxels that is there with probability p, and said to be so."""
    return lambda random: (np.full(100, p), np.full(100, random.random() < p))


def lesions(count: int, power: float) -> Draw:
    """Several lesions; the model reports their odds to a power."""

    def draw(random: np.random.Generator) -> Case:
        true, size = random.uniform(0.02, 0.98, count), random.integers(30, 300, count)
        odds = (true / (1 - true)) ** power
        return np.repeat(odds / (1 + odds), size), np.repeat(random.random(count) < true, size)

    return draw


def sums(cases: list[Case]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Gaps and outcomes (groups, 2 classes, bins)."""
    gaps = np.zeros((len(cases), 2, BINS))
    count = np.zeros((2, *gaps.shape))
    for i, (p, y) in enumerate(cases):
        for c, (of_class, target) in enumerate(((1 - p, ~y), (p, y))):
            cell = np.ceil(of_class * BINS).astype(int) - 1
            np.add.at(gaps[i, c], cell, of_class - target)
            np.add.at(count[0, i, c], cell, ~target)
            np.add.at(count[1, i, c], cell, target)
    return gaps, count[1] > 0, count[0] > 0


def rejected(draw: Draw, n: int, runs: int) -> tuple[float, float]:
    """Shares of runs that reject at .05, and that have a p."""
    random = np.random.default_rng(n)
    p = [sign_flip_test(*sums([draw(random) for _ in range(n)]))[0] for _ in range(runs)]
    return sum(value is not None and value <= 0.05 for value in p) / runs, sum(v is not None for v in p) / runs


def rows(runs: int) -> Iterator[str]:
    """Lines of a markdown table."""
    models = {f"blob, p = {p:g}": blob(p) for p in (0.02, 0.1, 0.3, 0.5, 0.98)}
    for count in (5, 20, 100):
        models |= {f"{count} lesions, odds^{power:g}": lesions(count, power) for power in (1, 1.6)}
    yield "| model | n = 8 | n = 12 | n = 20 |"
    yield "|---|---|---|---|"
    for name, draw in models.items():
        cells = (f"{share:.3f} ({there:.2f})" for share, there in (rejected(draw, n, runs) for n in (8, 12, 20)))
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        print(line, flush=True)
