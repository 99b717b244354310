"""Layouts of folders and names that tools of this field write: files laid out so, and the number that comes out."""

import numpy as np
import pandas as pd
import pytest

from calibeval import score_case
from calibeval.errors import UsageError
from calibeval.io.layouts import find_methods, list_files
from calibeval.io.naming import read_pattern
from tests import EXACT
from tests.case_files import NAMES, SPACING, make_case, write_nifti
from tests.io.test_segments import layered

PROBABILITIES, LABEL = make_case()
PREDICTED = PROBABILITIES.argmax(axis=0).astype(np.uint8)


@pytest.fixture
def dsc(cli, tmp_path):
    """Score m/ against l/ and give the DSC by case and class."""

    def run(*arguments, preds="m", labels="l", metrics="DSC"):
        out = tmp_path / "out.csv"
        outcome = cli("score", preds, labels, "--metrics", metrics, "--out", out, *arguments)
        assert outcome.code == 0, outcome.err
        frame = pd.read_csv(out, comment="#", keep_default_na=False, na_values={"value": [""]}, **EXACT)
        frame = frame[frame["case"] != "pooled"]
        return {(row.case, row[4], row.metric): row.value for row in frame.itertuples()}

    return run


def expected(case="a", names=NAMES, metrics="DSC", probabilities=None, label=LABEL, predicted=PREDICTED):
    """From arrays."""
    given = {"predicted": predicted} if probabilities is None else {}
    rows = score_case(probabilities, label, spacing_mm=SPACING, metrics=metrics, classes=names, case=case, **given).rows
    return {(row.case, row.class_name, row.metric): row.value for row in rows if row.case != "pooled"}


@pytest.mark.parametrize("pattern", ["{case}_{class}", "{case}-{class}_prob", "p_{case}_{class}.nii.gz"])
def test_class_names_with_underscores_stand_in_a_pattern(pattern, tmp_path, dsc):
    names = ("background", "kidney", "kidney_left")
    for name, plane in zip(names, PROBABILITIES, strict=True):
        stem = pattern.removesuffix(".nii.gz").format(**{"case": "s_1", "class": name})
        write_nifti(tmp_path / "m" / f"{stem}.nii.gz", plane)
    write_nifti(tmp_path / "l" / "s_1.nii.gz", LABEL)
    found = dsc("--classes", ",".join(names), "--pattern", pattern)
    assert found == expected("s_1", names)


def test_region_names_stand_in_a_pattern(tmp_path, dsc):
    for name, members in (("whole_tumour", (1, 2)), ("core", (2,))):
        write_nifti(tmp_path / "m" / f"a_{name}.nii.gz", np.isin(LABEL, members).astype(np.uint8))
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    found = dsc("--classes", "b,edge,core_", "--regions", "core=2;whole_tumour=1,2", "--pattern", "{case}_{class}")
    assert (found["a", "core", "DSC"], found["a", "whole_tumour", "DSC"]) == (1, 1)


@pytest.mark.parametrize("numbers", [(1, 2), (0, 1, 2), ("01", "02")])
def test_a_number_in_a_pattern_is_the_label_and_not_the_place_in_a_list(numbers, tmp_path, dsc):
    for number in numbers:
        write_nifti(tmp_path / "m" / f"a.{number}.nii.gz", PROBABILITIES[int(number)])
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    assert dsc("--pattern", "{case}.{class}", "--classes", ",".join(NAMES)) == expected()


def test_numbers_that_are_no_labels_are_refused(tmp_path, cli):
    for number in (1, 2, 3):
        write_nifti(tmp_path / "m" / f"a.{number}.nii.gz", PROBABILITIES[number - 1])
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    outcome = cli("score", "m", "l", "--pattern", "{case}.{class}", "--classes", ",".join(NAMES))
    assert outcome.code == 2
    assert "number 3 stands for no class; known from --classes: 0, 1, 2" in outcome.err


@pytest.mark.parametrize("ending", ["_prob{}", "_prob{:02d}", "SegmentationPosteriors{}", "_Posteriors{}"])
def test_ants_numbers_tissues_from_one(ending, tmp_path, dsc):
    for number in (1, 2):
        write_nifti(tmp_path / "m" / f"a{ending.format(number)}.nii.gz", PROBABILITIES[number])
    write_nifti(tmp_path / "l" / "a.nii.gz", LABEL)
    assert dsc() == expected(names=("0", "1", "2"))


def test_linked_folders_are_followed_but_not_in_circles(tmp_path, dsc):
    for case in "abc":
        write_nifti(tmp_path / "l" / f"{case}.nii.gz", LABEL)
        write_nifti(tmp_path / ("m" if case == "a" else "store") / case / f"{case}_seg.nii.gz", PREDICTED)
    for case in "bc":
        (tmp_path / "m" / case).symlink_to(tmp_path / "store" / case)
    (tmp_path / "store" / "b" / "up").symlink_to(tmp_path / "m")
    assert len(list_files(tmp_path / "m")) == 3
    found = dsc("--classes", ",".join(NAMES))
    assert {case for case, _, _ in found} == {"a", "b", "c"}
    assert found["c", "mean", "DSC"] == expected()["a", "mean", "DSC"]


