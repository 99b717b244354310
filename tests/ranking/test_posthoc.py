from __future__ import annotations

import math

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


def test_perfect_agreement_has_no_conover():
    scores = np.array([[1.0, 2, 3]] * 5)
    assert np.isnan(conover_friedman(scores)[0, 1])
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
