"""Training by nnU-Net with a loss of `LOSSES`, into the run folder that a U-Net's training makes.

Of the settings, those of `USED` apply; the others are nnU-Net's own: patches, batch, network, optimizer, schedule and
augmentation. An epoch is nnU-Net's, 250 steps. Whole validation volumes are predicted, without mirroring, some ten
times in a run; the best of these epochs is kept, and their columns `val_...` are empty in the others. `pseudo_DSC` is
nnU-Net's, over the patches of an epoch's validation batches.
"""

from __future__ import annotations

import math
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibeval.errors import CalibevalError, UsageError
from calibeval.metrics._kernels.startup import provide_kernel_cache
from calibeval.train.checkpoint import Checkpoint, write_checkpoint
from calibeval.train.config import TrainConfig
from calibeval.train.fit import Fitted, Watcher
from calibeval.train.nnunet import trainer_name
from calibeval.train.nnunet.predict import NnunetPredictor
from calibeval.train.nnunet.raw import CONFIGURATIONS, nnunet_home, prepare
from calibeval.train.nnunet.trainers import TRAINERS, nnUNetTrainerCalibeval
from calibeval.train.plan import TrainingPlan
from calibeval.train.record import plot_curves, renew_records, write_metrics, write_origin
from calibeval.train.team import choose_device
from calibeval.train.validation import CURVES, Scores, mean_scores, score_volume
from calibeval.train.volumes import read_volume

_VALIDATIONS = 10  # in a run: whole volumes take nnU-Net longer than steps
_NOT_VALIDATED: Scores = dict.fromkeys((f"val_{name}" for name in CURVES), math.nan)


@dataclass
class _Run:
    """A run in memory; `history` has one row of metrics.csv for each finished epoch."""

    config: TrainConfig
    plan: TrainingPlan
    watcher: Watcher
    trainer: nnUNetTrainerCalibeval
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return Path(self.config.out)

    def best(self) -> int:
        """The epoch, from 0, of the largest DSC of the validation volumes; -1 before any."""
        return max(self.validated(), key=lambda epoch: self.history[epoch]["val_DSC"], default=-1)

    def validated(self) -> list[int]:
        return [epoch for epoch, row in enumerate(self.history) if not math.isnan(row["val_DSC"])]


def fit_nnunet(config: TrainConfig, plan: TrainingPlan, watcher: Watcher, resume: Checkpoint | None = None) -> Fitted:
    """Plan, preprocess and train; writes what `calibeval.train.fit.fit` writes, and nnU-Net's own files in `nnunet/`.

    Goes on from the last whole epoch; with another random state than an undisturbed run.

    Raises:
        InputError: an unusable image or label.
        UsageError: nnU-Net plans no such network, or the GPU's memory does not hold a batch.
        CalibevalError: the loss is not finite, a file cannot be written, or a process of nnU-Net died.
    """
    try:
        return _fit(config, plan, watcher, resume)
    except torch.cuda.OutOfMemoryError as error:
        raise UsageError("The GPU's memory does not hold nnU-Net's batch, planned for 8 GB. Free some.") from error
    except RuntimeError as error:  # nnU-Net's word for whatever went wrong in its processes, which Ctrl-C ends, too
        if watcher.stop():
            return Fitted(0, -1.0, finished=False, curves=False)
        log = Path(config.out) / "nnunet" / "log.txt"
        raise CalibevalError(f"nnU-Net stopped ({log}): {' '.join(str(error).split())[:300]}") from error


def _fit(config: TrainConfig, plan: TrainingPlan, watcher: Watcher, resume: Checkpoint | None) -> Fitted:
    out, history = Path(config.out), resume.resume["progress"]["history"] if resume else []
    provide_kernel_cache()
    if resume:
        renew_records(config, history)
    else:
        shutil.rmtree(out / "nnunet", ignore_errors=True)  # of a run that saved nothing, perhaps of another split
        write_origin(config, plan.data, plan.split)
    plans, description = prepare(config, plan, out)
    with nnunet_home(out, config.workers) as home:
        run = _Run(config, plan, watcher, _make_trainer(config, plans, description), history)
        if resume:
            _restore(run.trainer, resume)
        _seed(config.seed + len(history))
        finished = len(history) >= config.epochs or _train(run)
        if finished:
            shutil.rmtree(home / "preprocessed")
    curves = finished and plot_curves(out / "curves.png", [history[epoch] for epoch in run.validated()])
    best = run.best()
    return Fitted(best + 1, history[best]["val_DSC"] if history else -1.0, finished=finished, curves=curves)


