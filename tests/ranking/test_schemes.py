from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata

from calibeval.metrics.intervals import mean_interval
from calibeval.ranking.design import take_units
from calibeval.ranking.schemes import OrderRule, bootstrap_draws, draw_counts, mean_ranks, places
from calibeval.ranking.stability import kendall_tau, leave_one_out, make_order, paired_effects
from tests.ranking.helpers import design_of

CASE = OrderRule("rank-then-aggregate", "case", 0.05)
PLANS = [
    CASE,
    OrderRule("rank-then-aggregate", "metric", 0.05),
    OrderRule("aggregate-then-rank", "case", 0.05),
    OrderRule("test", "case", 0.05),
]


def test_rank_then_aggregate_by_hand():
    values = np.array([[[1, 2, 3], [1, 3, 2]], [[2, 1, 3], [1, 1, 5]]], dtype=float)
    found = mean_ranks(design_of(values), CASE)
    assert found.per_metric[0].tolist() == [[1.5, 1.5, 3], [1.25, 2.25, 2.5]]
    assert found.overall[0].tolist() == [1.375, 1.875, 2.75]


def test_the_two_orders_of_ranking_and_averaging_differ():
    # the second method loses narrowly twice and wins once by far
    values = np.array([[[1, 2]], [[1, 2]], [[100, 1]]], dtype=float)
    design = design_of(values)
    assert mean_ranks(design, CASE).overall[0].argmin() == 0
    assert mean_ranks(design, OrderRule("aggregate-then-rank", "case", 0.05)).overall[0].tolist() == [2, 1]


def test_significance_counts_rank_the_clear_winner_first():
    values = np.tile(np.array([1.0, 0.0, 1.0]), (30, 2, 1))
    values[::2, :, 2] += 0.1  # now better, now worse than the first, by the same amount
    values[1::2, :, 2] -= 0.1
    found = mean_ranks(design_of(values), OrderRule("test", "case", 0.05))
    assert found.overall[0].tolist() == [2.5, 1, 2.5]


@pytest.mark.parametrize("plan", PLANS)
def test_draws_give_what_the_drawn_table_gives(plan):
    """Weights stand for repetition: the fast way and the table written out agree."""
    generator = np.random.default_rng(4)
    design = design_of(generator.integers(0, 9, size=(15, 2, 3)).astype(float), datasets=["A", "B", "B"] * 5)
    draws = bootstrap_draws(design.strata, 6, seed=1)
    fast = mean_ranks(design, plan, draws)
    for b, draw in enumerate(draws):
        slow = mean_ranks(take_units(design, draw), plan)
        assert fast.overall[b] == pytest.approx(slow.overall[0])
        assert fast.per_metric[b] == pytest.approx(slow.per_metric[0])


def test_draws_stay_within_their_data_set_and_are_seeded():
    strata = np.array([0, 1, 0, 1, 1])
    draws = bootstrap_draws(strata, 50, seed=3)
    assert draws.shape == (50, 5)
    assert (np.sort(strata[draws], axis=1) == np.sort(strata)).all()
    assert (draws == bootstrap_draws(strata, 50, seed=3)).all()
    assert draw_counts(draws, 5).sum(axis=1).tolist() == [5] * 50


def test_places_share_the_better_one():
    assert places(np.array([2.0, 1.0, 2.0 + 1e-12, 3.0])).tolist() == [2, 1, 2, 4]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7))
def test_kendall_tau_is_scipys(seed, k):
    generator = np.random.default_rng(seed)
    reference, others = (
        generator.integers(0, 4, size=k).astype(float),
        generator.integers(0, 4, size=(3, k)).astype(float),
    )
    expected = [kendalltau(reference, other).statistic for other in others]
    assert kendall_tau(reference, others) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_shares_of_the_first_place_sum_to_one():
    drawn = np.array([[1.0, 1, 2], [1, 2, 3], [3, 1, 2], [1, 1, 1]])
    order = make_order(np.array([1.0, 2, 3]), drawn, 0.05)
    assert order.p_first == pytest.approx([(0.5 + 1 + 1 / 3) / 4, (0.5 + 1 + 1 / 3) / 4, 1 / 12])
    assert order.rank.tolist() == [1, 2, 3]
    assert order.rank_interval[:, 0].tolist() == [1, 3]


def test_effects_are_paired_differences():
    values = np.array([[[1, 3]], [[2, 5]], [[4, 4]], [[2, 4]], [[1, 6]]], dtype=float)
    design = design_of(values)
    (effect,) = paired_effects(design, ("lower",), 0.05)
    assert (effect.a, effect.b, effect.n) == ("m0", "m1", 5)
    assert effect.difference == pytest.approx(-12 / 5)
    assert (effect.low, effect.high) == pytest.approx(mean_interval([-2.0, -3.0, 0.0, -2.0, -5.0]))
    (higher,) = paired_effects(design, ("higher",), 0.05)
    assert higher.difference == pytest.approx(12 / 5)  # values were turned; the effect is in the metric's own sense


def test_one_case_has_no_effect_interval():
    (effect,) = paired_effects(design_of(np.array([[[1.0, 3.0]]])), ("lower",), 0.05)
    assert effect.difference == -2
    assert np.isnan([effect.low, effect.high]).all()


def test_leaving_one_out():
    # the first metric of data set A puts m0 first, everything else m1
    values = np.array([[[1, 5, 6], [3, 2, 4]], [[3, 1, 4], [3, 1, 4]]], dtype=float)
    design = design_of(values, metrics=("x", "y"), datasets=["A", "B"])
    full = mean_ranks(design, CASE).overall[0]
    found = {(item.kind, item.name): item for item in leave_one_out(design, full, CASE, lambda done, total: None)}
    assert set(found) == {
        ("without metric", "x"), ("without metric", "y"), ("without data set", "A"), ("without data set", "B"),
        ("without method", "m0"), ("without method", "m1"), ("without method", "m2"),
    }  # fmt: skip
    assert found["without data set", "B"].first == ("m0", "m1")
    assert found["without method", "m1"].first == ("m0",)
    for (kind, name), item in found.items():
        if kind == "without method":
            keep = [i for i in range(3) if f"m{i}" != name]
            again = rankdata(values[..., keep], axis=-1).mean(axis=(0, 1))
            assert item.kendall_tau == pytest.approx(kendalltau(full[keep], again).statistic, nan_ok=True)
