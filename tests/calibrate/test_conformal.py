"""Conformal risk control: by hand, and the promise by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from calibeval.calibrate.conformal import (
    STEPS,
    Counts,
    check_groups,
    count_steps,
    false_rates,
    group_losses,
    inner_threshold,
    miss_rates,
    outer_threshold,
    steps_of,
    thresholds,
)
from calibeval.errors import UsageError
from calibeval.io.probabilities import array_source


def counts_of(p, y):
    source = array_source(np.stack([1 - p, p]).reshape(2, 1, -1))
    return count_steps(source, 1, y.astype(bool), np.ones(p.size, bool))


def test_rates_by_hand():
    """Four voxels of the class at .1, .4, .4, .9 and two others at .4, .95."""
    p, y = np.array([0.1, 0.4, 0.4, 0.9, 0.4, 0.95]), np.array([1, 1, 1, 1, 0, 0])
    counts = counts_of(p, y)
    missed, wrong = miss_rates(counts), false_rates(counts)
    at = {round(1000 * t): t for t in (0.0, 0.1, 0.399, 0.4, 0.9, 0.95)}
    assert [missed[k] for k in at] == [0, 0.25, 0.25, 0.75, 1, 1]
    # above 0: 2 of 6 wrong, above .4: 1 of 2, above .9: 1 of 1; the largest from each threshold on is 1 up to .95
    assert [wrong[k] for k in at] == [1, 1, 1, 1, 1, 0]
    assert (np.diff(missed) >= 0).all() and (np.diff(wrong) <= 0).all()


def test_a_threshold_lies_on_the_side_of_its_step():
    p = np.array([0.0, 0.0005, 0.001, 0.0011, 0.5, 1.0])
    assert steps_of(p).tolist() == [0, 1, 1, 2, 500, 1000]


def test_a_class_that_is_not_there_loses_nothing():
    empty = Counts(np.zeros(STEPS + 1, np.int64), np.ones(STEPS + 1, np.int64))
    assert not miss_rates(empty).any()
    assert false_rates(empty).all()


def test_the_threshold_is_the_loosest_that_holds():
    """Nine groups at alpha .1 allow no loss at all: (sum + 1) / 10 <= .1; nineteen allow a sum of 1."""
    losses = np.zeros((9, STEPS))
    losses[0, 300:] = 0.01
    assert outer_threshold(losses, 0.1) == 0.299
    more = np.zeros((19, STEPS))
    more[:10, 500:] = 0.1
    more[:, 700:] = 0.2
    assert outer_threshold(more, 0.1) == 0.699
    assert inner_threshold(more[:, ::-1], 0.1) == 0.3
    assert inner_threshold(np.ones((9, STEPS)), 0.1) == 1.0


def test_groups_are_the_unit():
    losses = {"a1": np.full(STEPS, 0.2), "a2": np.full(STEPS, 0.4), "b": np.zeros(STEPS)}
    found = group_losses(losses, {"a1": "a", "a2": "a", "b": "b"})
    assert found[:, 0] == pytest.approx([0.3, 0.0])


def test_too_few_groups_are_told_the_number():
    check_groups(9, 0.1)
    with pytest.raises(UsageError, match="takes 9 groups at least, and there are 8"):
        check_groups(8, 0.1)
    with pytest.raises(UsageError, match="takes 19 groups"):
        check_groups(12, 0.05)
    with pytest.raises(UsageError, match="expected a share"):
        check_groups(100, 1.0)


@pytest.mark.parametrize("n", [12, 30])
def test_the_promise_holds_on_new_cases_on_average(n):
    """Cases differ: a model that is shifted by a random amount on the logits. alpha .1; a little less is reached."""
    random = np.random.default_rng(n)

    def case():
        y = random.random(300) < 0.3
        p = 1 / (1 + np.exp(-(3 * (y - 0.5) + random.normal(0, 1) + random.normal(0, 1, 300))))
        return counts_of(p, y)

    missed, wrong = [], []
    for _ in range(40):
        known = {str(i): [case()] for i in range(n)}
        found = thresholds(known, {name: name for name in known}, ["a"], 0.1)["a"]
        for new in (case() for _ in range(10)):
            missed.append(miss_rates(new)[round(found["outer"] * STEPS)])
            inner = round(found["inner"] * STEPS)
            above, right = new.all[inner + 1 :].sum(), new.inside[inner + 1 :].sum()
            wrong.append(1 - right / above if above else 0.0)
    assert 0.005 < np.mean(missed) < 0.1
    assert np.mean(wrong) < 0.1
