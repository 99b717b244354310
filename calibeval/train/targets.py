"""Targets that the calibration losses aim at, computed from the labels alone.

Three kinds, all as tensors on the labels' device, in 2-D and 3-D:

* morphological operators on each class's mask (3 x 3 or 3 x 3 x 3), equal to OpenCV's;
* neighbourhood maps: the classes around a voxel, by one of several kernels of width 3 (`NeighbourTarget`);
* signed distances to each class in voxels, negative inside, exact up to a limit and infinite beyond it.

Labels are (B, *spatial) integers, maps (B, C, *spatial) float32. Ignored voxels belong to no class and do not count
as neighbours. Everything is a pure function, so it runs as well in a data worker as on the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from calibeval.errors import UsageError
from calibeval.train.loss_base import one_hot

SATURATION = 10.0  # sigmoid(-10) = 5e-5: beyond this many widths a distance is as good as infinite
_RANGE_SIGMA = 50 / 255  # of the bilateral kernel, as a part of the image's range


def _pool(masks: Tensor) -> Tensor:
    pool = functional.max_pool2d if masks.ndim == 4 else functional.max_pool3d
    return pool(masks, 3, stride=1, padding=1)


def dilate(masks: Tensor, known: Tensor) -> Tensor:
    """Largest value of each 3 x 3 neighbourhood; unknown voxels stay zero."""
    return _pool(masks) * known[:, None]


def erode(masks: Tensor, known: Tensor) -> Tensor:
    """Smallest value of each 3 x 3 neighbourhood; unknown voxels and the outside erode nothing."""
    known = known[:, None].float()
    return -_pool(known - 1 - masks) * known


MORPHS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda masks, _: masks,
    "internal_boundary": lambda masks, known: masks - erode(masks, known),
    "external_boundary": lambda masks, known: dilate(masks, known) - masks,
    "closing": lambda masks, known: erode(dilate(masks, known), known),
    "opening": lambda masks, known: dilate(erode(masks, known), known),
    "dilation": dilate,
    "erosion": erode,
    "gradient": lambda masks, known: dilate(masks, known) - erode(masks, known),
}
REGION_MORPHS = ("closing", "opening", "dilation", "erosion")  # those that leave whole regions
KERNELS = ("mean", "gaussian", "svls", "bilateral", "min", "max", "median", "mode")
BORDERS = ("replicate", "reflect", "zero", "background")


@dataclass(frozen=True)
class NeighbourTarget:
    """Soft target from the classes around each voxel: a kernel of width 3 over morphologically adapted masks.

    Attributes:
        kernel: `mean` (class proportions), `gaussian`, `svls` (Gaussian whose centre weighs as much as all
            neighbours together, arXiv:2104.05788), `bilateral` (proportions weighted by similar image intensity),
            or one-hot maps of the `min`, `max`, `median` label index or the most frequent class (`mode`; tied classes
            share). `min`, `max` and `median` depend on how the classes are numbered.
        morph: operator on each class's mask before the kernel, a key of `MORPHS`.
        border: what lies outside the image: `replicate` (its edge), `reflect` (mirrored, edge not repeated), `zero`
            (no class, yet counted), `background` (class 0).
        sigma: width in voxels of `gaussian` and `svls`.

    Voxels whose neighbourhood holds no mask (away from boundaries after `gradient`, for example) get an all-zero
    target; losses leave them out and never renormalise, which would undo an erosion.
    """

    kernel: str = "mean"
    morph: str = "none"
    border: str = "replicate"
    sigma: float = 1.0

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.kernel, KERNELS, "kernel"),
            (self.morph, tuple(MORPHS), "morphological operator"),
            (self.border, BORDERS, "border"),
        ):
            if value not in known:
                raise UsageError(f"Unknown {what} {value!r}. Known: {', '.join(known)}.")
        if not self.sigma > 0:
            raise UsageError(f"sigma must be above 0, not {self.sigma}.")

    def __call__(self, labels: Tensor, classes: int, ignore_index: int = -100, image: Tensor | None = None) -> Tensor:
        """Compute the map.

        Args:
            labels: (B, *spatial) class numbers.
            classes: C.
            ignore_index: label of voxels that do not count.
            image: (B, channels, *spatial), for `bilateral` alone; its first channel guides.

        Returns:
            (B, C, *spatial) float32.

        Raises:
            UsageError: `bilateral` without an image.
        """
        known = labels != ignore_index
        masks = MORPHS[self.morph](one_hot(labels, classes, known), known)
        if self.kernel == "bilateral":
            return self._bilateral(masks, known, image)
        weights = self._pad(known[:, None].float(), outside=0.0 if self.border == "replicate" else 1.0)
        padded = self._pad(masks)
        side = math.exp(-0.5 / self.sigma**2) if self.kernel in ("gaussian", "svls") else 1.0
        counts, total = _neighbour_sum(padded, side), _neighbour_sum(weights, side)
        if self.kernel in ("mean", "gaussian"):
            return counts / total.clamp_min(side)
        if self.kernel == "svls":
            return 0.5 * masks + 0.5 * (counts - masks) / (total - known[:, None].float()).clamp_min(1e-6)
        return _ORDINAL[self.kernel](counts)

    def _pad(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Add a frame of one voxel by the border rule; `outside` is the constant frame's value."""
        widths = (1, 1) * (maps.ndim - 2)
        if self.border in ("replicate", "reflect"):
            return functional.pad(maps, widths, mode=self.border)
        padded = functional.pad(maps, widths, value=outside)
        if self.border == "background" and maps.shape[1] > 1:
            padded[:, 0] = functional.pad(maps[:, 0], widths, value=1.0)
        return padded

    def _bilateral(self, masks: Tensor, known: Tensor, image: Tensor | None) -> Tensor:
        """Class proportions among the neighbours, each weighted by exp(-(difference of intensity)^2 / 2 sigma^2)."""
        if image is None:
            raise UsageError(
                "The bilateral kernel needs the image: compute targets=loss.targets(labels, classes, image) "
                "and pass them to the loss."
            )
        guide = _unit_range(image[:, :1].float())
        guides, maps, weights = (
            _neighbours(functional.pad(x, (1, 1) * (x.ndim - 2), mode="replicate"))
            for x in (guide, masks, known[:, None].float())
        )
        total, summed = torch.zeros_like(guide), torch.zeros_like(masks)
        for near, mask, weight in zip(guides, maps, weights, strict=True):
            similar = weight * torch.exp(-0.5 * ((near - guide) / _RANGE_SIGMA) ** 2)
            total, summed = total + similar, summed + similar * mask
        return summed / total.clamp_min(1e-12)


