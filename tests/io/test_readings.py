"""Integers are labels, masks, per cent or parts of a full scale: the values of the whole folder tell, or one asks."""

import numpy as np
import pandas as pd
import pytest

from calibeval import score_case
from tests import EXACT
from tests.case_files import make_case, write_names, write_nifti, write_npz, write_png

PROBABILITIES, LABEL = make_case()
ARGMAX = PROBABILITIES.argmax(axis=0)
ONE_HOT = np.stack([c == ARGMAX for c in range(3)]).astype(np.uint8)
HUNDREDTHS = np.rint(PROBABILITIES * 100)
np.put_along_axis(HUNDREDTHS, ARGMAX[None], HUNDREDTHS.max(axis=0) + 100 - HUNDREDTHS.sum(axis=0), 0)
FOREGROUND = np.where(LABEL > 0, 0.9, 0.1)
FOREGROUND[0, 0, :2] = 1, 0
MASK = (LABEL > 0).astype(np.uint8)


@pytest.fixture
def scores(tmp_path, cli):
    """Score a folder of predictions in m/ against labels in l/: exit code, messages, values by case, class, metric."""

    def run(*arguments, metrics="DSC,ECE"):
        outcome = cli("score", "m", "l", "--metrics", metrics, *arguments)
        if outcome.code:
            return outcome, {}
        frame = pd.read_csv("results/m.csv", comment="#", keep_default_na=False, na_values={"value": [""]}, **EXACT)
        return outcome, {(row.case, row[4], row.metric): row.value for row in frame.itertuples()}

    return run


def expected(probabilities, label=LABEL, **choices):
    rows = score_case(probabilities, label, metrics="DSC,ECE", case="a", **choices).rows
    return {(row.case, row.class_name, row.metric): row.value for row in rows}


def same(found, wanted):
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, nan_ok=True)


def write_planes(folder, layout, planes):
    """A stack, or one file a class."""
    if layout == "npz":
        return write_npz(folder / "a.npz", probabilities=planes)
    if layout == "nifti":
        return write_nifti(folder / "a.nii.gz", planes)
    for c, plane in enumerate(planes):
        write_nifti(folder / f"a_{c:04d}.nii.gz", plane)
    return None


@pytest.mark.parametrize("layout", ["npz", "nifti", "files"])
@pytest.mark.parametrize(
    ("scale", "dtype", "note"),
    [
        (1, np.uint8, "read as masks of 0 and 1"),
        (100, np.uint8, "read as value/100"),
        (200, np.uint8, "read as value/200"),
        (255, np.uint8, "read as value/255"),
        (255, np.uint16, "read as value/255"),
        (1000, np.uint16, "read as value/1000"),
        (1000, np.int16, "read as value/1000"),
        (65535, np.uint16, "read as value/65535"),
        (1000, ">u2", "read as value/1000"),
    ],
)
def test_all_classes_sum_to_what_stands_for_one(layout, scale, dtype, note, tmp_path, scores):
    maps = ONE_HOT if scale == 1 else np.rint(HUNDREDTHS / 100 * scale)
    write_planes(tmp_path / "m", layout, maps.astype(dtype))
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    outcome, found = scores("--classes", "b,r,l")
    assert note in outcome.out
    wanted = expected(maps / maps.sum(axis=0), classes=("b", "r", "l"))
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, abs=0.02)
    assert found["a", "mean", "DSC"] == wanted["a", "mean", "DSC"]


@pytest.mark.parametrize("layout", ["nifti", "files"])
def test_masks_without_background_are_masks(layout, tmp_path, scores):
    """What a thresholding network writes; divided by 255 a perfect mask had DSC 0."""
    planes = np.stack([LABEL == 1, LABEL == 2]).astype(np.uint8)
    if layout == "nifti":
        write_nifti(tmp_path / "m" / "a.nii.gz", planes)
    else:
        for c, plane in enumerate(planes, 1):
            write_nifti(tmp_path / "m" / f"a-{c}.nii.gz", plane)
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    _, found = scores("--classes", "b,r,l", *(("--pattern", "{case}-{class}") if layout == "files" else ()))
    assert found["a", "mean", "DSC"] == 1


def test_masks_of_overlapping_regions_are_masks(tmp_path, scores):
    write_nifti(tmp_path / "m" / "a.nii.gz", np.stack([LABEL > 0, LABEL == 2]).astype(np.uint8))
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    _, found = scores("--classes", "b,edge,core", "--regions", "whole=1,2;core=2")
    assert (found["a", "whole", "DSC"], found["a", "core", "DSC"]) == (1, 1)


@pytest.mark.parametrize("write", [write_nifti, lambda path, values: write_png(path.with_name("a.png"), values[0])])
@pytest.mark.parametrize(
    ("scale", "dtype"), [(255, np.uint8), (100, np.uint8), (65535, np.uint16), (1000, np.uint16), (100, np.float32)]
)
def test_one_map_is_the_foreground_whatever_stands_for_one(write, scale, dtype, tmp_path, scores):
    values = FOREGROUND * scale
    values = (values if dtype == np.float32 else np.rint(values)).astype(dtype)
    if dtype == np.float32:
        write = write_nifti
    label = write(tmp_path / "l" / "a.nii.gz", MASK)
    write(tmp_path / "m" / "a.nii.gz", values)
    outcome, found = scores()
    assert f"read as value/{scale}" in outcome.out
    inside = (values[0] if label.suffix == ".png" else values) / scale
    mask = MASK[0] if label.suffix == ".png" else MASK
    same(found, expected(np.stack([1 - inside, inside]), mask))


