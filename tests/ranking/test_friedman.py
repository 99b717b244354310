from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibeval.ranking.design import Blocks
from calibeval.ranking.friedman import friedman_statistic, friedman_test, permutation_test


def ranked(values):
    return stats.rankdata(values, axis=-1)


def blocks_of(scores, cluster=None):
    cluster = np.arange(len(scores)) if cluster is None else np.asarray(cluster)
    return Blocks(scores, scores, cluster)


def random_tables():
    """Tables with few different values, so that most rows hold ties."""
    return st.tuples(st.integers(0, 10**6), st.integers(2, 12), st.integers(3, 6)).map(
        lambda seed: np.random.default_rng(seed[0]).integers(0, 5, size=seed[1:]).astype(float)
    )


@settings(max_examples=60, deadline=None)
@given(random_tables())
def test_statistic_is_scipys(values):
    scores = ranked(values)
    if np.ptp(scores, axis=1).max() == 0:
        assert math.isnan(friedman_statistic(scores))
        return
    expected = stats.friedmanchisquare(*values.T)
    result = friedman_test(blocks_of(scores), seed=0)
    n, k = values.shape
    assert result.chi2 == pytest.approx(expected.statistic, abs=1e-9)
    assert result.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert result.kendall_w == pytest.approx(expected.statistic / (n * (k - 1)), abs=1e-9)


def test_f_and_w_by_hand():
    # three blocks, two agree and one swaps the last two: R = (3, 7, 8), chi2 = 12/36 * 122 - 36 = 14/3
    scores = np.array([[1, 2, 3], [1, 2, 3], [1, 3, 2]], dtype=float)
    result = friedman_test(blocks_of(scores), seed=0)
    assert result.chi2 == pytest.approx(14 / 3)
    assert result.f == pytest.approx(2 * (14 / 3) / (6 - 14 / 3))
    assert result.f_p == pytest.approx(stats.f.sf(7, 2, 4))
    assert result.kendall_w == pytest.approx(7 / 9)


def test_two_methods_are_a_sign_test():
    scores = np.array([[1, 2]] * 7 + [[2, 1]] * 1, dtype=float)
    result = friedman_test(blocks_of(scores), seed=0)
    assert result.chi2 == pytest.approx((7 - 1) ** 2 / 8)
    assert result.permutation.exact
    assert result.permutation.p == pytest.approx(stats.binomtest(1, 8).pvalue)


def test_all_tied_has_no_statistic_and_permutation_p_one():
    result = friedman_test(blocks_of(np.full((4, 3), 2.0)), seed=0)
    assert all(math.isnan(x) for x in (result.chi2, result.p, result.f, result.f_p, result.kendall_w))
    assert result.permutation.p == result.cluster_permutation.p == 1


def test_perfect_agreement_has_no_f():
    result = friedman_test(blocks_of(np.array([[1.0, 2, 3]] * 4)), seed=0)
    assert math.isnan(result.f)
    assert result.kendall_w == pytest.approx(1)
    assert result.permutation.p == pytest.approx(6 / 6**4)


def test_one_block():
    result = friedman_test(blocks_of(np.array([[1.0, 2, 3]])), seed=0)
    assert math.isnan(result.f)
    assert result.permutation == result.cluster_permutation
    assert result.permutation.p == 1 and result.permutation.exact


def enumerate_fully(cluster_scores):
    """Every arrangement of every cluster, the first one too."""
    observed = (cluster_scores.sum(axis=0) ** 2).sum()
    orders = [list(order) for order in permutations(range(cluster_scores.shape[1]))]
    statistics = [
        (sum(row[order] for row, order in zip(cluster_scores, chosen, strict=True)) ** 2).sum()
        for chosen in product(orders, repeat=len(cluster_scores))
    ]
    return np.mean(np.array(statistics) >= observed - 1e-9)


@pytest.mark.parametrize(("clusters", "k"), [(2, 3), (3, 3), (4, 3), (2, 4), (3, 4), (5, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_exact_clusters_against_full_enumeration(clusters, k, seed):
    scores = ranked(np.random.default_rng(seed).integers(0, 6, size=(clusters, 4, k))).sum(axis=1)
    result = permutation_test(scores, seed=0)
    assert result.exact
    assert result.p == pytest.approx(enumerate_fully(scores), abs=1e-12)
    assert result.arrangements == math.factorial(k) ** (clusters - 1)


def test_exact_p_is_scipys_permutation_test():
    values = np.array([[3, 1, 2], [1, 1, 4], [2, 1, 5], [4, 4, 1]], dtype=float)

    def statistic(*methods):
        return stats.friedmanchisquare(*methods).statistic

    expected = stats.permutation_test(
        tuple(values.T), statistic, permutation_type="samples", alternative="greater", n_resamples=6**4
    )
    result = permutation_test(ranked(values), 0)
    assert result.exact
    assert result.p == pytest.approx(expected.pvalue, abs=1e-9)


def test_sampled_p_is_near_the_exact_one(monkeypatch):
    scores = ranked(np.random.default_rng(5).normal(size=(6, 4)) + np.arange(4) * 0.5)
    exact = permutation_test(scores[:5], seed=0)
    monkeypatch.setattr("calibeval.ranking.friedman.EXACT_LIMIT", 1)
    sampled = permutation_test(scores[:5], seed=0)
    assert exact.exact and not sampled.exact
    assert sampled.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / sampled.arrangements) + 1e-4)
    assert permutation_test(scores[:5], seed=0) == sampled


def test_cluster_test_keeps_its_level_where_the_naive_one_does_not():
    # 4 methods on 3 data sets with 5 metrics each, latent correlation .3 between metrics of a data set, no effect
    generator = np.random.default_rng(7)
    tables, k = 400, 4
    shared = generator.normal(size=(tables, 3, 1, k))
    latent = math.sqrt(0.3) * shared + math.sqrt(0.7) * generator.normal(size=(tables, 3, 5, k))
    scores = ranked(latent)
    naive = np.mean([stats.chi2.sf(friedman_statistic(s.reshape(-1, k)), k - 1) <= 0.05 for s in scores])
    clustered = np.mean([permutation_test(s.sum(axis=1), 0).p <= 0.05 for s in scores])
    assert naive > 0.2
    assert stats.binomtest(round(clustered * tables), tables, 0.05).pvalue > 0.01
