"""`calibeval calibrate` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from scipy.special import softmax

from calibeval.calibrate.calibrator import Calibrator, read_calibrator, write_calibrator
from calibeval.errors import InputError
from tests.case_files import write_names, write_nifti, write_npz

POWER = 2.5


def make_case(seed, shape=(6, 10, 12)):
    """True probabilities of three classes, and a label drawn from them."""
    random = np.random.default_rng(seed)
    true = softmax(random.normal(size=(3, *shape)) * 1.5, axis=0)
    label = (random.random(shape) > true.cumsum(axis=0)).sum(axis=0).clip(0, 2).astype(np.uint8)
    return true.astype(np.float64), label


def sharpened(p):
    return softmax(np.log(p) * POWER, axis=0).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """Ten cases whose model is too sure; the last four in a folder of their own."""
    for index in range(10):
        true, label = make_case(index)
        part = "fit" if index < 6 else "new"
        write_nifti(tmp_path / part / "ours" / f"c{index}.nii.gz", sharpened(true))
        write_nifti(tmp_path / part / "labels" / f"c{index}.nii.gz", label)
    for part in ("fit", "new"):
        write_names(tmp_path / part / "labels", {"background": 0, "a": 1, "b": 2})
    return tmp_path


def read_map(path):
    return np.moveaxis(np.asarray(Nifti1Image.from_filename(path).dataobj), -1, 0).transpose(0, 3, 2, 1)


def test_fit_finds_the_temperature_and_apply_undoes_it(data, cli):
    fitted = cli("calibrate", "fit", "fit/ours", "fit/labels")
    assert fitted.code == 0, fitted.err
    assert "temperature scaling: softmax(log p / T)" in fitted.out
    calibrator = read_calibrator(Path("calibrator.json"))
    assert calibrator.parameters[""]["temperature"] == pytest.approx(POWER, rel=0.1)
    assert sorted(calibrator.cases) == [f"c{i}" for i in range(6)]
    applied = cli("calibrate", "apply", "calibrator.json", "new/ours", "-o", "mended")
    assert (applied.code, applied.out) == (0, "mended\n")
    old, new = (Nifti1Image.from_filename(Path(folder) / "c7.nii.gz") for folder in ("new/ours", "mended"))
    assert new.header.binaryblock == old.header.binaryblock
    expected = softmax(
        np.log(read_map("new/ours/c7.nii.gz").clip(1e-7, 1)) / calibrator.parameters[""]["temperature"], axis=0
    )
    assert read_map("mended/c7.nii.gz") == pytest.approx(expected, abs=1e-6)
    assert read_calibrator(Path("mended/calibrator.json")) == calibrator
    before, after = (
        json.loads(cli("score", folder, "new/labels", "--metrics", "NLL", "--json").out)["methods"][0]["metrics"]
        for folder in ("new/ours", "mended")
    )
    assert after[-1]["mean"] < before[-1]["mean"] - 0.1


def test_cases_that_were_fitted_are_refused(data, cli):
    cli("calibrate", "fit", "fit/ours", "fit/labels")
    refused = cli("calibrate", "apply", "calibrator.json", "fit/ours", "-o", "mended")
    assert refused.code == 2
    assert "The calibrator was fitted on 6 of these cases (c0, c1, c2, c3, c4, ...)" in refused.err
    assert not Path("mended").exists()
    assert cli("calibrate", "apply", "calibrator.json", "fit/ours", "-o", "mended", "--also-fitted").code == 0


def test_a_bad_case_costs_itself_and_a_resumed_run_leaves_the_rest(data, cli):
    cli("calibrate", "fit", "fit/ours", "fit/labels")
    good = Path("new/ours/c8.nii.gz").read_bytes()
    Path("new/ours/c8.nii.gz").write_bytes(good[:200])
    outcome = cli("calibrate", "apply", "calibrator.json", "new/ours", "-o", "mended")
    assert outcome.code == 3
    assert "c8" in outcome.err
    assert sorted(path.name for path in Path("mended").glob("*.nii.gz")) == ["c6.nii.gz", "c7.nii.gz", "c9.nii.gz"]
    Path("new/ours/c8.nii.gz").write_bytes(good)
    kept = Path("mended/c6.nii.gz").stat().st_mtime_ns
    assert cli("calibrate", "apply", "calibrator.json", "new/ours", "-o", "mended", "--resume").code == 0
    assert Path("mended/c8.nii.gz").exists()
    assert Path("mended/c6.nii.gz").stat().st_mtime_ns == kept


def test_evaluate_says_what_unseen_cases_gain(data, cli):
    outcome = cli("calibrate", "evaluate", "fit/ours", "fit/labels", "--folds", "3", "--method", "temperature,isotonic",
                  "--metrics", "DSC,NLL", "--json", "-o", "tables")  # fmt: skip
    assert outcome.code == 0, outcome.err
    temperature, isotonic = json.loads(outcome.out)["methods"]
    assert temperature["changed_voxels"] == 0 < isotonic["changed_voxels"]
    dsc, nll = temperature["metrics"]
    assert (dsc["metric"], dsc["difference"], dsc["n"]) == ("DSC", 0, 6)
    assert nll["high"] < 0
    assert nll["after"] - nll["before"] == pytest.approx(nll["difference"])
    assert sorted(path.name for path in Path("tables").glob("*.csv")) == [
        "ours+isotonic.csv",
        "ours+temperature.csv",
        "ours.csv",
    ]
    printed = cli("calibrate", "evaluate", "fit/ours", "fit/labels", "--folds", "3", "--metrics", "NLL")
    assert "temperature: the predicted class changed in 0 voxels" in printed.out


@pytest.mark.parametrize("form", ["npz", "uint8", "a class each"])
def test_maps_come_out_in_the_form_they_came_in(form, tmp_path, cli):
    for index in range(5):
        true, label = make_case(index)
        p = sharpened(true)
        if form == "npz":
            write_npz(tmp_path / "p" / f"c{index}.npz", probs=p.astype(np.float16), label=label)
        elif form == "uint8":
            write_nifti(tmp_path / "p" / f"c{index}.nii.gz", np.rint(p * 255).astype(np.uint8))
        else:
            for c in range(3):
                write_nifti(tmp_path / "p" / f"c{index}_{c:04d}.nii.gz", p[c])
        write_nifti(tmp_path / "labels" / f"c{index}.nii.gz", label)
    labels = () if form == "npz" else ("labels",)
    options = ("--spacing", "1,1,1") if form == "npz" else ()
    assert cli("calibrate", "fit", "p", *labels, *options).code == 0
    assert cli("calibrate", "apply", "calibrator.json", "p", "-o", "out", "--also-fitted", *options).code == 0
    olds, news = (sorted(path.relative_to(folder) for path in Path(folder).rglob("*.n*")) for folder in ("p", "out"))
    assert olds == news
    score = [cli("score", folder, *labels, *options, "--metrics", "NLL", "--json") for folder in ("p", "out")]
    before, after = (json.loads(each.out)["methods"][0]["metrics"][-1]["mean"] for each in score)
    assert after < before - 0.05
    if form == "npz":
        with np.load("out/c1.npz") as new, np.load("p/c1.npz") as old:
            assert new["probs"].dtype == np.float16
            assert (new["label"] == old["label"]).all()
    elif form == "uint8":
        assert Nifti1Image.from_filename("out/c1.nii.gz").get_data_dtype() == np.uint8


def test_conformal_masks_hold_their_promise_on_the_fitted_cases(data, cli):
    few = cli("calibrate", "fit", "fit/ours", "fit/labels", "--method", "conformal", "--alpha", "0.1")
    assert few.code == 2
    assert "takes 9 groups at least, and there are 6" in few.err
    fitted = cli("calibrate", "fit", "fit/ours", "fit/labels", "--method", "conformal", "--alpha", "0.2")
    assert fitted.code == 0, fitted.err
    assert cli("calibrate", "apply", "calibrator.json", "fit/ours", "-o", "sets", "--also-fitted").code == 0
    for name, value in (("a", 1), ("b", 2)):
        missed = []
        for index in range(6):
            label = np.asarray(Nifti1Image.from_filename(f"fit/labels/c{index}.nii.gz").dataobj) == value
            outer, inner = (
                np.asarray(Nifti1Image.from_filename(f"sets/{kind}/c{index}_{name}.nii.gz").dataobj)
                for kind in ("outer", "inner")
            )
            assert not (inner & ~outer & 1).any()
            missed.append((label & (outer == 0)).sum() / label.sum())
        assert (sum(missed) + 1) / 7 <= 0.2 + 1e-12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--method", "platt"), "Unknown method 'platt'"),
        (("--domain", "edge"), "Unknown domain 'edge'"),
        (("--group-by", "(x)"), "c0"),
    ],
)
def test_odd_choices_are_refused(change, said, data, cli):
    outcome = cli("calibrate", "fit", "fit/ours", "fit/labels", *change)
    assert outcome.code == 2
    assert said in outcome.err
    assert not Path("calibrator.json").exists()


def test_what_cannot_be_fitted_is_said(tmp_path, cli):
    true, label = make_case(0)
    write_nifti(tmp_path / "soft" / "c.nii.gz", sharpened(true))
    write_nifti(tmp_path / "labels" / "c.nii.gz", np.where(label == 2, 0, label).astype(np.uint8))
    write_names(tmp_path / "labels", {"background": 0, "a": 1, "b": 2})
    unseen = cli("calibrate", "fit", "soft", "labels")
    assert unseen.code == 2
    assert "No voxel that counts has the label b" in unseen.err
    write_nifti(tmp_path / "hard" / "c.nii.gz", np.eye(3, dtype=np.float32)[label].transpose(3, 0, 1, 2))
    write_nifti(tmp_path / "all" / "c.nii.gz", label)
    write_names(tmp_path / "all", {"background": 0, "a": 1, "b": 2})
    assert "The probabilities are all 0 or 1" in cli("calibrate", "fit", "hard", "all").err
    assert "--folds 5: expected 2 at least and 1" in cli("calibrate", "evaluate", "soft", "all").err
    assert "holds labels, not probabilities" in cli("calibrate", "fit", "all", "all").err


def test_a_calibrator_file_is_exact_and_odd_ones_are_refused(tmp_path):
    path = tmp_path / "calibrator.json"
    calibrator = Calibrator(
        "vector", ("bg", "a"), {"": {"weights": [1 / 3, 0.1 + 0.2], "offsets": [1e-300, -0.0]}}, 1e-7
    )
    write_calibrator(path, calibrator)
    assert read_calibrator(path) == calibrator
    for old, new, said in (
        ('"format": 1', '"format": 9', "is no calibrator"),
        ('"vector"', '"pickle"', "Unknown method"),
        ('"weights"', '"gewichte"', "is no whole calibrator"),
        ("0.3333333333333333", "NaN", "is no whole calibrator"),
        ("{", "[", "cannot be read as a calibrator"),
    ):
        write_calibrator(path, calibrator)
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(InputError, match=said):
            read_calibrator(path)


def test_other_classes_are_refused(data, cli):
    cli("calibrate", "fit", "fit/ours", "fit/labels")
    true, _ = make_case(0)
    write_nifti(data / "two" / "c.nii.gz", np.stack([1 - true[1], true[1]]).astype(np.float32))
    outcome = cli("calibrate", "apply", "calibrator.json", "two", "-o", "mended")
    assert outcome.code == 2
    assert "holds 2 classes, and the calibrator was fitted on 3 classes: background, a, b" in outcome.err
