"""Turning a probability map that was saved in another orientation than its label map.

nnU-Net turns only the label map back to the image's orientation, so the NPZ beside it may be flipped or permuted. The
argmax of the probabilities is then compared with the label map under all axis permutations and flips (48 in 3-D);
one that fits alone is used, anything else is an error.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

AGREEMENT = 0.9  # of the union of both foregrounds; post-processing changes less, a wrong turn far more


class Turn(NamedTuple):
    """Permutation of the axes, then flips: turned[...] = array.transpose(axes)[::flip...]."""

    axes: tuple[int, ...]
    flips: tuple[int, ...]  # 1 or -1 for each axis of the result

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array."""
        return array.transpose(self.axes)[tuple(slice(None, None, step) for step in self.flips)]

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array back."""
        flipped = array[tuple(slice(None, None, step) for step in self.flips)]
        return flipped.transpose(tuple(int(axis) for axis in np.argsort(self.axes)))

    def undo_lengths(self, lengths: tuple[float, ...]) -> tuple[float, ...]:
        """Lengths along the axes (a spacing) after `undo`."""
        return tuple(lengths[int(axis)] for axis in np.argsort(self.axes))

    def __str__(self) -> str:
        """For people: where each axis comes from, with a minus where it is flipped."""
        return ",".join(f"{'-' if step < 0 else ''}{axis}" for axis, step in zip(self.axes, self.flips, strict=True))


def agreement(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Share of the voxels that are foreground in either map on which both maps agree; 1 when none is."""
    foreground = (a != 0) | (b != 0)
    n = int(np.count_nonzero(foreground))
    return int(np.count_nonzero((a == b) & foreground)) / n if n else 1.0


def find_turns(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> list[Turn]:
    """All turns that bring one label map onto another, up to `AGREEMENT`."""
    dimensions = predicted.ndim
    turns = (
        Turn(axes, flips)
        for axes in itertools.permutations(range(dimensions))
        if tuple(predicted.shape[axis] for axis in axes) == target.shape
        for flips in itertools.product((1, -1), repeat=dimensions)
    )
    return [turn for turn in turns if agreement(turn.apply(predicted), target) >= AGREEMENT]