def test_folds_are_one_method_whatever_lies_beside_them(tmp_path, dsc):
    """nnU-Net copies the cases of all folds to crossval_results_folds_0_1_2_3_4."""
    for number, case in enumerate("ab"):
        write_nifti(tmp_path / "m" / f"fold_{number}" / "validation" / f"{case}.nii.gz", PREDICTED)
        write_nifti(tmp_path / "m" / "crossval_results_folds_0_1" / f"{case}.nii.gz", np.zeros_like(PREDICTED))
        write_nifti(tmp_path / "m" / "crossval_results_folds_0_1" / "postprocessed" / f"{case}.nii.gz", LABEL)
        write_nifti(tmp_path / "l" / f"{case}.nii.gz", LABEL)
    assert find_methods(tmp_path / "m") == {"m": tmp_path / "m"}
    found = dsc("--classes", ",".join(NAMES))
    assert (found["a", "mean", "DSC"], found["b", "mean", "DSC"]) == (expected()["a", "mean", "DSC"],) * 2


def test_a_case_named_pooled_with_a_space_is_refused(tmp_path, cli):
    for folder in "ml":
        write_nifti(tmp_path / folder / "pooled .nii.gz", LABEL)
    outcome = cli("score", "m", "l")
    assert outcome.code == 2
    assert "'pooled', which is reserved" in outcome.err


def test_one_grammar_serves_other_fields_too():
    expression = read_pattern("{case}_{rater}", ("case", "rater"), known={"rater": ["dr_a"]})
    match = expression.fullmatch("p_1_dr_a")
    assert (match["case_"], match["rater_"]) == ("p_1", "dr_a")
    with pytest.raises(UsageError, match=r"expected \{case\} and \{rater\} in it once, and at most one \{class\}"):
        read_pattern("{case}", ("case", "rater"), ("class",))


ORGANS = ("kidney_left", "liver", "vertebrae_L1")  # in the order of their names
PARTS = np.where(np.arange(6) % 4 == 3, 3, LABEL)  # three structures
MOVED = np.roll(PARTS, 1, axis=-1)


def write_organs(folder, labels, **more):
    for value, name in enumerate(ORGANS, 1):
        write_nifti(folder / f"{name}.nii.gz", (labels == value).astype(np.uint8), **more)


def structures(case):
    return expected(case, ("background", *ORGANS), label=PARTS, predicted=MOVED)


@pytest.mark.parametrize("inner", ["", "segmentations"])
@pytest.mark.parametrize("cases", [("s0001",), ("s0001", "s0002")])
def test_totalsegmentator_s_organs_are_classes_of_a_case(inner, cases, tmp_path, dsc):
    for case in cases:
        write_organs(tmp_path / "m" / case, MOVED)
        write_organs(tmp_path / "l" / case / inner, PARTS)
        write_nifti(tmp_path / "l" / case / "ct.nii.gz", PROBABILITIES[0])
    found = dsc()
    for case in cases:
        assert {key: found[key] for key in structures(case)} == structures(case)
    assert len(found) == 4 * len(cases)


def test_organs_of_one_patient_lie_flat(tmp_path, dsc):
    write_organs(tmp_path / "m", MOVED)
    write_organs(tmp_path / "l", PARTS)
    assert dsc() == structures("l")


def test_organs_against_label_maps_need_names_alone(tmp_path, dsc):
    write_organs(tmp_path / "m" / "s1", MOVED)
    write_nifti(tmp_path / "l" / "s1.nii.gz", PARTS.astype(np.uint8))
    assert dsc("--classes", "background,kidney_left,liver,vertebrae_L1") == structures("s1")


def test_label_maps_against_organs_need_the_order_of_values(tmp_path, cli, dsc):
    write_nifti(tmp_path / "m" / "s1.nii.gz", MOVED.astype(np.uint8))
    write_organs(tmp_path / "l" / "s1", PARTS)
    outcome = cli("score", "m", "l")
    assert outcome.code == 2
    assert "Give --classes in the order of their values" in outcome.err
    assert dsc("--classes", "background,kidney_left,liver,vertebrae_L1") == structures("s1")


def test_organs_that_overlap_are_no_label_map(tmp_path, cli):
    write_organs(tmp_path / "m" / "s1", MOVED)
    write_organs(tmp_path / "l" / "s1", PARTS)
    write_nifti(tmp_path / "l" / "s1" / "liver.nii.gz", (PARTS > 0).astype(np.uint8))
    outcome = cli("score", "m", "l")
    assert outcome.code == 2
    assert "liver.nii.gz: overlaps other structures of l/s1" in outcome.err
    write_organs(tmp_path / "l" / "s1", PARTS)
    write_nifti(tmp_path / "m" / "s1" / "liver.nii.gz", (MOVED > 0).astype(np.uint8))
    assert "they overlap, so they are --regions" in cli("score", "m", "l").err


