"""Losses against MONAI 1.6, where it has them."""

import pytest
import torch
from torch.nn import functional

from calibeval.train.losses import build_loss
from tests.train.loss_example import CLASSES, example

monai = pytest.importorskip("monai.losses")


@pytest.mark.parametrize("spec", ["dicece", "svls", "nacl", "sdc"])
def test_tensors_of_monai(spec):
    """Its data loaders give `MetaTensor`s, and labels (B, 1, *spatial) of float32."""
    from monai.data import MetaTensor

    logits, labels = example(dtype=torch.float32)
    theirs = build_loss(spec)(MetaTensor(logits).requires_grad_(), MetaTensor(labels[:, None].float()))
    assert theirs.item() == build_loss(spec)(logits, labels).item()
    theirs.backward()


@pytest.mark.parametrize("shape", [(2, 12, 12), (2, 6, 12, 12)])
@pytest.mark.parametrize(
    ("spec", "settings"),
    [("dicece", {}), ("dicece:nnunet", {"include_background": False, "batch": True})],
)
def test_dice_ce(spec, settings, shape):
    logits, labels = example(shape, dtype=torch.float32)
    theirs = monai.DiceCELoss(to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5, **settings)(
        logits, labels[:, None]
    )
    if "nnunet" in spec:  # MONAI leaves the background out of CE as well
        dice = monai.DiceLoss(to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5, **settings)
        theirs = functional.cross_entropy(logits, labels) + dice(logits, labels[:, None])
    torch.testing.assert_close(build_loss(spec)(logits, labels), theirs)


def test_focal():
    """MONAI's mean runs over the classes as well."""
    logits, labels = example(dtype=torch.float32)
    theirs = monai.FocalLoss(to_onehot_y=True, gamma=3.0, use_softmax=True)(logits, labels[:, None])
    torch.testing.assert_close(build_loss("fl")(logits, labels), CLASSES * theirs)


@pytest.mark.parametrize("shape", [(2, 12, 12), (2, 6, 12, 12)])
def test_nacl(shape):
    logits, labels = example(shape, dtype=torch.float32)
    theirs = monai.NACLLoss(classes=CLASSES, dim=len(shape) - 1)(logits, labels)
    torch.testing.assert_close(build_loss("nacl:monai")(logits, labels), theirs)
