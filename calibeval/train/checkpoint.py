"""Checkpoints: written all or nothing, read without running any code in them.

A file holds tensors and plain values only: `format`, `network`, `model`, `classes`, `config`, `size`, and, in
`last.pt`, what going on needs: `optimizer`, `scaler` and `progress`. One of nnU-Net has `nnunet` besides.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from calibeval.errors import CalibevalError, InputError
from calibeval.files import atomic_path
from calibeval.train.config import TrainConfig, config_from_dict, config_to_dict
from calibeval.train.frame import Size
from calibeval.train.models import Network, build_network

_FORMAT = 1


class Checkpoint(NamedTuple):
    """What a checkpoint holds; `resume` is empty in `best.pt`.

    Attributes:
        network: what the network is rebuilt from.
        weights: of the network.
        classes: names of the classes 0, 1, ...
        config: of the run.
        resume: state of optimizer, scaler and progress.
        size: of the training slices or patches; (0, 0) where a file of version 0.1 left them to the data.
        nnunet: `plans`, `dataset`, `configuration` and `mirror_axes` of the backbone `nnunet`; empty for others.
    """

    network: Network
    weights: dict[str, torch.Tensor]
    classes: tuple[str, ...]
    config: TrainConfig
    resume: dict[str, Any]
    size: Size = (0, 0)
    nnunet: Mapping[str, Any] = MappingProxyType({})


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; an error leaves the file that was there.

    Raises:
        CalibevalError: the disk is full, or the folder cannot be written.
    """
    content = {
        "format": _FORMAT,
        "network": checkpoint.network._asdict(),
        "model": checkpoint.weights,
        "classes": list(checkpoint.classes),
        "config": config_to_dict(checkpoint.config),
        "resume": checkpoint.resume,
        "size": list(checkpoint.size),
        **({"nnunet": checkpoint.nnunet} if checkpoint.nnunet else {}),
    }
    buffer = io.BytesIO()  # a full disk then fails in one write, with an OSError that says so
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file, all or nothing.

    Raises:
        CalibevalError: the disk is full, or the folder cannot be written.
        InputError: this one name is too long.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(path, "the name is too long to be written.", "Give its image a shorter one.") from error
        kept = "The file that was there is untouched." if path.exists() else "Nothing was there before."
        raise CalibevalError(f"{path}: cannot be written: {error.strerror or error}. {kept}") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed.

    Raises:
        InputError: the file is missing, damaged, or no checkpoint of `calibeval train`.
    """
    if not path.is_file():
        raise InputError(path, "no such checkpoint.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile fail in many ways on foreign bytes
        raise InputError(path, "not a checkpoint of calibeval, or damaged: it holds no plain tensors.") from error
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
        raise InputError(
            path, "not a checkpoint of calibeval.", f"Expected 'format' {_FORMAT}, written by `calibeval train`."
        )
    try:
        network = Network(**content["network"])
        config = config_from_dict(content["config"], path)
        size = tuple(content.get("size", config.size))
        classes = tuple(content["classes"])
        nnunet = content.get("nnunet", {})
        return Checkpoint(network, content["model"], classes, config, content["resume"], size, nnunet)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"not a whole checkpoint of calibeval: {error}.") from error


def load_network(checkpoint: Checkpoint, path: Path) -> nn.Module:
    """Rebuild the network with its weights.

    Raises:
        InputError: the weights are of another network; `path` names the file.
    """
    network = build_network(checkpoint.network)
    load_weights(network, checkpoint, path)
    return network


def load_weights(network: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Put the checkpoint's weights into a network.

    Raises:
        InputError: they do not fit; `path` names the file.
    """
    try:
        network.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(path, f"its weights are of another network than {checkpoint.network}: {detail}") from error
