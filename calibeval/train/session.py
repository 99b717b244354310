"""Everything a training run works with, built from its configuration or restored from its last checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from calibeval.errors import InputError, UsageError
from calibeval.io.classes import are_grey_levels, different_values
from calibeval.metrics.statistics import IGNORED
from calibeval.train.cases import DataSet, Volume, check_memory, count_channels, find_data, read_volume
from calibeval.train.checkpoint import Checkpoint, load_weights, write_checkpoint
from calibeval.train.config import TrainConfig
from calibeval.train.folds import Split, split_cases
from calibeval.train.loss_base import SegmentationLoss
from calibeval.train.losses import build_loss
from calibeval.train.models import BACKBONES, Backbone, Network, build_network
from calibeval.train.slices import EpochOrder, SliceSet
from calibeval.train.team import Team

_LARGEST_AUTO_SIZE = 256
_DEFAULT_FOLD = "1/5"


@dataclass
class Progress:
    """How far a run has come: `step` batches of `epoch` are done, `sums` are their loss terms.

    `best` is the best validation DSC, reached in `best_epoch`; `history` has one row for each finished epoch.
    """

    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


class Plan(NamedTuple):
    """What is decided before any training: data, split, network, and the volumes in memory.

    Attributes:
        data: all cases.
        split: names of the cases of each part.
        classes: names of the classes 0, 1, ...
        network: what the network is built from.
        size: height and width of the training slices.
        train: volumes to learn from.
        val: volumes that choose the best epoch.
    """

    data: DataSet
    split: Split
    classes: tuple[str, ...]
    network: Network
    size: tuple[int, int]
    train: tuple[Volume, ...]
    val: tuple[Volume, ...]


@dataclass
class Session:
    """A run in memory.

    Attributes:
        config: of the run.
        plan: data and network.
        team: the processes.
        network: the bare network, whose weights are saved.
        model: the network as trained, wrapped when several processes share it.
        loss: with the settings of the config.
        optimizer: of the network's weights.
        scaler: of gradients in half precision; does nothing otherwise.
        slices: training slices.
        order: which slices each batch holds.
        progress: how far the run has come.
    """

    config: TrainConfig
    plan: Plan
    team: Team
    network: nn.Module
    model: nn.Module
    loss: SegmentationLoss
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    slices: SliceSet
    order: EpochOrder
    progress: Progress


def make_plan(config: TrainConfig) -> Plan:
    """Find, split and read the data, and settle the network.

    Raises:
        UsageError: no data, an empty fold, too little memory, or a size that does not fit the network.
        InputError: an unusable file.
    """
    data = find_data(Path(config.data))
    split = _choose_split(config, data)
    channels = _common_channels(data, split)
    check_memory(data.cases[name] for name in (*split.train, *split.val))
    train = read_volumes(data, split.train)
    val = read_volumes(data, split.val)
    classes = _class_names(data, (*train, *val))
    if config.overfit_batch:
        train = val = (_first_batch(train, config.batch_size),)
    if config.backbone not in BACKBONES:
        raise UsageError(f"Unknown backbone {config.backbone!r}. Known: {', '.join(BACKBONES)}.")
    backbone = BACKBONES[config.backbone]
    network = Network(config.backbone, config.width or backbone.width, channels, len(classes))
    return Plan(data, split, classes, network, _choose_size(config, train, backbone), train, val)


def open_session(config: TrainConfig, plan: Plan, team: Team, resume: Checkpoint | None, path: Path) -> Session:
    """Build a session, at its start or where a checkpoint left off.

    Raises:
        InputError: the checkpoint at `path` is of another network.
        UsageError: settings that do not fit together.
    """
    if config.batch_size % team.world:
        raise UsageError(f"--batch-size {config.batch_size} cannot be shared equally by {team.world} processes.")
    torch.manual_seed(config.seed)
    _set_determinism(config.deterministic)
    loss = build_loss(config.loss, config.settings, IGNORED)
    network = build_network(plan.network).to(team.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster; torch forgot its own stub
    if resume:
        if resume.network != plan.network:
            raise InputError(path, f"it is of {resume.network}, but the data and settings ask for {plan.network}.")
        load_weights(network, resume, path)
    augment = config.augment and not config.overfit_batch
    slices = SliceSet(plan.train, size=plan.size, ignore_index=IGNORED, augment=augment, seed=config.seed)
    order = EpochOrder(
        len(slices), config.batch_size, seed=config.seed, rank=team.rank, world=team.world, fixed=config.overfit_batch
    )
    build = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    optimizer = build(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scaler = torch.amp.GradScaler(team.device.type, enabled=config.amp and team.device.type == "cuda")
    progress = Progress()
    if resume:
        optimizer.load_state_dict(resume.resume["optimizer"])
        scaler.load_state_dict(resume.resume["scaler"])
        progress = Progress(**resume.resume["progress"])
    model = team.share(network)
    return Session(config, plan, team, network, model, loss, optimizer, scaler, slices, order, progress)


def _set_determinism(wanted: bool) -> None:
    """Choose deterministic operations wherever torch has them; it warns of those that it lacks."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(wanted, warn_only=True)


