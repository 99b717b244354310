"""Slices for training: crop, augmentation, targets, and an order that does not depend on workers or processes.

All randomness of a slice follows from (seed, epoch, position in the epoch), so any number of workers gives the same
batches, and a run resumes in the middle of an epoch.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from calibeval.train.frame import Size, pad_image, pad_label
from calibeval.train.loss_base import SegmentationLoss
from calibeval.train.volumes import Volume

Batch = dict[str, Tensor]
_MAX_TURN_DEGREES = 15.0
_MAX_ZOOM = 0.1
_MAX_SHIFT = 0.05  # of the slice's size


class Ticket(NamedTuple):
    """Which slice to make, and the key of its randomness."""

    slice_number: int
    epoch: int
    position: int


class SliceSet(Dataset[Batch]):
    """Training slices of volumes: `image` (channels, H, W) and `label` (H, W).

    Args:
        volumes: with labels.
        size: height and width that every slice is cropped or padded to; padding is ignored by the loss.
        ignore_index: label of the padding.
        augment: whether to change slices at random.
        seed: of the changes.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        *,
        size: Size,
        ignore_index: int,
        augment: bool,
        seed: int,
    ) -> None:
        self.volumes, self.size, self.ignore_index = volumes, size, ignore_index
        self.augment, self.seed = augment, seed
        self.index = [(v, z) for v, volume in enumerate(volumes) for z in range(len(volume.image))]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, ticket: Ticket) -> Batch:
        volume_index, z = self.index[ticket.slice_number]
        volume = self.volumes[volume_index]
        if volume.label is None:
            raise ValueError(f"case {volume.name} has no label")
        image, label = torch.from_numpy(volume.image[z]), torch.from_numpy(volume.label[z].astype(np.int64))
        random = np.random.default_rng([self.seed, ticket.epoch, ticket.position])
        image, label = fit_to_size(image, label, self.size, self.ignore_index, random if self.augment else None)
        if self.augment:
            image, label = augment_slice(image, label, self.ignore_index, random)
        return {"image": image, "label": label}


def fit_to_size(
    image: Tensor, label: Tensor, size: Size, ignore_index: int, random: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    """Crop (at random, or the centre without `random`) and pad both sides to a size.

    Padding repeats the image's smallest value and is labelled `ignore_index`.
    """
    for axis, wanted in enumerate(size):
        spare = label.shape[axis] - wanted
        if spare > 0:
            start = int(random.integers(spare + 1)) if random else spare // 2
            image, label = image.narrow(axis + 1, start, wanted), label.narrow(axis, start, wanted)
    return pad_image(image, size), pad_label(label, size, ignore_index)


def augment_slice(
    image: Tensor, label: Tensor, ignore_index: int, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Turn, zoom and shift image (linear) and label (nearest) alike, then change contrast and brightness a little."""
    angle = np.deg2rad(random.uniform(-_MAX_TURN_DEGREES, _MAX_TURN_DEGREES))
    zoom = random.uniform(1 - _MAX_ZOOM, 1 + _MAX_ZOOM)
    shift = 2 * random.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2)
    height, width = label.shape
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom  # in voxels, so a turn is a turn in oblong slices too
    matrix = [[cos, -sin * height / width, shift[0]], [sin * width / height, cos, shift[1]]]
    grid = functional.affine_grid(torch.tensor([matrix], dtype=torch.float32), [1, 1, height, width], False)
    low = image.amin(dim=(1, 2), keepdim=True)
    image = functional.grid_sample((image - low)[None], grid, "bilinear", "zeros", False)[0] + low
    shifted = (label - ignore_index).float()[None, None]  # zeros outside become the ignored label
    label = functional.grid_sample(shifted, grid, "nearest", "zeros", False)[0, 0].round().long() + ignore_index
    contrast, brightness = random.uniform(0.9, 1.1), random.normal(0, 0.1)
    return image * contrast + brightness, label


class EpochOrder(Sampler[list[Ticket]]):
    """Batches of an epoch: a permutation by (seed, epoch), its last batch filled up from its start.

    Args:
        slices: how many there are.
        batch_size: over all processes.
        seed: of the permutation.
        rank: of this process, which takes every `world`-th slice of each batch.
        world: number of processes; must divide the batch size.
        fixed: keep the slices' own order, and epoch 0's randomness, in every epoch.
    """

    def __init__(
        self, slices: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1, fixed: bool = False
    ) -> None:
        self.slices, self.batch_size, self.seed = slices, batch_size, seed
        self.rank, self.world, self.fixed = rank, world, fixed
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return math.ceil(self.slices / self.batch_size)

    def go_to(self, epoch: int, start: int) -> None:
        """Choose the epoch, and the batch to start from."""
        self.epoch, self.start = (0 if self.fixed else epoch), start

    def __iter__(self) -> Iterator[list[Ticket]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.slices)
        order = np.arange(self.slices) if self.fixed else order
        order = np.resize(order, len(self) * self.batch_size)
        for batch in range(self.start, len(self)):
            positions = range(batch * self.batch_size + self.rank, (batch + 1) * self.batch_size, self.world)
            yield [Ticket(int(order[position]), self.epoch, position) for position in positions]


def make_loader(
    slices: SliceSet, order: EpochOrder, loss: SegmentationLoss, classes: int, workers: int
) -> DataLoader[Batch]:
    """Load batches in the given order, with the loss's targets; workers stay alive between epochs."""
    return DataLoader(
        slices,
        batch_sampler=order,
        collate_fn=partial(_with_targets, loss, classes),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_ctrl_c_to_the_main_process,
    )


def _leave_ctrl_c_to_the_main_process(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _with_targets(loss: SegmentationLoss, classes: int, items: list[Batch]) -> Batch:
    """Stack slices, and compute the targets of the augmented labels for the whole batch at once."""
    image, label = (torch.stack([item[name] for item in items]) for name in ("image", "label"))
    return {"image": image, "label": label, **loss.targets(label, classes, image)}
