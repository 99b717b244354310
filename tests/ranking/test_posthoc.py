from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibeval.ranking.design import Blocks
from calibeval.ranking.posthoc import (
    against_control,
    conover_friedman,
    critical_difference,
    holm,
    nemenyi,
    permuted_range,
    posthoc_tests,
    signed_rank_pairs,
    significant_wins,
    smallest_wilcoxon_holm,
)


def ranked(values):
    return stats.rankdata(values, axis=-1)


def tables(most_blocks=14):
    """Random (blocks, methods) with many ties and zero differences."""
    return st.tuples(st.integers(0, 10**6), st.integers(4, most_blocks), st.integers(3, 5), st.integers(4, 30)).map(
        lambda draw: np.random.default_rng(draw[0]).integers(0, draw[3], size=draw[1:3]).astype(float)
    )


@settings(max_examples=25, deadline=None)
@given(tables())
def test_nemenyi_is_that_of_scikit_posthocs(values):
    peer = pytest.importorskip("scikit_posthocs")
    expected = peer.posthoc_nemenyi_friedman(values).to_numpy()
    assert nemenyi(ranked(values)) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(tables())
def test_conover_is_that_of_scikit_posthocs(values):
    peer = pytest.importorskip("scikit_posthocs")
    scores = ranked(values)
    ours = conover_friedman(scores)
    if np.isnan(ours).any() or np.ptp(scores, axis=1).max() == 0:
        return  # the peer divides by zero there
    assert ours == pytest.approx(peer.posthoc_conover_friedman(values).to_numpy(), abs=1e-9)


@pytest.mark.parametrize("blocks", [6, 9, 14, 30, 60])
@pytest.mark.parametrize("values", ["ties", "no ties"])
def test_wilcoxon_with_holm_is_that_of_scikit_posthocs(blocks, values):
    peer = pytest.importorskip("scikit_posthocs")
    generator = np.random.default_rng(blocks)
    table = generator.normal(size=(blocks, 4)) + np.arange(4) * 0.4
    if values == "ties":
        table = np.round(table * 2)
    assert signed_rank_pairs(table) == pytest.approx(peer.posthoc_wilcoxon(table.T).to_numpy(), abs=1e-9)
    expected = peer.posthoc_wilcoxon(table.T, p_adjust="holm").to_numpy()
    ours = posthoc_tests(Blocks(ranked(table), table, np.arange(blocks)), 0.05).wilcoxon_holm
    assert ours == pytest.approx(expected, abs=1e-9)


def test_differences_are_rounded_before_ties_are_sought():
    table = np.array([[0.3, 0.1], [0.2, 0.0], [0.5, 0.3], [0.1, 0.3]])
    # as stored, .3 - .1 and .2 differ; as meant, all four differences tie: P(W+ <= 2.5 or >= 7.5) = 10/16
    assert signed_rank_pairs(table)[0, 1] == pytest.approx(10 / 16)


def test_two_failed_cases_do_not_differ():
    table = np.array([[np.inf, np.inf], [np.inf, 1.0], [2.0, 1.0], [3.0, 1.0]])
    assert signed_rank_pairs(table)[0, 1] == pytest.approx(2 / 8)


def test_holm_is_that_of_statsmodels():
    peer = pytest.importorskip("statsmodels.stats.multitest")
    generator = np.random.default_rng(0)
    for number in range(1, 41, 5):
        p = np.round(generator.random(number) ** 2, 2)  # rounded: some tie
        assert holm(p) == pytest.approx(peer.multipletests(p, method="holm")[1], abs=1e-12)


def test_holm_by_hand_leaves_undefined_out():
    assert holm(np.array([0.04, math.nan, 0.01, 0.03])) == pytest.approx([0.06, math.nan, 0.03, 0.06], nan_ok=True)


def test_critical_difference_of_the_books():
    # Demsar (2006), table 5: q.05 = 2.569 for 4 and 3.102 for 9 classifiers
    assert critical_difference(4, 14, 0.05) == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert critical_difference(9, 2, 0.05) > 8
    assert critical_difference(9, 10, 0.05) == pytest.approx(3.102 * math.sqrt(90 / 60), abs=1e-3)


def test_smallest_p_of_nine_methods_on_ten_blocks():
    assert smallest_wilcoxon_holm(9, 10) == pytest.approx(0.0703, abs=5e-5)
    # and it is attained: one method is always better than all others by distinct amounts
    table = np.random.default_rng(0).normal(size=(10, 9))
    table[:, 0] = table.min(axis=1) - np.arange(1, 11)
    assert posthoc_tests(Blocks(ranked(table), table, np.arange(10)), 0.05).wilcoxon_holm.min() >= 0.0703


