"""`calibeval train`: a segmentation network with a calibration loss, from images to a scored table."""

from __future__ import annotations

import math
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibeval.cli.console import INTERRUPTED, print_failures, progress
from calibeval.cli.options import Channels, DryRun, Quiet
from calibeval.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from calibeval.scoring.plan import ScoreJob
    from calibeval.train.checkpoint import Checkpoint
    from calibeval.train.config import TrainConfig
    from calibeval.train.fit import Fitted, Watcher
    from calibeval.train.plan import TrainingPlan

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DATA]",
        help="nnU-Net or MSD folder (imagesTr, labelsTr, dataset.json), or npz slices. Default: sample_data.",
        show_default=False,
    ),
]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the run [runs/DATA-LOSS-fFOLD-sSEED].")]
Loss = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[:VARIANT]",
        help="dicece, fl, ecp, ls, svls, mbls, nacl, fcl, sdc, hard_l1ace or soft_l1ace [sdc]; or a sum, as "
        "dicece+0.5*sdc.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Setting of the loss; in a sum NAME.KEY=VALUE; repeatable."),
]
Morph = Annotated[
    str | None,
    typer.Option(
        help="Operator on the masks, for sdc, nacl and svls:margin: none, internal_boundary, external_boundary, "
        "closing, opening, dilation, erosion or gradient."
    ),
]
Kernel = Annotated[
    str | None, typer.Option(help="Neighbourhood: mean, gaussian, svls, bilateral, min, max, median or mode.")
]
Preset = Annotated[str, typer.Option(help="Protocol: sdc-paper, nacl-code or sdc-repo; options given win.")]
Backbone = Annotated[str | None, typer.Option(help="unet, unet-nacl, dynunet, or nnunet, the real one [unet].")]
Width = Annotated[int | None, typer.Option(help="Filters at full resolution [32].")]
Dim = Annotated[int | None, typer.Option(help="2 trains on slices, 3 on patches of volumes [2].")]
Size = Annotated[
    str | None, typer.Option(metavar="N|HxW|DxHxW", help="Training slices (patches) are cropped or padded to it.")
]
Fold = Annotated[str | None, typer.Option(metavar="i/n", help="Fold i is held out, the next validates [1/5].")]
Cases = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Table of facts about the cases: columns case, patient, ...")
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="none|patient|COLUMN|REGEX",
        help="Whose cases stay together: a patient's, by --cases or by name; of a column of --cases; of the part of "
        "the name in parentheses [patient].",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training slices [100].")]
