"""The commands `train` and `predict`: what they print, write and return."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from calibeval.cli import app
from calibeval.errors import InputError, UsageError
from calibeval.table import read_table
from calibeval.train.checkpoint import read_checkpoint
from calibeval.train.losses import LOSSES
from calibeval.train.models import BACKBONES
from calibeval.train.targets import KERNELS, MORPHS
from tests.train.data_sets import NAMES, disc_case, write_nnunet, write_npz_slices

SMALL = ["--width", "4", "--epochs", "2", "--batch-size", "4", "--fold", "1/6", "--lr", "0.005"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_nnunet(tmp_path_factory.mktemp("data"), NAMES)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def command(*arguments, **environment):
    """Arguments of a real process; one thread, so that processes do not wait for each other."""
    return {
        "args": [sys.executable, "-m", "calibeval", *map(str, arguments)],
        "env": {**os.environ, "OMP_NUM_THREADS": "1", **environment},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """One run through the command line, that several tests look at."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = invoke("train", data, "--out", out, "--loss", "nacl:prob", "--kernel", "min", "--set", "alpha=0.2", *SMALL)
    assert result.exit_code == 0, result.stderr
    return out, result


def test_train_predicts_held_out_cases_and_prints_the_score_command(finished):
    out, result = finished
    splits = json.loads((out / "splits.json").read_text())
    written = sorted(path.name for path in (out / "preds" / "nacl-prob").glob("*.nii.gz"))
    assert written == [f"{name}.nii.gz" for name in splits["test"]]
    assert sorted(path.name for path in (out / "labels").glob("*.nii.gz")) == written
    score_command = f"calibeval score {out / 'preds' / 'nacl-prob'} {out / 'labels'}"
    assert score_command in result.stdout
    header, frame = read_table(out / "score.csv")
    assert header.command == score_command
    assert set(frame["case"]) == {*splits["test"], "pooled"} and set(frame["method"]) == {"nacl-prob"}
    assert {"DSC", "HD95", "ECE", "CECE", "pECE"} <= set(frame["metric"]) and "ring" in set(frame["class"])
    assert all(name in result.stdout for name in ("DSC", "HD95", "ECE", "CECE", "pECE"))
    assert "epoch 2/2" in result.stderr and "best validation DSC" in result.stderr


def test_settings_reach_the_loss(finished):
    config = read_checkpoint(finished[0] / "best.pt").config
    assert (config.loss, config.settings) == ("nacl:prob", {"alpha": 0.2, "kernel": "min"})


def test_predict_from_the_run(finished, data, tmp_path):
    result = invoke("predict", finished[0] / "best.pt", data / "imagesTr", "-o", tmp_path / "preds", "--quiet")
    assert (result.exit_code, result.stdout.strip(), result.stderr) == (0, str(tmp_path / "preds"), "")
    assert len(list((tmp_path / "preds").glob("*.nii.gz"))) == len(NAMES)


def test_predict_reports_bad_images_and_returns_3(finished, tmp_path):
    images = write_nnunet(tmp_path / "data", NAMES[:2]) / "imagesTr"
    (images / "case_001_0000.nii.gz").write_bytes(b"broken")
    result = invoke("predict", finished[0] / "best.pt", images, "-o", tmp_path / "preds")
    assert result.exit_code == 3
    assert "case_001_0000.nii.gz" in result.stderr and "Traceback" not in result.stderr
    assert (tmp_path / "preds" / "case_000.nii.gz").exists()


def test_npz_slices_from_training_to_table(tmp_path):
    """Without geometry there are no distances in mm; the labels lie in the predictions."""
    npz = write_npz_slices(tmp_path / "npz", [f"p{n}_frame01" for n in range(3)])
    result = invoke("train", npz, "--out", tmp_path / "run", *SMALL, "--fold", "1/3")
    assert result.exit_code == 0, result.stderr
    assert f"calibeval score {tmp_path / 'run/preds/sdc'} --metrics DSC,ECE,CECE,pECE" in result.stdout
    _, frame = read_table(tmp_path / "run" / "score.csv")
    assert set(frame["metric"]) == {"DSC", "ECE", "CECE", "pECE"}
    assert not {"failed", "missing"} & set(frame["status"])


