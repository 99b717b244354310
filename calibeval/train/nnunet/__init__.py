"""nnU-Net with the losses of `LOSSES` (extra `nnunet`): trainers for its own commands, and runs of `calibeval train`.

`trainers` makes one trainer class a loss and variant; `found` is the folder for `nnUNet_extTrainer`, whose one module
nnU-Net imports by itself. Only `trainers`, `raw`, `fit` and `predict` import nnunetv2.
"""

from __future__ import annotations

import os
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calibeval.errors import MissingExtraError, UsageError
from calibeval.train.config import TrainConfig, make_config, option_of

FOLDER = Path(__file__).with_name("found")
USED = (
    "data", "out", "loss", "settings", "backbone", "dim", "fold", "cases", "group_by", "channels", "epochs", "seed",
    "device", "workers",
)  # fmt: skip


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


def check_config(config: TrainConfig) -> None:
    """Refuse what a run of `calibeval train --backbone nnunet` would not heed.

    Raises:
        MissingExtraError: nnunetv2 is not installed.
        UsageError: settings that nnU-Net makes by itself, several processes, or a GPU other than the first.
    """
    require_nnunet()
    plain = make_config("", data=config.data, out=config.out, dim=config.dim)
    names = (each.name for each in fields(TrainConfig) if each.name not in USED)
    if own := [option_of(name) for name in names if getattr(config, name) != getattr(plain, name)]:
        raise UsageError(
            f"--backbone nnunet takes no {', '.join(own)}: nnU-Net plans patches, batches, network, optimizer, "
            f"schedule and augmentation by itself."
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--backbone nnunet trains in one process. On several GPUs: nnUNetv2_train -num_gpus N.")
    if config.device not in ("auto", "cpu", "cuda", "cuda:0"):
        raise UsageError(
            f"--device {config.device}: nnU-Net takes the first GPU it sees. Choose one with CUDA_VISIBLE_DEVICES."
        )


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
