"""What is known of nnU-Net without nnU-Net: names, versions that do not fit, the command."""

from importlib.metadata import PackageNotFoundError

import pytest
from typer.testing import CliRunner

from calibeval.cli import app
from calibeval.errors import MissingExtraError, UsageError
from calibeval.train import nnunet
from calibeval.train.config import make_config
from calibeval.train.losses import LOSSES


@pytest.fixture
def installed(monkeypatch):
    """Versions that packages seem to have; others are missing."""
    versions = {}

    def version(package):
        if package not in versions:
            raise PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(nnunet, "version", version)
    return versions


def test_each_loss_and_variant_has_a_class_name_of_its_own():
    assert nnunet.trainer_name("sdc") == "nnUNetTrainerSDC"
    assert nnunet.trainer_name("nacl:min") == "nnUNetTrainerNACL_min"
    specs = [spec for loss in LOSSES.values() for spec in (loss.name, *(f"{loss.name}:{v}" for v in loss.variants))]
    names = list(map(nnunet.trainer_name, specs))
    assert len(set(names)) == len(specs) and all(map(str.isidentifier, names))


def test_the_folder_holds_modules_that_shadow_no_library():
    """nnU-Net puts the folder first on the path and imports what is in it by bare names."""
    assert [path.name for path in nnunet.FOLDER.glob("*.py")] == ["calibeval_trainers.py"]


@pytest.mark.parametrize(
    ("torch", "torchvision", "fits"),
    [
        ("2.13.0+cpu", "0.28.0", False),
        ("2.13.0+cpu", "0.28.0+cpu", True),
        ("2.13.0", "0.28.0", True),
        ("2.13.0", "", True),
    ],
)
def test_torchvision_that_does_not_fit_is_named(installed, torch, torchvision, fits):
    installed.update({"torch": torch} | ({"torchvision": torchvision} if torchvision else {}))
    assert (nnunet.mismatch() == "") is fits
    assert fits or "pip install --force-reinstall --no-deps torchvision" in nnunet.mismatch()


def test_the_command_prints_the_folder_alone(installed):
    installed.update({"nnunetv2": "2.8.1", "torch": "2.13.0+cpu", "torchvision": "0.28.0"})
    result = CliRunner().invoke(app, ["nnunet"])
    assert (result.exit_code, result.stdout) == (0, f"{nnunet.FOLDER}\n")
    assert "torchvision::nms" in result.stderr


def test_without_nnunet_the_command_says_what_to_install(installed):
    result = CliRunner().invoke(app, ["nnunet"])
    assert isinstance(result.exception, MissingExtraError) and "calibeval[nnunet]" in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.1, "batch_size": 4}, "takes no --batch-size, --lr: nnU-Net plans"),
        ({"early_stop": 5}, "takes no --early-stop"),
        ({"device": "cuda:1"}, "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_settings_that_nnunet_would_not_heed_are_refused(installed, settings, message):
    installed["nnunetv2"] = "2.8.1"
    with pytest.raises(UsageError, match=message):
        nnunet.check_config(make_config("", data="d", out="o", backbone="nnunet", **settings))


def test_settings_that_it_heeds_pass_in_one_process(installed, monkeypatch):
    heeded = {"dim": 3, "loss": "nacl:min", "epochs": 7, "seed": 3, "device": "cpu", "workers": 2, "fold": "2/5"}
    config = make_config("", data="d", out="o", backbone="nnunet", settings={"alpha": 0.2}, **heeded)
    with pytest.raises(MissingExtraError):
        nnunet.check_config(config)
    installed["nnunetv2"] = "2.8.1"
    nnunet.check_config(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="nnUNetv2_train -num_gpus"):
        nnunet.check_config(config)
