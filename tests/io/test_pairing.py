"""Which file belongs to which: conventions, ambiguities, and what a folder may also hold."""

import os
from pathlib import Path

import numpy as np
import pytest

from calibeval.errors import UsageError
from calibeval.io.manifest import read_manifest
from calibeval.io.pairing import empty_folders, find_methods, list_files, pair_files
from tests.case_files import write_itk


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def pairs(folder, preds, labels, **choices):
    """Case to names of prediction files; the missing have none."""
    found = pair_files(
        touch(folder / "preds", *preds), None if labels is None else touch(folder / "labels", *labels), **choices
    )
    return {case.case: [path.name for path in case.prediction] for case in found.cases}, found.extra


@pytest.mark.parametrize(
    ("prediction", "label"),
    [
        ("a.npz", "a.nii.gz"),
        ("a.mha", "a.nrrd"),
        ("a_softmax.npy", "a_gt.nii.gz"),
        ("a_pred.nii.gz", "a.nii.gz"),
        ("a/a_trans.nii.gz", "a.nii.gz"),
        ("jose\u0301.nii.gz", "jos\u00e9.nii.gz"),  # as macOS writes it, and as others do
        ("a.nii.gz", "a_seg.nii.gz"),
        ("a_0000.nii.gz", "a.nii.gz"),
        ("a.b.c.nii.gz", "a.b.c.nii.gz"),
        ("A b ü,'\"#%.nii.gz", "A b ü,'\"#%.nii.gz"),
        ("a.NII.GZ", "a.nii.gz"),
        ("sub-01_space-T1w_probseg.nii.gz", "sub-01_space-T1w_dseg.nii.gz"),
        ("sub-01/anat/sub-01_probseg.nii.gz", "sub-01/anat/sub-01_dseg.nii.gz"),
    ],
)
def test_names_that_belong_together(prediction, label, tmp_path):
    found, extra = pairs(tmp_path, [prediction], [label])
    assert list(found.values()) == [[Path(prediction).name]]
    assert extra == []


def test_a_missing_prediction_keeps_its_case_and_a_lonely_one_is_named(tmp_path):
    found, extra = pairs(tmp_path, ["a.nii.gz", "x.nii.gz"], ["a.nii.gz", "b.nii.gz"])
    assert found == {"a": ["a.nii.gz"], "b": []}
    assert extra == ["x"]


def test_an_npz_wins_over_the_label_map_beside_it_which_checks_it(tmp_path):
    (case,) = pair_files(touch(tmp_path / "p", "a.npz", "a.nii.gz"), touch(tmp_path / "l", "a.nii.gz")).cases
    assert case.prediction == (tmp_path / "p" / "a.npz",)
    assert case.segmentation == tmp_path / "p" / "a.nii.gz"


def test_files_a_class_are_in_the_order_of_their_numbers(tmp_path):
    found, _ = pairs(tmp_path, ["a_0001.nii.gz", "a_0000.nii.gz", "a_0002.nii.gz"], ["a.nii.gz"])
    assert found == {"a": ["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"]}


def test_a_case_whose_own_name_ends_in_a_number_is_no_class(tmp_path):
    found, _ = pairs(tmp_path, ["a_0001.nii.gz", "a_0002.nii.gz"], ["a_0001.nii.gz", "a_0002.nii.gz"])
    assert found == {"a_0001": ["a_0001.nii.gz"], "a_0002": ["a_0002.nii.gz"]}


def test_the_image_beside_a_prediction_is_not_taken_for_it(tmp_path):
    found, _ = pairs(tmp_path, ["a_0000.nii.gz", "a.nii.gz", "b_0000.nii.gz", "b.npz"], ["a.nii.gz", "b.nii.gz"])
    assert found == {"a": ["a.nii.gz"], "b": ["b.npz"]}


def test_several_channels_of_an_image_beside_an_npz_are_not_taken_for_classes(tmp_path):
    preds = ["a_0000.nii.gz", "a_0001.nii.gz", "a.npz", "a.nii.gz"]
    (case,) = pair_files(touch(tmp_path / "p", *preds), touch(tmp_path / "l", "a.nii.gz")).cases
    assert case.prediction == (tmp_path / "p" / "a.npz",)
    assert case.segmentation == tmp_path / "p" / "a.nii.gz"


