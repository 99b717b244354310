"""nnU-Net's own commands with a trainer of ours, from raw images to a scored table, on the CPU.

nnU-Net looks a trainer up by importing all of its own, some of which need timm and a torchvision that fits torch. Where
it does not (PyPI's torchvision beside a torch without CUDA), empty classes stand in for timm's: no trainer here uses
them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nnunetv2")
from calibeval.io.arrays import open_array
from calibeval.table import read_table
from calibeval.train.nnunet import FOLDER, mismatch
from tests.train.data_sets import NAMES, write_nnunet

pytestmark = pytest.mark.slow

SHORT = """
import torch
from calibeval.train.nnunet.trainers import nnUNetTrainerSDC

class nnUNetTrainerShort(nnUNetTrainerSDC):
    loss_settings = {"alpha": 0.2}

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict,
                 device: torch.device = torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 8, 1
"""


def write_stand_in(folder):
    """Empty classes under timm's names."""
    for name in ("__init__", "layers", "models/__init__", "models/eva"):
        path = folder / "timm" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("def __getattr__(name):\n    return type(name, (object,), {})\n")


@pytest.fixture
def environment(tmp_path):
    folders = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "short.py").write_text(SHORT)
    (tmp_path / "stand_in").mkdir()
    if mismatch():
        write_stand_in(tmp_path / "stand_in")
    path = os.pathsep.join(filter(None, (str(tmp_path / "stand_in"), os.environ.get("PYTHONPATH"))))
    return os.environ | folders | {
        "nnUNet_extTrainer": f"{FOLDER}{os.pathsep}{tmp_path / 'mine'}", "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
        "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1",
    }  # fmt: skip


def run(environment, name, *arguments):
    command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    result = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_nnunets_commands_train_and_predict_what_score_reads(tmp_path, environment):
    data = tmp_path / "raw" / "Dataset027_Discs"
    data.mkdir(parents=True)
    described = data / "dataset.json"
    write_nnunet(data, NAMES)
    described.write_text(
        json.dumps(json.loads(described.read_text()) | {"channel_names": {"0": "MRI"}, "numTraining": 6})
    )
    run(environment, "nnUNetv2_plan_and_preprocess", "-d", 27, "-c", "2d", "-npfp", 1, "-np", 1)
    trained = run(
        environment | {"nnUNet_n_proc_DA": "0"},
        "nnUNetv2_train",
        27,
        "2d",
        0,
        "-tr",
        "nnUNetTrainerShort",
        "-device",
        "cpu",
    )
    assert "calibeval: loss sdc at full resolution, {'alpha': 0.2}" in trained
    preds = tmp_path / "preds" / "sdc"
    where = ["-d", 27, "-i", data / "imagesTr", "-o", preds]
    how = ["-tr", "nnUNetTrainerShort", "-c", "2d", "-f", 0, "-device", "cpu", "-npp", 1, "-nps", 1]
    run(environment, "nnUNetv2_predict", *where, *how, "--save_probabilities")
    for name in NAMES:
        probabilities = np.load(preds / f"{name}.npz")["probabilities"]
        assert (probabilities.argmax(axis=0) == open_array(preds / f"{name}.nii.gz").load()).all()
    table = tmp_path / "score.csv"
    scored = run(environment, "calibeval", "score", preds, data / "labelsTr", "-o", table)
    _, frame = read_table(table)
    assert set(frame["case"]) == {*NAMES, "pooled"} and set(frame["status"]) == {"ok"}
    assert frame[(frame["metric"] == "DSC") & (frame["case"] != "pooled")]["value"].mean() > 0.3, scored
