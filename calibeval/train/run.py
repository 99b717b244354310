"""A whole run, as `calibeval train` does it: plan, fit, predict the held-out cases, and say how to score them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import with_parts
from calibeval.scoring.job import MethodScore, run_job, write_method
from calibeval.scoring.options import ScoreOptions
from calibeval.scoring.plan import ScoreJob, plan_job
from calibeval.train.checkpoint import Checkpoint, read_checkpoint, write_bytes
from calibeval.train.config import MAY_CHANGE, NNUNET, TrainConfig, option_of, read_config
from calibeval.train.fit import Fitted, Watcher, fit
from calibeval.train.losses import build_loss
from calibeval.train.models import BACKBONES, build_network
from calibeval.train.nnunet import check_config
from calibeval.train.plan import TrainingPlan, make_plan
from calibeval.train.predict import predict_cases
from calibeval.train.record import read_split, refuse_changed, refuse_taken
from calibeval.train.slices import pieces_of
from calibeval.train.team import gpu_memory
from calibeval.train.volumes import ImageFiles
from calibeval.wording import count_of

_MIB = 2**20


class HeldOut(NamedTuple):
    """Predictions of the held-out cases, and what to score them against.

    Attributes:
        predictions: folder, named after the loss.
        labels: folder of the held-out labels alone; None where each npz holds its own.
        failures: cases that could not be predicted.
    """

    predictions: Path
    labels: Path | None
    failures: list[InputError]

    @property
    def metrics(self) -> str:
        """What can be scored: without geometry no distance in mm."""
        return "default" if self.labels else "DSC,ECE,CECE,pECE"

    def plan_scoring(self) -> ScoreJob:
        """How `calibeval score` would score them."""
        return plan_job(self.predictions, self.labels, ScoreOptions(metrics=self.metrics))


class Outcome(NamedTuple):
    """How a whole run ended.

    Attributes:
        fitted: the training.
        score: of the held-out cases, as `score.csv` holds it; None for a run that was stopped or holds no case out.
        failures: cases that could not be predicted.
    """

    fitted: Fitted
    score: MethodScore | None = None
    failures: Sequence[InputError] = ()


def run_whole(config: TrainConfig, watcher: Watcher | None = None) -> Outcome:
    """Train, predict the held-out cases and score them into `score.csv`, in one process.

    Goes on where `config.out` holds a run of these settings; then `MAY_CHANGE` are taken from `config`.

    Args:
        config: of the run.
        watcher: for progress and stopping.

    Raises:
        UsageError: settings that make no sense, a folder that holds a run of others, or data that has changed.
        CalibevalError: the loss is not finite, or a file cannot be read or written.
    """
    config, plan, checkpoint = _go_on(config) if (Path(config.out) / "last.pt").exists() else _begin(config)
    with gpu_memory(config.batch_size):
        fitted = train_network(config, plan, watcher or Watcher(), checkpoint)
    held_out = predict_held_out(config, plan) if fitted.finished else None
    if held_out is None:
        return Outcome(fitted)
    job = held_out.plan_scoring()
    (score,) = run_job(job)
    write_method(Path(config.out) / "score.csv", score, job)
    return Outcome(fitted, score, held_out.failures)


def train_network(
    config: TrainConfig, plan: TrainingPlan, watcher: Watcher, resume: Checkpoint | None = None
) -> Fitted:
    """Train by the loop of the backbone; arguments and errors as of `calibeval.train.fit.fit`."""
    if config.backbone != NNUNET:
        return fit(config, plan, watcher, resume)
    from calibeval.train.nnunet.fit import fit_nnunet

    return fit_nnunet(config, plan, watcher, resume)


def _begin(config: TrainConfig) -> tuple[TrainConfig, TrainingPlan, None]:
    start_run(config)
    return config, make_plan(config), None


def _go_on(config: TrainConfig) -> tuple[TrainConfig, TrainingPlan, Checkpoint]:
    out = Path(config.out)
    kept = replace(read_config(out / "config.json"), **{name: getattr(config, name) for name in (*MAY_CHANGE, "out")})
    names = (each.name for each in fields(TrainConfig))
    if other := [option_of(name) for name in names if getattr(kept, name) != getattr(config, name)]:
        raise UsageError(f"{out} holds a run of other settings ({', '.join(other)}). Choose another folder.")
    return resume_run(out, {name: getattr(config, name) for name in MAY_CHANGE})


def find_demo_data(out: Path) -> Path:
    """Give `sample_data` of the working directory, or generate the same into the run's folder.

    Raises:
        UsageError: several processes would write it at once.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("Several processes need a DATA folder; sample_data is made for one.")
    here = Path("sample_data")
    if (here / "dataset.json").is_file():
        return here
    made = out / "sample_data"
    if not (made / "dataset.json").is_file():
        from calibeval.phantom import write_sample_data

        write_sample_data(made)
    return made


