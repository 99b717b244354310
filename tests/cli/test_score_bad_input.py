"""Bad input through the command line: what is printed, which code, and that one bad case never costs another.

Every message names the file, what was expected or found, and what to do.
"""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from calibeval.table import read_table
from tests.case_files import AFFINE, make_case, write_folders, write_names, write_nifti, write_npz

GOOD, LABEL = make_case(1)


def break_gzip(path):
    write_nifti(path, GOOD)
    path.write_bytes(path.read_bytes()[:-200])


def flip_bit(path):
    content = bytearray(write_npz(path.with_name("b.npz"), probabilities=GOOD).read_bytes())
    content[len(content) // 2] ^= 16
    path.with_name("b.npz").write_bytes(content)
    path.unlink()


def pickle(path):
    write_npz(path.with_name("b.npz"), probabilities=np.array([{"a": 1}], object))
    path.unlink()


def changed(change):
    def write(path):
        values = GOOD.astype(np.float32).copy()
        change(values)
        write_nifti(path, values)

    return write


def one_nan(values):
    values[1, 2, 3, 4] = np.nan


def one_negative(values):
    values[1, 2, 3, 4] = -0.25


def unnormalised(values):
    values *= 0.9


def one_unnormalised_voxel(values):
    values[:, 2, 3, 4] = 0.1


def link_to_nowhere(path):
    path.unlink()
    path.symlink_to("/nowhere/b.nii.gz")


BROKEN = {
    "missing": (lambda path: path.unlink(), ["no prediction for {label}", "--missing worst or --missing drop"]),
    "truncated": (break_gzip, ["{pred}: ", "truncated or corrupt", "Write or copy it again."]),
    "flipped bit": (flip_bit, ["b.npz: ", "truncated or corrupt"]),
    "pickle": (pickle, ["b.npz: holds pickled Python objects, which are never loaded. Save a plain array"]),
    "empty": (lambda path: path.write_bytes(b""), ["{pred}: ", "Write or copy it again."]),
    "text": (lambda path: path.write_text("no image"), ["{pred}: ", "Write or copy it again."]),
    "link": (link_to_nowhere, ["{pred}: is a link to /nowhere/b.nii.gz, which is not there."]),
    "shape": (
        lambda path: write_nifti(path, GOOD[:, :-1, :, :-1]),
        ["{pred}: its shape (3, 3, 5, 5) fits no layout of the label's shape (4, 5, 6)", "never resamples"],
    ),
    "flip": (
        lambda path: write_nifti(path, GOOD, affine=AFFINE @ np.diag([1, -1, 1, 1])),
        ["{pred}: its axes run LPS, those of {label} run LAS.", "nibabel.as_closest_canonical"],
    ),
    "shift": (
        lambda path: write_nifti(path, GOOD, affine=AFFINE + np.eye(4, k=3)),
        ["{pred}: its affine differs from that of {label}", "[0,3]: 21 against 20", "Resample the prediction"],
    ),
    "NaN": (changed(one_nan), ["{pred}: class 1 holds the value nan, which is not finite."]),
    "infinite": (
        lambda path: write_nifti(path, np.where(GOOD > 0.9, np.inf, GOOD).astype(np.float32)),
        ["{pred}: class", "holds the value inf, which is not finite."],
    ),
    "negative": (changed(one_negative), ["{pred}: class 1 holds the value -0.25, which lies outside [0, 1]."]),
    "unnormalised": (changed(unnormalised), ["{pred}: ", "sum to 0.9 on average, not to 1.", "--scale"]),
    "one voxel": (changed(one_unnormalised_voxel), ["{pred}: ", "sum to 0.99"]),
    "logits": (
        lambda path: write_nifti(path, 5 * GOOD - 2),
        ["{pred}: class", "which lies outside [0, 1]. Logits need --input logits"],
    ),
    "log probabilities": (
        lambda path: write_nifti(path, log_softmax(5 * GOOD, axis=0)),
        ["{pred}: class", "which lies outside [0, 1]."],
    ),
    "integers": (
        lambda path: write_nifti(path, (GOOD * np.linspace(30, 60, GOOD.shape[-1])).astype(np.int16)),
        ["{pred}: holds int16 values from 0 to ", "probabilities of a known scale. Give --scale"],
    ),
    "image": (
        lambda path: write_nifti(path, np.arange(120, dtype=np.float32).reshape(LABEL.shape)),
        ["{pred}: label 3 (1 voxels), 4 (1 voxels)", "stands for no class", "--scale 255"],
    ),
    "too few classes": (
        lambda path: write_nifti(path, np.stack([GOOD[0] + 0.5] * 5)),
        ["{pred}: holds 5 classes, but", "gives 3: background, RV, LV.", "--classes"],
    ),
}  # fmt: skip


def read(path):
    return read_table(Path(path))[1]


@pytest.fixture
def data(tmp_path):
    """Three cases, the second of which a test breaks."""
    preds, labels = write_folders(tmp_path)
    return preds, labels, preds / "b.nii.gz"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_case_is_a_row_with_its_reason_and_costs_no_other(kind, data, cli):
    write, messages = BROKEN[kind]
    preds, labels, path = data
    expected = cli("score", preds, labels)
    whole = read("results/m.csv")
    write(path)
    outcome = cli("score", preds, labels)
    assert (expected.code, outcome.code) == (0, 3)
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("calibeval: m/"))
    assert line.startswith("calibeval: m/b: ")
    for message in messages:
        assert message.format(pred=path, label=labels / "b.nii.gz") in line
    frame = read("results/m.csv")
    bad = frame[frame["case"] == "b"]
    assert len(bad) == len(whole[whole["case"] == "b"])
    assert set(bad["status"]) == {"missing" if kind == "missing" else "failed"}
    assert bad["value"].isna().all()
    assert bad["note"].map(lambda note: note in line).all()
    good = frame[frame["case"].isin(["a", "c"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(good, whole[whole["case"].isin(["a", "c"])].reset_index(drop=True))
    status = "missing" if kind == "missing" else "failed"
    assert f"1 {status}" in outcome.out


@pytest.mark.parametrize("kind", BROKEN)
def test_the_dry_run_finds_what_headers_tell_and_never_breaks(kind, data, cli):
    preds, labels, path = data
    BROKEN[kind][0](path)
    outcome = cli("score", preds, labels, "--dry-run")
    assert outcome.code in (0, 3)
    assert outcome.err == ""
    assert not Path("results").exists()
    if outcome.code == 3:
        assert outcome.out.count("PROBLEM: ") == 1


@pytest.mark.parametrize("kind", ["truncated", "NaN", "shape"])
def test_nothing_scored_is_exit_code_2(kind, data, cli):
    preds, labels, path = data
    for name in ("a", "c"):
        (preds / f"{name}.nii.gz").unlink()
        (labels / f"{name}.nii.gz").unlink()
    BROKEN[kind][0](path)
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1] == "calibeval: no case could be scored."


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_scored(cli, plain_user, monkeypatch):
    preds, labels = write_folders(plain_user)
    (plain_user / "out").mkdir(mode=0o555)
    monkeypatch.chdir(plain_user)
    outcome = cli("score", preds, labels, "--out", plain_user / "out")
    assert outcome.code == 2
    expected = f"{plain_user / 'out'}: cannot be written to (Permission denied). Choose another folder with --out."
    assert expected in outcome.err


def test_a_broken_label_costs_its_case_alone(data, cli):
    preds, labels, _ = data
    (labels / "b.nii.gz").write_bytes(gzip.compress(b"no image"))
    outcome = cli("score", preds, labels)
    assert outcome.code == 3
    assert f"m/b: {labels / 'b.nii.gz'}: is no NIfTI file" in outcome.err


def test_a_file_that_may_not_be_read_costs_its_case_alone(cli, plain_user, monkeypatch):
    preds, labels = write_folders(plain_user)
    (preds / "b.nii.gz").chmod(0)
    monkeypatch.chdir(plain_user)
    outcome = cli("score", preds, labels, "--out", plain_user / "out")
    assert outcome.code == 3
    assert f"m/b: {preds / 'b.nii.gz'}: cannot be read (Permission denied)." in outcome.err


def test_logits_are_softmaxed_on_demand_alone(data, cli, scored):
    preds, labels, _ = data
    expected = scored(preds, labels)
    for index, name in enumerate("abc"):
        write_nifti(preds / f"{name}.nii.gz", np.log(np.maximum(make_case(index)[0], 1e-30)) + 7)
    assert cli("score", preds, labels).code == 2
    found = scored(preds, labels, "--input", "logits")
    np.testing.assert_allclose(found["value"], expected["value"], rtol=2e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "LABELS"], "gone: no such file or folder."),
        (["PREDS", "gone"], "gone: no such file or folder."),
        (
            ["EMPTY", "LABELS"],
            "EMPTY: holds no prediction (no .nii.gz, .npz, .npy, .mha, .nrrd, .mgz, .img, .seg.nrrd, .dcm, .h5, .png "
            "or .tif file).",
        ),
        (["PREDS", "EMPTY"], "EMPTY: holds no label"),
        (["PREDS", "LABELS/a.nii.gz"], "is a folder and"),
        (["PREDS/a.nii.gz", "LABELS"], "is a folder and"),
        (["PREDS/a.nii.gz"], "LABELS is missing; only an NPZ can hold its label itself"),
        (["PREDS"], "LABELS is missing; only NPZ files can hold their labels themselves"),
        ([], "Give the folder of predictions, or --manifest."),
        (["PREDS", "OTHER"], "No prediction fits a label by name."),
        (["PREDS", "LABELS", "--metrics", "DSC,Dise"], "Unknown metric 'Dise'. Known: default, paper, all, lesions,"),
        (["PREDS", "LABELS", "--metrics", ","], "No metric chosen"),
        (["PREDS", "LABELS", "--spacing", "1,x,2"], "--spacing '1,x,2': expected numbers in mm parted by commas"),
        (["PREDS", "LABELS", "--spacing", "1,0,2"], "--spacing '1,0,2': every length must be above 0."),
        (["PREDS", "LABELS", "--spacing", "nan,1,2"], "every length must be above 0."),
        (["PREDS", "LABELS", "--axes", "zyxw"], "--axes 'zyxw': expected an order of the letters c, x, y, z"),
        (["PREDS", "LABELS", "--scale", "0"], "--scale 0: expected the value that stands for probability 1"),
        (["PREDS", "LABELS", "--bins", "0"], "number of bins must lie between 1 and 1000, not 0."),
        (["PREDS", "LABELS", "--threshold", "1"], "The CECE threshold must lie in [0, 1), not 1."),
        (["PREDS", "LABELS", "--fp-weight", "-1"], "must be zero or more, not -1."),
        (["PREDS", "LABELS", "--fp-weight", "nan"], "must be zero or more, not nan."),
        (["PREDS", "LABELS", "--pattern", "x"], "--pattern 'x': expected {case} in it"),
        (["PREDS", "LABELS", "--seg-dir", "gone"], "gone: no such file or folder."),
        (["PREDS", "LABELS", "--seg-dir", "OTHER"], "No label map fits a label by name."),
        (["--manifest", "gone.csv"], "gone.csv: no such file."),
        (["PREDS", "LABELS", "--manifest", "gone.csv"], "--manifest says which files belong together"),
        (["PREDS", "LABELS", "--regions", "x"], "--regions 'x': expected NAME=CLASS,CLASS;..."),
        (["PREDS", "LABELS", "--map", "x"], "--map 'x': expected OLD=NEW pairs"),
        (["PREDS", "LABELS", "--classes", "x"], "--classes 'x': expected at least two names"),
        (
            ["PREDS", "LABELS", "--protocol", "papr"],
            "'papr' is not one of 'paper', 'paper-text', 'nacl', 'sdc-repo', 'guo'",
        ),
        (["PREDS", "LABELS", "--workers", "0"], "Invalid value for '--workers'"),
        (["PREDS", "LABELS", "--ignore-label", "x"], "Invalid value for '--ignore-label'"),
        (["PREDS", "LABELS", "extra"], "unexpected extra argument"),
        (["PREDS", "LABELS", "--wrong"], "No such option"),
        (["PREDS", "LABELS", "--out", "LABELS/a.nii.gz"], "is a file, expected a folder or the name of a .csv file"),
        (["PREDS", "LABELS", "--out", "LABELS/a.nii.gz/x.csv"], "a.nii.gz: cannot be written to"),
        (["BOTH", "LABELS", "--out", "one.csv"], "--out one.csv is one file, but there are 2 methods. Give a folder."),
    ],
)
def test_usage_that_cannot_be_is_exit_code_2(arguments, message, data, cli, tmp_path):
    preds, labels, _ = data
    (tmp_path / "EMPTY").mkdir()
    write_nifti(tmp_path / "OTHER" / "zzz.nii.gz", LABEL)
    shutil.copytree(preds, tmp_path / "BOTH" / "m1")
    shutil.copytree(preds, tmp_path / "BOTH" / "m2")
    places = {"PREDS": str(preds), "LABELS": str(labels)}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    outcome = cli("score", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    plain = " ".join(outcome.err.replace("│", " ").split())  # usage errors of the parser come in a box
    assert message in plain
    assert not (tmp_path / "results").exists()


def test_a_name_for_several_classes_is_refused(data, cli):
    preds, labels, _ = data
    write_names(labels, {"background": 0, "mean": 1, "x": 2})
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert "The class name 'mean' is reserved for numbers over several classes. Rename it" in outcome.err
    assert "dataset.json" in outcome.err


def test_a_case_named_like_the_pooled_numbers_is_refused(data, cli):
    preds, labels, _ = data
    for folder in (preds, labels):
        (folder / "a.nii.gz").rename(folder / "pooled.nii.gz")
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert f"{labels}: a case is named 'pooled', which is reserved" in outcome.err


def test_one_cause_is_said_once_with_its_number_of_cases(tmp_path, cli):
    for index in range(30):
        write_nifti(tmp_path / "labels" / f"c{index:02d}.nii.gz", LABEL)
    write_nifti(tmp_path / "m" / "c00.nii.gz", GOOD)
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert outcome.code == 3
    (line,) = outcome.err.splitlines()
    assert line.startswith("calibeval: m: 29 cases (c01, c02, c03, ...): no prediction for ")
    errors = json.loads(cli("score", tmp_path / "m", tmp_path / "labels", "--json").out)["methods"][0]["errors"]
    assert len(errors) == 29


def test_label_maps_among_probability_maps_are_not_forgotten(data, cli):
    preds, labels, path = data
    write_nifti(path, GOOD.argmax(axis=0).astype(np.uint8))
    outcome = cli("score", preds, labels)
    assert outcome.code == 3
    assert "m/b: its prediction was taken for a label map, those of other cases hold probabilities" in outcome.err
    frame = pd.read_csv("results/m.csv", comment="#")
    rows = frame[frame["case"] == "b"].set_index("metric")
    assert set(rows.loc[["DSC"], "status"]) == {"ok"}
    assert rows.loc["ECE", "status"] == "failed"
