"""Weights of the outputs, by hand."""

import torch
from torch import nn

from calibeval.train.nnunet.deep_supervision import DeeplySupervisedLoss


class Scaled(nn.Module):
    """A loss that says where it was asked."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.sizes = factor, []

    def forward(self, output, label):
        self.sizes.append(len(output))
        return self.factor * output.sum() + label.sum()


def test_full_resolution_has_a_loss_of_its_own():
    fine, coarse = Scaled(10), Scaled(1)
    outputs = [torch.full((size,), 1.0, requires_grad=True) for size in (8, 4, 2, 1)]
    labels = [torch.zeros(size) for size in (8, 4, 2, 1)]
    loss = DeeplySupervisedLoss(fine, coarse, [0.5, 0.25, 0.125, 0])(outputs, labels)
    assert loss.item() == 0.5 * 80 + 0.25 * 4 + 0.125 * 2
    assert (fine.sizes, coarse.sizes) == ([8], [4, 2])  # an output of weight 0 is not looked at
    loss.backward()
    assert [output.grad is None for output in outputs] == [False, False, False, True]
