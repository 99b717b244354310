from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.errors import UsageError
from calibeval.gates.integrity import check_files, plan_files
from calibeval.gates.report import Report
from calibeval.gates.rules import RULES
from calibeval.gates.scan import scan_planes
from calibeval.io.probabilities import array_source
from calibeval.scoring.options import ScoreOptions
from tests.case_files import AFFINE, make_case, write_folders, write_itk, write_names, write_nifti, write_npz


def broken(preds, labels=None, images=None, **options):
    """Rules with findings, and rules that were skipped."""
    findings, outcomes = check_files(plan_files(preds, labels, images, **options))
    assert [outcome.name.partition(":")[0] for outcome in outcomes] == list(RULES)
    by_outcome = {o.name.partition(":")[0] for o in outcomes if o.status in ("failed", "warned")}
    assert by_outcome == {finding.rule for finding in findings}
    return {finding.rule: finding for finding in findings}, {
        outcome.name.partition(":")[0] for outcome in outcomes if outcome.status == "skipped"
    }


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path)


def test_good_files_break_no_rule(folders):
    preds, labels = folders
    assert broken(preds, labels) == ({}, {"argmax"})
    assert broken(preds, images=labels) == ({}, {"argmax"})
    assert broken(preds) == ({}, {"argmax", "missing", "extra", "geometry"})


def spoil(change):
    probabilities, _ = make_case(1)
    changed = probabilities.copy()
    change(changed)
    return changed


def set_nan(p):
    p[0, 0, 0, 0] = np.nan


def to_logits(p):
    p[:] = np.log(p + 1e-3)


def halve(p):
    p[:, 1] /= 2


def to_one_hot(p):
    p[:] = p.argmax(axis=0) == np.arange(len(p))[:, None, None, None]


def cut_off(p):
    unlikely = p[0] >= 0.5
    p[:, unlikely] = np.array([1, 0, 0])[:, None]


@pytest.mark.parametrize(
    ("change", "rule", "problem"),
    [
        (set_nan, "finite", "1 of 360 values are NaN or infinite"),
        (to_logits, "range", "values lie outside [0, 1], from -6.9"),
        (halve, "sum", "30 of 120 voxels do not sum to 1 (from 0.5 to 1)"),
        (to_one_hot, "one_hot", "all probabilities are 0 or 1"),
        (cut_off, "truncated", "no foreground probability lies between 0 and 0.5"),
    ],
)
def test_each_fault_breaks_its_own_rule_and_no_other(folders, change, rule, problem):
    preds, labels = folders
    write_nifti(preds / "b.nii.gz", spoil(change))
    found, _ = broken(preds, labels)
    assert list(found) == [rule]
    assert problem in found[rule].problem
    assert found[rule].file == str(preds / "b.nii.gz")
    assert found[rule].severity == "fail"
    assert found[rule].advice


def test_a_case_counts_only_for_the_rules_that_it_was_asked(folders):
    preds, labels = folders
    (preds / "a.nii.gz").unlink()
    (preds / "b.nii.gz").write_bytes(b"")
    outcomes = {o.name.partition(":")[0]: o for o in check_files(plan_files(preds, labels))[1]}
    assert {rule: o.message for rule, o in outcomes.items() if o.status == "passed"} == {
        "extra": "3 cases",
        **dict.fromkeys(("layout", "geometry", "finite", "range", "sum", "one_hot", "truncated"), "1 of 3 cases"),
    }
    (preds / "c.nii.gz").write_bytes(b"")
    outcomes = {o.name.partition(":")[0]: o for o in check_files(plan_files(preds, labels))[1]}
    assert (outcomes["sum"].status, outcomes["sum"].message) == ("skipped", "no case came so far; see the rules above")


def test_missing_and_extra_cases(folders):
    preds, labels = folders
    (preds / "b.nii.gz").rename(preds / "z.nii.gz")
    found, _ = broken(preds, labels)
    assert {rule: finding.file for rule, finding in found.items()} == {
        "missing": str(labels / "b.nii.gz"),
        "extra": "z",
    }
    assert found["extra"].severity == "warn"


def test_images_of_nnunet_are_the_expected_cases(folders, tmp_path):
    preds, labels = folders
    images = tmp_path / "imagesTs"
    for path in sorted(labels.glob("*.nii.gz")):
        for channel in ("0000", "0001"):
            images.mkdir(exist_ok=True)
            shutil.copy(path, images / path.name.replace(".nii", f"_{channel}.nii"))
    assert broken(preds, images=images) == ({}, {"argmax"})
    (preds / "c.nii.gz").unlink()
    found, _ = broken(preds, images=images)
    assert list(found) == ["missing"]