def test_perfect_agreement_is_certain_for_conover():
    """t grows without bound as the blocks come to agree, so its p is 0 for methods that differ and 1 for ties."""
    scores = np.array([[1.0, 2.5, 2.5]] * 5)
    assert conover_friedman(scores).tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert np.isnan(conover_friedman(scores[:1])[0, 1])


def test_all_tied_gives_one_everywhere():
    scores = np.full((5, 3), 2.0)
    found = posthoc_tests(Blocks(scores, scores, np.arange(5)), 0.05)
    for p in (found.nemenyi, found.conover, found.wilcoxon_holm):
        assert p == pytest.approx(np.ones((3, 3)))


def test_control_compares_fewer_pairs():
    table = np.random.default_rng(1).normal(size=(20, 4)) + np.arange(4) * 0.8
    blocks = Blocks(ranked(table), table, np.arange(20))
    p = against_control(blocks, 0, "wilcoxon-holm")
    assert np.isnan(p[0])
    assert p[1:] == pytest.approx(holm(signed_rank_pairs(table)[0, 1:]))
    means = blocks.scores.mean(axis=0)
    z = (means[1:] - means[0]) / math.sqrt(4 * 5 / (6 * 20))
    assert against_control(blocks, 0, "nemenyi")[1:] == pytest.approx(holm(2 * stats.norm.sf(np.abs(z))))
    assert against_control(blocks, 2, "conover")[[0, 1, 3]] == pytest.approx(
        holm(conover_friedman(blocks.scores)[2, [0, 1, 3]])
    )


def test_significant_wins_count_the_better_side():
    generator = np.random.default_rng(0)
    base = generator.normal(size=(30, 1))
    table = np.concatenate([base + 3, base, base + 3 + generator.normal(size=(30, 1)) * 0.1], axis=1)
    assert significant_wins(table, 0.05).tolist() == [0, 2, 0]


def brute_ranges(scores):
    """Largest minus smallest total under every arrangement of every cluster."""
    orders = [list(order) for order in permutations(range(scores.shape[1]))]
    return np.array(
        [
            np.ptp(sum(row[order] for row, order in zip(scores, chosen, strict=True)))
            for chosen in product(orders, repeat=len(scores))
        ]
    )


@pytest.mark.parametrize(("clusters", "k"), [(1, 3), (2, 3), (4, 3), (3, 4), (7, 2)])
def test_the_permuted_range_is_that_of_all_arrangements(clusters, k):
    scores = ranked(np.random.default_rng(clusters).integers(0, 6, size=(clusters, 3, k))).mean(axis=1)
    p, cd = permuted_range(scores, 0.2, seed=0)
    ranges, totals = brute_ranges(scores), scores.sum(axis=0)
    for a in range(k):
        for b in range(k):
            gap = abs(totals[a] - totals[b])
            assert p[a, b] == pytest.approx((ranges >= gap - 1e-9).mean() if gap > 1e-9 else 1.0)
    assert (ranges > cd + 1e-9).mean() <= 0.2 < (ranges >= cd - 1e-9).mean() + 1e-12


def test_a_sampled_range_is_near_the_exact_one(monkeypatch):
    scores = ranked(np.random.default_rng(5).normal(size=(5, 4)) + np.arange(4) * 0.7)
    exact, _ = permuted_range(scores, 0.05, seed=0)
    monkeypatch.setattr("calibeval.ranking.friedman.EXACT_LIMIT", 1)
    sampled, _ = permuted_range(scores, 0.05, seed=0)
    assert sampled == pytest.approx(exact, abs=0.02)
    assert sampled[0, 3] != exact[0, 3]


def test_a_control_exchanges_two_labels_alone():
    """The sign test of sums: five cases, all in favour, by different amounts: 2 of 32 signs are as extreme."""
    scores = np.array([[1.0, 3.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]])
    p = against_control(Blocks(scores, scores, np.arange(5)), 0, "permutation")
    assert np.isnan(p[0])
    assert p[1:] == pytest.approx(holm(np.array([2 / 32, 2 / 32])))


def test_five_metrics_leave_the_permuted_range_its_level_and_its_power():
    """Where Nemenyi's critical difference finds a tenth of it: 9 methods, 10 cases, metrics correlated at .3."""
    random = np.random.default_rng(9)

    def found(shift):
        latent = np.sqrt(0.3) * random.standard_normal((10, 1, 9)) + np.sqrt(0.7) * random.standard_normal((10, 5, 9))
        latent[..., 0] -= shift
        scores = ranked(latent).mean(axis=1)
        return [test[0, 1:].min() <= 0.05 for test in (permuted_range(scores, 0.05, 0)[0], nemenyi(scores))]

    level, power = (np.mean([found(shift) for _ in range(60)], axis=0) for shift in (0.0, 1.0))
    assert level[0] <= 0.12
    assert power[0] > 0.6 > 0.3 > power[1]