def start_run(config: TrainConfig) -> None:
    """Check what can be checked before any work, and refuse a folder that holds a run.

    Raises:
        MissingExtraError: the backbone `nnunet` without nnunetv2.
        UsageError: an unknown loss, setting or backbone, what nnU-Net would not heed, or the folder is taken.
    """
    build_loss(config.loss, config.settings)
    if config.backbone == NNUNET:
        check_config(config)
    elif config.backbone not in BACKBONES:
        raise UsageError(f"Unknown backbone {config.backbone!r}. Known: {', '.join([*BACKBONES, NNUNET])}.")
    refuse_taken(Path(config.out))


def resume_run(out: Path, changes: Mapping[str, Any]) -> tuple[TrainConfig, TrainingPlan, Checkpoint]:
    """Read configuration and last checkpoint of a run, and its data again.

    Args:
        out: folder of the run, where it lies now.
        changes: settings that replace those of the run.

    Raises:
        InputError: a file of the run is missing or unusable.
        UsageError: the data set has changed.
    """
    config = replace(read_config(out / "config.json"), out=str(out), **changes)
    checkpoint = read_checkpoint(out / "last.pt")
    plan = make_plan(config, read_split(out))
    refuse_changed(out, plan.data)
    return config, plan, checkpoint


def describe_plan(config: TrainConfig, plan: TrainingPlan) -> str:
    """What a run would do, for `--dry-run` and the start of a run."""
    loss = build_loss(config.loss, config.settings)
    settings = ", ".join(f"{key}={value}" for key, value in config.settings.items()) or "published settings"
    return "\n".join(
        [
            f"loss      {config.loss}: {type(loss).__name__}, {settings}",
            f"network   {_describe_network(config, plan)}",
            f"classes   {', '.join(plan.classes)}",
            f"cases     {len(plan.split.train)} train, {len(plan.split.val)} validate, {len(plan.split.test)} held out",
            f"groups    {_describe_groups(config, plan.groups)}",
            *([] if config.backbone == NNUNET else _describe_pieces(config, plan)),
            f"output    {config.out}",
        ]
    )


def _describe_network(config: TrainConfig, plan: TrainingPlan) -> str:
    if config.backbone == NNUNET:
        return f"nnU-Net in {config.dim}-D, planned at the start, {config.epochs} epochs of its 250 steps"
    parameters = sum(each.numel() for each in build_network(plan.network).parameters())
    network = plan.network
    return f"{config.backbone}, width {network.width}, {network.channels} channel(s), {parameters:,} parameters"


def _describe_pieces(config: TrainConfig, plan: TrainingPlan) -> list[str]:
    """What an epoch goes over, and what memory it takes."""
    pieces = len(pieces_of(plan.train, plan.size))
    steps = -(-pieces // config.batch_size)
    memory = sum(volume.image.nbytes for volume in (*plan.train, *plan.val)) / _MIB
    return [
        f"{'slices ' if config.dim == 2 else 'patches'}   {pieces} of {'x'.join(map(str, plan.size))}, "
        f"{steps} batches an epoch, {config.epochs} epochs",
        f"images    {memory:.0f} MiB in memory",
    ]


def _describe_groups(config: TrainConfig, group_of: Mapping[str, str]) -> str:
    """How many patients, and an example of the rule that says so."""
    if not group_of:
        return "as the run began"
    found = count_of(len(set(group_of.values())), config.group_noun)
    example = next(((case, group) for case, group in group_of.items() if case != group), None)
    return f"{found}, for example {example[0]} is of {example[1]}" if example else f"{found}, each case by itself"


def predict_held_out(
    config: TrainConfig, plan: TrainingPlan, progress: Callable[[str], None] = lambda _: None
) -> HeldOut | None:
    """Predict the held-out cases with the best checkpoint and lay their labels beside; None where none is held out."""
    if not plan.split.test or config.overfit_batch:
        return None
    out = Path(config.out)
    cases = [plan.data.cases[name] for name in plan.split.test]
    predictions = out / "preds" / config.method
    tta = "flip" if config.backbone == NNUNET else "none"  # nnU-Net's own predictions are means over flips
    failures = predict_cases(
        out / "best.pt", cases, predictions,
        tta=tta, device=config.device, batch_size=config.batch_size, progress=progress,
    )  # fmt: skip
    return HeldOut(predictions, _copy_labels(plan, cases, out / "labels"), failures)


def _copy_labels(plan: TrainingPlan, cases: list[ImageFiles], folder: Path) -> Path | None:
    """Copy labels and `dataset.json`: scoring against the whole data set would miss all other cases."""
    labels = [case.label for case in cases if case.label]
    if not labels:
        return None
    parts = [part for label in labels for part in with_parts(label)]
    for path in (*parts, plan.data.root / "dataset.json"):
        if path.is_file():
            write_bytes(folder / path.name, path.read_bytes())
    return folder
