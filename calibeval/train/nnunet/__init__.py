"""nnU-Net with the losses of `LOSSES` (extra `nnunet`): trainers for its own commands, and runs of `calibeval train`.

`trainers` makes one trainer class a loss and variant; `found` is the folder for `nnUNet_extTrainer`, whose one module
nnU-Net imports by itself. Only `trainers`, `raw`, `fit` and `predict` import nnunetv2.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calibeval.errors import MissingExtraError

FOLDER = Path(__file__).with_name("found")


def trainer_name(spec: str) -> str:
    """Class name of the trainer of `NAME` or `NAME:VARIANT`: `nnUNetTrainerSDC`, `nnUNetTrainerNACL_min`."""
    name, _, variant = spec.partition(":")
    return f"nnUNetTrainer{name.upper()}" + (f"_{variant}" if variant else "")


def require_nnunet() -> None:
    """Find nnunetv2 without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if not _version("nnunetv2"):
        raise MissingExtraError("nnunetv2", "nnunet")


def mismatch() -> str:
    """What to do where torch lacks CUDA and torchvision expects it; empty where they fit.

    nnU-Net looks a trainer up by importing all of its own, some of which import timm, and that torchvision.
    """
    torch, torchvision = _version("torch"), _version("torchvision")
    if not torch.endswith("+cpu") or not torchvision or torchvision.endswith("+cpu"):
        return ""
    return (
        f"torchvision {torchvision} of PyPI needs CUDA and does not fit torch {torch}: nnU-Net's commands will stop at "
        f"'operator torchvision::nms does not exist'. Install the one that fits: pip install --force-reinstall "
        f"--no-deps torchvision --index-url https://download.pytorch.org/whl/cpu"
    )


def _version(package: str) -> str:
    """Version of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
