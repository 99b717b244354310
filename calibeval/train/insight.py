"""What a look into a run needs torch for: Grad-CAM, signed distances of labels, and the time of a training step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from calibeval.errors import MissingExtraError
from calibeval.metrics.statistics import IGNORED
from calibeval.train.checkpoint import load_network, read_checkpoint
from calibeval.train.config import TrainConfig
from calibeval.train.frame import crop_centre, pad_image, whole_frame
from calibeval.train.models import BACKBONES, UNet
from calibeval.train.plan import make_plan
from calibeval.train.session import Session, open_session
from calibeval.train.slices import Batch, make_loader
from calibeval.train.targets import SATURATION, signed_distance
from calibeval.train.team import Team, choose_device

Float = NDArray[np.float32]


def grad_cam(path: Path, image: Float, index: int) -> Float | None:
    """What raises a class's logits in a slice, by MONAI's Grad-CAM at the U-Net's lowest resolution.

    Args:
        path: checkpoint of a run.
        image: (channels, H, W).
        index: of the class.

    Returns:
        (H, W), 1 where it raises them most and 0 where it does not; None for another network than a U-Net.

    Raises:
        MissingExtraError: without monai.
    """
    try:
        from monai.visualize.class_activation_maps import GradCAM
    except ImportError as error:
        raise MissingExtraError("monai", "train") from error
    checkpoint = read_checkpoint(path)
    network = load_network(checkpoint, path).eval()
    if not isinstance(network, UNet):
        return None
    batch = torch.from_numpy(image)[None]
    shape = batch.shape[2:]
    padded = pad_image(batch, whole_frame(shape, checkpoint.size, BACKBONES[checkpoint.network.backbone]))
    layer = f"encoder.{len(network.encoder) - 1}"
    cam = GradCAM(network, target_layers=layer, postprocessing=lambda found: found)
    found: Float = crop_centre(cam(padded, class_idx=index)[0, 0], shape).detach().numpy()
    return np.asarray(found / max(found.max(), np.finfo(np.float32).tiny), np.float32)


def distances(label: NDArray[np.uint8], classes: int) -> Float:
    """Signed distances in pixels within each slice, negative inside, cut at where a sigmoid is as good as 0 or 1.

    Args:
        label: (D, H, W) class numbers.
        classes: C.

    Returns:
        (D, C, H, W).
    """
    found = signed_distance(torch.from_numpy(label.astype(np.int64)), classes, SATURATION, IGNORED)
    clipped: Float = found.clamp(-SATURATION, SATURATION).numpy()
    return clipped


def measure_steps(configs: Mapping[str, TrainConfig], repeats: int = 9) -> tuple[dict[str, list[float]], int]:
    """Time training steps of several runs on one data set, in turn, so that a busy machine slows all alike.

    Args:
        configs: by name; all of one data set, size and fold.
        repeats: steps of each, after one that does not count.

    Returns:
        Seconds of the steps, from the loading of a batch to the step of the optimizer, and the batches of an epoch. On
        one thread of a CPU seconds are those of this process, in which other work on the machine does not count.
    """
    first = next(iter(configs.values()))
    plan, team = make_plan(first), Team(0, 1, choose_device(first.device))
    sessions = {name: open_session(config, plan, team, None, Path()) for name, config in configs.items()}
    batches = {name: _batches(session) for name, session in sessions.items()}
    clock = time.process_time if team.device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(repeats + 1):
        for name, session in sessions.items():
            started = clock()
            _step(session, next(batches[name]))
            seconds[name].append(clock() - started)
    return {name: times[1:] for name, times in seconds.items()}, len(next(iter(sessions.values())).order)


def _batches(session: Session) -> Iterator[Batch]:
    """Those of the first epoch, over and over."""
    while True:
        yield from make_loader(session.slices, session.order, session.loss, session.plan.network.classes, 0)


def _step(session: Session, batch: Batch) -> None:
    device, amp = session.team.device, session.config.amp
    targets = {name: tensor.to(device) for name, tensor in batch.items()}
    image, label = targets.pop("image"), targets.pop("label")
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    with torch.autocast(device.type, dtype=half, enabled=amp):
        logits = session.model(image)
    loss = session.loss(logits, label, targets)
    torch.autograd.backward(session.scaler.scale(loss))
    session.scaler.step(session.optimizer)
    session.scaler.update()
    session.optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
