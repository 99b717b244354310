"""Reading a case through: masks, regions, the ignore label, and what a reader of the numbers is told."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from calibeval import score_case
from calibeval.metrics import DEFAULT
from tests import EXACT
from tests.case_files import NAMES, make_case, values_of, write_folders, write_names, write_nifti, write_npz

SPACING = (8.0, 1.5, 1.25)
REGIONS = {"WT": (1, 2), "ET": (2,)}


def brats(seed=0):
    """Sigmoid maps of two nested regions, and a label of three classes."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    whole = np.where(random.random(label.shape) < 0.8, label > 0, label == 0) * 0.75 + 0.125
    core = np.where(random.random(label.shape) < 0.8, label == 2, label < 2) * 0.5 + 0.25
    return np.stack([whole, core]).astype(np.float32), label


def write_regions(folder, maps, label, **more):
    write_npz(folder / "m" / "c.npz", probabilities=maps)
    write_nifti(folder / "labels" / "c.nii.gz", label)
    names = {"background": 0, "WT": [1, 2], "ET": [2]}
    write_names(folder / "labels", names, regions_class_order=[1, 2], **more)
    return folder / "m", folder / "labels"


def one_case(frame):
    return values_of(frame[frame["case"] != "pooled"])


def region_expectation(maps, label, metrics="default"):
    """Each region scored alone, as a binary case."""
    values = {}
    for plane, (name, members) in zip(maps, REGIONS.items(), strict=True):
        binary = np.stack([1 - plane.astype(float), plane])
        found = score_case(binary, np.isin(label, members).astype(int), spacing_mm=SPACING, metrics=metrics)
        for row in found.rows:
            if row.class_name in ("1", "all"):
                values["c", name, row.metric] = row.value
    return values


def test_each_region_is_a_binary_case_of_its_own(tmp_path, scored):
    maps, label = brats()
    found = one_case(scored(*write_regions(tmp_path, maps, label), "--metrics", "all"))
    expected = region_expectation(maps, label, "all")
    masks = ("DSC", "IoU", "precision", "recall", "VD", "RVD", "HD95", "HD", "ASSD", "NSD")
    for (case, name, metric), value in expected.items():
        if metric in masks:
            assert found[case, name, metric] == pytest.approx(value, rel=1e-12)
    for name in ("DSC", "HD95"):
        assert found["c", "mean", name] == pytest.approx((found["c", "WT", name] + found["c", "ET", name]) / 2)
    for name in ("ECE", "pECE"):
        wanted = (expected["c", "WT", name] + expected["c", "ET", name]) / 2
        assert found["c", "all", name] == pytest.approx(wanted, rel=1e-12)


def test_region_maps_need_no_names_but_the_option(tmp_path, scored):
    maps, label = brats()
    preds, labels = write_regions(tmp_path, maps, label)
    expected = one_case(scored(preds, labels))
    (labels / "dataset.json").unlink()
    assert one_case(scored(preds, labels, "--regions", "WT=1,2;ET=2")) == expected


def test_softmax_maps_give_a_region_the_sum_of_its_classes(tmp_path, scored):
    probabilities, label = make_case()
    write_nifti(tmp_path / "m" / "c.nii.gz", probabilities)
    write_nifti(tmp_path / "labels" / "c.nii.gz", label)
    write_names(tmp_path / "labels")
    found = one_case(scored(tmp_path / "m", tmp_path / "labels", "--regions", "heart=RV,LV;right=RV"))
    argmax = probabilities.argmax(axis=0)
    masks = {"heart": (argmax > 0, label > 0), "right": (argmax == 1, label == 1)}
    for name, (predicted, reference) in masks.items():
        dsc = 2 * (predicted & reference).sum() / (predicted.sum() + reference.sum())
        assert found["c", name, "DSC"] == pytest.approx(dsc)
    heart = np.stack([probabilities[0].astype(float), 1 - probabilities[0].astype(float)])
    right = np.stack([1 - probabilities[1].astype(float), probabilities[1]])
    expected = np.mean([
        score_case(maps, mask.astype(int), metrics="pECE").rows[0].value
        for maps, mask in ((heart, label > 0), (right, label == 1))
    ])  # fmt: skip
    assert found["c", "all", "pECE"] == pytest.approx(expected, rel=1e-9)