def test_images_with_channels_tell_the_place(folders, tmp_path):
    preds, _ = folders
    probabilities, _ = make_case(0)
    for name in "abc":
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", np.concatenate([probabilities] * 2))
    assert broken(preds, images=tmp_path / "images") == ({}, {"argmax"})


def test_a_moved_file_breaks_geometry(folders):
    preds, labels = folders
    probabilities, _ = make_case(1)
    moved = AFFINE.copy()
    moved[0, 3] += 3
    write_nifti(preds / "b.nii.gz", probabilities, affine=moved)
    assert list(broken(preds, labels)[0]) == ["geometry"]
    flipped = AFFINE * np.array([-1, 1, 1, 1])
    write_nifti(preds / "b.nii.gz", probabilities, affine=flipped)
    assert "axes run" in broken(preds, labels)[0]["geometry"].problem


def test_a_wrong_shape_breaks_layout_and_a_truncated_file_is_unreadable(folders):
    preds, labels = folders
    write_nifti(preds / "a.nii.gz", make_case(0, shape=(3, 5, 6))[0])
    raw = (preds / "b.nii.gz").read_bytes()
    (preds / "b.nii.gz").write_bytes(raw[: len(raw) // 2])
    found, _ = broken(preds, labels)
    assert {rule: finding.file[-8:] for rule, finding in found.items()} == {
        "layout": "a.nii.gz",
        "readable": "b.nii.gz",
    }


def test_bytes_after_the_data_are_damage_not_layout(folders):
    preds, labels = folders
    path = preds / "a.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"more"))
    found, _ = broken(preds, labels)
    assert list(found) == ["readable"]
    assert "is longer than its header says" in found["readable"].problem


def test_a_class_name_too_many_is_said_and_no_bug(folders):
    preds, labels = folders
    write_names(labels, {"background": 0, "RV": 1, "LV": 2, "MYO": 3})
    found, _ = broken(preds, labels)
    assert {rule: finding.problem for rule, finding in found.items()} == {
        "layout": "the 3 maps sum to 1, so the background is among them: 3 classes, not 4."
    }


def test_label_maps_are_no_probabilities(folders):
    _, labels = folders
    found, _ = broken(labels, labels)
    assert list(found) == ["one_hot"]
    assert "holds labels, not probabilities" in found["one_hot"].problem
    assert broken(labels, labels, severities={"one_hot": "off"})[0] == {}
    write_nifti(labels / "a.nii.gz", np.full((4, 5, 6), 7, np.uint8))
    assert list(broken(labels, severities={"one_hot": "off"})[0]) == ["layout"]


def nnunet_case(
    folder, name="a", change=lambda labels: None, turn=lambda probabilities: probabilities, dtype=np.float32
):
    probabilities, _ = make_case(0)
    labels = probabilities.argmax(axis=0).astype(np.uint8)
    change(labels)
    write_npz(folder / f"{name}.npz", probabilities=turn(probabilities).astype(dtype))
    write_nifti(folder / f"{name}.nii.gz", labels)
    write_names(folder)


def test_argmax_is_compared_with_the_label_map_beside_it(tmp_path):
    nnunet_case(tmp_path)
    assert broken(tmp_path) == ({}, {"missing", "extra"})

    def post_process(labels):
        labels[0, 0, :2] = (labels[0, 0, :2] + 1) % 3

    nnunet_case(tmp_path, change=post_process)
    found, _ = broken(tmp_path)
    assert list(found) == ["argmax"]
    assert "differs from the argmax in 2 voxels" in found["argmax"].problem
    found, _ = broken(tmp_path, severities={"argmax": "warn"})
    assert found["argmax"].severity == "warn"


def test_a_tie_may_be_broken_either_way(tmp_path):
    probabilities = np.zeros((3, 4, 5, 6), np.float32)
    probabilities[:] = np.array([0.4, 0.4, 0.2])[:, None, None, None]
    for label, rules in ((0, []), (1, []), (2, ["argmax"])):
        write_npz(tmp_path / "a.npz", probabilities=probabilities)
        write_nifti(tmp_path / "a.nii.gz", np.full((4, 5, 6), label, np.uint8))
        assert list(broken(tmp_path)[0]) == rules


def test_turned_probabilities_are_told_by_the_label_map(tmp_path):
    nnunet_case(tmp_path, turn=lambda p: p.transpose(0, 3, 2, 1)[:, ::-1])
    assert broken(tmp_path)[0] == {}
    nnunet_case(tmp_path, change=lambda labels: np.random.default_rng(0).shuffle(labels.ravel()))
    assert "no turn or flip mends it" in broken(tmp_path)[0]["argmax"].problem


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_sums_are_judged_by_the_stored_type(tmp_path, dtype):
    random = np.random.default_rng(0).random((3, 4, 5, 6))
    write_npz(tmp_path / "a.npz", probabilities=(random / random.sum(axis=0)).astype(dtype))
    assert broken(tmp_path)[0] == {}


def test_conventions_without_labels(tmp_path):
    probabilities, _ = make_case(0)
    write_names(tmp_path)
    for c, plane in enumerate(probabilities):
        write_nifti(tmp_path / "per_class" / f"case_{c:04d}.nii.gz", plane)
    write_nifti(tmp_path / "numbered" / "case_0000.nii.gz", probabilities)
    write_nifti(tmp_path / "numbered" / "case_0001.nii.gz", probabilities)
    write_itk(tmp_path / "itk" / "case.mha", probabilities, vector=True)
    write_itk(tmp_path / "joined" / "case.nrrd", probabilities)
    for folder, cases in (("per_class", 1), ("numbered", 2), ("itk", 1), ("joined", 1)):
        plan = plan_files(tmp_path / folder)
        assert len(plan.cases) == cases, folder
        assert check_files(plan)[0] == [], folder


def test_sigmoid_maps_of_regions_need_no_sum(tmp_path):
    random = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", random)
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3]}
    write_names(tmp_path, labels)
    assert broken(tmp_path)[0] == {}
    random[:, 0] *= 2
    write_nifti(tmp_path / "a.nii.gz", random)
    assert list(broken(tmp_path)[0]) == ["range"]