@pytest.mark.parametrize(
    ("preds", "labels", "named"),
    [
        (["a.nii.gz", "a.mha"], ["a.nii.gz"], ["a.nii.gz", "a.mha", "--pattern"]),
        (["a.npz", "x/a.npz"], ["a.nii.gz"], ["x/a.npz"]),
        (["a.nii.gz"], ["a.nii.gz", "x/a.nii.gz"], ["more than one file for the case a"]),
        (["a_pred.nii.gz", "a_prob.nii.gz"], ["a.nii.gz"], ["a_pred", "a_prob", "labels a in", "--manifest"]),
        (["a.nii.gz"], ["a_seg.nii.gz", "a_gt.nii.gz"], ["a_seg", "a_gt"]),
        (["x.nii.gz"], ["a.nii.gz"], ["No prediction fits", "x", "a", "--pattern", "--manifest"]),
    ],
)
def test_an_ambiguity_is_an_error_that_lists_both_sides(preds, labels, named, tmp_path):
    with pytest.raises(UsageError) as caught:
        pairs(tmp_path, preds, labels)
    for part in named:
        assert part in str(caught.value)


def test_a_pattern_settles_an_ambiguity_and_names_what_it_leaves_out(tmp_path):
    preds = ["pred_a_final.nii.gz", "pred_a_best.nii.gz"]
    found, extra = pairs(tmp_path, preds, ["a.nii.gz"], pattern="pred_{case}_final")
    assert found == {"a": ["pred_a_final.nii.gz"]}
    assert extra == ["pred_a_best.nii.gz"]


def test_a_pattern_can_name_classes(tmp_path):
    found, _ = pairs(tmp_path, ["a-RV.nii.gz", "a-LV.nii.gz"], ["a.nii.gz"], pattern="{case}-{class}")
    assert found == {"a": ["a-LV.nii.gz", "a-RV.nii.gz"]}


@pytest.mark.parametrize("pattern", ["x", "{Case}", "{case}_{case}", "{case}_{class}_{class}", "{case}_{name}"])
def test_a_pattern_that_cannot_be_is_refused(pattern, tmp_path):
    with pytest.raises(UsageError, match="--pattern"):
        pairs(tmp_path, ["a_0.nii.gz"], ["a.nii.gz"], pattern=pattern)


def test_hidden_files_and_other_files_are_no_predictions(tmp_path):
    preds = ["a.nii.gz", "._a.nii.gz", ".cache/a.nii.gz", "a.pkl", "plans.json", "a.txt"]
    found, extra = pairs(tmp_path, preds, ["a.nii.gz", ".b.nii.gz"])
    assert (found, extra) == ({"a": ["a.nii.gz"]}, [])


def test_the_data_of_a_header_are_no_file_of_their_own(tmp_path):
    write_itk(tmp_path / "a.mhd", np.zeros((2, 3, 4), np.uint8))
    (tmp_path / "a.raw").rename(tmp_path / "a.img")
    (tmp_path / "a.mhd").write_text((tmp_path / "a.mhd").read_text().replace("a.raw", "a.img"))
    assert list_files(tmp_path) == [tmp_path / "a.mhd"]


def test_methods_are_sub_folders_unless_files_lie_beside_them(tmp_path):
    touch(tmp_path, "m1/a.nii.gz", "m2/a.nii.gz", ".git/a.nii.gz", "notes.txt", "._x.nii.gz")
    assert find_methods(tmp_path) == {"m1": tmp_path / "m1", "m2": tmp_path / "m2"}
    touch(tmp_path / "m1", "sub/b.nii.gz")
    assert find_methods(tmp_path / "m1") == {"m1": tmp_path / "m1"}


def test_a_sub_folder_without_predictions_is_told(tmp_path):
    touch(tmp_path, "m1/a.nii.gz", "m2/log.txt", ".git/x.txt")
    assert empty_folders(tmp_path, find_methods(tmp_path)) == ["m2"]
    assert empty_folders(tmp_path / "m1", find_methods(tmp_path / "m1")) == []


@pytest.mark.parametrize(
    "files",
    [
        ("sub-01/anat/sub-01_dseg.nii.gz", "sub-02/anat/sub-02_dseg.nii.gz"),
        ("fold_0/validation/a.nii.gz", "fold_1/validation/b.nii.gz"),
    ],
)
def test_subjects_of_bids_and_folds_of_nnunet_are_no_methods(files, tmp_path):
    touch(tmp_path, *files)
    assert find_methods(tmp_path) == {tmp_path.name: tmp_path}