def test_region_logits_go_through_a_sigmoid(tmp_path, scored):
    maps, label = brats()
    preds, labels = write_regions(tmp_path, maps, label)
    expected = one_case(scored(preds, labels))
    write_npz(preds / "c.npz", probabilities=logit(maps.astype(float)))
    assert one_case(scored(preds, labels, "--input", "logits")) == pytest.approx(expected, rel=1e-6)


def test_a_label_map_beside_region_maps_is_decoded_in_order(tmp_path, cli):
    maps, label = brats()
    preds, labels = write_regions(tmp_path, maps, label)
    decoded = np.where(maps[1] > 0.5, 2, np.where(maps[0] > 0.5, 1, 0)).astype(np.uint8)
    write_nifti(preds / "c.nii.gz", decoded)
    assert "differs" not in cli("score", preds, labels).out
    write_nifti(preds / "c.nii.gz", decoded[::-1])
    outcome = cli("score", preds, labels)
    assert "probabilities turned to fit" in outcome.out


def test_label_maps_give_regions_too(tmp_path, scored):
    _, label = brats()
    preds, labels = write_regions(tmp_path, brats()[0], label)
    (preds / "c.npz").unlink()
    predicted = brats(1)[1]
    write_nifti(preds / "c.nii.gz", predicted)
    found = one_case(scored(preds, labels, "--metrics", "DSC"))
    for name, members in REGIONS.items():
        a, b = np.isin(label, members), np.isin(predicted, members)
        assert found["c", name, "DSC"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("declared", ["dataset.json", "--ignore-label"])
def test_ignored_voxels_count_nowhere_and_are_counted(declared, tmp_path, cli):
    probabilities, label = make_case()
    marked = label.astype(np.int16)
    marked[0] = 9
    write_nifti(tmp_path / "m" / "c.nii.gz", probabilities)
    write_nifti(tmp_path / "labels" / "c.nii.gz", marked)
    names = {name: value for value, name in enumerate(NAMES)}
    write_names(tmp_path / "labels", names | ({"ignore": 9} if declared == "dataset.json" else {}))
    extra = [] if declared == "dataset.json" else ["--ignore-label", 9]
    outcome = cli("score", tmp_path / "m", tmp_path / "labels", "--metrics", "DSC,ECE,CECE,pECE,Brier,NLL", *extra)
    assert "30 voxels ignored" in outcome.out
    assert "ignore:9" in outcome.out
    found = one_case(pd.read_csv("results/m.csv", comment="#", **EXACT))
    rest = score_case(probabilities[:, 1:], label[1:], classes=NAMES, case="c", metrics="DSC,ECE,CECE,pECE,Brier,NLL")
    assert found == pytest.approx(values_of(rest.table), rel=1e-12)


def test_ignored_voxels_have_no_surface(tmp_path):
    label = np.zeros((9, 9, 9), int)
    label[2:5, 2:5, 2:5] = 1
    predicted = label.copy()
    predicted[7, 7, 7] = 1  # far away, but not annotated there
    marked = label.copy()
    marked[6:] = 255
    found = score_case(None, marked, predicted=predicted, spacing_mm=(1, 1, 1), ignore_label=255, metrics="HD,DSC")
    assert {row.metric: row.value for row in found.rows if row.class_name == "mean"} == {"DSC": 1.0, "HD": 0.0}


def test_label_values_can_be_renamed(tmp_path, scored):
    probabilities, label = make_case()
    write_nifti(tmp_path / "m" / "c.nii.gz", probabilities)
    write_nifti(tmp_path / "labels" / "c.nii.gz", np.array([0, 50, 100], np.uint8)[label])
    write_names(tmp_path / "labels")
    found = one_case(scored(tmp_path / "m", tmp_path / "labels", "--map", "50=1,100=2"))
    assert found == values_of(score_case(probabilities, label, classes=NAMES, case="c", spacing_mm=SPACING).table)


def test_overlap_can_come_from_label_maps_of_their_own(tmp_path, scored):
    preds, labels = write_folders(tmp_path, cases=1)
    probabilities, label = make_case(0)
    processed = probabilities.argmax(axis=0).astype(np.uint8)
    processed[0] = 0
    write_nifti(tmp_path / "maps" / "a.nii.gz", processed)
    found = one_case(scored(preds, labels, "--seg-dir", tmp_path / "maps"))
    plain = values_of(score_case(probabilities, label, classes=NAMES, case="a", spacing_mm=SPACING).table)
    masks = score_case(None, label, predicted=processed, classes=NAMES, case="a", spacing_mm=SPACING)
    for key, value in values_of(masks.table).items():
        assert found[key] == value
    for key in (("a", "all", "ECE"), ("a", "all", "CECE"), ("a", "all", "pECE")):
        assert found[key] == plain[key]


def test_a_case_without_its_map_in_seg_dir_fails_alone(tmp_path, cli):
    preds, labels = write_folders(tmp_path, cases=2)
    write_nifti(tmp_path / "maps" / "a.nii.gz", make_case(0)[0].argmax(axis=0).astype(np.uint8))
    outcome = cli("score", preds, labels, "--seg-dir", tmp_path / "maps")
    assert outcome.code == 3
    assert f"m/b: {preds / 'b.nii.gz'}: has no label map in the folder --seg-dir" in outcome.err


def test_a_predicted_label_map_must_decide(tmp_path, cli):
    """A predicted 255 where the reference has a class would be counted nowhere."""
    preds, labels = write_folders(tmp_path, cases=2)
    predicted = make_case(0)[1]
    predicted[0, 0, :2] = 255
    for name in "ab":
        write_nifti(preds / f"{name}.nii.gz", predicted if name == "a" else make_case(1)[1])
    outcome = cli("score", preds, labels, "--ignore-label", 255, "--metrics", "DSC")
    assert outcome.code == 3
    assert f"{preds / 'a.nii.gz'}: predicts the ignored label 255 at 2 voxels" in outcome.err


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda p: np.eye(3, dtype=np.float32)[p.argmax(axis=0)].transpose(3, 0, 1, 2), "are all 0 or 1"),
        (lambda p: np.where(p.max(axis=0) > 0.5, p, 1 / 3), None),
    ],
)
def test_hard_maps_are_told(change, note, tmp_path, cli):
    preds, labels = write_folders(tmp_path, cases=1)
    write_nifti(preds / "a.nii.gz", change(make_case(0)[0]).astype(np.float32))
    outcome = cli("score", preds, labels)
    assert outcome.code == 0
    assert (note is None) == ("all 0 or 1" not in outcome.out)


