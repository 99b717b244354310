"""A whole run by one call: training, prediction, the scored table; interrupted and gone on with; refusals."""

import json
from dataclasses import replace

import pytest

from calibeval.errors import UsageError
from calibeval.table import read_table
from calibeval.train.cases import find_images
from calibeval.train.checkpoint import read_checkpoint
from calibeval.train.config import make_config
from calibeval.train.fit import Watcher
from calibeval.train.predict import predict_cases
from calibeval.train.run import run_whole
from tests.train.data_sets import NAMES, write_nnunet

SMALL = {"width": 4, "epochs": 2, "batch_size": 4, "fold": "1/6", "lr": 5e-3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_nnunet(tmp_path_factory.mktemp("data"), NAMES)


def test_a_run_that_was_stopped_goes_on_to_the_same_table(data, tmp_path):
    whole, parts = (make_config("", data=str(data), out=str(tmp_path / name), **SMALL) for name in ("whole", "parts"))
    outcome = run_whole(whole)
    assert outcome.fitted.finished and outcome.score and not outcome.failures
    header, frame = read_table(tmp_path / "whole" / "score.csv")
    assert header.signature == outcome.score.signature and len(frame) == len(outcome.score.rows)

    steps = []
    stopped = run_whole(parts, Watcher(step=lambda *_: steps.append(1), stop=lambda: len(steps) > 3))
    assert not stopped.fitted.finished and stopped.score is None
    assert not (tmp_path / "parts" / "score.csv").exists()
    values = [row.value for row in run_whole(parts).score.rows]
    assert values == pytest.approx([row.value for row in outcome.score.rows], rel=0, abs=0, nan_ok=True)
    assert run_whole(parts).fitted.finished  # again: nothing to train, the same table
    with pytest.raises(UsageError, match=r"holds a run of other settings \(--loss, --seed\)\. Choose another folder"):
        run_whole(replace(parts, loss="fl", seed=1))


def test_a_run_on_patches_resumes_to_the_bit(data, tmp_path):
    """Volumes of 3 x 16 x 16 voxels lie in patches of 16 x 16 x 16."""
    settings = {**SMALL, "dim": 3, "batch_size": 2, "loss": "dicece+sdc", "augment": "nnunet", "backbone": "unet"}
    whole, parts = (make_config("", data=str(data), out=str(tmp_path / n), **settings) for n in ("whole", "parts"))
    outcome = run_whole(whole)
    checkpoint = read_checkpoint(tmp_path / "whole" / "best.pt")
    assert (checkpoint.network.dim, checkpoint.size, whole.method) == (3, (16, 16, 16), "dicece+sdc")
    steps = []
    assert not run_whole(parts, Watcher(step=lambda *_: steps.append(1), stop=lambda: len(steps) > 2)).fitted.finished
    values = [row.value for row in run_whole(parts).score.rows]
    assert values == pytest.approx([row.value for row in outcome.score.rows], rel=0, abs=0, nan_ok=True)
    images = list(find_images(data / "imagesTr", 1).values())[:1]
    assert predict_cases(tmp_path / "whole" / "best.pt", images, tmp_path / "preds") == []
    manifest = json.loads((tmp_path / "preds" / "manifest.json").read_text())
    assert "Gaussian" in manifest["preprocessing"] and manifest["size"] == [16, 16, 16]


def test_without_held_out_cases_there_is_nothing_to_score(data, tmp_path):
    config = make_config("", data=str(data), out=str(tmp_path), **SMALL, overfit_batch=True)
    assert run_whole(replace(config, epochs=1)).score is None
