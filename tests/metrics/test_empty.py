"""Empty masks and missing predictions: every rule, in every constellation, as values."""

import math

import numpy as np
import pandas as pd
import pytest

from calibeval import make_protocol, score_case
from calibeval.metrics import METRICS, select_metrics
from calibeval.metrics.empty import apply_rule
from calibeval.protocol import EMPTY_RULES, PROTOCOLS
from tests.case_files import AFFINE, write_names, write_nifti

NAN, INF = math.nan, math.inf
SHAPE, SPACING = (4, 5, 6), (8.0, 1.5, 1.25)
DIAGONAL = math.hypot(4 * 8, 5 * 1.5, 6 * 1.25)


def masks(reference, predicted):
    """A foreground class that is there or not, on each side."""
    maps = np.zeros((2, *SHAPE), np.uint8)
    maps[0, 1:3, 1:3, 1:3] = reference
    maps[1, 1:3, 1:3, 2:4] = predicted
    return maps


CASES = {"empty_reference": (0, 1), "empty_prediction": (1, 0), "both_empty": (0, 0), "ok": (1, 1)}

# DSC, precision, recall, HD95, ASSD, NSD for each rule and status, from the rules' own sentences
EXPECTED = {
    ("nan", "empty_reference"): (0, 0, NAN, NAN, NAN, 0),
    ("nan", "empty_prediction"): (0, NAN, 0, NAN, NAN, 0),
    ("nan", "both_empty"): (NAN, NAN, NAN, NAN, NAN, NAN),
    ("worst", "empty_reference"): (0, 0, 0, DIAGONAL, DIAGONAL, 0),
    ("worst", "empty_prediction"): (0, 0, 0, DIAGONAL, DIAGONAL, 0),
    ("worst", "both_empty"): (1, 1, 1, 0, 0, 1),
    ("nacl", "empty_reference"): (1, 1, 1, 0, 0, 1),
    ("nacl", "empty_prediction"): (0, NAN, 0, NAN, NAN, 0),
    ("nacl", "both_empty"): (1, 1, 1, 0, 0, 1),
    ("sdc-repo", "empty_reference"): (0, 0, 0, INF, INF, 0),
    ("sdc-repo", "empty_prediction"): (0, 0, 0, INF, INF, 0),
    ("sdc-repo", "both_empty"): (1, 1, 1, 0, 0, 1),
    ("deepmind", "empty_reference"): (0, 0, NAN, INF, INF, 0),
    ("deepmind", "empty_prediction"): (0, NAN, 0, INF, INF, 0),
    ("deepmind", "both_empty"): (NAN, NAN, NAN, INF, INF, NAN),
}
METRIC_NAMES = ("DSC", "precision", "recall", "HD95", "ASSD", "NSD")


def rows_of(rule, status, metrics=METRIC_NAMES, **changes):
    reference, predicted = masks(*CASES[status])
    found = score_case(
        None,
        reference,
        predicted=predicted,
        spacing_mm=SPACING,
        protocol=make_protocol(empty=rule, **changes),
        metrics=metrics,
        classes=("background", "organ"),
    )
    return {(row.metric, row.class_name): row for row in found.rows}


def test_every_rule_is_tried():
    assert {rule for rule, _ in EXPECTED} == set(EMPTY_RULES)


@pytest.mark.parametrize(("rule", "status"), EXPECTED)
def test_what_an_empty_mask_is_worth(rule, status):
    rows = rows_of(rule, status)
    found = [rows[name, "organ"].value for name in METRIC_NAMES]
    np.testing.assert_allclose(found, EXPECTED[rule, status])
    assert {row.status for (_, mask), row in rows.items() if mask == "organ"} == {status}
    means = [rows[name, "mean"].value for name in METRIC_NAMES]
    np.testing.assert_allclose(means, EXPECTED[rule, status])


@pytest.mark.parametrize("status", CASES)
def test_rows_of_distances_to_nowhere_keep_the_diagonal(status):
    row = rows_of("nan", status)["HD95", "organ"]
    assert row.diagonal == pytest.approx(math.nan if status == "ok" else DIAGONAL, nan_ok=True)
    assert row.note == ""
    assert math.isnan(rows_of("nan", status)["DSC", "organ"].diagonal)


def test_the_diagonal_is_in_voxels_where_distances_are():
    row = rows_of("worst", "empty_prediction", hd95="sdc-repo")["HD95", "organ"]
    assert row.unit == "voxel"
    assert row.value == pytest.approx(math.sqrt(4**2 + 5**2 + 6**2))


@pytest.mark.parametrize("rule", EMPTY_RULES)
def test_what_is_not_empty_is_not_touched(rule):
    rows = rows_of(rule, "ok")
    np.testing.assert_allclose([rows[name, "organ"].value for name in ("DSC", "precision", "recall")], 0.5)
    assert rows["HD95", "organ"].value == pytest.approx(1.25)


@pytest.mark.parametrize("rule", EMPTY_RULES)
def test_volume_differences_have_no_worst_value(rule):
    rows = rows_of(rule, "empty_reference", metrics=("VD", "RVD"))
    assert rows["VD", "organ"].value == pytest.approx(8 * math.prod(SPACING) / 1000)
    assert math.isnan(rows["RVD", "organ"].value)


def test_rules_leave_calibration_and_unknown_metrics_alone():
    assert apply_rule("worst", "ECE", "empty_reference", 0.5, 3) == 0.5
    assert apply_rule("worst", "mine", "empty_reference", 0.5, 3) == 0.5
    assert apply_rule("worst", "DSC", "failed", 0.5, 3) == 0.5


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("DSC", 0),
        ("NSD", 0),
        ("HD95", 99),
        ("ECE", 1),
        ("pECE", 3),
        ("NLL", -math.log(1e-7)),
        ("Brier", 2),
        ("gap", NAN),
    ],
)
def test_the_worst_that_a_missing_prediction_can_be_worth(metric, value):
    found = METRICS[metric].worst_value(PROTOCOLS["paper"], 99.0)
    assert found == pytest.approx(value, nan_ok=True)


