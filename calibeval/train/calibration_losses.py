"""Losses that hold a calibration error down by itself: average calibration error in hard or soft bins (L1-ACE).

Notation: z logits, p = softmax(z), y label as one-hot map, CE = -log p_y, C classes, M bins.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from calibeval.errors import UsageError
from calibeval.train.label_losses import dice_term
from calibeval.train.loss_base import SegmentationLoss, Terms, Voxels, cross_entropy, one_hot

_LEAST_WEIGHT = 0.01  # of a soft bin that counts, in voxels


class _L1ACELoss(SegmentationLoss):
    """CE + 1 - Dice + lam ACE, with a way to share voxels among bins."""

    def __init__(self, *, lam: float = 1.0, bins: float = 20.0, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        if bins != int(bins) or bins < 1:
            raise UsageError(f"bins must be a whole number of at least 1, not {bins}.")
        self.lam, self.bins = lam, int(bins)

    def _shares(self, p: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Bins (int64) and the weight of each voxel in them, both of the shape of p."""
        raise NotImplementedError

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        classes = voxels.logits.shape[1]
        p = voxels.logits.softmax(dim=1)
        y = one_hot(voxels.labels, classes, voxels.known).to(p.dtype)
        ace = self._average_error(p.flatten(2), y.flatten(2), voxels.known.flatten(1)[:, None])
        present = y.flatten(2).any(dim=2)
        return {
            "ce": cross_entropy(voxels),
            "dice": dice_term(voxels),
            "ace": self.lam * torch.where(present, ace, 0).mean(),
        }

    def _average_error(self, p: Tensor, y: Tensor, known: Tensor) -> Tensor:
        """Mean over the bins that hold a voxel of |mean p - mean y|, (B, C), of maps (B, C, voxels)."""
        sums = p.new_zeros(3, *p.shape[:2], self.bins)
        for index, share in self._shares(p):
            values = torch.stack([torch.ones_like(p), p, y]) * (share * known)
            sums = sums.scatter_add(3, index.expand_as(values), values)
        weight, confidence, accuracy = sums
        full = weight >= _LEAST_WEIGHT
        gaps = torch.where(full, (confidence - accuracy).abs() / torch.where(full, weight, 1), 0)
        mean: Tensor = gaps.sum(dim=2) / full.sum(dim=2).clamp_min(1)
        return mean


class HardL1ACELoss(_L1ACELoss):
    """CE + 1 - Dice + lam ACE: mean over images, classes and their non-empty bins of |mean p - mean y| of a bin.

    Bins are right-closed, as in the metrics. A class that an image does not show costs nothing, and counts in the mean.
    The gradient sees p alone, not in which bin it lies. Source: arXiv:2506.03942, whose code weighs the three terms
    alike (.33) and squares p and y in Dice's denominator.

    Args:
        lam: weight of ACE.
        bins: M, equal bins of [0, 1].
        ignore_index: label of voxels that do not count.
    """

    def _shares(self, p: Tensor) -> list[tuple[Tensor, Tensor]]:
        edges = torch.arange(1, self.bins, dtype=p.dtype, device=p.device) / self.bins
        return [(torch.bucketize(p.detach(), edges), torch.ones_like(p))]


class SoftL1ACELoss(_L1ACELoss):
    """As `HardL1ACELoss`, with soft bins: a voxel is shared by the two bins whose centres lie around p, linearly.

    Below the first centre and above the last a voxel belongs to one bin. A bin of less than a hundredth of a voxel
    does not count. The gradient sees the shares, too. Source: arXiv:2506.03942.

    Args:
        lam: weight of ACE.
        bins: M, equal bins of [0, 1].
        ignore_index: label of voxels that do not count.
    """

    def _shares(self, p: Tensor) -> list[tuple[Tensor, Tensor]]:
        place = (p * self.bins - 0.5).clamp(0, self.bins - 1)
        left = place.detach().floor().long()
        right = (left + 1).clamp_max(self.bins - 1)
        return [(left, 1 - (place - left)), (right, place - left)]
