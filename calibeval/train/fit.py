"""The training loop, to be read from top to bottom.

An epoch goes once over all training slices, then predicts the validation volumes, re-stacked from their slices, and
keeps the network with the best mean DSC. After every epoch, and when stopped, `last.pt` holds all that is needed to
go on: order, augmentation and learning rate follow from seed, epoch and step, so going on is exact.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from calibeval.errors import CalibevalError
from calibeval.metrics._kernels.startup import provide_kernel_cache
from calibeval.train.checkpoint import Checkpoint
from calibeval.train.config import TrainConfig
from calibeval.train.models import BACKBONES
from calibeval.train.plan import TrainingPlan
from calibeval.train.predict import Predictor, write_probabilities
from calibeval.train.record import plot_curves, renew_records, write_metrics, write_origin
from calibeval.train.session import Session, open_session, save_best, save_last
from calibeval.train.slices import Batch, make_loader
from calibeval.train.team import join_team
from calibeval.train.validation import Scores, mean_scores, score_volume


class Fitted(NamedTuple):
    """How a run ended.

    Attributes:
        best_epoch: counted from 1.
        best_dsc: mean DSC of the validation volumes then.
        finished: False when it was stopped and can go on.
        curves: whether curves.png could be drawn.
    """

    best_epoch: int
    best_dsc: float
    finished: bool
    curves: bool


class Watcher(NamedTuple):
    """What a run tells while it goes, and asks.

    Attributes:
        step: called after each batch with batches done, batches in all, and a line about the state.
        epoch: called after each epoch with its row of metrics.csv.
        stop: asked after each step of the optimizer whether to stop.
    """

    step: Callable[[int, int, str], None] = lambda *_: None
    epoch: Callable[[dict[str, float]], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


def fit(config: TrainConfig, plan: TrainingPlan, watcher: Watcher, resume: Checkpoint | None = None) -> Fitted:
    """Train a network and write `last.pt`, `best.pt`, `metrics.csv`, `curves.png` and the records of its origin.

    Args:
        config: of the run.
        plan: from `make_plan(config)`.
        watcher: for progress and stopping.
        resume: checkpoint to go on from.

    Raises:
        CalibevalError: the loss is not finite, or a file cannot be written; `last.pt` is still good.
    """
    out = Path(config.out)
    provide_kernel_cache()
    with join_team(config.device) as team:
        session = open_session(config, plan, team, resume, out / "last.pt")
        progress = session.progress
        if team.leads and resume:
            renew_records(config, progress.history)
        elif team.leads:
            write_origin(config, plan.data, plan.split)
        loader = make_loader(session.slices, session.order, session.loss, plan.network.classes, config.workers)
        while progress.epoch < config.epochs and not _patience_is_over(session):
            started = time.perf_counter()
            session.order.go_to(progress.epoch, progress.step)
            if not _train_epoch(session, loader, watcher):
                if team.leads:
                    save_last(session)
                return Fitted(progress.best_epoch + 1, progress.best, finished=False, curves=False)
            _check_weights(session)
            row = _close_epoch(session, _validate(session), time.perf_counter() - started)
            if team.leads:
                if progress.best_epoch == progress.epoch - 1:
                    save_best(session)
                write_metrics(out / "metrics.csv", progress.history)
                save_last(session)  # after all else: what it holds is never written again
                watcher.epoch(row)
            if progress.epoch < config.epochs and team.any(watcher.stop()):
                return Fitted(progress.best_epoch + 1, progress.best, finished=False, curves=False)
        curves = team.leads and plot_curves(out / "curves.png", progress.history)
        return Fitted(progress.best_epoch + 1, progress.best, finished=True, curves=curves)


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Learning rate of an epoch, counted from 0."""
    if config.schedule == "step":
        return config.lr * 0.1 ** (epoch // config.step_epochs)
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return config.lr


def _train_epoch(session: Session, loader: torch.utils.data.DataLoader[Batch], watcher: Watcher) -> bool:
    """Go over the epoch's remaining batches; False when stopped before its end."""
    config, progress, batches = session.config, session.progress, len(session.order)
    for group in session.optimizer.param_groups:
        group["lr"] = learning_rate(config, progress.epoch)
    session.model.train()
    for batch in loader:
        terms = _backward(session, batch)
        for name, value in terms.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.step += 1
        watcher.step(progress.epoch * batches + progress.step, config.epochs * batches, _state(session))
        if progress.step % config.accumulate and progress.step < batches:
            continue
        session.scaler.step(session.optimizer)
        session.scaler.update()
        session.optimizer.zero_grad()
        _keep_predictions(session)
        if progress.step < batches and session.team.any(watcher.stop()):
            return False
    return True


def _backward(session: Session, batch: Batch) -> dict[str, float]:
    """Add the gradients of one batch; gives its loss terms."""
    device = session.team.device
    targets = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    image, label = targets.pop("image"), targets.pop("label")
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    with torch.autocast(device.type, dtype=half, enabled=session.config.amp):
        logits: Tensor = session.model(image)
    terms = session.loss.terms(logits, label, targets)
    loss = torch.stack(list(terms.values())).sum()
    values = {name: value.item() for name, value in terms.items()}
    if not math.isfinite(loss.item()):
        found = ", ".join(f"{name}={value:g}" for name, value in values.items())
        _refuse(session, f"The loss became {found} in step {session.progress.step + 1} of")
    torch.autograd.backward(session.scaler.scale(loss / _group_size(session)))
    return values


def _group_size(session: Session) -> int:
    """Batches that share the step of the optimizer; an epoch's last group may be smaller."""
    every, batches = session.config.accumulate, len(session.order)
    return min(every, batches - session.progress.step // every * every)


def _check_weights(session: Session) -> None:
    """Refuse weights that the epoch's last step broke, before they replace good ones in `last.pt`."""
    if not all(tensor.isfinite().all() for tensor in session.network.state_dict().values()):
        _refuse(session, "The network's weights are no longer finite at the end of")


def _refuse(session: Session, what: str) -> None:
    progress, out = session.progress, Path(session.config.out)
    kept = f"{out / 'last.pt'} holds epoch {progress.epoch}" if progress.epoch else "No epoch was finished"
    raise CalibevalError(f"{what} epoch {progress.epoch + 1}. {kept}. A smaller --lr, or no --amp, usually helps.")


def _predictor(session: Session) -> Predictor:
    network = session.plan.network
    backbone, batch_size = BACKBONES[network.backbone], session.config.batch_size
    return Predictor(session.network, backbone, session.plan.size, session.team.device, batch_size=batch_size)


def _validate(session: Session) -> Scores:
    """Means over the validation volumes, shared among the processes."""
    team, plan, predict = session.team, session.plan, _predictor(session)
    mine = [score_volume(predict(volume.image), volume) for volume in plan.val[team.rank :: team.world]]
    return mean_scores(scores for part in team.gather(mine) for scores in part)


def _keep_predictions(session: Session) -> None:
    """Write the validation volumes' probabilities where the run asks for them at this step."""
    config, team = session.config, session.team
    step = session.progress.epoch * len(session.order) + session.progress.step
    if step not in config.keep_predictions:
        return
    predict, folder = _predictor(session), Path(config.out) / "kept" / f"step{step}" / config.method
    for volume in session.plan.val[team.rank :: team.world]:
        write_probabilities(folder, volume, predict(volume.image))
    session.model.train()


def _close_epoch(session: Session, validation: Scores, seconds: float) -> dict[str, float]:
    """Book the epoch and turn to the next; gives its row of metrics.csv."""
    progress = session.progress
    parts = session.team.gather(progress.sums)
    means = {name: sum(part[name] for part in parts) / (len(parts) * progress.step) for name in progress.sums}
    row = {
        "epoch": progress.epoch + 1,
        "lr": learning_rate(session.config, progress.epoch),
        "loss": sum(means.values()),
        **{f"loss_{name}": mean for name, mean in means.items()},
        **validation,
        "seconds": round(seconds, 3),
    }
    progress.history.append(row)
    if validation["val_DSC"] > progress.best:
        progress.best, progress.best_epoch = validation["val_DSC"], progress.epoch
    progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
    return row


def _patience_is_over(session: Session) -> bool:
    patience, progress = session.config.early_stop, session.progress
    return bool(patience) and progress.best_epoch >= 0 and progress.epoch - 1 - progress.best_epoch >= patience


def _state(session: Session) -> str:
    progress = session.progress
    loss = sum(progress.sums.values()) / progress.step
    best = f", best DSC {progress.best:.3f}" if progress.best_epoch >= 0 else ""
    return f"epoch {progress.epoch + 1}/{session.config.epochs}, loss {loss:.4f}{best}"
