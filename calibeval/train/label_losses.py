"""Losses that look at each voxel's own label: DiceCE, focal, ECP, label smoothing, MbLS and FCL.

Notation: z logits, p = softmax(z), y label, CE = -log p_y, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from calibeval.train.loss_base import (
    SegmentationLoss,
    Terms,
    Voxels,
    class_mean,
    cross_entropy,
    masked_mean,
    one_hot,
)


def dice_term(voxels: Voxels, *, first: int = 0, batch: bool = False, eps: float = 1e-5) -> Tensor:
    """1 - Dice of the classes from `first` on; see `DiceCELoss`."""
    reference = one_hot(voxels.labels, voxels.logits.shape[1], voxels.known)
    probabilities = torch.where(voxels.known[:, None], voxels.logits.softmax(dim=1), 0)
    axes = (*((0,) if batch else ()), *range(2, reference.ndim))
    overlap = (probabilities * reference).sum(axes)
    size = (probabilities + reference).sum(axes)
    dice = ((2 * overlap + eps) / (size + eps))[..., first:]
    return 1 - dice.mean()


class DiceCELoss(SegmentationLoss):
    """CE + 1 - Dice, Dice = mean over classes of (2 sum p y + eps) / (sum p + sum y + eps).

    Args:
        include_background: whether class 0 enters the Dice term.
        batch: sum over the whole batch rather than over each image.
        eps: smooths the quotient; an absent class without predictions has Dice 1.
        ignore_index: label of voxels that do not count.
    """

    def __init__(
        self, *, include_background: bool = True, batch: bool = False, eps: float = 1e-5, ignore_index: int = -100
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.include_background, self.batch, self.eps = include_background, batch, eps

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        first = 0 if self.include_background else 1
        return {"ce": cross_entropy(voxels), "dice": dice_term(voxels, first=first, batch=self.batch, eps=self.eps)}


def focal_term(voxels: Voxels, gamma: float) -> Tensor:
    """Mean of -(1 - p_y)^gamma log p_y; 1 - p_y is kept above 1e-6, so that a gamma below 1 has finite gradients."""
    log_p = voxels.logits.log_softmax(dim=1)
    labels = torch.where(voxels.known, voxels.labels, 0)
    log_p_y = log_p.gather(1, labels[:, None])[:, 0]
    doubt = (-torch.expm1(log_p_y)).clamp_min(1e-6)
    return masked_mean(-(doubt**gamma) * log_p_y, voxels.known)


class FocalLoss(SegmentationLoss):
    """-(1 - p_y)^gamma log p_y.

    Args:
        gamma: how much sure voxels are discounted; 0 is CE.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, gamma: float = 3.0, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.gamma = gamma

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        return {"focal": focal_term(voxels, self.gamma)}


class ECPLoss(SegmentationLoss):
    """CE - lam H(p), H = -sum_c p_c log p_c: explicit confidence penalty.

    Args:
        lam: weight of the entropy.
        average_classes: divide H by C, as the MarginLoss code does.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, lam: float = 0.1, average_classes: bool = False, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.lam, self.average_classes = lam, average_classes

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        log_p = voxels.logits.log_softmax(dim=1)
        plogp = log_p.exp() * log_p
        negative_entropy = plogp.mean(dim=1) if self.average_classes else plogp.sum(dim=1)
        return {"ce": cross_entropy(voxels), "entropy": self.lam * masked_mean(negative_entropy, voxels.known)}


class LabelSmoothingLoss(SegmentationLoss):
    """CE against (1 - alpha) one-hot + alpha / C.

    Args:
        alpha: mass that is spread over all classes.
        complement: spread it over the C - 1 other classes alone.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, alpha: float = 0.1, complement: bool = False, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.alpha, self.complement = alpha, complement

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        classes = voxels.logits.shape[1]
        return {"ce": cross_entropy(voxels, self.alpha * (classes / (classes - 1) if self.complement else 1))}


class MbLSLoss(SegmentationLoss):
    """CE + alpha mean over voxels and classes of relu(max_k z_k - z_c - margin).

    Args:
        margin: largest gap between logits that costs nothing.
        alpha: weight of the penalty.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, margin: float = 10.0, alpha: float = 0.1, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.margin, self.alpha = margin, alpha

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        gaps = voxels.logits.amax(dim=1, keepdim=True) - voxels.logits
        excess = (gaps - self.margin).relu()
        return {"ce": cross_entropy(voxels), "margin": self.alpha * class_mean(excess, voxels.known)}


class FCLLoss(SegmentationLoss):
    """Focal loss + lam mean over voxels of sum_c (p_c - y_c)^2, the Brier score.

    Args:
        gamma: of the focal loss.
        lam: weight of the Brier score.
        average_classes: divide the Brier score by C, as the SDC authors' code does.
        ignore_index: label of voxels that do not count.
    """

    def __init__(
        self, *, gamma: float = 3.0, lam: float = 0.1, average_classes: bool = False, ignore_index: int = -100
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.gamma, self.lam, self.average_classes = gamma, lam, average_classes

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        classes = voxels.logits.shape[1]
        squares = (voxels.logits.softmax(dim=1) - one_hot(voxels.labels, classes, voxels.known)) ** 2
        brier = class_mean(squares, voxels.known) * (1 if self.average_classes else classes)
        return {"focal": focal_term(voxels, self.gamma), "brier": self.lam * brier}
