"""What is known of nnU-Net without nnU-Net: names, versions that do not fit, the command."""

from importlib.metadata import PackageNotFoundError

import pytest
from typer.testing import CliRunner

from calibeval.cli import app
from calibeval.errors import MissingExtraError
from calibeval.train import nnunet
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