def test_maps_cut_below_one_half_are_told(tmp_path, cli):
    """Some tools save only what lies above one half."""
    random = np.random.default_rng(0)
    foreground = random.random((4, 5, 6))
    foreground[foreground < 0.5] = 0
    write_nifti(tmp_path / "m" / "a.nii.gz", foreground.astype(np.float32))
    write_nifti(tmp_path / "labels" / "a.nii.gz", (foreground > 0.7).astype(np.uint8))
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert "no foreground probability lies between 0 and 0.5: it was cut off" in outcome.out


@pytest.mark.parametrize(("scale", "told"), [(0.5, True), (1.0, False), (0.1, False)])
def test_maps_at_half_their_scale_are_told(scale, told, tmp_path, cli):
    """At a tenth the model may have seen nothing: no probability is near one half."""
    foreground = np.random.default_rng(0).random((4, 5, 6))
    write_nifti(tmp_path / "m" / "a.nii.gz", (scale * foreground).astype(np.float32))
    write_nifti(tmp_path / "labels" / "a.nii.gz", (foreground > 0.7).astype(np.uint8))
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert ("no foreground probability is above 0.5, the largest are near it" in outcome.out) == told


def test_a_prediction_that_is_its_label_is_told(tmp_path, cli):
    _, labels = write_folders(tmp_path, cases=1)
    outcome = cli("score", labels, labels, "--metrics", "DSC")
    assert outcome.code == 0
    assert "prediction and label are one and the same file" in outcome.out


def test_a_case_that_is_ignored_whole_has_no_numbers(tmp_path, cli):
    probabilities, label = make_case()
    write_nifti(tmp_path / "m" / "a.nii.gz", probabilities)
    write_nifti(tmp_path / "labels" / "a.nii.gz", np.full_like(label, 9))
    outcome = cli("score", tmp_path / "m", tmp_path / "labels", "--ignore-label", 9, "--classes", ",".join(NAMES))
    assert outcome.code == 0
    frame = pd.read_csv("results/m.csv", comment="#", **EXACT)
    assert frame["value"].isna().all()
    assert set(frame[frame["case"] == "a"]["metric"]) == set(DEFAULT)
    assert "no voxel counts: all are ignored" in outcome.out
