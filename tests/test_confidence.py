"""What is said of a model in words, and when nothing may be said."""

import math
from dataclasses import replace

import numpy as np
import pytest

from calibeval import score_folder
from calibeval.confidence import find_confidence
from calibeval.metrics.statistics import Histogram, empty_statistics
from calibeval.protocol import make_protocol
from calibeval.table import Row
from tests import SAMPLE


def case(says, right, voxels=1000):
    """Statistics of so many selected voxels."""
    count, total = np.zeros((2, 16), np.int64), np.zeros((2, 16))
    count[:, 14] = round(voxels * (1 - right)), round(voxels * right)
    total[1, 14] = voxels * says
    return {"": replace(empty_statistics(3, make_protocol()), selected=Histogram(count, total))}


def say(pairs, by_class=None):
    bins = {f"c{i}": case(*pair) for i, pair in enumerate(pairs)}
    gaps = {"all": [says - right for says, right in pairs]} | (by_class or {})
    rows = [Row("m", "", f"c{i}", name, "gap", gap) for name, values in gaps.items() for i, gap in enumerate(values)]
    return find_confidence(rows, bins, "background")


OVER = [(0.97, 0.89), (0.98, 0.89), (0.96, 0.88), (0.97, 0.90), (0.97, 0.85)]


def test_an_overconfident_model_is_named_with_where():
    """Gaps .08, .09, .08, .07, .12: the mean of what it says is .97, of what is right .882."""
    classes = {"background": [0.5] * 5, "RV": [0.01] * 5, "MYO": [0.2] * 5, "LV": [-0.4] * 5}
    found = say(OVER, classes)
    assert found.says == pytest.approx(0.97)
    assert found.right == pytest.approx(0.882)
    assert found.low > 0
    assert (found.verdict, found.most, found.worst) == ("over-confident", "MYO", ("c4", "c1"))
    assert str(found).startswith("over-confident: says 97.0%, is right in 88.2%; the gap is ")
    assert str(found).endswith("; most in MYO; worst c4, c1")


def test_the_other_way_round_it_is_underconfident():
    found = say([(right, says) for says, right in OVER], {"RV": [-0.3] * 5, "LV": [0.3] * 5})
    assert (found.verdict, found.most, found.worst) == ("under-confident", "RV", ("c4", "c1"))


@pytest.mark.parametrize(
    ("near", "where"),
    [((0.97, 0.0), "at the boundary"), ((0.95, 0.95), "away from the boundary"), ((0.9, 0.45), ""), (None, "")],
)
def test_the_side_of_the_boundary_where_the_gap_lies(near, where):
    """The gap is .1 of 1000 voxels, and of it .97, 0 and .45 of 100 voxels near the boundary: 97%, none, 45%."""
    bins = {f"c{i}": case(0.9 + i / 1000, 0.8 + i / 1000) for i in range(5)}
    if near is not None:
        bins = {
            name: {"": replace(c[""], boundary=case(near[0], near[1], 100)[""].selected)} for name, c in bins.items()
        }
    rows = [Row("m", "", name, "all", "gap", 0.1 + i / 1000) for i, name in enumerate(bins)]
    found = find_confidence(rows, bins)
    assert found.where == where
    assert (f"most {where}" in str(found)) == bool(where)


def test_nothing_is_named_where_the_interval_holds_zero():
    small = say([(0.9 + d, 0.9) for d in (-0.02, 0.02, -0.01, 0.01, 0.0)])
    assert (small.verdict, small.most, small.worst) == ("keeps its word", "", ())
    wide = say([(0.7 + d, 0.7) for d in (-0.2, 0.2, -0.1, 0.1, 0.0)])
    assert wide.verdict == "cannot be told"
    three = say(OVER[:3])
    assert (three.verdict, math.isnan(three.low)) == ("cannot be told", True)
    assert str(three) == "cannot be told (n = 3): says 97.0%, is right in 88.7%"


def test_without_gap_or_probabilities_there_is_no_sentence():
    assert find_confidence([Row("m", "", "a", "mean", "DSC", 0.9)], {"a": case(0.9, 0.9)}) is None
    assert (
        find_confidence([Row("m", "", "a", "all", "gap", 0.1)], {"a": {"": empty_statistics(3, make_protocol())}})
        is None
    )


def test_the_sample_s_methods_are_called_what_they_were_made_as():
    methods = score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="gap").methods
    verdicts = {m.method: find_confidence(m.rows, m.bins, "background").verdict for m in methods}
    assert verdicts == {
        "calibrated": "keeps its word",
        "overconfident": "over-confident",
        "underconfident": "under-confident",
    }