BatchSize = Annotated[
    int | None, typer.Option(help="Slices or patches per forward pass, over all processes [16, or 2 patches].")
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Learning rate at the start [0.001].")]
Augment = Annotated[str | None, typer.Option(help="Random changes of the slices: none, basic or nnunet [basic].")]
NoAugment = Annotated[bool, typer.Option("--no-augment", help="The same as --augment none.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, order and augmentation [0].")]
Deterministic = Annotated[
    bool | None, typer.Option("--deterministic", help="Deterministic operations where torch has them.")
]
Amp = Annotated[bool | None, typer.Option("--amp", help="Half precision where it is safe.")]
Accumulate = Annotated[int | None, typer.Option(help="Forward passes per step of the optimizer [1].")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ... [auto].")]
Workers = Annotated[int | None, typer.Option(help="Processes that prepare data [0].")]
EarlyStop = Annotated[int | None, typer.Option(help="Stop after so many epochs without a better one; 0 never [0].")]
KeepPredictions = Annotated[
    str | None, typer.Option(metavar="STEP,...", help="Keep the validation predictions after so many batches.")
]
Overfit = Annotated[bool | None, typer.Option("--overfit-batch", help="Learn one batch by heart, as a test.")]
Resume = Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder.")]


def train(
    data: Data = None,
    *,
    out: Out = None,
    loss: Loss = None,
    set_: Set = None,
    morph: Morph = None,
    kernel: Kernel = None,
    preset: Preset = "",
    backbone: Backbone = None,
    width: Width = None,
    dim: Dim = None,
    size: Size = None,
    fold: Fold = None,
    cases: Cases = None,
    group_by: GroupBy = None,
    channels: Channels = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    augment: Augment = None,
    no_augment: NoAugment = False,
    seed: Seed = None,
    deterministic: Deterministic = None,
    amp: Amp = None,
    accumulate: Accumulate = None,
    device: Device = None,
    workers: Workers = None,
    early_stop: EarlyStop = None,
    overfit_batch: Overfit = None,
    keep_predictions: KeepPredictions = None,
    resume: Resume = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train a segmentation network with a calibration loss, predict held-out cases and score them."""
    from calibeval.train.config import parse_settings, parse_size, parse_steps

    require_torch()
    neighbourhood = {name: value for name, value in (("morph", morph), ("kernel", kernel)) if value is not None}
    settings = parse_settings(set_ or []) | neighbourhood
    chosen = {
        "loss": loss, "settings": settings or None, "backbone": backbone, "width": width,
        "dim": dim, "size": parse_size(size, dim or 2) if size else None, "fold": fold, "epochs": epochs,
        "cases": str(cases) if cases else None, "group_by": group_by, "channels": channels,
        "batch_size": batch_size, "lr": lr, "augment": "none" if no_augment else augment, "seed": seed,
        "deterministic": deterministic,
        "amp": amp, "accumulate": accumulate, "device": device, "workers": workers, "early_stop": early_stop,
        "overfit_batch": overfit_batch, "keep_predictions": parse_steps(keep_predictions) if keep_predictions else None,
    }  # fmt: skip
    given = {name: value for name, value in chosen.items() if value is not None}
    with plain_warnings():
        if resume:
            _resume(resume, given, others=[data, out, preset or None], dry_run=dry_run, quiet=quiet)
        else:
            _start(data, out, preset, given, dry_run=dry_run, quiet=quiet)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show a warning as one line for people, without source lines."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"calibeval: {message}", file=sys.stderr)
        yield


def require_torch() -> None:
    """Load torch, or say what to install when it is missing.

    Raises:
        MissingExtraError: it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads make a busy machine ten times slower
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", "train") from error


def _start(
    data: Path | None, out: Path | None, preset: str, given: dict[str, Any], *, dry_run: bool, quiet: bool
) -> None:
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from calibeval.train.config import DEMO, NNUNET, make_config
    from calibeval.train.plan import make_plan
    from calibeval.train.run import find_demo_data, start_run

    plain = data or preset or given.get("backbone") == NNUNET
    base = {} if plain else DEMO.get(given.get("dim", 2), {})
    config = make_config(preset, data=str(data or ""), out="", **{**base, **given})
    name = f"{(data or Path('sample_data')).resolve().name}-{config.method}"
    config = replace(config, out=str(out or f"runs/{name}-f{(config.fold or '1').split('/')[0]}-s{config.seed}"))
    start_run(config)
    with TemporaryDirectory() as scratch:
        if data is None:
            config = replace(config, data=str(find_demo_data(Path(scratch if dry_run else config.out))))
        plan = make_plan(config)
        if dry_run or not quiet:
            _describe(config, plan)
        if not dry_run:
            _run(config, plan, None, quiet=quiet)


def _describe(config: TrainConfig, plan: TrainingPlan) -> None:
    from calibeval.train.run import describe_plan

    if _leads():
        print(describe_plan(config, plan), file=sys.stderr)


def _resume(out: Path, given: dict[str, Any], others: list[Any], *, dry_run: bool, quiet: bool) -> None:
    from calibeval.train.config import MAY_CHANGE, option_of
    from calibeval.train.run import resume_run

    fixed = sorted(set(given) - set(MAY_CHANGE))
    if fixed or any(others):
        what = ", ".join(map(option_of, fixed)) or "DATA, --out and --preset"
        may = ", ".join(map(option_of, MAY_CHANGE))
        raise UsageError(f"--resume takes the run's own settings; {what} cannot change. Only {may} may.")
    config, plan, checkpoint = resume_run(out, given)
    if dry_run:
        _describe(config, plan)
        print(f"resume    after epoch {checkpoint.resume['progress']['epoch']}", file=sys.stderr)
    else:
        _run(config, plan, checkpoint, quiet=quiet)


def _run(config: TrainConfig, plan: TrainingPlan, checkpoint: Checkpoint | None, *, quiet: bool) -> None:
    """Fit, predict, score; exit code 3 when a held-out case failed, 130 when stopped."""
    try:
        fitted = _fit(config, plan, checkpoint, quiet=quiet)
        if _leads():
            _finish(config, plan, fitted, quiet=quiet)
    except KeyboardInterrupt:
        if _leads():
            saved = (Path(config.out) / "last.pt").exists()
            go_on = f"go on with: calibeval train --resume {shlex.quote(config.out)}"
            print(f"stopped; {go_on if saved else 'nothing is saved yet'}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _fit(config: TrainConfig, plan: TrainingPlan, checkpoint: Checkpoint | None, *, quiet: bool) -> Fitted:
    """Train; a stop that was asked for becomes a KeyboardInterrupt when all is saved."""
    from calibeval.train.run import train_network
    from calibeval.train.team import gpu_memory

    with _watching(config, quiet=quiet or not _leads()) as watcher:
        with gpu_memory(config.batch_size):
            fitted = train_network(config, plan, watcher, checkpoint)
        if watcher.stop() or not fitted.finished:
            raise KeyboardInterrupt
    return fitted


def _finish(config: TrainConfig, plan: TrainingPlan, fitted: Fitted, *, quiet: bool) -> None:
    """Predict and score the held-out cases."""
    from calibeval.train.run import predict_held_out

    print(f"best validation DSC {fitted.best_dsc:.4f} in epoch {fitted.best_epoch}", file=sys.stderr)
    if not fitted.curves:
        print("curves.png needs matplotlib: pip install 'calibeval[plots]'", file=sys.stderr)
    with progress("predicting", len(plan.split.test), quiet=quiet) as advance:
        held_out = predict_held_out(config, plan, advance)
    if held_out is None:
        print("no held-out cases to score", file=sys.stderr)
        return
    print_failures(held_out.failures)
    job = held_out.plan_scoring()
    failed = _score(job, Path(config.out) / "score.csv")
    print(f"again: {job.command}")
    if held_out.failures or failed:
        raise typer.Exit(3)


def _leads() -> bool:
    """Whether this process speaks for all that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def _score(job: ScoreJob, table: Path) -> bool:
    """Score the held-out cases as `calibeval score` does, and print its summary; whether a case failed."""
    from calibeval.cli.score_table import print_scores
    from calibeval.cli.scoring import score_and_write

    tables = dict.fromkeys(job.pairings, table)
    scores = score_and_write(job, tables, workers=1, quiet=True)
    print_scores(scores, tables, job.protocol)
    return any(method.errors for method in scores)


@contextmanager
def _watching(config: TrainConfig, *, quiet: bool) -> Iterator[Watcher]:
    """A progress bar on a terminal, else a line an epoch; the first Ctrl-C asks the run to stop after its step."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from calibeval.cli.console import bar_console
    from calibeval.train.fit import Watcher

    console = bar_console()
    asked: list[int] = []
    here = os.getpid()

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        if _leads() and os.getpid() == here:  # processes that prepare data inherit this
            console.print("stopping after this step; once more to stop at once")

    def epoch(row: dict[str, float]) -> None:
        if not (quiet or console.is_terminal):
            dsc = row["val_DSC"]
            text = "" if math.isnan(dsc) else f"  val DSC {dsc:.4f}"  # nnU-Net validates in some epochs
            text = f"epoch {row['epoch']:.0f}/{config.epochs}  loss {row['loss']:.4f}{text}"
            print(text, file=sys.stderr, flush=True)

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    before = signal.signal(signal.SIGINT, ask)
    try:
        with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
            task = bar.add_task("")
            yield Watcher(
                lambda done, total, line: bar.update(task, completed=done, total=total, description=line),
                epoch,
                lambda: bool(asked),
            )
    finally:
        signal.signal(signal.SIGINT, before)
