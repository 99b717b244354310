"""The processes that train together: one by default, several under `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from calibeval.errors import UsageError


class Team(NamedTuple):
    """This process among its equals.

    Attributes:
        rank: number of this process; 0 writes all files.
        world: how many there are.
        device: of this process.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def any(self, value: bool) -> bool:
        """Whether the value is true in any process."""
        return any(self.gather(value))

    def gather(self, value: Any) -> list[Any]:
        """Values of all processes, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def share(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that gradients are averaged over the processes."""
        return network if self.world == 1 else DistributedDataParallel(network)


@contextmanager
def join_team(device: str) -> Iterator[Team]:
    """Join the processes that `torchrun` started, if it did; `auto` takes a GPU where there is one.

    Raises:
        UsageError: the device does not exist.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = choose_device(device, local_rank if world > 1 else None)
    if world == 1:
        yield Team(0, 1, chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), world, chosen)
    finally:
        distributed.destroy_process_group()


@contextmanager
def gpu_memory(batch_size: int) -> Iterator[None]:
    """Say what to do where the GPU's memory does not hold a batch.

    Raises:
        UsageError: it does not.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise UsageError(
            f"The GPU's memory does not hold --batch-size {batch_size}. Take a smaller one; in training, --accumulate "
            f"makes up for it."
        ) from error


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """Read a device name; `auto` takes a GPU where there is one, and a process of a team the GPU of its rank.

    Raises:
        UsageError: the device does not exist.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: no such device. Known: auto, cpu, cuda, cuda:1, ...") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch finds no GPU here. Choose --device cpu.")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: only cpu and cuda are supported.")
    if device.type == "cuda" and local_rank is not None:
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    return device


def limit_threads(threads: int) -> None:
    """Compute with so many threads of this process; sums over threads differ in the last bits from those of one."""
    torch.set_num_threads(threads)