def test_dry_run_writes_nothing(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (("train", data, "--fold", "1/6"), ("train",)):
        result = invoke(*arguments, "--dry-run")
        assert result.exit_code == 0 and "sdc: SDCLoss, published settings" in result.stderr
        assert "held out" in result.stderr and "parameters" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_folds_of_two_digits_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("train", "--fold", "10/12", "--dry-run")
    assert "output    runs/sample_data-sdc-f10-s0" in result.stderr


def test_ctrl_c_while_predicting_says_how_to_go_on(data, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("calibeval.train.run.predict_cases", interrupt)
    result = invoke("train", data, "--out", tmp_path / "my run", *SMALL, "--quiet")
    assert result.exit_code == 130
    assert f"stopped; go on with: calibeval train --resume '{tmp_path / 'my run'}'" in result.stderr
    monkeypatch.undo()
    again = invoke("train", "--resume", tmp_path / "my run", "--quiet")
    assert again.exit_code == 0 and "calibeval score" in again.stdout


def test_a_label_of_two_files_is_scored_and_watched(tmp_path):
    """The values of .mhd lie in .raw: both are copied to the held-out labels, and both have a hash."""
    data, out = tmp_path / "data", tmp_path / "run"
    for index, name in enumerate(NAMES[:3]):
        image, label = disc_case(index)
        for part, array in (("imagesTr", image[0]), ("labelsTr", label)):
            (data / part).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), data / part / f"{name}.mhd")
    arguments = ["--fold", "1/3", "--epochs", "1", "--width", "4", "--quiet"]
    result = invoke("train", data, "--out", out, *arguments)
    assert result.exit_code == 0, result.stderr
    assert len(list((out / "labels").iterdir())) == 2
    raw = data / "imagesTr" / f"{NAMES[0]}.raw"
    raw.write_bytes(bytes(len(raw.read_bytes())))
    result = invoke("train", "--resume", out, "--epochs", "2")
    assert f"began: imagesTr/{NAMES[0]}.raw in" in str(result.exception)


