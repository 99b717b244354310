from __future__ import annotations

import math

import pandas as pd
import pytest

from calibeval.errors import TableError
from calibeval.protocol import EMPTY_RULES
from calibeval.ranking.empty_rules import apply_empty_rule, formula_value, has_empty_masks
from calibeval.table import COLUMNS, EXTRAS, Row

NAN = float("nan")


def frame_of(rows):
    return pd.DataFrame(rows, columns=[*COLUMNS, *EXTRAS])


def case(*classes, metric="HD95", diagonal=50.0):
    """A case of one metric: class rows of (value, status), and a mean row that must be recomputed."""
    rows = [
        Row("x", "A", "c", f"organ{i}", metric, value, "mm", status, "", math.nan if status == "ok" else diagonal)
        for i, (value, status) in enumerate(classes)
    ]
    return frame_of([*rows, Row("x", "A", "c", "mean", metric, -7.0, "mm")])


def mean_of(frame):
    return frame.loc[frame["class"] == "mean", "value"].item()


@pytest.mark.parametrize(
    ("rule", "status", "distance", "overlap"),
    [
        ("nan", "empty_prediction", NAN, 0), ("nan", "both_empty", NAN, NAN),
        ("worst", "empty_prediction", 50, 0), ("worst", "both_empty", 0, 1), ("worst", "empty_reference", 50, 0),
        ("nacl", "empty_reference", 0, 1), ("nacl", "empty_prediction", NAN, 0), ("nacl", "both_empty", 0, 1),
        ("sdc-repo", "empty_reference", math.inf, 0), ("sdc-repo", "both_empty", 0, 1),
        ("deepmind", "both_empty", math.inf, NAN), ("deepmind", "empty_prediction", math.inf, 0),
    ],
)  # fmt: skip
def test_rules(rule, status, distance, overlap):
    for metric, expected in (("HD95", distance), ("DSC", overlap), ("NSD", overlap)):
        alone = apply_empty_rule(case((-1.5, status), metric=metric), rule)
        assert mean_of(alone) == pytest.approx(expected, nan_ok=True)
        with_another = apply_empty_rule(case((-1.5, status), (4.0, "ok"), metric=metric), rule)
        mean = 4.0 if math.isnan(expected) else (expected + 4) / 2
        assert mean_of(with_another) == pytest.approx(mean)


def test_every_rule_is_known():
    for rule in EMPTY_RULES:
        apply_empty_rule(case((NAN, "empty_prediction")), rule)


def test_one_sided_denominators():
    assert math.isnan(formula_value("precision", "empty_prediction"))
    assert formula_value("precision", "empty_reference") == 0
    assert math.isnan(formula_value("recall", "empty_reference"))
    assert formula_value("recall", "empty_prediction") == 0


def test_a_rule_undoes_another():
    """A table scored under `worst` gives under `nan` what it would have been."""
    stored = case((50.0, "empty_prediction"), (4.0, "ok"))
    assert mean_of(apply_empty_rule(stored, "nan")) == 4


def test_rows_without_classes_and_failed_cases_stay():
    frame = frame_of(
        [
            Row("x", "A", "c", "mean", "DSC", 0.5),
            Row("x", "A", "d", "liver", "DSC", 0.0, "", "missing"),
            Row("x", "A", "d", "mean", "DSC", 0.25, "", "missing"),
            Row("x", "A", "c", "all", "ECE", NAN, "", "empty_reference"),
        ]
    )
    assert apply_empty_rule(frame, "worst")["value"].tolist()[:3] == [0.5, 0.0, 0.25]
    assert not has_empty_masks(frame)


def test_a_missing_diagonal_is_named():
    with pytest.raises(TableError, match=r"'worst' needs the image's diagonal.*HD95 of 'organ0' in case 'c'"):
        apply_empty_rule(case((NAN, "empty_prediction"), diagonal=NAN), "worst")
