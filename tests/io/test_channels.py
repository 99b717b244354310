"""Four digits at the end of a name: a channel, or part of an id; told by all names of a folder together."""

import json
from pathlib import Path

import pytest

from calibeval.errors import UsageError
from calibeval.io.channels import group_channels
from calibeval.io.pairing import pair_images
from tests.case_files import make_case, write_nifti

BOTH = ("a_0000", "a_0001", "b_0000", "b_0001")
PATIENTS = ("case_0000", "case_0001", "case_0002", "case_0003")


def group(names, **known):
    files = [Path("images", f"{name}.nii.gz") for name in names]
    found = group_channels(files, **known)
    return {case: [path.name.removesuffix(".nii.gz") for path in paths] for case, paths in found.items()}


AS_CHANNELS = {"a": ["a_0000", "a_0001"], "b": ["b_0000", "b_0001"]}


@pytest.mark.parametrize(
    ("names", "known", "cases"),
    [
        (BOTH, {}, AS_CHANNELS),  # the same number of channels in every case
        (BOTH, {"labels": {"a", "b"}}, AS_CHANNELS),
        (BOTH, {"labels": set(BOTH)}, {name: [name] for name in BOTH}),
        (("word_0001", "word_0002"), {}, {"word_0001": ["word_0001"], "word_0002": ["word_0002"]}),
        (("word_0001", "word_0002"), {"channel_names": "ab"}, {name: [name] for name in ("word_0001", "word_0002")}),
        (("a_0000", "b_0000"), {}, {"a": ["a_0000"], "b": ["b_0000"]}),
        (("a_0000", "b"), {}, {"a": ["a_0000"], "b": ["b"]}),
        (PATIENTS, {"labels": set(PATIENTS)}, {name: [name] for name in PATIENTS}),
        (PATIENTS, {"labels": {"case_0002_pred"}}, {name: [name] for name in PATIENTS}),
        (PATIENTS, {"labels": {"case"}}, {"case": list(PATIENTS)}),
        (PATIENTS, {"channel_names": ["MRI"]}, {name: [name] for name in PATIENTS}),
        (PATIENTS, {"channel_names": ["T1", "T2", "PD", "FLAIR"]}, {"case": list(PATIENTS)}),
        (PATIENTS, {"channels": 1}, {name: [name] for name in PATIENTS}),
        (PATIENTS, {"channels": 4}, {"case": list(PATIENTS)}),
        (("p_0001_0000", "p_0002_0000"), {}, {"p_0001": ["p_0001_0000"], "p_0002": ["p_0002_0000"]}),
        (("a_0000", "a_0001", "b_0000"), {"channel_names": "ab"}, {"a": ["a_0000", "a_0001"], "b": ["b_0000"]}),
        (("a_0000", "b_0000", "b_0001"), {"channel_names": "a"}, {"a": ["a_0000"], "b": ["b_0000", "b_0001"]}),
        (("a_0001", "a_0000", "a_0010"), {"labels": {"z"}}, {n: [n] for n in ("a_0000", "a_0001", "a_0010")}),
    ],
)
def test_the_names_of_the_folder_decide(names, known, cases):
    assert group(names, **known) == cases


@pytest.mark.parametrize("known", [{}, {"labels": {"x"}}, {"labels": {"case", "case_0001"}}])
def test_names_that_fit_two_readings_need_a_word(known):
    with pytest.raises(UsageError, match=r"may be channels of case, or 4 cases\. .*--channels 4 .*--channels 1"):
        group(PATIENTS, **known)


def test_a_channel_missing_before_another_is_named():
    with pytest.raises(UsageError, match="The image a in images has the channels 0000, 0002; expected 0001"):
        group(("a_0000", "a_0002"), labels={"a"})


def test_two_images_of_one_name_are_refused():
    with pytest.raises(UsageError, match=r"Two images of one name: .*a_0000\.nii.* Keep one"):
        group_channels([Path("images/a_0000.nii"), Path("images/a_0000.nii.gz")])


def test_a_patient_without_a_prediction_is_missed_though_ids_look_like_channels(tmp_path):
    """`case_0000 ... case_0003` are four images; two predictions of them are not two classes of one."""
    probabilities, label = make_case()
    for name in PATIENTS:
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", label)
    for name in PATIENTS[:2]:
        write_nifti(tmp_path / "preds" / f"{name}.nii.gz", probabilities)
    found = pair_images(tmp_path / "preds", tmp_path / "images").cases
    assert {case.case: len(case.prediction) for case in found} == dict(zip(PATIENTS, (1, 1, 0, 0), strict=True))


def test_planes_of_one_class_leave_it_open_until_dataset_json_or_the_user_says(tmp_path):
    _, label = make_case()
    for name in PATIENTS[:2]:
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", label)
        write_nifti(tmp_path / "preds" / f"{name}.nii.gz", label.astype("f4"))

    def cases(**known):
        return [case.case for case in pair_images(tmp_path / "preds", tmp_path / "images", **known).cases]

    with pytest.raises(UsageError, match="--channels 2"):
        cases()
    assert cases(channels=2) == ["case"]
    assert cases(channels=1) == list(PATIENTS[:2])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"bg": 0, "a": 1}, "modality": {"0": "MRI"}}))
    assert cases() == list(PATIENTS[:2])
