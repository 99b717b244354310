"""What it costs to count two images of a patient as two patients: `python -m tests.benchmarks.groups`.

15 patients of two images, correlated at .6, three methods without any difference. Printed for cases and for patients:
how often the 95% interval of a mean covers, how often the cluster permutation at 5% rejects what is true, and how often
a comparison with a baseline at 5% passes a model that is worse by just its margin. `--seed 10 --runs 1000`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.intervals import mean_interval, mean_upper_bound
from calibeval.ranking import friedman
from calibeval.ranking.design import case_blocks, make_design
from calibeval.ranking.scores import OK, Scores, Unit

PATIENTS, IMAGES, METHODS, CORRELATION = 15, 2, 3, 0.6
OF = tuple(f"p{i}" for i in range(PATIENTS) for _ in range(IMAGES))


def draw(random: np.random.Generator) -> NDArray[np.float64]:
    """Values (images, methods) with mean 0 and variance 1."""
    shared = np.sqrt(CORRELATION) * random.standard_normal((PATIENTS, 1, METHODS))
    own = np.sqrt(1 - CORRELATION) * random.standard_normal((PATIENTS, IMAGES, METHODS))
    values: NDArray[np.float64] = (shared + own).reshape(-1, METHODS)
    return values


def outcomes(values: NDArray[np.float64], groups: Sequence[str] | None, seed: int) -> list[bool]:
    """Whether the interval covers, the permutation rejects, and the gate passes."""
    low, high = mean_interval(values[:, 0], groups)
    units = tuple(Unit("A", f"c{i}") for i in range(len(values)))
    cells = values[:, None, :]
    scores = Scores(
        tuple("abc"), ("loss",), ("lower",), units, cells, np.full(cells.shape, OK, np.int8), True,
        np.zeros(cells.shape[:2], bool), groups=tuple(groups or ()),
    )  # fmt: skip
    blocks = case_blocks(make_design(scores, "error")[0])
    p = friedman.permutation_test(blocks.cluster_scores, seed).p
    return [low <= 0 <= high, p <= 0.05, mean_upper_bound(values[:, 0], 0.05, groups) <= 0]


def main() -> None:
    """Print a line for cases and one for patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    friedman.SAMPLES = (499, 499)
    for name, groups in (("cases", None), ("patients", OF)):
        random = np.random.default_rng(options.seed)
        shares = np.mean([outcomes(draw(random), groups, run) for run in range(options.runs)], axis=0)
        covers, rejects, passes = (f"{share:.1%}" for share in shares)
        print(f"by {name}: interval covers {covers}, permutation rejects {rejects}, gate at the margin passes {passes}")


if __name__ == "__main__":
    main()
