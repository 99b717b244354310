"""One loss at full resolution and another at the coarse outputs of deep supervision. Needs no nnunetv2."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class DeeplySupervisedLoss(nn.Module):
    """A loss at full resolution, another at all coarser ones: `sum_i w_i loss_i`.

    Args:
        fine: takes logits and labels at full resolution.
        coarse: takes those of each coarser output.
        weights: one an output, full resolution first; an output of weight 0 is not looked at.
    """

    def __init__(self, fine: nn.Module, coarse: nn.Module, weights: Sequence[float]) -> None:
        super().__init__()
        self.fine, self.coarse, self.weights = fine, coarse, tuple(map(float, weights))

    def forward(self, outputs: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Weighted sum over the outputs, full resolution first."""
        total: Tensor = self.weights[0] * self.fine(outputs[0], labels[0])
        for weight, output, label in zip(self.weights[1:], outputs[1:], labels[1:], strict=True):
            if weight:
                total = total + weight * self.coarse(output, label)
        return total