def test_logits_are_taken_as_such_when_told(folders):
    preds, labels = folders
    for index, name in enumerate("abc"):
        write_nifti(preds / f"{name}.nii.gz", np.log(make_case(index)[0] + 1e-3))
    assert list(broken(preds, labels)[0]) == ["range"]
    assert broken(preds, labels, choices=ScoreOptions(input="logits"))[0] == {}


def test_processes_find_the_same(folders):
    preds, labels = folders
    write_nifti(preds / "b.nii.gz", spoil(set_nan))
    plan = plan_files(preds, labels)
    assert check_files(plan, workers=2) == check_files(plan)


def test_an_unexpected_error_costs_its_case_only(folders, monkeypatch):
    preds, labels = folders

    def explode(*_, **__):
        raise RuntimeError("boom")

    monkeypatch.setattr("calibeval.gates.case_files.scan_planes", explode)
    found, _ = broken(preds, labels)
    assert "unexpected RuntimeError: boom" in found["readable"].problem


@pytest.mark.parametrize("severities", [{"sums": "fail"}, {"sum": "error"}])
def test_unknown_rules_and_severities_are_refused(folders, severities):
    with pytest.raises(UsageError, match="expected one of missing, extra, readable"):
        plan_files(*folders, severities=severities)


def test_a_rule_that_is_off_is_skipped_and_alone_passes_nothing(folders):
    preds, labels = folders
    findings, outcomes = check_files(plan_files(preds, labels, severities=dict.fromkeys(RULES, "off")))
    assert (findings, {outcome.status for outcome in outcomes}) == ([], {"skipped"})
    assert Report("", tuple(outcomes)).exit_code == 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_scan_counts_what_brute_force_counts(seed, classes, dtype):
    random = np.random.default_rng(seed)
    values = random.choice(
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -1, np.nan, np.inf], (classes, 3, 4), p=[0.3, *[0.0875] * 8]
    )
    values = values.astype(dtype)
    labels = random.integers(0, classes, 12).astype(np.uint8)
    scan = scan_planes(array_source(values), sigmoid=False, labels=labels)
    finite = values[np.isfinite(values)].astype(float)
    foreground = 1 - values[0].astype(float)
    assert scan.values == values.size
    assert scan.not_finite == values.size - finite.size
    assert scan.outside == sum(value < 0 or value > 1 for value in finite)
    assert scan.between == sum(0 < value < 1 for value in finite)
    assert scan.background == sum(value == 0 for value in foreground.ravel())
    assert scan.unsure == sum(0 < value <= 0.5 for value in foreground.ravel())
    assert scan.likely == sum(0.5 < value < 1 for value in foreground.ravel())
    if finite.size == values.size:
        flat = values.reshape(classes, -1)
        assert (scan.predicted == flat.argmax(axis=0)).all()
        chosen = np.take_along_axis(flat, labels[None].astype(int), 0)[0]
        assert scan.contradicted(0) == int((chosen < flat.max(axis=0)).sum())
        assert scan.wrong_sums(1e-6) == int((np.abs(flat.astype(float).sum(axis=0) - 1) > 1e-6).sum())
