"""Class probabilities of whole volumes, slice by slice or patch by patch, in native geometry.

For each case one file that `calibeval score` reads directly: `case.nii.gz`, float32 (x, y, z, C) with the image's
affine; for npz and PNG input `case.npz` with `probs` (C, D, H, W), and `label` where the input has one. `manifest.json`
says by which checkpoint and how.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibeval._version import __version__
from calibeval.calibrate import Calibrator, apply, write_calibrator
from calibeval.calibrate.calibrator import CONFORMAL
from calibeval.errors import InputError, MissingExtraError, UsageError
from calibeval.files import file_hash, inside
from calibeval.io.classes import ClassScheme
from calibeval.io.nifti import nifti_bytes
from calibeval.metrics.statistics import IGNORED
from calibeval.scoring.plan import CALIBRATOR_FILE
from calibeval.train.checkpoint import Checkpoint, load_network, read_checkpoint, write_bytes
from calibeval.train.config import BATCH
from calibeval.train.frame import Size, crop_centre, pad_image, whole_frame
from calibeval.train.models import BACKBONES, Backbone
from calibeval.train.nnunet import require_nnunet
from calibeval.train.record import write_json
from calibeval.train.team import choose_device, gpu_memory
from calibeval.train.volumes import ImageFiles, Volume, read_volume

TTA: dict[str, tuple[tuple[int, ...], ...]] = {"none": ((),), "flip": ((), (-2,), (-1,), (-2, -1))}  # axes to flip
PREPROCESSING = {
    2: "each channel z-scored over the volume; slices along z, centred in the training size, the minimum around",
    3: "each channel z-scored over the volume; patches of the training size, half overlapping, weighted by a Gaussian",
}


def predict_cases(
    checkpoint_path: Path,
    cases: Sequence[ImageFiles],
    out: Path,
    *,
    tta: str = "none",
    device: str = "auto",
    batch_size: int | None = None,
    calibrator: Calibrator | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[InputError]:
    """Predict cases with a checkpoint and write probabilities and a manifest.

    Args:
        checkpoint_path: `best.pt` or `last.pt` of a run.
        cases: images, from `calibeval.train.cases.find_images`.
        out: folder of the predictions.
        tta: key of `TTA`: `none`, or `flip` to average over the flips in plane (of nnU-Net over those it learned).
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: slices or patches per forward pass; None takes 16 slices, 2 patches.
        calibrator: that the probabilities pass through; it is written beside them.
        progress: called with each case's name.

    Returns:
        The images that could not be used; all others are predicted.

    Raises:
        InputError: the checkpoint is unusable.
        UsageError: an unknown device or augmentation, batches too large for the GPU, or a calibrator of other classes.
    """
    if tta not in TTA:
        raise UsageError(f"Unknown tta {tta!r}. Known: {', '.join(TTA)}.")
    checkpoint = read_checkpoint(checkpoint_path)
    batch_size = batch_size or BATCH[checkpoint.network.dim]
    predict = _open(checkpoint, checkpoint_path, choose_device(device), batch_size, tta)
    if calibrator is not None:
        _check_calibrator(calibrator, checkpoint.classes)
        write_calibrator(out / CALIBRATOR_FILE, calibrator)
    done: list[str] = []
    failures: list[InputError] = []
    for case in cases:
        progress(case.name)
        try:
            volume = read_volume(case, ClassScheme(ignore=IGNORED), standardise=not checkpoint.nnunet)
            _check_channels(volume, case, checkpoint.network.channels)
            with gpu_memory(batch_size):
                probabilities = predict(volume)
            if calibrator is not None:
                probabilities = apply(calibrator, probabilities.swapaxes(0, 1)).swapaxes(0, 1)
            write_probabilities(out, volume, probabilities)
            done.append(case.name)
        except InputError as error:
            failures.append(error)
        except MemoryError:
            failures.append(InputError(case.images[0], "image and probabilities do not fit into memory."))
    _write_manifest(out, checkpoint_path, checkpoint, tta, done, calibrated=calibrator is not None)
    return failures


def _open(
    checkpoint: Checkpoint, path: Path, device: torch.device, batch_size: int, tta: str
) -> Callable[[Volume], NDArray[np.float32]]:
    """What turns a volume into probabilities (D, C, H, W)."""
    if checkpoint.nnunet:
        require_nnunet()
        from calibeval.train.nnunet.predict import NnunetPredictor

        return NnunetPredictor(checkpoint, path, device, mirror=tta == "flip")
    network = load_network(checkpoint, path).to(device)
    backbone = BACKBONES[checkpoint.network.backbone]
    predict = Predictor(network, backbone, checkpoint.size, device, batch_size=batch_size, tta=tta)
    return lambda volume: predict(volume.image)


def _check_calibrator(calibrator: Calibrator, classes: tuple[str, ...]) -> None:
    """Refuse a calibrator of other classes, or of the same in another order."""
    if calibrator.method == CONFORMAL or calibrator.of_regions or calibrator.classes != classes:
        held = "masks" if calibrator.method == CONFORMAL else ", ".join(calibrator.classes)
        raise UsageError(f"The checkpoint's classes are {', '.join(classes)}, and the calibrator is of {held}.")


def _write_manifest(
    out: Path, path: Path, checkpoint: Checkpoint, tta: str, cases: list[str], *, calibrated: bool
) -> None:
    manifest = {
        "calibeval": __version__,
        "checkpoint": path.as_posix(),
        "checkpoint_sha256": file_hash(path),
        "network": checkpoint.network._asdict(),
        "size": list(checkpoint.size),
        "loss": checkpoint.config.loss,
        "classes": list(checkpoint.classes),
        "preprocessing": "nnU-Net's, by its plans" if checkpoint.nnunet else PREPROCESSING[checkpoint.network.dim],
        "tta": tta,
        **({"calibrator_sha256": file_hash(out / CALIBRATOR_FILE)} if calibrated else {}),
        "cases": cases,
    }
    write_json(out / "manifest.json", manifest)


class Predictor:
    """Turns an image (D, channels, H, W) into probabilities (D, C, H, W), a batch of slices or patches at a time.

    Patches overlap by half; where several hold a voxel, the mean of their probabilities by a Gaussian around each
    patch's centre counts.

    Args:
        network: from padded slices, or patches, to logits.
        backbone: of the network.
        size: of the slices or patches that the network was trained on.
        device: of the network.
        batch_size: slices or patches per forward pass.
        tta: key of `TTA`.
    """

    def __init__(
        self,
        network: nn.Module,
        backbone: Backbone,
        size: Size,
        device: torch.device,
        *,
        batch_size: int,
        tta: str = "none",
    ) -> None:
        self.network, self.backbone, self.size, self.device = network, backbone, size, device
        self.batch_size, self.flips = batch_size, TTA[tta]

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict a volume; leaves the network in evaluation mode."""
        self.network.eval()
        if len(self.size) == 3:
            return self._slide(torch.from_numpy(image).transpose(0, 1)[None]).transpose(0, 1).numpy()
        batches = torch.split(torch.from_numpy(image), self.batch_size)
        return torch.cat([self._probabilities(batch.to(self.device)).cpu() for batch in batches]).numpy()

    def _probabilities(self, slices: Tensor) -> Tensor:
        padded = pad_image(slices, whole_frame(slices.shape[2:], self.size, self.backbone))
        return crop_centre(self._mean_over_flips(padded), slices.shape[2:])

    def _mean_over_flips(self, image: Tensor) -> Tensor:
        maps = [self.network(image.flip(axes)).float().softmax(dim=1).flip(axes) for axes in self.flips]
        return torch.stack(maps).mean(dim=0)

    def _slide(self, volume: Tensor) -> Tensor:
        """Probabilities (C, D, H, W) of a volume (1, channels, D, H, W)."""
        try:
            from monai.inferers.inferer import SlidingWindowInferer
        except ImportError as error:
            raise MissingExtraError("monai", "train") from error
        shape = volume.shape[2:]
        padded = pad_image(volume, tuple(map(max, self.size, shape)))
        slide = SlidingWindowInferer(
            self.size, self.batch_size, overlap=0.5, mode="gaussian", sw_device=self.device, device="cpu"
        )
        maps: Any = slide(padded, self._mean_over_flips)  # of one network output, a tensor
        return crop_centre(maps[0], shape)


def write_probabilities(out: Path, volume: Volume, probabilities: NDArray[np.float32]) -> None:
    """Write probabilities (D, C, H, W) of one volume.

    Raises:
        CalibevalError: the disk is full, or the folder cannot be written.
    """
    if volume.geometry is None:
        buffer, maps = io.BytesIO(), np.ascontiguousarray(probabilities.swapaxes(0, 1))
        if volume.label is None:
            np.savez_compressed(buffer, probs=maps)
        else:
            np.savez_compressed(buffer, probs=maps, label=volume.label)
        write_bytes(inside(out, f"{volume.name}.npz"), buffer.getbuffer())
        return
    values = probabilities.swapaxes(0, 1)
    write_bytes(inside(out, f"{volume.name}.nii.gz"), nifti_bytes(values, volume.geometry.affine))


def _check_channels(volume: Volume, case: ImageFiles, channels: int) -> None:
    found = volume.image.shape[1]
    if found != channels:
        raise InputError(
            case.images[0], f"case {case.name!r} has {found} channels, but the network was trained with {channels}."
        )
