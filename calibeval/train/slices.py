"""Slices and patches for training: crop, targets, and an order that does not depend on workers or processes.

All randomness of a slice or patch follows from (seed, epoch, position in the epoch), so any number of workers gives the
same batches, and a run resumes in the middle of an epoch.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from calibeval.io.classes import different_values
from calibeval.train.augment import AUGMENTATIONS
from calibeval.train.frame import Size, pad_image, pad_label
from calibeval.train.loss_base import SegmentationLoss
from calibeval.train.volumes import Volume

Batch = dict[str, Tensor]
Piece = tuple[int, int | None]  # number of a volume, and of its slice; None for a patch of it
_FOREGROUND_EVERY = 3  # so many patches have one around a foreground voxel
_MOST_CANDIDATES = 1000  # foreground voxels of a class that patches are drawn around


class Ticket(NamedTuple):
    """Which slice to make, and the key of its randomness."""

    slice_number: int
    epoch: int
    position: int


def pieces_of(volumes: Sequence[Volume], size: Size) -> list[Piece]:
    """What an epoch shows: every slice of each volume, or as many patches as would cover it."""
    if len(size) == 2:
        return [(v, z) for v, volume in enumerate(volumes) for z in range(len(volume.image))]
    shapes = [(len(volume.image), *volume.image.shape[2:]) for volume in volumes]
    counts = [math.prod(-(-n // wanted) for n, wanted in zip(shape, size, strict=True)) for shape in shapes]
    return [(v, None) for v, count in enumerate(counts) for _ in range(count)]


class SliceSet(Dataset[Batch]):
    """Training slices or patches of volumes: `image` (channels, *size) and `label` (*size).

    Slices are cropped at random where they are augmented; patches lie at random places always, every third one around
    a voxel of a random foreground class of its volume.

    Args:
        volumes: with labels.
        size: that every slice is cropped or padded to; of three axes for patches. Padding is ignored by the loss.
        ignore_index: label of the padding.
        augment: key of `AUGMENTATIONS`.
        seed: of the changes.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        *,
        size: Size,
        ignore_index: int,
        augment: str,
        seed: int,
    ) -> None:
        self.volumes, self.size, self.ignore_index, self.seed = volumes, size, ignore_index, seed
        self.augment = AUGMENTATIONS[augment](len(size))
        self.index = pieces_of(volumes, size)
        patches = len(size) == 3
        self.foreground = [_foreground_voxels(volume, ignore_index) if patches else [] for volume in volumes]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, ticket: Ticket) -> Batch:
        number, z = self.index[ticket.slice_number]
        volume = self.volumes[number]
        if volume.label is None:
            raise ValueError(f"case {volume.name} has no label")
        random = np.random.default_rng([self.seed, ticket.epoch, ticket.position])
        around, place = None, random if self.augment else None
        if z is None:
            image, label, place = torch.from_numpy(volume.image).transpose(0, 1), torch.from_numpy(volume.label), random
            around = _draw(self.foreground[number], random) if ticket.position % _FOREGROUND_EVERY == 0 else None
        else:
            image, label = torch.from_numpy(volume.image[z]), torch.from_numpy(volume.label[z])
        image, label = fit_to_size(image, label, self.size, self.ignore_index, place, around=around)
        label = label.long()
        if self.augment:
            image, label = self.augment(image, label, self.ignore_index, random)
        return {"image": image, "label": label}


def _foreground_voxels(volume: Volume, ignore_index: int) -> list[NDArray[np.int64]]:
    """Places (n, 3) of some voxels of each foreground class that the volume shows."""
    if volume.label is None:
        return []
    found = []
    for c in set(different_values(volume.label)) - {0, ignore_index}:
        flat = np.flatnonzero(volume.label == c)
        some = flat[:: max(1, len(flat) // _MOST_CANDIDATES)]
        found.append(np.stack(np.unravel_index(some, volume.label.shape), axis=1))
    return found


def _draw(candidates: Sequence[NDArray[np.int64]], random: np.random.Generator) -> NDArray[np.int64] | None:
    """A voxel of a random class."""
    if not candidates:
        return None
    places = candidates[int(random.integers(len(candidates)))]
    place: NDArray[np.int64] = places[int(random.integers(len(places)))]
    return place


def fit_to_size(
    image: Tensor,
    label: Tensor,
    size: Size,
    ignore_index: int,
    random: np.random.Generator | None,
    *,
    around: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor]:
    """Crop (at random, or the centre without `random`) and pad all sides to a size.

    Padding repeats the image's smallest value and is labelled `ignore_index`. A crop holds the voxel `around`.
    """
    for axis, wanted in enumerate(size):
        spare = label.shape[axis] - wanted
        if spare > 0:
            first, last = (0, spare) if around is None else (around[axis] - wanted + 1, around[axis])
            start = int(random.integers(max(0, first), min(spare, last) + 1)) if random else spare // 2
            image, label = image.narrow(axis + 1, start, wanted), label.narrow(axis, start, wanted)
    return pad_image(image, size), pad_label(label, size, ignore_index)


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