@pytest.mark.parametrize(
    ("scale", "options"),
    [(200, ["--scale 200", "--scale 255"]), (90, ["--scale", "--input labels"]), (60, ["--scale"])],
)
def test_a_foreground_of_an_unknown_scale_needs_a_word(scale, options, tmp_path, scores):
    write_nifti(
        tmp_path / "m" / "a.nii.gz", np.round(np.linspace(0, scale, LABEL.size)).reshape(LABEL.shape).astype("u1")
    )
    write_nifti(tmp_path / "l" / "a.nii.gz", MASK)
    outcome, _ = scores()
    assert outcome.code == 2
    assert f"holds uint8 values from 0 to {scale}" in outcome.err
    assert all(option in outcome.err for option in options)
    said, found = scores("--scale", str(scale))
    assert said.code == 0
    assert found["a", "1", "DSC"] < 1


GREYS = np.array([0, 85, 170], np.uint8)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("ending", ["nii.gz", "png"])
def test_grey_levels_that_the_labels_have_are_labels(named, ending, tmp_path, scores):
    labels, predicted = GREYS[LABEL], GREYS[ARGMAX]
    for folder, values in (("l", labels), ("m", predicted)):
        path = tmp_path / folder / f"a.{ending}"
        write_png(path, values[0]) if ending == "png" else write_nifti(path, values)
    if named:
        write_names(tmp_path / "l", {"background": 0, "RV": 85, "LV": 170})
    outcome, found = scores(metrics="DSC")
    part = slice(0, 1) if ending == "png" else slice(None)
    wanted = expected(None, LABEL[part], predicted=ARGMAX[part])
    names = {"1": "RV", "2": "LV"} if named else {"1": "85", "2": "170"}
    for key, name in names.items():
        assert found["a", name, "DSC"] == wanted["a", key, "DSC"]
    assert len({key[1] for key in found}) == 3, outcome.out  # two classes and their mean


def test_masks_of_0_and_255_on_both_sides_are_one_class(tmp_path, scores):
    write_png(tmp_path / "l" / "a.png", MASK[0] * 255)
    write_png(tmp_path / "m" / "a.png", (ARGMAX[0] > 0).astype(np.uint8) * 255)
    _, found = scores(metrics="DSC")
    both = score_case(None, MASK[0], predicted=(ARGMAX[0] > 0).astype(int), metrics="DSC").rows
    assert found["a", "255", "DSC"] == both[0].value
    assert ("a", "1", "DSC") not in found


def test_a_lonely_255_above_class_numbers_is_asked_for(tmp_path, scores):
    label = LABEL.copy()
    label[0, 0, 0] = 255
    write_nifti(tmp_path / "l" / "a.nii.gz", label)
    write_nifti(tmp_path / "m" / "a.nii.gz", ARGMAX.astype(np.uint8))
    outcome, _ = scores()
    assert outcome.code == 2
    assert "--ignore-label 255" in outcome.err


def test_a_mask_of_0_and_255_against_a_mask_of_0_and_1(tmp_path, scores):
    write_nifti(tmp_path / "l" / "a.nii.gz", MASK)
    write_nifti(tmp_path / "m" / "a.nii.gz", MASK * 255)
    _, found = scores()
    assert found["a", "1", "DSC"] == 1


def test_the_whole_folder_decides_and_not_a_case_alone(tmp_path, scores):
    """A case without foreground has no value above 1 in any scale; its neighbours tell."""
    empty = np.zeros(LABEL.shape, np.uint8)
    empty[0, 0, 0] = 1
    for case, values in {"a": FOREGROUND * 100, "b": FOREGROUND * 100, "c": empty}.items():
        write_nifti(tmp_path / "m" / f"{case}.nii.gz", np.rint(values).astype(np.uint8))
        write_nifti(tmp_path / "l" / f"{case}.nii.gz", MASK)
    outcome, found = scores(metrics="ECE")
    assert "note (3 cases): read as value/100" in outcome.out
    faint = np.stack([1 - empty / 100, empty / 100])
    assert found["c", "all", "ECE"] == pytest.approx(expected(faint, MASK)["a", "all", "ECE"])


def test_check_reads_a_folder_as_score_does(tmp_path, cli):
    for case in "ab":
        write_nifti(tmp_path / "m" / f"{case}.nii.gz", HUNDREDTHS.astype(np.uint8))
    outcome = cli("check", "m")
    assert outcome.code == 0, outcome.out
    broken = HUNDREDTHS.astype(np.uint8)
    broken[0, 0, 0, 0] += 77
    write_nifti(tmp_path / "m" / "b.nii.gz", broken)
    outcome = cli("check", "m")
    assert outcome.code == 1
    assert "FAILED     sum" in outcome.out
