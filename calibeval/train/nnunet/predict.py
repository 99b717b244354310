"""Probabilities of whole volumes by nnU-Net: its preprocessing, sliding window, mirroring and resampling."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.train.checkpoint import Checkpoint
from calibeval.train.volumes import Volume

_FLAT = 999  # how many times thicker than its pixels nnU-Net takes a single slice to be


class NnunetPredictor:
    """Turns a volume with its own intensities into probabilities (D, C, H, W).

    Args:
        checkpoint: of a run with the backbone `nnunet`.
        path: of the checkpoint, for messages.
        device: to predict on.
        mirror: average over the flips that the network was trained with, as nnU-Net does.

    Raises:
        InputError: the checkpoint's plans or weights are of another network.
    """

    def __init__(self, checkpoint: Checkpoint, path: Path, device: torch.device, *, mirror: bool) -> None:
        nnunet = checkpoint.nnunet
        try:
            plans = PlansManager(nnunet["plans"])
            configuration = plans.get_configuration(nnunet["configuration"])
            shape = (checkpoint.network.channels, checkpoint.network.classes)
            network = nnUNetTrainer.build_network_architecture(plans, configuration, *shape, False)
            network.load_state_dict(checkpoint.weights)
        except (KeyError, RuntimeError) as error:
            raise InputError(path, f"its nnU-Net cannot be built: {' '.join(str(error).split())[:200]}") from error
        with _quiet():
            self.predictor = nnUNetPredictor(use_mirroring=mirror, device=device, allow_tqdm=False)
        axes = tuple(nnunet["mirror_axes"])
        weights = [checkpoint.weights]
        self.predictor.manual_initialization(network, plans, configuration, weights, nnunet["dataset"], "", axes)

    def __call__(self, volume: Volume) -> NDArray[np.float32]:
        """Predict a volume."""
        with _quiet():
            _, maps = self.predictor.predict_single_npy_array(
                np.ascontiguousarray(volume.image.swapaxes(0, 1)),
                {"spacing": list(spacing_of(volume))},
                save_or_return_probabilities=True,
            )
        return np.asarray(maps, np.float32).swapaxes(0, 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what nnU-Net says by the way off stdout, which is for results."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def spacing_of(volume: Volume) -> tuple[float, float, float]:
    """Spacing (z, y, x) as nnU-Net takes it: 1 where nothing tells, and a single slice is thick."""
    spacing = (1.0, 1.0, 1.0) if volume.geometry is None else (1.0, *volume.geometry.spacing_mm)[-3:]
    z, y, x = spacing
    return (z if len(volume.image) > 1 else _FLAT * max(y, x)), y, x