def save_last(session: Session) -> Path:
    """Write `last.pt`, from which the run can go on."""
    path = Path(session.config.out) / "last.pt"
    resume = {
        "optimizer": session.optimizer.state_dict(),
        "scaler": session.scaler.state_dict(),
        "progress": asdict(session.progress),
    }
    write_checkpoint(path, _snapshot(session, resume))
    return path


def save_best(session: Session) -> Path:
    """Write `best.pt`, for prediction."""
    path = Path(session.config.out) / "best.pt"
    write_checkpoint(path, _snapshot(session, {}))
    return path


def _snapshot(session: Session, resume: dict[str, Any]) -> Checkpoint:
    plan = session.plan
    return Checkpoint(plan.network, session.network.state_dict(), plan.classes, session.config, resume, plan.size)


def read_volumes(data: DataSet, names: Sequence[str]) -> tuple[Volume, ...]:
    """Read cases with their labels.

    Raises:
        InputError: an unusable file, or a case without label.
    """
    volumes = tuple(read_volume(data.cases[name], data.scheme) for name in names)
    for volume in volumes:
        if volume.label is None:
            raise InputError(data.cases[volume.name].images[0], "no 'label' to learn from.")
    return volumes


def _choose_split(config: TrainConfig, data: DataSet) -> Split:
    if data.split and not config.fold:
        if not data.split.val:
            raise UsageError(f"{data.root / 'val'}: no .npz file, so that nothing could choose the best epoch.")
        return data.split
    return split_cases(tuple(data.cases), config.fold or _DEFAULT_FOLD, config.group_by)


def _common_channels(data: DataSet, split: Split) -> int:
    """Channels that all cases share; held-out ones too, so that none fails after the training."""
    first, *others = (name for part in split for name in part)
    channels = count_channels(data.cases[first])
    for name in others:
        found = count_channels(data.cases[name])
        if found != channels:
            raise InputError(
                data.cases[name].images[0], f"case {name!r} has {found} channels, but {first!r} has {channels}."
            )
    return channels


def _class_names(data: DataSet, volumes: Sequence[Volume]) -> tuple[str, ...]:
    """Names of the classes; numbers stand in where the data set has no names."""
    labels = [volume.label for volume in volumes if volume.label is not None]
    values = frozenset[int]().union(*map(different_values, labels)) - {IGNORED}
    if not data.scheme.names and are_grey_levels(values):
        raise UsageError(
            f"{data.root}: the labels {', '.join(map(str, sorted(values)))} are grey levels, no numbers of classes. "
            'Name them in a dataset.json, as in {"labels": {"background": 0, "organ": 85}}.'
        )
    return data.scheme.with_classes(max([1, *values]) + 1).names


def _choose_size(config: TrainConfig, volumes: Sequence[Volume], backbone: Backbone) -> tuple[int, int]:
    if config.size == (0, 0):
        largest = (max(volume.image.shape[axis] for volume in volumes) for axis in (2, 3))
        height, width = (min(backbone.fit(size), _LARGEST_AUTO_SIZE) for size in largest)
        return height, width
    if any(size != backbone.fit(size) for size in config.size):
        raise UsageError(
            f"--size {config.size[0]}x{config.size[1]}: {config.backbone} needs multiples of {backbone.divisor}, "
            f"{backbone.smallest} at least."
        )
    return config.size


def _first_batch(volumes: Sequence[Volume], batch_size: int) -> Volume:
    """The slices of the first volume that show most foreground, as a volume of their own."""
    first = volumes[0]
    if first.label is None:
        raise ValueError(f"case {first.name} has no label")
    most = (first.label > 0).sum(axis=(1, 2)).argsort()[::-1][:batch_size]
    return first._replace(image=first.image[most], label=first.label[most])
