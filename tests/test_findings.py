"""Lesions together: strata, the FROC curve and the confidence of findings, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibeval.findings import RATES, Stratum, froc, froc_score, lesion_confidence, strata
from calibeval.lesion_table import LesionRow


def real(case, confidence=math.nan, *, matched=1, volume=50.0, dsc=0.5):
    return LesionRow(case, "ET", "r1", 1, volume, matched, dsc if matched else math.nan, max_confidence=confidence)


def false(case, confidence):
    return LesionRow(case, "ET", "p1", 1, 50.0, max_confidence=confidence)


def test_strata_count_the_reference_alone():
    rows = [
        real("a", volume=99.9, dsc=0.4),
        real("a", volume=100.0, dsc=0.6),
        real("b", volume=999.0, dsc=0.8),
        real("b", volume=500.0, matched=0),
        real("b", volume=20000.0, matched=0),
        real("b", volume=math.nan),
        false("b", 0.5),
    ]
    found = strata(rows)
    assert found[0] == Stratum(0, 100, 1, 1, 0.4)
    assert found[1] == (100, 1000, 3, 2, pytest.approx(0.7))
    assert found[2][:4] == (10000, math.inf, 1, 0)
    assert math.isnan(found[2].dsc)


def test_the_froc_curve_by_hand():
    """Four lesions, one missed; two false positives in two cases."""
    rows = [real("a", 0.9), real("a", 0.7), real("b", 0.6), real("b", matched=0), false("a", 0.8), false("b", 0.6)]
    thresholds, rates, found = froc(rows, 2)
    assert thresholds.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert rates.tolist() == [0, 0.5, 0.5, 1]
    assert found.tolist() == [0.25, 0.25, 0.5, 0.75]
    assert froc_score(rows, 2) == pytest.approx((0.25 * 2 + 0.5 + 0.75 * 4) / len(RATES))


def test_without_lesions_there_is_no_curve():
    assert math.isnan(froc_score([], 3))
    assert np.isnan(froc([false("a", 0.5)], 1)[2]).all()
    assert froc_score([real("a", matched=0), false("a", 0.9)], 1) == 0


def test_confidence_of_findings_by_hand():
    """Five cases, each with findings of .9 (real) and .6 (false): says .75, real in .5; missed ones say nothing."""
    rows = [row for case in "abcde" for row in (real(case, 0.9), false(case, 0.6), real(case, matched=0))]
    found = lesion_confidence(rows)
    assert (found.n, found.says, found.real, found.gap) == (10, pytest.approx(0.75), 0.5, pytest.approx(0.25))
    assert found.bins == ((pytest.approx(0.6), 0, 5), (pytest.approx(0.9), 1, 5))
    assert math.isnan(found.low)  # all cases are alike: the jackknife sees no spread
    assert lesion_confidence([real("a", matched=0)]) is None


def test_groups_and_not_lesions_are_the_unit():
    """One patient with forty findings weighs, but the interval knows that it is one."""
    random = np.random.default_rng(0)
    rows = [real(f"c{i}", p) if random.random() < p else false(f"c{i}", p) for i in range(8) for p in [0.7] * 10]
    alone = lesion_confidence(rows)
    pairs = lesion_confidence(rows, {f"c{i}": str(i // 4) for i in range(8)})
    assert alone.low < alone.gap < alone.high
    assert math.isnan(pairs.low)  # two groups


@pytest.mark.parametrize(("shift", "rejects"), [(0.0, False), (0.3, True)])
def test_the_test_of_findings(shift, rejects):
    """Thirty cases of eight findings, real with probability p - shift."""
    random = np.random.default_rng(3)
    rows = []
    for case in map(str, range(30)):
        for p in random.uniform(0.5, 1, 8):
            rows.append(real(case, p) if random.random() < p - shift else false(case, p))
    assert (lesion_confidence(rows).p < 0.05) == rejects


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.5, 1), st.booleans()), min_size=1, max_size=30))
def test_bins_hold_every_finding_once(drawn):
    found = lesion_confidence([real(case, p) if hit else false(case, p) for case, p, hit in drawn])
    assert sum(n for _, _, n in found.bins) == found.n == len(drawn)
    assert sum(says * n for says, _, n in found.bins) / found.n == pytest.approx(found.says)
    assert found.gap == pytest.approx(found.says - found.real)
