"""`calibeval train --backbone nnunet` on the CPU: the run folder, stopped and gone on with, predicted from."""

import csv
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("nnunetv2")
from calibeval.cli import app
from calibeval.errors import CalibevalError
from calibeval.io.arrays import open_array
from calibeval.table import read_table
from calibeval.train.cases import find_data
from calibeval.train.checkpoint import read_checkpoint
from calibeval.train.config import make_config
from calibeval.train.fit import Watcher
from calibeval.train.nnunet import fit, raw
from calibeval.train.nnunet.predict import spacing_of
from calibeval.train.plan import make_plan
from calibeval.train.run import run_whole
from calibeval.train.volumes import read_volume
from tests.train.data_sets import AFFINE, NAMES, SHAPE, disc_case, write_nifti, write_nnunet


@pytest.fixture
def short(monkeypatch):
    """Epochs of six steps, and of one validation batch."""
    make = fit._make_trainer

    def made(*arguments):
        trainer = make(*arguments)
        trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 6, 1
        return trainer

    monkeypatch.setattr(fit, "_make_trainer", made)


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, f"{result.stderr}\n{result.exception!r}"
    return result


@pytest.mark.slow
def test_a_run_leaves_what_a_u_net_leaves_and_goes_on(tmp_path, short):
    data, out = write_nnunet(tmp_path / "data", NAMES), tmp_path / "run"
    config = make_config(
        "", data=str(data), out=str(out), backbone="nnunet", loss="dicece+0.5*sdc", epochs=3, fold="1/6", device="cpu"
    )
    steps = []
    watcher = Watcher(step=lambda *_: steps.append(1), stop=lambda: len(steps) == 15)
    stopped = run_whole(config, watcher)  # in the third epoch
    assert not stopped.fitted.finished and stopped.score is None and len(steps) == 15
    assert len(read_checkpoint(out / "last.pt").resume["progress"]["history"]) == 2

    result = invoke("train", "--resume", out)
    assert (
        "epoch 3/3" in result.stderr
        and "calibeval score" in result.stdout
        and "perform_everything" not in result.stdout
    )
    split, method = json.loads((out / "splits.json").read_text()), "dicece+0.5xsdc"
    held_out = [f"{name}.nii.gz" for name in split["test"]]
    assert sorted(path.name for path in (out / "preds" / method).glob("*.nii.gz")) == held_out
    assert {path.name for path in (out / "labels").iterdir()} == {*held_out, "dataset.json"}
    assert {"config.json", "environment.json", "data.json", "best.pt", "score.csv"} <= {
        path.name for path in out.iterdir()
    }
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and all(float(row["val_DSC"]) > 0.2 for row in rows)
    _, frame = read_table(out / "score.csv")
    assert set(frame["case"]) == {*split["test"], "pooled"} and set(frame["status"]) == {"ok"}
    assert len(list((out / "nnunet").rglob("checkpoint_final.pth"))) == 1  # for nnU-Net's own commands
    assert not (out / "nnunet" / "preprocessed").exists() and not (out / "nnunet" / "raw").exists()

    invoke("predict", out / "best.pt", data / "imagesTr", "-o", tmp_path / "again", "--tta", "flip", "--quiet")
    again, before = (open_array(folder / held_out[0]).load() for folder in (tmp_path / "again", out / "preds" / method))
    np.testing.assert_array_equal(again, before)
    np.testing.assert_allclose(again.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("asked", [True, False])
def test_what_dies_in_nnunet_is_a_message_unless_a_stop_was_asked_for(tmp_path, monkeypatch, asked):
    def die(*_):
        raise RuntimeError("Some background worker is 6 feet under.\nYuck.")

    monkeypatch.setattr(fit, "prepare", die)
    data = write_nnunet(tmp_path / "data", NAMES)
    config = make_config("", data=str(data), out=str(tmp_path / "run"), backbone="nnunet", fold="1/6", device="cpu")
    stale = tmp_path / "run" / "nnunet" / "preprocessed"
    stale.mkdir(parents=True)
    watcher = Watcher(stop=lambda: asked)
    if asked:
        assert not run_whole(config, watcher).fitted.finished
    else:
        with pytest.raises(CalibevalError, match=r"nnU-Net stopped \(.*log.txt\): Some background .* feet under. Yuck"):
            run_whole(config, watcher)
    assert not stale.exists()  # of a run that saved nothing, perhaps of another split


def plan_of(data, **settings):
    """A plan for nnU-Net."""
    return make_plan(make_config("", data=str(data), out="unused", backbone="nnunet", **settings))


def test_nnunet_gets_the_training_and_validation_cases_as_they_are(tmp_path):
    """Intensities and spacing of the images, indices of the labels; what is ignored has the number after the last."""
    data = write_nnunet(
        tmp_path / "data", NAMES, channels=2, labels={"background": 0, "ring": 1, "disc": 2, "ignore": 7}
    )
    description = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(description | {"channel_names": {"0": "CT", "1": "T2"}}))
    images, label = disc_case(0, channels=2)
    label[0] = 7
    write_nifti(data / "labelsTr" / f"{NAMES[0]}.nii.gz", label)
    plan = plan_of(data, fold="2/6")
    raw._write_raw(plan, tmp_path / "raw")
    used = sorted((*plan.split.train, *plan.split.val))
    assert len(used) == 5 and NAMES[0] in used
    written = sorted(path.name for path in (tmp_path / "raw" / "imagesTr").iterdir())
    assert written == [f"{name}_{channel:04d}.nii.gz" for name in used for channel in (0, 1)]
    for channel, image in enumerate(images):
        file = open_array(tmp_path / "raw" / "imagesTr" / f"{NAMES[0]}_{channel:04d}.nii.gz")
        np.testing.assert_array_equal(file.load(), image)
        assert file.geometry.spacing_mm == (8.0, 1.5, 1.5)
    stored = open_array(tmp_path / "raw" / "labelsTr" / f"{NAMES[0]}.nii.gz").load()
    np.testing.assert_array_equal(stored, np.where(label == 7, 3, label))
    described = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "ring": 1, "disc": 2, "ignore": 3}
    assert (described["channel_names"], described["numTraining"]) == ({"0": "CT", "1": "T2"}, 5)


def test_a_single_slice_is_thick(tmp_path):
    """As nnU-Net's readers have it, so that it plans 2-D slices in the image's own plane."""
    data = write_nnunet(tmp_path / "data", NAMES[:1])
    case = find_data(data).cases[NAMES[0]]
    volume = read_volume(case, find_data(data).scheme, standardise=False)
    assert volume.image.shape == (SHAPE[0], 1, *SHAPE[1:]) and AFFINE[2, 2] == 8
    assert spacing_of(volume) == (8.0, 1.5, 1.5)
    assert spacing_of(volume._replace(image=volume.image[:1])) == (999 * 1.5, 1.5, 1.5)
    assert spacing_of(volume._replace(geometry=None)) == (1.0, 1.0, 1.0)


def test_a_row_has_nothing_of_volumes_where_they_were_not_validated():
    assert all(math.isnan(value) for value in fit._NOT_VALIDATED.values()) and "val_DSC" in fit._NOT_VALIDATED