def morph_reference(labels: Tensor, classes: int, morph: str, ignore_index: int = -100) -> Tensor:
    """Give morphed masks as class distributions: overlapping masks share a voxel, bare voxels stay all-zero."""
    known = labels != ignore_index
    masks = MORPHS[morph](one_hot(labels, classes, known), known)
    return masks / masks.sum(dim=1, keepdim=True).clamp_min(1)


def signed_distance(labels: Tensor, classes: int, limit: float = SATURATION, ignore_index: int = -100) -> Tensor:
    """Signed Euclidean distance to each class in voxels: positive outside, negative inside.

    The distance of a voxel outside is to the nearest voxel of the class, of one inside to the nearest known voxel of
    another class, between centres; so it jumps from 1 to -1 at a boundary. Distances above `limit` are infinite; an
    absent class is +inf everywhere, and a class that fills the image -inf.

    Args:
        labels: (B, *spatial) class numbers.
        classes: C.
        limit: largest distance that is computed; the cost is proportional to it.
        ignore_index: label of voxels that are neither inside nor outside of any class.

    Returns:
        (B, C, *spatial) float32.
    """
    masks = one_hot(labels, classes, labels != ignore_index)
    inside = masks > 0
    reach = min(limit, sum(labels.shape[1:]))  # no distance within the image is larger than that sum
    squares = _truncated_squares(inside, math.ceil(reach))
    beyond = torch.iinfo(squares.dtype).max
    squares = torch.where(squares > reach**2, beyond, squares)
    # Another class's nearest voxel is the nearest voxel outside one's own.
    others = torch.where(inside, beyond, squares).amin(dim=1, keepdim=True)
    squares = torch.where(inside, others, squares)
    distance = torch.where(squares == beyond, torch.inf, squares.float().sqrt())
    return torch.where(inside, -distance, distance)


def sdf_probability(distance: Tensor, kappa: float = 1.0) -> Tensor:
    """Give the class probability sigma(-kappa s) that a signed distance s, negative inside, stands for."""
    return torch.sigmoid(-kappa * distance)


def _truncated_squares(seeds: Tensor, reach: int) -> Tensor:
    """Squared distance to the nearest seed, exact up to reach^2: one pass of shifted minima along each axis."""
    far = (reach + 1) ** 2
    dtype = torch.int16 if far + reach**2 < torch.iinfo(torch.int16).max else torch.int32
    squares = torch.where(seeds, 0, far).to(dtype)
    for axis in range(2, seeds.ndim):
        line, length = squares.clone(), seeds.shape[axis]
        for shift in range(1, min(reach, length - 1) + 1):
            for to, source in ((shift, 0), (0, shift)):
                here = line.narrow(axis, to, length - shift)
                torch.minimum(here, squares.narrow(axis, source, length - shift) + shift**2, out=here)
        squares = line
    return squares


def _neighbour_sum(padded: Tensor, side: float = 1.0) -> Tensor:
    """Sum over the neighbourhood of width 3 with weights (side, 1, side) along each axis, of a padded map."""
    for axis in range(2, padded.ndim):
        inner = padded.shape[axis] - 2
        ends = padded.narrow(axis, 0, inner) + padded.narrow(axis, 2, inner)
        padded = padded.narrow(axis, 1, inner) + (ends if side == 1 else side * ends)
    return padded


def _neighbours(padded: Tensor) -> list[Tensor]:
    """Give the shifted copies of a padded map, one for each neighbour including the voxel itself."""
    maps = [padded]
    for axis in range(2, padded.ndim):
        maps = [part.narrow(axis, offset, padded.shape[axis] - 2) for part in maps for offset in range(3)]
    return maps


def _first(present: Tensor) -> Tensor:
    """One-hot map of the lowest class that is present."""
    return (present & (present.cumsum(dim=1) == 1)).float()


def _median(counts: Tensor) -> Tensor:
    middle = torch.div(counts.sum(dim=1, keepdim=True) - 1, 2, rounding_mode="floor") + 1
    return _first((counts.cumsum(dim=1) >= middle) & (middle > 0))


def _mode(counts: Tensor) -> Tensor:
    most = (counts == counts.amax(dim=1, keepdim=True)) & (counts > 0)
    return most / most.sum(dim=1, keepdim=True).clamp_min(1)


_ORDINAL: dict[str, Callable[[Tensor], Tensor]] = {
    "min": lambda counts: _first(counts > 0),
    "max": lambda counts: _first((counts > 0).flip(1)).flip(1),
    "median": _median,
    "mode": _mode,
}


def _unit_range(image: Tensor) -> Tensor:
    """Scale each image of a batch to 0..1."""
    axes = tuple(range(1, image.ndim))
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    return (image - low) / (high - low).clamp_min(1e-12)
