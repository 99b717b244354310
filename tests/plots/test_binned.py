"""Curves by hand: what is said, how often it is right, and the band over cases."""

from dataclasses import replace

import numpy as np
import pytest

import calibeval
from calibeval.bins import BinTable
from calibeval.errors import UsageError
from calibeval.metrics.statistics import Edges, Histogram, empty_statistics
from calibeval.plots.binned import class_parts, curve_of, has_boundary, read_results
from calibeval.protocol import make_protocol
from tests import SAMPLE

PAPER = make_protocol()
NAMES = ("background", "RV", "MYO")


def histogram(shape, cells):
    """Voxels by cell: cell to (not true, true, summed probability)."""
    count, total = np.zeros(shape, np.int64), np.zeros(shape)
    for cell, (no, yes, says) in cells.items():
        count[..., cell] = no, yes
        total[..., 1, cell] = says
    return Histogram(count, total)


def table_of(cases, field="selected"):
    """One method with so many classes; each case gives the cells of its histogram."""
    empty = empty_statistics(3, PAPER)
    shape = getattr(empty, field).count.shape
    found = {f"c{i}": {"": replace(empty, **{field: histogram(shape, cells)})} for i, cells in enumerate(cases)}
    return BinTable(PAPER.signature, NAMES, found, Edges.of(PAPER))


def test_a_curve_adds_up_the_voxels_of_all_cases():
    """Cell 14 is (13/15, 14/15]: 10 + 30 voxels of .9, of which 8 + 16 are right."""
    curve = curve_of(table_of([{14: (2, 8, 9.0)}, {14: (14, 16, 27.0)}]))
    assert curve.says.size == 15
    assert (curve.says[13], curve.right[13], curve.voxels[13]) == pytest.approx((0.9, 0.6, 40))
    assert np.isnan(curve.says[:13]).all()
    assert np.isnan(curve.low).all(), "two cases give no band"
    assert (curve.stated, curve.correct) == pytest.approx((0.9, (0.8 + 16 / 30) / 2)), "of cases, not of voxels"
    assert (curve.verdict, curve.words) == ("cannot be told", "says 90%, is right in 67%")


def test_probability_zero_is_in_the_first_bin():
    assert curve_of(table_of([{0: (5, 0, 0.0), 1: (1, 4, 0.2)}])).voxels.tolist() == [10] + 14 * [0]


def test_a_class_leaves_out_what_its_threshold_does_and_decides_above_one_half():
    """Cells of classes: 0, .001, 1/15, ...; cell 9 is (7/15, 8/15], cell 10 begins above one half."""
    curve = curve_of(table_of([{0: (9, 0, 0.0), 1: (9, 0, 0.005), 2: (7, 3, 0.5), 10: (5, 5, 5.6)}], "classes"), "RV")
    assert curve.voxels.tolist() == [10] + 7 * [0] + [10] + 6 * [0]
    assert (curve.stated, curve.correct) == pytest.approx((0.56, 0.5))


def test_the_band_draws_cases_not_voxels():
    """Equal cases give a band without width, whatever the voxels; a case of its own moves it."""
    same = curve_of(table_of([{14: (2, 8, 9.0)}] * 6))
    assert (same.low[13], same.right[13], same.high[13]) == pytest.approx((0.8, 0.8, 0.8))
    apart = curve_of(table_of([{14: (2, 8, 9.0)}] * 5 + [{14: (10, 0, 9.0)}]))
    assert apart.low[13] < apart.right[13] - 0.1
    assert apart.verdict == "over-confident"
    owned = curve_of(table_of([{14: (2, 8, 9.0)}] * 6), groups={f"c{i}": str(i // 2) for i in range(6)})
    assert np.isnan(owned.low).all(), "three patients"


def test_no_case_and_no_class():
    table = table_of([])
    assert np.isnan(curve_of(table).says).all()
    assert class_parts(table) == ["RV", "MYO"]
    with pytest.raises(UsageError, match=r"No class 'LV'. There are RV, MYO, and all, boundary"):
        curve_of(table, "LV")


def test_results_are_read_from_whatever_holds_them(tmp_path):
    choices = {"metrics": "gap,bECE", "workers": 1}
    folder = calibeval.score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", **choices)
    tables = read_results(folder)
    assert list(tables) == ["calibrated", "overconfident", "underconfident"]
    assert all(map(has_boundary, tables.values()))
    assert list(read_results({"a": folder.methods[0], "b": tables["overconfident"]})) == ["a", "b"]
    verdicts = {name: curve_of(table).verdict for name, table in tables.items()}
    assert verdicts == {
        "calibrated": "keeps its word", "overconfident": "over-confident", "underconfident": "under-confident",
    }  # fmt: skip
    with pytest.raises(UsageError, match="Two results have one name: x, x"):
        read_results([{"x": tables["calibrated"]}] * 2)
    with pytest.raises(UsageError, match="not int"):
        read_results(3)


def test_one_case_of_arrays():
    probabilities = np.array([[[0.9, 0.2], [0.6, 0.2]], [[0.1, 0.8], [0.4, 0.8]]])
    scored = calibeval.score_case(probabilities, np.array([[0, 1], [0, 1]]), spacing_mm=(1, 1))
    ((_, table),) = read_results(scored).items()
    curve = curve_of(table)
    assert curve.voxels.sum() == 4
    assert (curve.stated, curve.correct) == pytest.approx((0.775, 1))
    assert curve_of(table, "1").voxels.sum() == 4
