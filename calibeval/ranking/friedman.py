"""Do the methods differ at all? Friedman's test, its F form, and permutation tests that keep clusters together.

R is an (n, k) array of scores: in each of n blocks the ranks of k methods, or ranks averaged over metrics. Under the
null hypothesis the methods' labels are exchangeable within an independent cluster. Sources: Friedman (1937),
doi:10.1080/01621459.1937.10503522; Iman and Davenport (1980), doi:10.1080/03610928008827904; Conover, "Practical
Nonparametric Statistics" (1999), section 5.8; Kendall and Babington Smith (1939), doi:10.1214/aoms/1177732186.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.ranking.design import Blocks
from calibeval.ranking.scores import Array

EXACT_LIMIT = 1_000_000  # enumerate all arrangements of the labels up to this number
SAMPLES = (999, 9_999)  # smallest and largest number of sampled arrangements
_SHUFFLES = 100_000_000  # aim for no more shuffled elements than these, which take about a second
_CHUNK = 500_000  # elements at once, so that they stay in the processor's cache
_LARGEST_LOG = 700.0  # of a number that is still a float
_TOLERANCE = 1e-9  # relative; arrangements that tie with the observed one count as at least as extreme


class Permutation(NamedTuple):
    """A permutation p-value: the share of arrangements at least as extreme as the observed one.

    Attributes:
        p: exact, or (1 + hits) / (1 + arrangements) when sampled.
        exact: whether every arrangement was enumerated.
        arrangements: number of arrangements looked at.
        smallest: smallest p that this number of clusters can give, ties apart.
    """

    p: float
    exact: bool
    arrangements: int
    smallest: float


class Friedman(NamedTuple):
    """Results of the overall test; NaN where a number does not exist.

    Attributes:
        chi2: Friedman's statistic, corrected for ties.
        p: of chi2 with k-1 degrees of freedom; poor for few blocks.
        f: Iman and Davenport's F; infinite (then NaN here) when all blocks agree.
        f_p: of F with (k-1, (k-1)(n-1)) degrees of freedom.
        permutation: with each block permuted on its own.
        cluster_permutation: with all blocks of a cluster permuted alike.
        kendall_w: agreement of the blocks, from 0 to 1.
        n_blocks: n.
        n_methods: k.
        n_clusters: number of independent clusters.
    """

    chi2: float
    p: float
    f: float
    f_p: float
    permutation: Permutation
    cluster_permutation: Permutation
    kendall_w: float
    n_blocks: int
    n_methods: int
    n_clusters: int


def friedman_test(blocks: Blocks, seed: int, tick: Callable[[int, int], None] | None = None) -> Friedman:
    """Test whether the methods' scores differ.

    chi2 = (k-1) sum_j (sum_i (R_ij - Rbar_i))^2 / sum_ij (R_ij - Rbar_i)^2, which for ranks is Friedman's statistic
    with its correction for ties, 12/(nk(k+1)) sum_j R_j^2 - 3n(k+1) divided by C; it also holds for two methods and
    for ranks averaged over metrics. F = (n-1) chi2 / (n(k-1) - chi2); W = chi2 / (n(k-1)).

    Args:
        blocks: the scores and clusters.
        seed: of the sampled permutations.
        tick: called with (arrangements done, arrangements in all).

    Returns:
        The results. When every block is tied, chi2, p, F and W are NaN and the permutation p-values 1.
    """
    from scipy.stats import chi2 as chi2_distribution
    from scipy.stats import f as f_distribution

    n, k = blocks.scores.shape
    chi2 = friedman_statistic(blocks.scores)
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > _TOLERANCE * n * k and n > 1 else math.nan
    cluster_scores = blocks.cluster_scores
    clustered = permutation_test(cluster_scores, seed, tick)
    alone = clustered if len(cluster_scores) == n else permutation_test(blocks.scores, seed, tick)
    return Friedman(
        chi2=chi2,
        p=float(chi2_distribution.sf(chi2, k - 1)),
        f=f,
        f_p=float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1))) if n > 1 else math.nan,
        permutation=alone,
        cluster_permutation=clustered,
        kendall_w=chi2 / (n * (k - 1)),
        n_blocks=n,
        n_methods=k,
        n_clusters=len(cluster_scores),
    )


def friedman_statistic(scores: Array) -> float:
    """Friedman's chi2 of (n, k) scores; see `friedman_test`. NaN when every block is tied."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = float((centred**2).sum())
    if spread <= _TOLERANCE * scores.size:
        return math.nan
    return float((scores.shape[1] - 1) * (centred.sum(axis=0) ** 2).sum() / spread)