def test_cases_named_after_an_organ_are_cases(tmp_path, dsc):
    for case in ("liver_0", "liver_1"):
        for folder in "ml":
            write_nifti(tmp_path / folder / f"{case}.nii.gz", LABEL)
    assert {case for case, _, _ in dsc()} == {"liver_0", "liver_1"}


def test_kits_keeps_segmentation_beside_imaging(tmp_path, dsc):
    for case in ("case_00000", "case_00001"):
        write_nifti(tmp_path / "l" / case / "imaging.nii.gz", PROBABILITIES[0])
        write_nifti(tmp_path / "l" / case / "segmentation.nii.gz", LABEL)
        write_nifti(tmp_path / "m" / f"{case}.nii.gz", PREDICTED)
    found = dsc("--classes", ",".join(NAMES))
    assert {case for case, _, _ in found} == {"case_00000", "case_00001"}
    assert found["case_00001", "RV", "DSC"] == expected()["a", "RV", "DSC"]


def test_brats_keeps_five_files_a_case(tmp_path, dsc):
    for case in ("BraTS-GLI-00000-000", "BraTS-GLI-00002-000"):
        for name in ("t1n", "t1c", "t2w", "t2f"):
            write_nifti(tmp_path / "l" / case / f"{case}-{name}.nii.gz", PROBABILITIES[0])
        write_nifti(tmp_path / "l" / case / f"{case}-seg.nii.gz", LABEL)
        write_nifti(tmp_path / "m" / f"{case}.nii.gz", PREDICTED)
    found = dsc("--classes", ",".join(NAMES))
    assert len({case for case, _, _ in found}) == 2
    assert found["BraTS-GLI-00002-000", "LV", "DSC"] == expected()["a", "LV", "DSC"]


@pytest.mark.parametrize("cases", [("p1",), ("p1", "p2")])
def test_label_and_prediction_of_fixed_names_in_one_tree(cases, tmp_path, dsc):
    for case in cases:
        write_nifti(tmp_path / "d" / case / "gt.nii.gz", LABEL)
        write_nifti(tmp_path / "d" / case / "seg.nii.gz", PREDICTED)
        write_nifti(tmp_path / "d" / case / "image.nii.gz", PROBABILITIES[0])
    found = dsc("--classes", ",".join(NAMES), preds="d", labels="d")
    for case in cases:
        assert {key: found[key] for key in expected(case)} == expected(case)


def test_fixed_names_in_trees_of_their_own_and_several_methods(tmp_path, cli):
    for case in ("p1", "p2"):
        write_nifti(tmp_path / "l" / case / "gt.nii.gz", LABEL)
        write_nifti(tmp_path / "m" / "one" / case / "seg.nii.gz", LABEL)
        write_nifti(tmp_path / "m" / "two" / case / "prob.nii.gz", PROBABILITIES)
    outcome = cli("score", "m", "l", "--metrics", "DSC", "--classes", ",".join(NAMES))
    assert outcome.code == 0, outcome.err
    one, two = (pd.read_csv(f"results/{name}.csv", comment="#").query("case == 'p2'") for name in ("one", "two"))
    assert list(one["value"]) == [1, 1, 1]
    wanted = {name: value for (_, name, _), value in expected().items()}
    assert dict(zip(two["class"], two["value"], strict=True)) == pytest.approx(wanted)


def test_slicer_s_segments_name_the_classes(tmp_path, cli, dsc):
    names = ("liver", "left kidney")

    def write(folder, labels, listed=names):
        (tmp_path / folder).mkdir(exist_ok=True)
        layers = [(labels == value).astype(np.uint8) * value for value in (1, 2)]
        headers = {f"Segment{k}_Name": name for k, name in enumerate(listed)}
        headers |= {f"Segment{k}_LabelValue": str(k + 1) for k in range(2)} | {
            f"Segment{k}_Layer": str(k) for k in (0, 1)
        }
        layered(tmp_path / folder / "a.seg.nrrd", layers, **headers)

    write("l", LABEL)
    write("m", PREDICTED)
    assert dsc() == expected(names=("background", *names))
    write("m", PREDICTED, names[::-1])
    outcome = cli("score", "m", "l")
    assert outcome.code == 2
    assert "The segment left kidney has the value 2 in l/a.seg.nrrd and 1 in m/a.seg.nrrd" in outcome.err


def test_structures_are_said_to_be_classes(tmp_path, cli):
    write_organs(tmp_path / "m" / "s1", MOVED)
    write_organs(tmp_path / "l" / "s1", PARTS)
    assert "l/s1: one file a structure; structures are the classes of a case" in cli("score", "m", "l").err