def test_ctrl_c_in_predict_is_an_interruption(finished, data, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("calibeval.train.predict.predict_cases", interrupt)
    result = invoke("predict", finished[0] / "best.pt", data / "imagesTr", "-o", tmp_path / "preds")
    assert result.exit_code == 130 and f"{tmp_path / 'preds'} holds the cases that are done" in result.stderr


def test_without_data_it_takes_or_makes_sample_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("train", "--loss", "fl", "--epochs", "1", "--width", "2", "--quiet")
    out = Path("runs/sample_data-fl-f1-s0")
    assert result.exit_code == 0, result.stderr
    config = json.loads((out / "config.json").read_text())
    assert config["data"] == str(out / "sample_data") and (out / "sample_data" / "dataset.json").exists()
    assert len(list((out / "preds" / "fl").glob("*.nii.gz"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loss", "dice"], "Unknown loss 'dice'"),
        (["--set", "gamma=2"], "no setting 'gamma'"),
        (["--morph", "blur"], "Unknown morphological operator 'blur'"),
        (["--loss", "fl", "--kernel", "mean"], "no setting 'kernel'"),
        (["--backbone", "vnet"], "Unknown backbone 'vnet'"),
        (["--preset", "mine"], "Unknown preset 'mine'"),
        (["--fold", "1/7"], "leaves a fold empty"),
        (["--size", "20"], "needs multiples of 8"),
        (["--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_usage_errors_write_nothing(data, tmp_path, arguments, message):
    result = invoke("train", data, "--out", tmp_path / "run", *arguments)
    assert isinstance(result.exception, UsageError) and message in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_resume_keeps_the_runs_settings(finished, data):
    out, _ = finished
    for arguments, what in ((["--lr", "0.1"], "--lr"), (["--preset", "sdc-paper"], "DATA, --out and --preset")):
        result = invoke("train", "--resume", out, *arguments)
        assert isinstance(result.exception, UsageError) and f"{what} cannot change" in str(result.exception)
    result = invoke("train", data, "--out", out)
    assert isinstance(result.exception, UsageError) and f"calibeval train --resume {out}" in str(result.exception)


def test_resume_goes_on(finished, data, tmp_path):
    out = tmp_path / "run"
    assert invoke("train", data, "--out", out, *SMALL, "--quiet").exit_code == 0
    result = invoke("train", "--resume", out, "--epochs", "3")
    assert result.exit_code == 0 and "epoch 3/3" in result.stderr and "epoch 2/3" not in result.stderr
    before = (out / "last.pt").read_bytes()
    result = invoke("train", "--resume", out, "--epochs", "9", "--dry-run")
    assert result.exit_code == 0 and "9 epochs" in result.stderr and "resume    after epoch 3" in result.stderr
    assert (out / "last.pt").read_bytes() == before
    result = invoke("train", "--resume", tmp_path / "none")
    assert isinstance(result.exception, InputError)


def test_ctrl_c_saves_and_says_how_to_go_on(data, tmp_path):
    """A real process gets a real SIGINT; the resumed run ends as an undisturbed one."""
    epochs = [*SMALL, "--epochs", "25"]
    arguments = command("train", data, "--out", tmp_path / "run", *epochs, "--workers", "1")
    process = subprocess.Popen(**arguments, start_new_session=True)
    while "epoch 2/" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers, too
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.count("stopping after this step") == 1
    assert f"calibeval train --resume {tmp_path / 'run'}" in stderr and "Traceback" not in stderr
    assert read_checkpoint(tmp_path / "run" / "last.pt").resume["progress"]["epoch"] < 24
    assert invoke("train", "--resume", tmp_path / "run", "--quiet").exit_code == 0
    assert invoke("train", data, "--out", tmp_path / "whole", *epochs, "--quiet").exit_code == 0
    one, two = (read_checkpoint(tmp_path / name / "last.pt") for name in ("run", "whole"))
    assert all((one.weights[name] == two.weights[name]).all() for name in one.weights)


def test_two_processes_with_gloo_train_as_one(data, tmp_path):
    """Without normalisation and augmentation, two processes with half a batch each take the steps of one."""
    options = ["--backbone", "unet-nacl", "--size", "32", "--no-augment", "--loss", "mbls", *SMALL]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch = command("train", data, "--out", tmp_path / "two", *options)
    launch["args"][1:1] = torchrun
    process = subprocess.run(**launch, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("calibeval score") == 1 and process.stderr.count("epoch 2/2") == 1
    assert invoke("train", data, "--out", tmp_path / "one", *options, "--quiet").exit_code == 0
    one, two = (read_checkpoint(tmp_path / name / "last.pt") for name in ("one", "two"))
    for name in one.weights:
        assert (one.weights[name] - two.weights[name]).abs().max() < 1e-4
    history = [each.resume["progress"]["history"] for each in (one, two)]
    assert [row["val_DSC"] for row in history[0]] == pytest.approx([row["val_DSC"] for row in history[1]], abs=0.02)


@pytest.mark.parametrize("arguments", [("train",), ("predict", "x.pt", "y")])
def test_without_torch_the_pip_command_is_printed(tmp_path, arguments):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = subprocess.run(**command(*arguments, PYTHONPATH=path), cwd=tmp_path, check=False)
    assert process.returncode == 2
    assert "pip install 'calibeval[train]'" in process.stderr and "Traceback" not in process.stderr


def test_a_full_gpu_is_a_message(data, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("calibeval.train.fit._backward", fail)
    result = invoke("train", data, "--out", tmp_path / "run", *SMALL)
    assert isinstance(result.exception, UsageError) and "--batch-size 4" in str(result.exception)


def test_warnings_are_lines_for_people(data, tmp_path):
    process = subprocess.run(
        **command("train", data, "--loss", "sdc:authors", "--fold", "1/6", "--dry-run"), check=False
    )
    first = process.stderr.splitlines()[0]
    assert first.startswith("calibeval: The SDC authors' released distance term") and ".py" not in process.stderr


def test_help_loads_no_torch_and_lists_every_choice():
    code = (
        "import sys; from typer.testing import CliRunner; from calibeval.cli import app; "
        "CliRunner().invoke(app, ['train', '--help']); "
        "print([m for m in ('torch', 'monai', 'matplotlib', 'scipy.stats') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    text = " ".join(invoke("train", "--help").stdout.split())
    for name in (*LOSSES, *BACKBONES, *KERNELS, *MORPHS):
        assert name in text
