"""From statistics to rows: the mean over masks, missing values, rows of cases that could not be scored."""

import math

import numpy as np
import pytest

from calibeval import make_protocol, score_case
from calibeval.io.classes import ClassScheme
from calibeval.metrics import DEFAULT, METRICS, select_metrics
from calibeval.scoring.rows import image_diagonal, pooled_rows, unscored_rows
from tests.case_files import NAMES, SPACING, make_case

SCHEMES = {
    "classes": ClassScheme(NAMES),
    "regions": ClassScheme(NAMES, regions={"WT": (1, 2), "ET": (2,)}),
}


def keys(rows):
    return [(row.metric, row.class_name) for row in rows]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocol", ["paper", "nacl", "guo"])
@pytest.mark.parametrize("highest", [2, 3])
def test_a_failed_case_has_the_rows_of_a_scored_one(scheme, protocol, highest):
    """So that no mean forgets it, and tables can be joined row by row."""
    planes, label = make_case()
    regions = dict(SCHEMES[scheme].regions)
    scored = score_case(
        planes, label, classes=NAMES, regions=regions, spacing_mm=SPACING, metrics="all,lesions", protocol=protocol
    )
    failed = unscored_rows(
        "case", SCHEMES[scheme], make_protocol(protocol), select_metrics("all,lesions"), status="failed", note="why"
    )
    assert keys(failed) == keys(scored.rows)
    assert [row.unit for row in failed] == [row.unit for row in scored.rows]
    assert {row.status for row in failed} == {"failed"}
    assert all(math.isnan(row.value) for row in failed)


def test_the_union_of_the_foreground_has_its_own_name():
    planes, label = make_case()
    rows = score_case(planes, label, protocol="sdc-repo").rows
    assert keys(rows)[:4] == [("DSC", "foreground"), ("DSC", "mean"), ("HD95", "foreground"), ("HD95", "mean")]
    unscored = unscored_rows("c", ClassScheme(NAMES), make_protocol("sdc-repo"), DEFAULT, status="missing", note="")
    assert keys(unscored)[:4] == keys(rows)[:4]


def test_the_mean_names_the_classes_it_goes_without():
    label = np.zeros((6, 6), int)
    label[1:3, 1:3], label[4:, 4:] = 1, 2
    predicted = np.where(label == 2, 0, label)
    found = score_case(None, label, predicted=predicted, spacing_mm=(1, 1), classes=NAMES)
    rows = {(row.metric, row.class_name): row for row in found.rows}
    assert rows["DSC", "mean"].value == 0.5
    assert rows["DSC", "mean"].note == ""
    assert rows["HD95", "mean"].value == 0
    assert rows["HD95", "mean"].note == "without LV (empty_prediction)"


def test_a_mean_of_nothing_says_why():
    label = np.ones((4, 4), int)
    found = score_case(None, label, predicted=0 * label, spacing_mm=(1, 1), metrics="HD95")
    (mean,) = (row for row in found.rows if row.class_name == "mean")
    assert (mean.status, math.isnan(mean.value)) == ("empty_prediction", True)


def test_classes_without_a_voxel_above_the_threshold_have_no_row_value_but_a_reason():
    planes = np.zeros((3, 4, 4))
    planes[0], planes[1] = 0.75, 0.25
    found = score_case(planes, np.eye(4, dtype=int), metrics="CECE")
    rows = {row.class_name: row for row in found.rows}
    assert math.isnan(rows["2"].value)
    assert rows["2"].note == "no voxel in the domain"
    assert rows["all"].value == pytest.approx((rows["0"].value + rows["1"].value) / 2)


def test_pooled_rows_have_neither_distances_nor_volumes():
    planes, label = make_case()
    bins = score_case(planes, label, classes=NAMES, metrics="all").bins
    rows = pooled_rows(bins, ClassScheme(NAMES), make_protocol(), tuple(METRICS))
    assert {row.metric for row in rows} == {name for name, metric in METRICS.items() if metric.pooled}
    assert {row.case for row in rows} == {"pooled"}
    assert not {"HD95", "VD"} & {row.metric for row in rows}


def test_the_diagonal_of_an_image():
    assert image_diagonal((4, 5, 6), SPACING, make_protocol()) == pytest.approx(math.hypot(32, 7.5, 7.5))
    assert image_diagonal((3, 4), None, make_protocol(hd95="sdc-repo")) == 5
    assert math.isnan(image_diagonal((3, 4), None, make_protocol()))


@pytest.mark.parametrize("reference", [0, 1])
def test_one_pixel_and_one_class(reference):
    """The smallest image there is: every number is defined or says why not."""
    planes = np.array([0.25, 0.75]).reshape(2, 1, 1)
    found = score_case(planes, np.array([[reference]]), spacing_mm=(1, 1), metrics="ECE,DSC,Brier,NLL")
    for row in found.rows:
        assert math.isnan(row.value) == (row.status != "ok" and row.metric in ("ECE", "NLL"))
