"""From label values to classes: names, values, regions, the ignore label, and labels that stand for nothing."""

import json

import numpy as np
import pytest

from calibeval.errors import InputError, UsageError
from calibeval.io.classes import ClassScheme, index_labels, make_scheme, name_values
from tests.case_files import write_names, write_nifti


def scheme_of(folder, labels, **more):
    write_names(folder, labels, **more)
    return make_scheme([folder])


def indexed(values, **fields):
    return index_labels(np.array(values), ClassScheme(**fields), "l.nii").tolist()


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "RV": 1, "LV": 2},
        {"LV": 2, "background": 0, "RV": 1},
        {"0": "background", "1": "RV", "2": "LV"},
    ],
    ids=["nnU-Net", "any order", "MSD"],
)
def test_dataset_json_of_nnunet_and_msd(labels, tmp_path):
    scheme = scheme_of(tmp_path, labels, name="Heart")
    assert scheme.names == ("background", "RV", "LV")
    assert scheme.values == ()
    assert scheme.dataset == "Heart"
    assert scheme.source == str(tmp_path / "dataset.json")


def test_values_with_gaps_become_indices(tmp_path):
    scheme = scheme_of(tmp_path, {"background": 0, "edema": 2, "core": 4})
    assert scheme.names == ("background", "edema", "core")
    assert index_labels(np.array([0, 4, 2]), scheme, "l.nii").tolist() == [0, 2, 1]


def test_a_background_that_is_not_named_is_there_all_the_same(tmp_path):
    scheme = scheme_of(tmp_path, {"liver": 1, "tumour": 2})
    assert scheme.names == ("background", "liver", "tumour")
    assert index_labels(np.array([0, 2]), scheme, "l.nii").tolist() == [0, 2]


def test_regions_and_ignore_of_nnunet(tmp_path):
    labels = {"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": 3, "ignore": 4}
    scheme = scheme_of(tmp_path, labels, regions_class_order=[1, 2, 3])
    assert scheme.names == ("background", "1", "2", "3")
    assert scheme.regions == {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
    assert scheme.region_order == (1, 2, 3)
    assert scheme.ignore == 4
    assert index_labels(np.array([0, 4, 3]), scheme, "l.nii").tolist() == [0, 255, 3]


def test_regions_of_values_with_gaps(tmp_path):
    scheme = scheme_of(tmp_path, {"background": 0, "WT": [1, 2, 4], "ET": [4]}, regions_class_order=[1, 4])
    assert scheme.values == (0, 1, 2, 4)
    assert scheme.regions == {"WT": (1, 2, 3), "ET": (3,)}
    assert scheme.region_order == (1, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no 'labels' object"),
        ('{"labels": ["a"]}', "no 'labels' object"),
        ('{"labels": {}}', "names no class"),
        ('{"labels": {"background": 0, "a": "x"}}', "cannot be understood"),
        ('{"labels": {"background": 0, "a": null}}', "cannot be understood"),
        ('{"labels": {"background": 0, "a": 1.5}}', "cannot be understood"),
        ('{"labels": {"background": 0, "a": true}}', "cannot be understood"),
        ('{"labels": {"background": 0, "a": []}}', "cannot be understood"),
        ('{"labels": {"background": 0, "a": 1, "b": 1}}', "value 1 stands for both a and b"),
        ('{"labels": {"0": "background", "1": "a", "2": "a"}}', "the name a stands for two values"),
        ('{"labels": {"background": 0, "mean": 1}}', "'mean' is reserved"),
        ('{"labels": {"background": 0, "all": 1}}', "'all' is reserved"),
        ('{"labels": {"background": 0, "all": [1, 2]}, "regions_class_order": [1]}', "'all' is reserved"),
        ('{"labels": {"background": 0, "ET": [1], "WT": [1, 2]}, "regions_class_order": [1]}', "regions_class_order"),
        (
            '{"labels": {"background": 0, "ET": [1], "WT": [1, 2]}, "regions_class_order": [1, 7]}',
            "regions_class_order",
        ),
        (
            '{"labels": {"background": 0, "ET": [1], "WT": [1, 2]}, "regions_class_order": [1, [2]]}',
            "regions_class_order",
        ),
    ],
)
def test_a_dataset_json_that_cannot_be_is_refused(text, message, tmp_path):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises((InputError, UsageError), match=message) as caught:
        make_scheme([tmp_path])
    assert "dataset.json" in str(caught.value)


def test_a_dataset_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "ä": 1}}', encoding="utf-8-sig")
    assert make_scheme([tmp_path]).names == ("background", "ä")