def test_folders_named_after_the_one_case_in_them_are_no_methods(tmp_path):
    """MONAI's SaveImage writes them."""
    touch(tmp_path / "monai", "c1/c1_trans.nii.gz", "c_0002/c_0002_seg.nii.gz")
    assert find_methods(tmp_path / "monai") == {"monai": tmp_path / "monai"}
    touch(tmp_path / "planes", "c1/c1_0000.nii.gz", "c1/c1_0001.nii.gz", "c2/c2_0000.nii.gz", "c2/c2_0001.nii.gz")
    assert find_methods(tmp_path / "planes") == {"planes": tmp_path / "planes"}
    touch(tmp_path / "one", "c1/c1.nii.gz")  # a method of one case
    assert find_methods(tmp_path / "one") == {"c1": tmp_path / "one" / "c1"}
    touch(tmp_path / "methods", "c1/c1.nii.gz", "c1/c2.nii.gz", "c2/c2.nii.gz")
    assert set(find_methods(tmp_path / "methods")) == {"c1", "c2"}


def test_results_of_an_earlier_run_are_no_predictions(tmp_path):
    touch(tmp_path, "m1/a.nii.gz", "m1/out.bins.npz", "results/m1.csv", "results/m1.bins.npz")
    assert find_methods(tmp_path) == {"m1": tmp_path / "m1"}
    assert [path.name for path in list_files(tmp_path / "m1")] == ["a.nii.gz"]


def test_a_whole_data_set_where_labels_belong_is_told_apart(tmp_path):
    touch(tmp_path / "set", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "dataset.json")
    with pytest.raises(UsageError, match=r"set: is a whole data set\. Give the folder of its labels: .*labelsTr\."):
        pair_files(touch(tmp_path / "preds", "a.nii.gz"), tmp_path / "set")


def test_names_that_the_table_could_not_tell_apart_are_refused(tmp_path):
    with pytest.raises(UsageError, match="more than one file for the case a b"):
        pairs(tmp_path, ["a b.nii.gz"], ["a b.nii.gz", "a  b.nii.gz"])


@pytest.mark.parametrize("make", [lambda folder: None, Path.mkdir, lambda folder: touch(folder, "x/readme.txt")])
def test_a_folder_without_predictions_is_refused(make, tmp_path):
    make(tmp_path / "p")
    with pytest.raises(UsageError, match=r"no such file or folder|holds no prediction"):
        find_methods(tmp_path / "p")


def test_links_are_followed_and_a_broken_one_is_not_overlooked(tmp_path):
    """Data sets of git-annex hold links whose files may not be there: such a case must not vanish."""
    touch(tmp_path / "store", "one.nii.gz")
    labels = touch(tmp_path / "labels", "c.nii.gz")
    (labels / "a.nii.gz").symlink_to(tmp_path / "store" / "one.nii.gz")
    (labels / "b.nii.gz").symlink_to(tmp_path / "store" / "gone.nii.gz")
    assert [path.name for path in list_files(labels)] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    (tmp_path / "preds").mkdir()
    (tmp_path / "preds" / "m").symlink_to(labels)
    assert find_methods(tmp_path / "preds") == {"m": tmp_path / "preds" / "m"}
    assert len(pair_files(tmp_path / "preds" / "m", labels).cases) == 3


def test_two_files_belong_together_whatever_their_names(tmp_path):
    touch(tmp_path, "x.npz", "y.nii.gz")
    (case,) = pair_files(tmp_path / "x.npz", tmp_path / "y.nii.gz").cases
    assert case.case == "y"


@pytest.mark.parametrize(("preds", "labels"), [("m", "l/a.nii.gz"), ("m/a.nii.gz", "l")])
def test_a_folder_and_a_file_do_not_belong_together(preds, labels, tmp_path):
    touch(tmp_path, "m/a.nii.gz", "l/a.nii.gz")
    with pytest.raises(UsageError, match=r"is a folder and .* a file: expected two folders or two files"):
        pair_files(tmp_path / preds, tmp_path / labels)


def test_without_labels_only_an_npz_can_be_a_case(tmp_path):
    """A label map compared with itself would score a perfect 1."""
    with pytest.raises(UsageError, match="LABELS"):
        pairs(tmp_path, ["a.nii.gz"], None)
    found, _ = pairs(tmp_path / "npz", ["a.npz"], None)
    assert found == {"a": ["a.npz"]}


def test_bids_labels_are_the_dseg_files_alone(tmp_path):
    labels = ["sub-01/anat/sub-01_dseg.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz"]
    found, _ = pairs(tmp_path, ["sub-01_probseg.nii.gz"], labels)
    assert found == {"sub-01": ["sub-01_probseg.nii.gz"]}


