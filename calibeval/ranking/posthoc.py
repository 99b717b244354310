"""Which methods differ? Permuted ranges, Nemenyi, Conover and Wilcoxon with Holm, for all pairs or against a control.

R is (n, k): scores of k methods in n blocks, lower is better. The permuted range is the default: it assumes nothing of
the scores, so it holds for ranks averaged over metrics too, for which Nemenyi's critical difference is too wide
(measured with 5 metrics, 9 methods and 10 cases: it finds a method that is better by one standard deviation in 9% of
tables, the permuted range in 87%); Conover's test with Holm calls two equal methods different in 16% of tables that
hold a third, far better one. Sources: Nemenyi (1963) and Demsar (2006),
jmlr.org/papers/v7/demsar06a.html; Conover and Iman (1979), LA-7677-MS; Wilcoxon (1945), doi:10.2307/3001968;
Holm (1979), Scandinavian Journal of Statistics 6:65.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.intervals import SEED
from calibeval.ranking.design import Blocks
from calibeval.ranking.friedman import is_exact, permuted_totals
from calibeval.ranking.scores import Array

POSTHOC = ("permutation", "nemenyi", "conover", "wilcoxon-holm")
_DECIMALS = 10  # differences are rounded so that 0.3 - 0.1 and 0.2 tie
_TIE = 1e-9  # totals that differ by less are equal but for rounding
_HUGE = 1e100  # beyond it rounding overflows, and changes nothing
_ENUMERATED = 13  # with ties, all 2^n signs are enumerated up to here, as scipy does


class Posthoc(NamedTuple):
    """P-values (k, k) of all pairs; 1 on the diagonal, NaN where undefined.

    Attributes:
        permutation: adjusted for all pairs by the range of the methods' totals under permuted labels.
        permutation_cd: difference of mean scores that such ranges exceed with the probability alpha.
        nemenyi: adjusted for all pairs by the studentised range.
        cd: Nemenyi's critical difference of mean ranks.
        conover: not adjusted.
        conover_holm: adjusted by Holm's method.
        wilcoxon: signed-rank test, not adjusted.
        wilcoxon_holm: adjusted by Holm's method.
        lower: (k, k) whether the first has the lower mean score.
        signed_ranks: (k, k) whether the signed ranks favour the first.
        n_blocks: n.
    """

    permutation: Array
    permutation_cd: float
    nemenyi: Array
    cd: float
    conover: Array
    conover_holm: Array
    wilcoxon: Array
    wilcoxon_holm: Array
    lower: NDArray[np.bool_]
    signed_ranks: NDArray[np.bool_]
    n_blocks: int

    def adjusted(self, name: str) -> Array:
        """The adjusted p-values of a test named as in `POSTHOC`."""
        return {
            "permutation": self.permutation,
            "nemenyi": self.nemenyi,
            "conover": self.conover_holm,
            "wilcoxon-holm": self.wilcoxon_holm,
        }[name]

    def favours(self, name: str) -> NDArray[np.bool_]:
        """Pairs (k, k) in which a test's statistic favours the first method; the tests themselves are two-sided."""
        return self.signed_ranks if name == "wilcoxon-holm" else self.lower

    def critical(self, name: str) -> float:
        """The critical difference of mean scores of a test that has one, else NaN."""
        return {"permutation": self.permutation_cd, "nemenyi": self.cd}.get(name, math.nan)


def posthoc_tests(blocks: Blocks, alpha: float, seed: int = SEED) -> Posthoc:
    """Compare all pairs of methods by all tests.

    Args:
        blocks: n blocks of k methods.
        alpha: level of the critical differences.
        seed: of sampled permutations.
    """
    n, k = blocks.scores.shape
    permuted, permuted_cd = permuted_range(blocks.cluster_scores, alpha, seed)
    conover = conover_friedman(blocks.scores)
    wilcoxon, means = signed_rank_pairs(blocks.keys), blocks.scores.mean(axis=0)
    return Posthoc(
        permutation=permuted,
        permutation_cd=permuted_cd / n,
        nemenyi=nemenyi(blocks.scores),
        cd=critical_difference(k, n, alpha),
        conover=conover,
        conover_holm=_holm_pairs(conover),
        wilcoxon=wilcoxon,
        wilcoxon_holm=_holm_pairs(wilcoxon),
        lower=np.round(means[:, None] - means, _DECIMALS) < 0,
        signed_ranks=_favoured_by_signed_ranks(blocks.keys),
        n_blocks=n,
    )


