"""`calibeval predict`: class probabilities of new images, in the form that `score` reads best."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from calibeval.cli.console import INTERRUPTED, print_failures, progress
from calibeval.cli.options import Channels, limits_memory
from calibeval.cli.train import require_torch

Checkpoint = Annotated[Path, typer.Argument(help="best.pt of a run of `calibeval train`.", show_default=False)]
Images = Annotated[Path, typer.Argument(help="An image, or a folder of images.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="PREDS", help="Folder for the probabilities.")]
Tta = Annotated[str, typer.Option(help="Test-time augmentation: none, or flip (mean over the flips in plane).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Slices or patches per forward pass [16, or 2 patches].")]
Calibrator = Annotated[
    Path | None, typer.Option("--calibrator", metavar="FILE", help="calibrator.json that probabilities pass through.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


@limits_memory
def predict(
    checkpoint: Checkpoint,
    images: Images,
    *,
    out: Out = Path("preds"),
    tta: Tta = "none",
    channels: Channels = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    calibrator: Calibrator = None,
    quiet: Quiet = False,
) -> None:
    """Write one probability map per image, (x, y, z, class) in the image's own geometry."""
    require_torch()
    from calibeval.calibrate import read_calibrator
    from calibeval.files import check_writable
    from calibeval.train.cases import find_images
    from calibeval.train.checkpoint import read_checkpoint
    from calibeval.train.predict import predict_cases

    cases = list(find_images(images, read_checkpoint(checkpoint).network.channels, channels).values())
    mending = None if calibrator is None else read_calibrator(calibrator)
    check_writable([out / "manifest.json"])
    try:
        with progress("predicting", len(cases), quiet=quiet) as advance:
            failures = predict_cases(
                checkpoint, cases, out,
                tta=tta, device=device, batch_size=batch_size, calibrator=mending, progress=advance,
            )  # fmt: skip
    except KeyboardInterrupt:
        print(f"calibeval: interrupted. {out} holds the cases that are done.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print_failures(failures)
    print(out)
    if failures:
        raise typer.Exit(3)
