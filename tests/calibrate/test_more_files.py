"""What `calibrate` does with ensembles, logits, regions, turned maps and interrupted runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from calibeval.calibrate import apply, read_calibrator
from tests.calibrate.test_cli_calibrate import make_case, sharpened
from tests.case_files import AFFINE, read_nifti, write_itk, write_names, write_nifti, write_npz, write_png

NAMES = {"background": 0, "a": 1, "b": 2}


def write_labels(folder=Path("labels"), n=5):
    for index in range(n):
        write_nifti(folder / f"c{index}.nii.gz", make_case(index)[1])
    write_names(folder, NAMES)


def run(cli, *arguments, code=0):
    outcome = cli("calibrate", *arguments)
    assert outcome.code == code, outcome.err
    return outcome


def nll_of(cli, folder, *options, labels="labels"):
    outcome = cli("score", folder, labels, "--metrics", "NLL", "--json", *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["methods"][0]["metrics"][-1]["mean"]


@pytest.fixture
def soft(cli):
    """Five cases, one map of all classes each."""
    write_labels()
    for index in range(5):
        write_nifti(Path(f"p/c{index}.nii.gz"), sharpened(make_case(index)[0]))
    return cli


def test_an_ensemble_is_the_mean_of_its_models(soft):
    for index in range(5):
        p = sharpened(make_case(index)[0])
        write_nifti(Path(f"q/c{index}.nii.gz"), p[[0, 2, 1]])
        write_nifti(Path(f"mean/c{index}.nii.gz"), ((p.astype(np.float64) + p[[0, 2, 1]]) / 2).astype(np.float32))
    run(soft, "fit", "p", "labels", "--ensemble", "q", "-o", "e.json")
    run(soft, "fit", "mean", "labels", "-o", "m.json")
    ensemble, mean = (read_calibrator(Path(f"{name}.json")) for name in "em")
    assert ensemble.fitted["members"] == 2
    assert ensemble.parameters[""]["temperature"] == pytest.approx(mean.parameters[""]["temperature"], rel=1e-5)
    run(soft, "apply", "e.json", "p", "--ensemble", "q", "-o", "out", "--also-fitted")
    found = np.asarray(read_nifti("out/c1.nii.gz").dataobj)
    before = np.moveaxis(np.asarray(read_nifti("mean/c1.nii.gz").dataobj), -1, 0)
    assert np.moveaxis(found, -1, 0) == pytest.approx(apply(ensemble, before), abs=1e-6)
    alone = run(soft, "apply", "e.json", "p", "-o", "alone", "--also-fitted")
    assert "fitted on the mean of 2 models, and 1 are given" in alone.err
    Path("q/c3.nii.gz").unlink()
    lacking = run(soft, "apply", "e.json", "p", "--ensemble", "q", "-o", "less", "--also-fitted", code=3)
    assert "q/c3.nii.gz: no such file" in lacking.err
    assert len(list(Path("less").glob("*.nii.gz"))) == 4


def test_logits_come_out_as_logits(cli):
    write_labels()
    for index in range(5):
        write_nifti(Path(f"z/c{index}.nii.gz"), np.log(sharpened(make_case(index)[0])) + np.float32(3))
    run(cli, "fit", "z", "labels", "--input", "logits")
    run(cli, "apply", "calibrator.json", "z", "-o", "out", "--input", "logits", "--also-fitted")
    old, new = (np.moveaxis(np.asarray(read_nifti(f"{f}/c2.nii.gz").dataobj), -1, 0) for f in ("z", "out"))
    expected = apply(read_calibrator(Path("calibrator.json")), softmax(old.astype(np.float64), axis=0))
    assert softmax(new.astype(np.float64), axis=0) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("values", ["probabilities", "logits"])
def test_regions_are_calibrated_each_by_itself(values, cli):
    write_labels()
    powers = (2.0, 0.5)
    for index in range(5):
        true, _ = make_case(index)
        regions = np.stack([true[1] + true[2], true[2]])
        z = np.stack([logit(p) * power for p, power in zip(regions, powers, strict=True)]).astype(np.float32)
        write_nifti(Path(f"p/c{index}.nii.gz"), expit(z) if values == "probabilities" else z)
    options = ("--regions", "both=1,2;b=2", "--input", values)
    run(cli, "fit", "p", "labels", *options)
    calibrator = read_calibrator(Path("calibrator.json"))
    found = [calibrator.parameters[name]["temperature"] for name in ("both", "b")]
    assert found == pytest.approx(powers, rel=0.15)
    run(cli, "apply", "calibrator.json", "p", "-o", "out", "--also-fitted", *options)
    assert nll_of(cli, "out", *options) < nll_of(cli, "p", *options) - 0.02


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_maps_turned_against_their_label_map_keep_their_turn(method, cli):
    """nnU-Net turns the label map back, not its npz."""
    write_labels()
    for index in range(5):
        p = sharpened(make_case(index)[0])
        write_nifti(Path(f"p/c{index}.nii.gz"), p.argmax(axis=0).astype(np.uint8))
        write_npz(Path(f"p/c{index}.npz"), softmax=np.ascontiguousarray(p.transpose(0, 3, 1, 2)[:, ::-1]))
    run(cli, "fit", "p", "labels", "--method", method)
    run(cli, "apply", "calibrator.json", "p", "-o", "out", "--also-fitted")
    with np.load("out/c1.npz") as new, np.load("p/c1.npz") as old:
        assert new.files == ["softmax"]
        assert new["softmax"].shape == old["softmax"].shape
        turned_back = new["softmax"][:, ::-1].transpose(0, 2, 3, 1)
    beside = read_nifti("out/c1.nii.gz")
    assert (turned_back.argmax(axis=0) == np.asarray(beside.dataobj).T).all()
    assert np.array_equal(beside.affine, AFFINE)
    assert beside.get_data_dtype() == np.uint8
    assert nll_of(cli, "out") < nll_of(cli, "p") - 0.05


@pytest.mark.parametrize("form", ["mha", "vector.nrrd", "nrrd", "png", "big-endian", "scaled"])
def test_formats_keep_layout_type_and_place(form, cli):
    from calibeval.io.arrays import open_array

    suffix = form.rsplit(".", maxsplit=1)[-1] if form in ("mha", "vector.nrrd", "nrrd", "png") else "nii.gz"
    for index in range(5):
        true, label = make_case(index, (1, 20, 24) if form == "png" else (6, 10, 12))
        p, path = sharpened(true), Path(f"p/c{index}.{suffix}")
        if form == "png":
            for c in range(3):
                write_png(Path(f"p/c{index}_{c:04d}.png"), np.rint(p[c, 0] * 65535).astype(np.uint16))
            write_png(Path(f"labels/c{index}.png"), label[0])
            continue
        write_nifti(Path(f"labels/c{index}.nii.gz"), label)
        if form == "big-endian":
            write_nifti(path, p.astype(">f4"), endian=">")
        elif form == "scaled":
            write_nifti(path, p, dtype=np.int16, slope=1 / 30000)
        else:
            write_itk(path, p, vector=form.startswith("vector"))
    write_names(Path("labels"), NAMES)
    run(cli, "fit", "p", "labels")
    run(cli, "apply", "calibrator.json", "p", "-o", "out", "--also-fitted")
    for path in sorted(Path("p").iterdir()):
        old, new = (open_array(Path(folder) / path.name) for folder in ("p", "out"))
        assert (new.shape, new.dtype, new.vector, new.slope) == (old.shape, old.dtype, old.vector, old.slope)
        if old.geometry is not None:
            assert new.geometry.affine == pytest.approx(old.geometry.affine)
    assert nll_of(cli, "out") < nll_of(cli, "p") - 0.05


def test_score_notes_cases_that_the_calibrator_has_seen(soft):
    Path("held").mkdir()
    Path("p/c4.nii.gz").rename("held/c4.nii.gz")
    run(soft, "fit", "p", "labels", code=3)  # c4 is not there
    run(soft, "apply", "calibrator.json", "p", "-o", "out", "--also-fitted")
    run(soft, "apply", "calibrator.json", "held", "-o", "new")
    seen = soft("score", "out", "labels", "--missing", "drop")
    assert "out: its calibrator was fitted on 4 of these 5 cases" in seen.err
    assert "calibrator" not in soft("score", "new/c4.nii.gz", "labels/c4.nii.gz").err


DIES = """
import os, signal, sys
from calibeval.calibrate import write
true_write = write._WRITERS[".nii.gz"]
def dying(file, stored, out):
    if "c2" in file.path.name:
        out.write_bytes(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    true_write(file, stored, out)
write._WRITERS[".nii.gz"] = dying
from calibeval.cli import run
sys.argv = ["calibeval", *sys.argv[1:]]
run()
"""


def test_a_killed_run_goes_on_to_the_same_bytes(soft):
    run(soft, "fit", "p", "labels")
    arguments = ("apply", "calibrator.json", "p", "--also-fitted", "-o")
    run(soft, *arguments, "whole")
    killed = subprocess.run([sys.executable, "-c", DIES, "calibrate", *arguments, "out"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in Path("out").glob("c*.nii.gz")) == ["c0.nii.gz", "c1.nii.gz"]
    run(soft, *arguments, "out", "--resume")
    for path in Path("whole").iterdir():
        assert (Path("out") / path.name).read_bytes() == path.read_bytes(), path.name


def test_options_that_apply_would_not_heed_are_refused(soft):
    run(soft, "fit", "p", "labels")
    refused = run(soft, "apply", "calibrator.json", "p", "-o", "out", "--pattern", "{case}_x", code=2)
    assert "--pattern: `apply` needs no labels" in refused.err
    order = run(
        soft, "apply", "calibrator.json", "p", "-o", "out", "--also-fitted", "--classes", "background,b,a", code=2
    )
    assert "The classes are background, b, a" in order.err


def test_a_domain_without_voxels_is_said(cli):
    write_nifti(Path("labels/c.nii.gz"), make_case(0)[1])
    write_names(Path("labels"), NAMES)
    p = np.zeros((3, 6, 10, 12), np.float32)
    p[0] = 1
    write_nifti(Path("p/c.nii.gz"), p)
    outcome = cli("calibrate", "fit", "p", "labels", "--domain", "foreground")
    assert outcome.code == 2
    assert "No voxel to fit on: none is in the domain. Try --domain all." in outcome.err


def test_a_case_that_has_shrunk_costs_itself_alone(soft):
    write_nifti(Path("p/c2.nii.gz"), sharpened(make_case(2, (5, 9, 11))[0]))
    shrunk = run(soft, "fit", "p", "labels", code=3)
    assert "calibeval: c2: p/c2.nii.gz: its shape" in shrunk.err
    assert sorted(read_calibrator(Path("calibrator.json")).cases) == ["c0", "c1", "c3", "c4"]
    evaluated = run(soft, "evaluate", "p", "labels", "--folds", "2", "--metrics", "NLL", "--json", code=3)
    assert json.loads(evaluated.out)["methods"][0]["metrics"][0]["n"] == 4