def test_bids_names_classes_in_a_table(tmp_path):
    text = "index\tname\tabbreviation\n1\tgray matter\tGM\n2\twhite matter\tWM\n"
    (tmp_path / "task_dseg.tsv").write_text(text)
    assert make_scheme([tmp_path]).names == ("background", "GM", "WM")
    (tmp_path / "task_dseg.tsv").write_text("index\tname\n0\tnothing\n3\tgray\n")
    scheme = make_scheme([tmp_path])
    assert (scheme.names, scheme.values) == (("nothing", "gray"), (0, 3))


@pytest.mark.parametrize("text", ["", "number\tname\n1\tx\n", "index\tname\nx\ty\n", "index\tname\n1\n"])
def test_a_bids_table_that_cannot_be_is_refused(text, tmp_path):
    (tmp_path / "task_dseg.tsv").write_text(text)
    with pytest.raises(InputError, match="columns index and name"):
        make_scheme([tmp_path])


def test_the_first_folder_with_names_wins(tmp_path):
    write_names(tmp_path / "a", {"background": 0, "x": 1})
    write_names(tmp_path / "b", {"background": 0, "y": 1})
    assert make_scheme([tmp_path / "none", tmp_path / "a", tmp_path / "b"]).names == ("background", "x")


def test_options_win_over_files(tmp_path):
    write_names(tmp_path, {"background": 0, "a": 1, "b": 4, "ignore": 9})
    scheme = make_scheme([tmp_path], classes="none, one,two", ignore_label=7, label_map="4=2, 5=0")
    assert scheme.names == ("none", "one", "two")
    assert (scheme.values, scheme.ignore, scheme.mapping) == ((), 7, {4: 2, 5: 0})
    assert scheme.source == "--classes"


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("classes", "a", "at least two"),
        ("classes", "a,a", "different names"),
        ("classes", "a,,b", "different names"),
        ("classes", "a,mean", "'mean' is reserved"),
        ("classes", ",".join(f"c{i}" for i in range(300)), "300 classes; at most 254"),
        ("label_map", "a=b", "--map"),
        ("label_map", "1", "--map"),
        ("label_map", "1=2=3", "--map"),
        ("label_map", "1=2,1=3", "--map"),
        ("regions", "WT", "--regions"),
        ("regions", "WT=", "--regions"),
        ("regions", "WT=x", "--regions"),
        ("regions", "WT=1;WT=2", "--regions"),
        ("regions", "all=1,2", "'all' is reserved"),
        ("regions", "WT=0,1", "background"),
        ("regions", "WT=-1", "--regions"),
        ("regions", "WT=300", "--regions"),
    ],
)
def test_options_that_cannot_be_are_refused(option, text, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        make_scheme([tmp_path], **{option: text})


def test_regions_name_classes_or_label_values(tmp_path):
    write_names(tmp_path, {"background": 0, "edema": 2, "core": 4})
    assert make_scheme([tmp_path], regions="WT=2,4;TC=core").regions == {"WT": (1, 2), "TC": (2,)}
    with pytest.raises(UsageError, match="no class 3"):
        make_scheme([tmp_path], regions="WT=3")
    assert make_scheme([], regions="WT=1,2").regions == {"WT": (1, 2)}


def test_regions_beside_labels_of_one_value_each(tmp_path):
    """Classes are learned, regions are scored; nnU-Net's lists in `labels` are regions for a network, too."""
    labels = {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4}
    scheme = scheme_of(tmp_path, labels, regions={"WT": [1, 2, 4], "ET": 4})
    assert scheme.names == tuple(labels)
    assert scheme.regions == {"WT": (1, 2, 3), "ET": (3,)}
    assert not scheme.only_regions
    assert make_scheme([tmp_path], regions="none").regions == {}
    assert scheme_of(tmp_path, {"background": 0, "WT": [1, 2]}).only_regions


@pytest.mark.parametrize("regions", [{"WT": [1, 3]}, {"WT": "1"}, {"WT": []}, {"WT": [1.5]}])
def test_regions_beside_labels_that_cannot_be(tmp_path, regions):
    with pytest.raises(InputError, match="'regions' cannot be understood"):
        scheme_of(tmp_path, {"background": 0, "a": 1, "b": 2}, regions=regions)


@pytest.mark.parametrize(
    ("found", "names", "values"),
    [
        ({0, 1, 2, 4}, "0124", (0, 1, 2, 4)),
        ({1, 4}, "014", (0, 1, 4)),
        ({0, 1, 2}, "012", ()),
        ({1, 2}, "012", ()),
        ({0}, "0", ()),
        ({0, 1, 255}, "01", ()),
        ({0, 2, -1}, "02", (0, 2)),
    ],
)
def test_values_that_nothing_names_are_the_classes(found, names, values):
    scheme = name_values(found, ClassScheme())
    assert (scheme.names, scheme.values) == (tuple(names), values)


def test_values_beside_regions_count_on_to_the_last_that_is_united():
    scheme = name_values({0, 1}, ClassScheme(regions={"WT": (1, 4)}))
    assert scheme.names == tuple("01234")
    assert name_values({300}, ClassScheme()).names == ()


def test_classes_given_beside_regions_must_fit_them(tmp_path):
    write_names(tmp_path, {"background": 0, "WT": [1, 2], "ET": [2]}, regions_class_order=[1, 2])
    with pytest.raises(UsageError, match="With --classes, give --regions too"):
        make_scheme([tmp_path], classes="background,x")


def test_the_signature_tells_what_changes_numbers():
    assert set(ClassScheme(("a", "b")).choices.values()) == {"none"}
    scheme = ClassScheme(regions={"WT": (1, 2)}, ignore=9, mapping={4: 3})
    assert scheme.choices == {"regions": "WT=1+2", "ignore": "9", "map": "4=3"}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "uint16", "int64", "uint64", "float16", "float64"])