def test_no_prediction_scores_below_the_worst_value():
    """All background voxels certain to be foreground: no pECE is larger."""
    probabilities = np.zeros((2, 5, 5))
    probabilities[1] = 1
    found = score_case(probabilities, np.zeros((5, 5), int), metrics="pECE,Brier,NLL")
    values = {row.metric: row.value for row in found.rows if row.class_name == "all"}
    for name, value in values.items():
        assert value == pytest.approx(METRICS[name].worst_value(PROTOCOLS["paper"], 1.0))


@pytest.fixture
def folder(tmp_path):
    """Case a is good, b misses the organ, c has none in the label, d none in either, e has no prediction."""
    good, bad = masks(1, 1), masks(1, 0)
    cases = {"a": good, "b": bad, "c": masks(0, 1), "d": masks(0, 0), "e": good}
    for name, (reference, predicted) in cases.items():
        write_nifti(tmp_path / "labels" / f"{name}.nii.gz", reference)
        if name != "e":
            planes = np.stack([0.9 - 0.8 * predicted, 0.1 + 0.8 * predicted])
            write_nifti(tmp_path / "m" / f"{name}.nii.gz", planes.astype(np.float32))
    write_names(tmp_path / "labels", {"background": 0, "organ": 1})
    return tmp_path / "m", tmp_path / "labels"


def table(path="results/m.csv"):
    frame = pd.read_csv(path, comment="#")
    return frame[frame["class"].isin(["mean", "all"])].set_index(["metric", "case"])


def test_counts_stand_beside_the_mean(folder, cli):
    outcome = cli("score", *folder)
    assert outcome.code == 3
    lines = [line for line in outcome.out.splitlines() if " left out (" in line]
    line = next(line for line in lines if "(HD95)" in line)
    assert "1 empty reference, 1 empty prediction, 1 both empty, 1 missing; 4 values left out" in line
    line = next(line for line in lines if "(DSC)" in line)
    assert "1 empty reference, 1 empty prediction, 1 both empty, 1 missing; 2 values left out" in line
    frame = table()
    assert list(frame.loc["HD95"]["status"]) == ["ok", "empty_prediction", "empty_reference", "both_empty", "missing"]
    assert frame.loc["HD95"]["value"].notna().sum() == 1
    ece = frame.loc["ECE"]["status"]
    assert list(ece) == ["ok", "ok", "empty_reference", "empty_reference", "missing", "ok"]


@pytest.mark.parametrize(
    ("rule", "mean_hd95", "n"),
    [("nan", 1.25, 1), ("worst", (1.25 + 2 * DIAGONAL + 0) / 4, 4), ("nacl", (1.25 + 0 + 0) / 3, 3)],
)
def test_the_mean_follows_the_rule(rule, mean_hd95, n, folder, scored):
    frame = scored(*folder, "--empty", rule, code=3)
    values = frame[(frame["metric"] == "HD95") & (frame["class"] == "mean") & (frame["case"] != "pooled")]["value"]
    assert values.mean() == pytest.approx(mean_hd95)
    assert values.notna().sum() == n


@pytest.mark.parametrize(("rule", "code"), [("error", 3), ("worst", 0), ("drop", 0), ("skip", 0)])
def test_a_missing_prediction_is_an_error_the_worst_or_skipped_but_always_a_row(rule, code, folder, cli):
    outcome = cli("score", *folder, "--missing", rule, "--metrics", "all,lesions")
    assert outcome.code == code
    frame = table()
    missing = frame.xs("e", level="case")
    assert set(missing["status"]) == {"missing"}
    assert set(missing.index) == set(select_metrics("all,lesions"))
    assert missing["note"].str.contains("no prediction for").all()
    assert ("e: no prediction for" in outcome.err) == (rule == "error")
    if rule == "worst":
        expected = {
            name: METRICS[name].worst_value(PROTOCOLS["paper"], DIAGONAL) for name in select_metrics("all,lesions")
        }
        assert missing["value"].to_dict() == pytest.approx(expected, nan_ok=True)
    else:
        assert missing["value"].isna().all()


def test_the_worst_distance_needs_a_spacing(folder, cli):
    """Without one there is no diagonal, and a distance is never in silent voxels."""
    preds, labels = folder
    (labels / "e.nii.gz").unlink()
    np.savez(labels / "e.npz", label=masks(1, 1)[0])
    assert cli("score", preds, labels, "--missing", "worst").code == 0
    assert math.isnan(table().loc[("HD95", "e"), "value"])
    assert table().loc[("DSC", "e"), "value"] == 0


def test_a_missed_organ_is_never_a_perfect_distance(tmp_path, cli):
    """Some tools give HD95 = 0 for it, so that missing an organ improves the mean."""
    reference, predicted = masks(1, 0)
    reference[3], predicted[3] = 2, 2
    write_nifti(tmp_path / "m" / "c.nii.gz", predicted, affine=AFFINE)
    write_nifti(tmp_path / "labels" / "c.nii.gz", reference, affine=AFFINE)
    outcome = cli("score", tmp_path / "m", tmp_path / "labels", "--metrics", "HD95")
    assert "1 empty prediction; 1 value left out" in outcome.out
    frame = pd.read_csv("results/m.csv", comment="#").set_index("class")
    assert np.isnan(frame["value"]["1"])
    assert frame.loc["mean", "note"] == "without 1 (empty_prediction)"
    assert frame.loc["mean", "value"] == 0  # of the other organ alone, and the note says so
