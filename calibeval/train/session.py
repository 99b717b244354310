"""Everything a training run works with, built from its configuration or restored from its last checkpoint."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from calibeval.errors import InputError, UsageError
from calibeval.metrics.statistics import IGNORED
from calibeval.train.checkpoint import Checkpoint, load_weights, write_checkpoint
from calibeval.train.config import TrainConfig
from calibeval.train.loss_base import SegmentationLoss
from calibeval.train.losses import build_loss
from calibeval.train.models import build_network
from calibeval.train.plan import TrainingPlan
from calibeval.train.slices import EpochOrder, SliceSet
from calibeval.train.team import Team


@dataclass
class RunProgress:
    """How far a run has come: `step` batches of `epoch` are done, `sums` are their loss terms.

    `best` is the best validation DSC, reached in `best_epoch`; `history` has one row for each finished epoch.
    """

    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


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
    plan: TrainingPlan
    team: Team
    network: nn.Module
    model: nn.Module
    loss: SegmentationLoss
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    slices: SliceSet
    order: EpochOrder
    progress: RunProgress


def open_session(config: TrainConfig, plan: TrainingPlan, team: Team, resume: Checkpoint | None, path: Path) -> Session:
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
    layout = torch.channels_last if plan.network.dim == 2 else torch.channels_last_3d
    network.to(memory_format=layout)  # type: ignore[call-overload]  # faster; torch forgot its own stub
    if resume:
        if resume.network != plan.network:
            raise InputError(path, f"it is of {resume.network}, but the data and settings ask for {plan.network}.")
        load_weights(network, resume, path)
    augment = "none" if config.overfit_batch else config.augment
    slices = SliceSet(plan.train, size=plan.size, ignore_index=IGNORED, augment=augment, seed=config.seed)
    order = EpochOrder(
        len(slices), config.batch_size, seed=config.seed, rank=team.rank, world=team.world, fixed=config.overfit_batch
    )
    build = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    optimizer = build(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scaler = torch.amp.GradScaler(team.device.type, enabled=config.amp and team.device.type == "cuda")
    progress = RunProgress()
    if resume:
        optimizer.load_state_dict(resume.resume["optimizer"])
        scaler.load_state_dict(resume.resume["scaler"])
        progress = RunProgress(**resume.resume["progress"])
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