def permutation_test(cluster_scores: Array, seed: int, tick: Callable[[int, int], None] | None = None) -> Permutation:
    """Permute the methods' labels within each cluster; the statistic is the sum of squared score totals.

    That statistic orders the arrangements as Friedman's chi2 does, whose other parts no permutation changes.

    Args:
        cluster_scores: (clusters, k) scores summed over a cluster's blocks.
        seed: of the random generator.
        tick: called with (arrangements done, arrangements in all).
    """
    clusters, k = cluster_scores.shape
    log_arrangements = (clusters - 1) * math.lgamma(k + 1)  # the number itself may have a million digits
    smallest = 1 / math.factorial(k) ** (clusters - 1) if log_arrangements < _LARGEST_LOG else 0.0
    centred = cluster_scores - cluster_scores.mean(axis=1, keepdims=True)
    threshold = float((centred.sum(axis=0) ** 2).sum()) - _TOLERANCE * max(1.0, float((centred**2).sum()))
    hits = arrangements = 0
    for totals in permuted_totals(cluster_scores, seed, tick):
        hits += int(((totals**2).sum(axis=1) >= threshold).sum())
        arrangements += len(totals)
    if is_exact(clusters, k):
        return Permutation(hits / arrangements, True, arrangements, smallest)
    return Permutation((hits + 1) / (arrangements + 1), False, arrangements, smallest)


def is_exact(clusters: int, k: int) -> bool:
    """Whether all k!^(clusters-1) arrangements that differ are enumerated: when they are at most `EXACT_LIMIT`."""
    return max(clusters - 1, 1) * math.lgamma(k + 1) <= math.log(EXACT_LIMIT)


def permuted_totals(
    cluster_scores: Array, seed: int, tick: Callable[[int, int], None] | None = None
) -> Iterator[Array]:
    """Totals (some, k) of the centred scores under permutations of the labels within clusters, in parts.

    They are all that differ, the observed one among them, where that is possible (`is_exact`); otherwise a seeded
    sample, to which the observed one has to be added.
    """
    centred = cluster_scores - cluster_scores.mean(axis=1, keepdims=True)
    if is_exact(*cluster_scores.shape):
        yield from _enumerate(centred)
    else:
        yield from _sample(centred, seed, tick)


def _enumerate(centred: Array) -> Iterator[Array]:
    """Every arrangement once; the first cluster stays as it is, since renaming all methods alike changes nothing."""
    k, totals = centred.shape[1], centred[:1]
    for scores in centred[1:-1]:
        totals = (totals[:, None, :] + scores[_orders(k)]).reshape(-1, k)
    last = centred[-1][_orders(k)] if len(centred) > 1 else np.zeros((1, k))
    step = max(1, _CHUNK // last.size)
    for start in range(0, len(totals), step):
        yield (totals[start : start + step, None, :] + last).reshape(-1, k)


@lru_cache(maxsize=1)
def _orders(k: int) -> NDArray[np.int8]:
    """All k! orders of k methods."""
    flat = chain.from_iterable(permutations(range(k)))
    return np.fromiter(flat, dtype=np.int8, count=math.factorial(k) * k).reshape(-1, k)


def _sample(centred: Array, seed: int, tick: Callable[[int, int], None] | None = None) -> Iterator[Array]:
    total = min(max(SAMPLES[0], _SHUFFLES // centred.size), SAMPLES[1])
    generator = np.random.Generator(np.random.SFC64(seed))  # a third faster here than the default
    step = max(1, _CHUNK // centred.size)
    for start in range(0, total, step):
        size = min(step, total - start)
        yield generator.permuted(np.broadcast_to(centred, (size, *centred.shape)), axis=2).sum(axis=1)
        if tick is not None:
            tick(start + size, total)
