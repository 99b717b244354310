"""Level and power of the tests of pairs that `calibeval rank` offers: `python -m tests.benchmarks.ranking`.

Each table holds the scores of k methods in five metrics, correlated at .3 within a case, on n cases; the tests see
ranks averaged over the metrics. Printed are the shares of tables in which a test (joint with the cluster permutation,
as the verdict demands) finds any pair though all methods are equal (null), finds a pair of equal ones beside a far
better method (partial null), and finds a method that is better by one standard deviation of a case (power).
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from calibeval.ranking.design import Blocks
from calibeval.ranking.friedman import permutation_test
from calibeval.ranking.posthoc import POSTHOC, posthoc_tests

METRICS, CORRELATION, ALPHA = 5, 0.3, 0.05
DESIGNS = ((3, 12), (9, 10), (9, 30))  # methods, cases
SHIFTS = {"null": 0.0, "partial null": 6.0, "power": 1.0}  # of the first method, in standard deviations


def draw_scores(random: np.random.Generator, k: int, n: int, shift: float) -> NDArray[np.float64]:
    """Mean ranks (n, k) over the metrics; lower is better."""
    shared, own = random.standard_normal((n, 1, k)), random.standard_normal((n, METRICS, k))
    latent = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own
    latent[..., 0] -= shift
    return np.asarray(rankdata(latent, axis=-1).mean(axis=1))


def found(scores: NDArray[np.float64], which: str) -> list[bool]:
    """Whether each test finds what it is asked for."""
    k = scores.shape[1]
    pairs = np.triu(np.ones((k, k), bool), 1)
    if which != "null":
        pairs[0] = which == "power"
        pairs[1:] &= which != "power"
    if not permutation_test(scores, 0).p < ALPHA:
        return [False] * len(POSTHOC)
    tests = posthoc_tests(Blocks(scores, scores, np.arange(len(scores))), ALPHA)
    return [bool((tests.adjusted(name)[pairs] < ALPHA).any()) for name in POSTHOC]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print(f"| methods | cases | | {' | '.join(POSTHOC)} |\n|---|---|---|{'---|' * len(POSTHOC)}")
    for k, n in DESIGNS:
        for which, shift in SHIFTS.items():
            random = np.random.default_rng([9, k, n])
            shares = np.mean([found(draw_scores(random, k, n, shift), which) for _ in range(runs)], axis=0)
            print(f"| {k} | {n} | {which} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
