"""What all losses share: their base class, checked inputs, one-hot maps, and means over the voxels that count.

Shapes: logits (B, C, *spatial), labels (B, *spatial), known (B, *spatial) which is False where the label is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibeval.errors import UsageError

Terms = dict[str, Tensor]


class Voxels(NamedTuple):
    """Checked inputs of a loss: float logits, int64 labels, and where the label is known."""

    logits: Tensor
    labels: Tensor
    known: Tensor


def check_inputs(logits: Tensor, labels: Tensor, ignore_index: int) -> Voxels:
    """Bring logits and labels into one form.

    Args:
        logits: (B, C, *spatial) with two or three spatial axes and C >= 2; half precision becomes float32.
        labels: (B, *spatial) or (B, 1, *spatial), of any number type.
        ignore_index: label of voxels that do not count.

    Raises:
        UsageError: the shapes do not fit, or a label is outside 0..C-1.
    """
    if logits.ndim not in (4, 5) or logits.shape[1] < 2:
        raise UsageError(
            f"A loss expects logits of shape (batch, classes, *spatial) with 2 or 3 spatial axes and at least "
            f"2 classes, but got {tuple(logits.shape)}."
        )
    if labels.ndim == logits.ndim and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise UsageError(
            f"Labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}: expected "
            f"(batch, *spatial) or (batch, 1, *spatial), class numbers rather than one-hot maps."
        )
    labels = labels.long()
    known = labels != ignore_index
    check_labels(labels, known, logits.shape[1])
    return Voxels(logits if logits.dtype == torch.float64 else logits.float(), labels, known)


def check_labels(labels: Tensor, known: Tensor, classes: int) -> None:
    """Refuse known labels outside the classes, where labels are in main memory.

    Raises:
        UsageError: naming them.
    """
    if labels.device.type != "cpu":
        return  # a look at the values would stall the device's queue; `calibeval train` checks labels on reading
    wrong = known & ((labels < 0) | (labels >= classes))
    if wrong.any():
        values = sorted(set(labels[wrong].tolist()))
        raise UsageError(
            f"Labels outside the classes: found {values[:5]}, but the logits have {classes} classes, 0 to "
            f"{classes - 1}. Declare a label to be ignored as ignore_index."
        )


def one_hot(labels: Tensor, classes: int, known: Tensor) -> Tensor:
    """Give float32 masks (B, C, *spatial), zero at unknown voxels."""
    index = torch.arange(classes, device=labels.device).view(1, classes, *(1,) * (labels.ndim - 1))
    return ((labels[:, None] == index) & known[:, None]).float()


def masked_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of values (B, *spatial) where known; 0 when nothing is known."""
    total: Tensor = torch.where(known, values, 0).sum() / known.sum().clamp_min(1)
    return total


def class_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of values (B, C, *spatial) over classes and over the known voxels; 0 when nothing is known."""
    total: Tensor = torch.where(known[:, None], values, 0).sum() / (values.shape[1] * known.sum()).clamp_min(1)
    return total


def cross_entropy(voxels: Voxels, label_smoothing: float = 0.0) -> Tensor:
    """Mean of -log p_y over known voxels; 0 when nothing is known.

    Raises:
        UsageError: more smoothing than there is mass.
    """
    if label_smoothing > 1:
        raise UsageError(
            f"Label smoothing moves {label_smoothing:g} of each label's mass over the classes; alpha must be smaller."
        )
    labels = torch.where(voxels.known, voxels.labels, -100)
    total = functional.cross_entropy(voxels.logits, labels, reduction="sum", label_smoothing=label_smoothing)
    return total / voxels.known.sum().clamp_min(1)


def soft_cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean over known voxels of -sum_c t_c log p_c, for a target map (B, C, *spatial)."""
    return masked_mean(-(target * logits.log_softmax(dim=1)).sum(dim=1), known)


class SegmentationLoss(nn.Module):
    """What the losses share: input checks, full precision, and a sum of named terms.

    Args:
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Compute the loss; arguments as in `terms`."""
        return torch.stack(list(self.terms(logits, labels, targets).values())).sum()

    def terms(self, logits: Tensor, labels: Tensor, targets: Mapping[str, Tensor] | None = None) -> Terms:
        """Compute each weighted term.

        Args:
            logits: (B, C, *spatial).
            labels: (B, *spatial) or (B, 1, *spatial).
            targets: what `targets` gave for these labels; computed here when missing.

        Raises:
            UsageError: the shapes do not fit, or a label is outside 0..C-1.
        """
        with torch.autocast(logits.device.type, enabled=False):
            voxels = check_inputs(logits, labels, self.ignore_index)
            maps = self.targets(voxels.labels, logits.shape[1]) if targets is None else targets
            return self._terms(voxels, maps)

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Compute the maps (B, C, *spatial) that depend on labels (B, *spatial), and on the image at most."""
        del labels, classes, image
        return {}

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        raise NotImplementedError