def _make_trainer(config: TrainConfig, plans: dict[str, Any], description: dict[str, Any]) -> nnUNetTrainerCalibeval:
    build = TRAINERS.get(trainer_name(config.loss), nnUNetTrainerCalibeval)
    _seed(config.seed)
    plans = plans | {"continue_training": False}
    trainer = build(plans, CONFIGURATIONS[config.dim], 0, description, choose_device(config.device))
    trainer.loss_spec, trainer.loss_settings = config.loss, config.settings
    trainer.num_epochs = config.epochs
    trainer.disable_checkpointing = True  # best.pt and last.pt hold plain values, which nnU-Net's do not
    trainer.initialize()
    return trainer


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _train(run: _Run) -> bool:
    """nnU-Net's loop over epochs; False when stopped before its end."""
    trainer, epochs = run.trainer, run.config.epochs
    trainer.on_train_start()
    for epoch in range(trainer.current_epoch, epochs):
        trainer.on_epoch_start()
        if not _train_epoch(run):
            return False
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            batches = (next(trainer.dataloader_val) for _ in range(trainer.num_val_iterations_per_epoch))
            trainer.on_validation_epoch_end([trainer.validation_step(batch) for batch in batches])
        trainer.on_epoch_end()
        _close_epoch(run)
        if epoch + 1 < epochs and run.watcher.stop():
            return False
    trainer.disable_checkpointing = False  # nnU-Net's own last one, for its own commands
    trainer.on_train_end()
    return True


def _train_epoch(run: _Run) -> bool:
    """One epoch's steps; False when stopped before their end."""
    trainer, epochs = run.trainer, run.config.epochs
    trainer.on_train_epoch_start()
    steps, epoch, done = trainer.num_iterations_per_epoch, trainer.current_epoch, []
    for step in range(1, steps + 1):
        done.append(trainer.train_step(next(trainer.dataloader_train)))
        if not math.isfinite(loss := float(done[-1]["loss"])):
            raise CalibevalError(f"The loss became {loss:g} in step {step} of epoch {epoch + 1}.")
        run.watcher.step(epoch * steps + step, epochs * steps, f"epoch {epoch + 1}/{epochs}, loss {loss:.4f}")
        if step < steps and run.watcher.stop():
            return False
    trainer.on_train_epoch_end(done)
    return True


def _close_epoch(run: _Run) -> None:
    """Book the epoch that nnU-Net has closed, and write what it leaves behind."""
    log, epoch = run.trainer.logger.get_checkpoint(), run.trainer.current_epoch
    last = {name: float(log[name][-1]) for name in log if name != "dice_per_class_or_region"}
    due = epoch % max(1, run.config.epochs // _VALIDATIONS) == 0 or epoch == run.config.epochs
    row = {
        "epoch": epoch,
        "lr": last["lrs"],
        "loss": last["train_losses"],
        "val_loss": last["val_losses"],
        "pseudo_DSC": last["mean_fg_dice"],
        **(_validate(run) if due else _NOT_VALIDATED),
        "seconds": round(last["epoch_end_timestamps"] - last["epoch_start_timestamps"], 3),
    }
    run.history.append(row)
    if run.best() == epoch - 1:
        write_checkpoint(run.out / "best.pt", _snapshot(run))
    write_metrics(run.out / "metrics.csv", run.history)
    write_checkpoint(run.out / "last.pt", _snapshot(run)._replace(resume=_state(run)))
    run.watcher.epoch(row)


def _validate(run: _Run) -> Scores:
    """Means over the whole validation volumes."""
    predict = NnunetPredictor(_snapshot(run), run.out / "last.pt", run.trainer.device, mirror=False)
    data = run.plan.data
    volumes = (read_volume(data.cases[name], data.scheme, standardise=False) for name in run.plan.split.val)
    return mean_scores(score_volume(predict(volume), volume) for volume in volumes)


def _snapshot(run: _Run) -> Checkpoint:
    trainer, plan = run.trainer, run.plan
    nnunet = {
        "plans": trainer.plans_manager.plans,
        "dataset": trainer.dataset_json,
        "configuration": trainer.configuration_name,
        "mirror_axes": list(trainer.inference_allowed_mirroring_axes or ()),
    }
    weights = _bare_network(trainer).state_dict()
    return Checkpoint(plan.network, weights, plan.classes, run.config, {}, plan.size, nnunet)


def _state(run: _Run) -> dict[str, Any]:
    """What going on needs."""
    trainer = run.trainer
    return {
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.grad_scaler.state_dict() if trainer.grad_scaler else {},
        "progress": {"epoch": trainer.current_epoch, "history": run.history},
        "log": {name: np.asarray(values).tolist() for name, values in trainer.logger.get_checkpoint().items()},
    }


def _restore(trainer: nnUNetTrainerCalibeval, checkpoint: Checkpoint) -> None:
    state = checkpoint.resume
    _bare_network(trainer).load_state_dict(checkpoint.weights)
    trainer.optimizer.load_state_dict(state["optimizer"])
    if trainer.grad_scaler and state["scaler"]:
        trainer.grad_scaler.load_state_dict(state["scaler"])
    trainer.logger.load_checkpoint(state["log"])
    trainer.current_epoch = state["progress"]["epoch"]


def _bare_network(trainer: nnUNetTrainerCalibeval) -> torch.nn.Module:
    """The network without the wrapper of torch.compile."""
    network: Any = trainer.network
    return getattr(network, "_orig_mod", network)  # type: ignore[no-any-return]