def permuted_range(cluster_scores: Array, alpha: float, seed: int) -> tuple[Array, float]:
    """Test all pairs by the range of the totals when labels are permuted within clusters.

    p of a pair is the share of arrangements whose largest total exceeds the smallest by at least the pair's
    difference; so the family of all pairs keeps its level, whatever the metrics of a case have in common.

    Args:
        cluster_scores: (clusters, k) scores summed over a cluster's blocks.
        alpha: level of the critical difference.
        seed: of sampled permutations.

    Returns:
        P-values (k, k), and the critical difference of totals.
    """
    ranges = np.concatenate([np.ptp(totals, axis=1) for totals in permuted_totals(cluster_scores, seed)])
    totals = cluster_scores.sum(axis=0)
    difference = np.abs(totals[:, None] - totals)
    sampled = 0 if is_exact(*cluster_scores.shape) else 1  # the observed arrangement, which a sample lacks
    ranges = np.sort(ranges)
    beyond = ranges.size - np.searchsorted(ranges, difference - _TIE)
    p = np.where(difference > _TIE, (beyond + sampled) / (ranges.size + sampled), 1.0)
    return p, float(np.quantile(ranges, 1 - alpha, method="higher"))


def critical_difference(k: int, n: int, alpha: float) -> float:
    """Nemenyi's CD = q sqrt(k(k+1) / (6n)), q the studentised range's upper alpha point over sqrt 2."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))


def nemenyi(scores: Array) -> Array:
    """P-values (k, k) of differences of mean ranks against the studentised range of k infinite-df groups."""
    from scipy.stats import studentized_range

    n, k = scores.shape
    upper = np.triu_indices(k, 1)
    means = scores.mean(axis=0)
    q = np.abs(means[upper[0]] - means[upper[1]]) / math.sqrt(k * (k + 1) / (12 * n))
    return _matrix(np.clip(studentized_range.sf(q, k, np.inf), 0, 1), k)


def conover_friedman(scores: Array) -> Array:
    """P-values (k, k) of Conover and Iman's t-test of rank sums, not adjusted.

    t = |R_i - R_j| / sqrt(2n(1 - chi2/(n(k-1))) S / ((n-1)(k-1))), S the squared scores about their block means,
    with (n-1)(k-1) degrees of freedom. NaN for one block; when all blocks agree t is infinite, and p 0 where methods
    differ at all.
    """
    from scipy.stats import t as t_distribution

    n, k = scores.shape
    centred = scores - scores.mean(axis=1, keepdims=True)
    sums, spread = centred.sum(axis=0), float((centred**2).sum())
    upper = np.triu_indices(k, 1)
    difference = np.abs(sums[upper[0]] - sums[upper[1]])
    df = (n - 1) * (k - 1)
    rest = spread - float((sums**2).sum()) / n  # = S (1 - chi2/(n(k-1)))
    if spread <= 1e-9 * scores.size:
        return np.ones((k, k))
    if df == 0:
        return _matrix(np.full(len(difference), math.nan), k)
    if rest <= 1e-9 * spread:
        return _matrix(np.where(difference > _TIE, 0.0, 1.0), k)
    return _matrix(2 * t_distribution.sf(difference / math.sqrt(2 * n * rest / df), df), k)


def signed_rank_pairs(keys: Array) -> Array:
    """P-values (k, k) of Wilcoxon's signed-rank test, two-sided, not adjusted.

    Differences are rounded to 10 decimals and zeros dropped. The p-value is exact up to 50 blocks without ties or
    zeros and up to 13 with them, otherwise from the normal distribution without continuity correction, as scipy's.
    """
    return _matrix(signed_rank(_pair_differences(keys)), keys.shape[1])


def significant_wins(keys: Array, alpha: float) -> Array:
    """Number (k,) of methods that each is significantly better than: two-sided Wilcoxon with Holm over all pairs."""
    significant = _matrix(holm(signed_rank(_pair_differences(keys))), keys.shape[1]) < alpha
    return np.asarray((significant & _favoured_by_signed_ranks(keys)).sum(axis=1), dtype=np.float64)


def signed_rank(differences: Array) -> Array:
    """Two-sided p-values (pairs,) of (pairs, n) differences; 1 where all are zero."""
    from scipy.stats import wilcoxon

    p = np.ones(len(differences))
    some = (differences != 0).any(axis=1)
    magnitudes = np.sort(np.abs(differences), axis=1)
    tied = ((magnitudes[:, 1:] == magnitudes[:, :-1]).any(axis=1) | (magnitudes[:, 0] == 0)) & some
    if differences.shape[1] <= _ENUMERATED and tied.any():
        p[tied] = _enumerated_signed_rank(differences[tied])
        some &= ~tied
    for rows in (some & tied, some & ~tied):  # scipy takes the exact way only if no row of the call has a tie
        if rows.any():
            p[rows] = wilcoxon(differences[rows], axis=1, correction=False).pvalue
    return p


def holm(p: Array) -> Array:
    """Holm's adjusted p-values over the last axis; NaN stays and does not count."""
    number = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    order = np.argsort(p, axis=-1)
    steps = np.take_along_axis(p, order, axis=-1) * (number - np.arange(p.shape[-1]))
    adjusted = np.clip(np.maximum.accumulate(steps, axis=-1), None, 1)
    return np.take_along_axis(adjusted, np.argsort(order, axis=-1), axis=-1)


