"""Random changes of training slices and patches, by name; image and label are moved alike.

A change is a function of image (channels, *size), label (*size), the label of what comes in from outside, and a
generator, from which all its randomness follows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from calibeval.errors import MissingExtraError

Change = Callable[[Tensor, Tensor, int, np.random.Generator], tuple[Tensor, Tensor]]
_MAX_TURN_DEGREES = 15.0
_MAX_ZOOM = 0.1
_MAX_SHIFT = 0.05  # of the slice's size


def augment_slice(
    image: Tensor, label: Tensor, ignore_index: int, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Turn, zoom and shift image (linear) and label (nearest) alike, then change contrast and brightness a little.

    All slices of a patch are moved in one way, in plane.
    """
    angle = np.deg2rad(random.uniform(-_MAX_TURN_DEGREES, _MAX_TURN_DEGREES))
    zoom = random.uniform(1 - _MAX_ZOOM, 1 + _MAX_ZOOM)
    shift = 2 * random.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2)
    height, width = label.shape[-2:]
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom  # in voxels, so a turn is a turn in oblong slices too
    matrix = [[cos, -sin * height / width, shift[0]], [sin * width / height, cos, shift[1]]]
    grid = functional.affine_grid(torch.tensor([matrix], dtype=torch.float32), [1, 1, height, width], False)

    def move(maps: Tensor, mode: str) -> Tensor:
        planes = maps.reshape(1, -1, height, width)
        return functional.grid_sample(planes, grid, mode, "zeros", False).reshape(maps.shape)

    low = image.flatten(1).amin(dim=1).view(-1, *(1,) * label.ndim)
    image = move(image - low, "bilinear") + low
    label = move((label - ignore_index).float(), "nearest").round().long() + ignore_index  # outside are zeros
    contrast, brightness = random.uniform(0.9, 1.1), random.normal(0, 0.1)
    return image * contrast + brightness, label


class NnunetChange:
    """About what nnU-Net does (10.1038/s41592-020-01008-z), by MONAI: flips, turns, zooms, noise, blur, intensity.

    With its probabilities and ranges: each axis flipped in 1/2; turned (180 degrees in a slice; in a patch 30 around
    each axis) in 1/5 and zoomed (.7 to 1.4) in 1/5; Gaussian noise in 1/10, blur in 1/5, brightness and contrast in .15
    each, low resolution in 1/4, gamma in 3/10 and of the inverted image in 1/10.
    """

    def __init__(self, dim: int) -> None:
        try:
            from monai import transforms
        except ImportError as error:
            raise MissingExtraError("monai", "train") from error
        both, smooth = ["image", "label"], "bilinear" if dim == 2 else "trilinear"
        turns = [np.pi] if dim == 2 else [np.pi / 6] * 3
        self._moves = transforms.Compose([
            *(transforms.RandFlipd(both, 0.5, axis) for axis in range(dim)),
            transforms.RandAffined(both, None, 0.2, turns, mode=["bilinear", "nearest"], padding_mode="zeros"),
            transforms.RandZoomd(
                both, 0.2, 0.7, 1.4, mode=[smooth, "nearest-exact"], padding_mode="constant"
            ),
        ])  # fmt: skip
        blur, gamma = (0.5, 1.0), (0.7, 1.5)
        self._shades = transforms.Compose([
            transforms.RandGaussianNoised("image", 0.1, std=0.1**0.5),
            transforms.RandGaussianSmoothd("image", blur, blur, blur, prob=0.2),
            transforms.RandScaleIntensityd("image", 0.25, prob=0.15),
            transforms.RandScaleIntensityFixedMeand("image", factors=0.25, prob=0.15),
            transforms.RandSimulateLowResolutiond("image", 0.25, upsample_mode=smooth, zoom_range=(0.5, 1.0)),
            transforms.RandAdjustContrastd("image", 0.1, gamma, invert_image=True, retain_stats=True),
            transforms.RandAdjustContrastd("image", 0.3, gamma, retain_stats=True),
        ])  # fmt: skip

    def __call__(
        self, image: Tensor, label: Tensor, ignore_index: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Move image and label, then change the image's values."""
        for change in (self._moves, self._shades):
            change.set_random_state(seed=int(random.integers(2**32)))
        low = image.flatten(1).amin(dim=1).view(-1, *(1,) * label.ndim)
        shifted = (label - ignore_index).float()[None]  # zeros from outside become the ignored label
        moved = self._moves({"image": image - low, "label": shifted})
        image = self._shades({"image": moved["image"] + low})["image"]
        label = moved["label"].as_subclass(Tensor)[0].round().long() + ignore_index
        return image.as_subclass(Tensor), label


AUGMENTATIONS: dict[str, Callable[[int], Change | None]] = {
    "none": lambda _: None,
    "basic": lambda _: augment_slice,
    "nnunet": NnunetChange,
}