def test_segmentations_of_their_own_folder_are_used_by_name(tmp_path):
    maps = touch(tmp_path / "maps", "a_seg.nii.gz", "b.nii.gz")
    preds, labels = touch(tmp_path / "p", "a.npz", "b.npz"), touch(tmp_path / "l", "a.nii.gz", "b.nii.gz")
    cases = pair_files(preds, labels, segmentations=maps).cases
    assert [case.segmentation for case in cases] == [maps / "a_seg.nii.gz", maps / "b.nii.gz"]
    (case,) = pair_files(preds / "a.npz", labels / "a.nii.gz", segmentations=maps / "b.nii.gz").cases
    assert case.segmentation == maps / "b.nii.gz"


@pytest.mark.parametrize("there", [[], ["x.nii.gz"]])
def test_a_case_without_its_segmentation_is_named(there, tmp_path):
    maps = touch(tmp_path / "maps", *there)
    maps.mkdir(exist_ok=True)
    with pytest.raises(UsageError, match="maps"):
        pairs(tmp_path, ["a.npz"], ["a.nii.gz"], segmentations=maps)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_text_is_refused(tmp_path):
    for folder in ("preds", "labels"):
        (tmp_path / folder).mkdir()
        (Path(os.fsdecode(os.fsencode(tmp_path / folder) + b"/\xff.nii.gz"))).touch()
    with pytest.raises(UsageError, match="no valid text"):
        pair_files(tmp_path / "preds", tmp_path / "labels")


def test_a_reserved_case_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"pooled.*reserved"):
        pairs(tmp_path, ["pooled.nii.gz"], ["pooled.nii.gz"])


def manifest(folder, text, encoding="utf-8"):
    path = folder / "cases.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_a_manifest_names_everything(tmp_path):
    touch(tmp_path, "p/1.npz", "p/2_0.nii", "p/2_1.nii", "maps/1.nii")
    text = (
        "\ufeffcase,prediction,reference,method,segmentation\n"
        '"a,b", p/1.npz ,l/1.nii,m1,maps/1.nii\nc,p/2_0.nii; p/2_1.nii,l/2.nii,m2,\n'
    )
    found = read_manifest(manifest(tmp_path, text))
    (one,), (two,) = found["m1"].cases, found["m2"].cases
    assert one.case == "a,b"
    assert one.prediction == (tmp_path / "p" / "1.npz",)
    assert one.segmentation == tmp_path / "maps" / "1.nii"
    assert two.prediction == (tmp_path / "p" / "2_0.nii", tmp_path / "p" / "2_1.nii")
    assert two.classes == ("0", "1")
    assert two.reference == tmp_path / "l" / "2.nii"
    assert two.segmentation is None


def test_a_manifest_without_methods_names_one_after_itself(tmp_path):
    touch(tmp_path, "p.npz")
    assert list(read_manifest(manifest(tmp_path, "case,prediction,reference\na,p.npz,l.nii\n"))) == ["cases"]


def test_a_prediction_that_is_not_there_is_missing_and_the_manifest_says_which(tmp_path):
    (case,) = read_manifest(manifest(tmp_path, "case,prediction,reference\na,gone.npz,l.nii\n"))["cases"].cases
    assert case.prediction == ()
    assert "gone.npz" in case.why


def test_an_npz_in_a_manifest_can_hold_its_label(tmp_path):
    touch(tmp_path, "p.npz")
    (case,) = read_manifest(manifest(tmp_path, "case,prediction,reference\na,p.npz,\n"))["cases"].cases
    assert case.reference is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no case"),
        ("case,prediction,reference\n", "holds no case"),
        ("case;prediction;reference\na;b;c\n", "missing: case, prediction, reference"),
        ("case,prediction\na,b\n", "missing: reference"),
        ("case,prediction,reference\na,b\n", "line 2 has 2 fields, expected 3"),
        ("case,prediction,reference\na,b,c,d\n", "line 2 has 4 fields, expected 3"),
        ("case,prediction,reference\na,b,c\na,b,c\n", "more than one file for the case a"),
        ("case,prediction,reference,method\na,b,c,../evil\n", "method"),
        ("case,prediction,reference\npooled,b,c\n", "reserved"),
        ("case,prediction,reference\n,b,c\n", "line 2 names no case"),
        ("case,prediction,reference\na,,\n", "line 2 names neither prediction nor reference"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(text, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        read_manifest(manifest(tmp_path, text))


def test_a_manifest_that_is_no_text_is_refused(tmp_path):
    path = manifest(tmp_path, "case,prediction,reference\nä,b,c\n", encoding="latin-1")
    with pytest.raises(UsageError, match="UTF-8"):
        read_manifest(path)
    with pytest.raises(UsageError, match="no such file"):
        read_manifest(tmp_path / "gone.csv")
    with pytest.raises(UsageError, match="folder"):
        read_manifest(tmp_path)