def against_control(blocks: Blocks, control: int, name: str) -> Array:
    """P-values (k,) of every method against one control, adjusted by Holm's method over those k-1; NaN for itself.

    For `nemenyi` the test is that of Dunn: z = (Rbar_i - Rbar_c) / sqrt(k(k+1) / (6n)), two-sided. For `permutation`
    the labels of the two methods alone are exchanged, cluster by cluster.
    """
    from scipy.stats import norm

    n, k = blocks.scores.shape
    if name == "nemenyi":
        means = blocks.scores.mean(axis=0)
        p = 2 * norm.sf(np.abs(means - means[control]) / math.sqrt(k * (k + 1) / (6 * n)))
    elif name == "permutation":
        scores = blocks.cluster_scores
        pairs_of = (permuted_range(scores[:, [method, control]], 1, SEED)[0][0, 1] for method in range(k))
        p = np.fromiter(pairs_of, dtype=np.float64, count=k)
    else:
        pairs = conover_friedman(blocks.scores) if name == "conover" else signed_rank_pairs(blocks.keys)
        p = pairs[control].copy()
    p[control] = math.nan
    return holm(p)


def smallest_wilcoxon_holm(k: int, n: int) -> float:
    """Smallest p that Wilcoxon's test with Holm over all pairs can give: k(k-1)/2 times 2/2^n, at most 1."""
    return min(1.0, k * (k - 1) / 2 * 2.0 ** (1 - n))


def _enumerated_signed_rank(differences: Array) -> Array:
    """Exact two-sided p-values over all 2^n signs of the ranks that remain when zeros are dropped."""
    from scipy.stats import rankdata

    n = differences.shape[1]
    magnitudes = np.abs(differences)
    zeros = magnitudes == 0
    ranks = np.where(zeros, 0.0, rankdata(magnitudes, axis=1) - zeros.sum(axis=1, keepdims=True))
    signs = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    totals = ranks @ signs.T.astype(np.float64)
    observed = np.where(differences > 0, ranks, 0.0).sum(axis=1, keepdims=True)
    tails = np.minimum((totals >= observed).mean(axis=1), (totals <= observed).mean(axis=1))
    return np.asarray(np.minimum(2 * tails, 1.0))


def _favoured_by_signed_ranks(keys: Array) -> NDArray[np.bool_]:
    """Pairs (k, k) whose signed ranks favour the first method: the lower one in the sum of ranked differences."""
    from scipy.stats import rankdata

    differences = _pair_differences(keys)
    sums = (np.sign(differences) * rankdata(np.abs(differences), axis=1)).sum(axis=1)
    first, second = np.triu_indices(keys.shape[1], 1)
    favoured = np.zeros((keys.shape[1],) * 2, dtype=bool)
    favoured[first, second], favoured[second, first] = sums < 0, sums > 0
    return favoured


def _pair_differences(keys: Array) -> Array:
    """Differences (pairs, n) of all pairs, rounded; two failed or two infinite values differ by 0."""
    first, second = np.triu_indices(keys.shape[1], 1)
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.nan_to_num(keys[:, first] - keys[:, second], nan=0.0, posinf=np.inf, neginf=-np.inf)
        return np.where(np.abs(differences) < _HUGE, np.round(differences, _DECIMALS), differences).T


def _holm_pairs(p: Array) -> Array:
    return _matrix(holm(p[np.triu_indices(len(p), 1)]), len(p))


def _matrix(pairs: Array, k: int) -> Array:
    """Symmetric (k, k) with 1 on the diagonal from the upper triangle, row by row."""
    matrix = np.ones((k, k))
    matrix[np.triu_indices(k, 1)] = pairs
    matrix.T[np.triu_indices(k, 1)] = pairs
    return matrix
