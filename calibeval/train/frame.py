"""Where a slice lies in the array that a network sees: in the middle, in training, validation and prediction alike.

A network may learn the place of a structure, so a slice must come to it in one way. An odd row or column of padding
goes to the bottom or the right.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from calibeval.train.models import Backbone

Size = tuple[int, int]  # height and width


def whole_frame(shape: Sequence[int], size: Size, backbone: Backbone) -> Size:
    """Size that holds a whole slice: of each side the larger of training size and what the network takes."""
    height, width = (max(wanted, backbone.fit(length)) for wanted, length in zip(size, shape, strict=True))
    return height, width


def pad_image(image: Tensor, size: Size) -> Tensor:
    """Centre images (..., H, W) in a size; around each lies its smallest value."""
    padded = image.amin(dim=(-2, -1), keepdim=True).expand(*image.shape[:-2], *size).clone()
    crop_centre(padded, image.shape[-2:]).copy_(image)
    return padded


def pad_label(label: Tensor, size: Size, value: int) -> Tensor:
    """Centre a label (H, W) in a size, as `pad_image` does its image; around it lies `value`."""
    padded = label.new_full(size, value)
    crop_centre(padded, label.shape).copy_(label)
    return padded


def crop_centre(image: Tensor, size: Sequence[int]) -> Tensor:
    """View of the middle of (..., H, W); undoes the padding to a bit."""
    height, width = image.shape[-2:]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return image[..., top : top + size[0], left : left + size[1]]