def test_labels_of_any_type(dtype):
    assert index_labels(np.array([0, 1, 1], dtype), ClassScheme(("a", "b")), "l").tolist() == [0, 1, 1]


def test_float_labels_are_rounded_within_a_thousandth():
    assert indexed([0.9999, 2.0005, -0.0001], names=("a", "b", "c")) == [1, 2, 0]
    with pytest.raises(InputError, match=r"found the value 1\.002") as caught:
        indexed([0, 1.002], names=("a", "b"))
    assert "nearest neighbour" in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5, 1e30])
def test_values_that_are_no_labels_are_named(value):
    with pytest.raises(InputError, match=r"l\.nii: .*(nan|inf|0\.5|1e\+30)"):
        indexed([0.0, value], names=("a", "b"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 3], r"label 3 \(1 voxels\) stands for no class. Known from the files: 0 a, 1 b, 2 c."),
        ([0, 255, 255], r"label 255 \(2 voxels\) .*'not annotated': --ignore-label 255.*--map 255=1"),
        ([0, -1], r"label -1 .*--ignore-label -1"),
        ([7, 9, 9], r"label 7 \(1 voxels\), 9 \(2 voxels\)"),
        ([254], "label 254"),
    ],
)
def test_labels_outside_the_classes_are_named_with_advice(values, message):
    with pytest.raises(InputError, match=message):
        indexed(values, names=("a", "b", "c"))


def test_labels_that_stand_for_no_class_are_told_without_names_too():
    with pytest.raises(InputError, match="0 to 253"):
        indexed([0, 255])


@pytest.mark.parametrize("ignore", [255, -1, 254, 3, 70000, 0])
def test_the_ignored_label_becomes_255(ignore):
    assert indexed([1, ignore], names=("a", "b", "c"), ignore=ignore) == [1, 255]


def test_labels_far_apart_are_looked_up_without_a_table_between_them():
    assert indexed([0, 2**31 - 1], names=("a", "b"), mapping={2**31 - 1: 1}) == [0, 1]
    assert indexed([0, -(2**31)], names=("a", "b"), mapping={-(2**31): 1}) == [0, 1]


def test_mapping_comes_before_all_else():
    assert indexed([4, 255, 0, 9], names=("a", "b", "c"), mapping={4: 2, 9: 255}, ignore=255) == [2, 255, 0, 255]


def test_an_undeclared_label_costs_its_case(tmp_path, cli):
    labels = np.zeros((3, 4, 5), np.int16)
    for name, odd in (("a", 255), ("b", -1), ("c", 1), ("d", 5)):
        write_nifti(tmp_path / "m" / f"{name}.nii.gz", labels)
        labels[0, 0, 0] = odd
        write_nifti(tmp_path / "labels" / f"{name}.nii.gz", labels)
        labels[:] = 0
    write_names(tmp_path / "labels")
    outcome = cli("score", tmp_path / "m", tmp_path / "labels", "--metrics", "DSC")
    assert outcome.code == 3
    for name, odd in (("a", 255), ("b", -1), ("d", 5)):
        expected = f"m/{name}: {tmp_path / 'labels' / name}.nii.gz: label {odd} (1 voxels) stands for no class"
        assert expected in outcome.err
    assert "m/c" not in outcome.err
    assert json.loads(cli("score", tmp_path / "m", tmp_path / "labels", "--metrics", "DSC", "--json").out)
