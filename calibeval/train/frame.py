"""Where a slice lies in the array that a network sees: in the middle, in training, validation and prediction alike.

A network may learn the place of a structure, so a slice must come to it in one way. An odd row or column of padding
goes to the bottom or the right. Patches, of three axes, likewise where the volume is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from calibeval.train.models import Backbone

Size = tuple[int, ...]  # height and width; of a patch depth, height and width


def whole_frame(shape: Sequence[int], size: Size, backbone: Backbone) -> Size:
    """Size that holds a whole slice: of each side the larger of training size and what the network takes."""
    return tuple(max(wanted, backbone.fit(length)) for wanted, length in zip(size, shape, strict=True))


def pad_image(image: Tensor, size: Size) -> Tensor:
    """Centre images (..., H, W) or (..., D, H, W) in a size; around each lies its smallest value."""
    axes = len(size)
    low = image.amin(dim=tuple(range(-axes, 0)), keepdim=True)
    padded = low.expand(*image.shape[:-axes], *size).clone()
    crop_centre(padded, image.shape[-axes:]).copy_(image)
    return padded


def pad_label(label: Tensor, size: Size, value: int) -> Tensor:
    """Centre a label in a size, as `pad_image` does its image; around it lies `value`."""
    padded = label.new_full(size, value)
    crop_centre(padded, label.shape).copy_(label)
    return padded


def crop_centre(image: Tensor, size: Sequence[int]) -> Tensor:
    """View of the middle of (..., H, W) or (..., D, H, W); undoes the padding to a bit."""
    for axis, length in enumerate(size, start=-len(size)):
        image = image.narrow(axis, (image.shape[axis] - length) // 2, length)
    return image
