"""What the SDC authors' public code computes, where it differs from the paper or from the original methods.

For reproducing and comparing; see the classes for what goes wrong. In 3-D that code treats each slice of the first
spatial axis on its own for neighbourhoods, but the whole volume for distances.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from calibeval.train.loss_base import SegmentationLoss, Terms, Voxels, class_mean, cross_entropy
from calibeval.train.targets import NeighbourTarget

_SDF_SCALE = 100


def released_neighbours(labels: Tensor, classes: int, kernel: str, morph: str, ignore_index: int = -100) -> Tensor:
    """Give the neighbourhood map (B, C, *spatial) of the released code: mirrored border, renormalised over classes."""
    target = NeighbourTarget(kernel, morph, border="reflect")
    if labels.ndim == 3:
        maps = target(labels, classes, ignore_index)
    else:
        slices = target(labels.flatten(0, 1), classes, ignore_index)
        maps = slices.reshape(*labels.shape[:2], *slices.shape[1:]).transpose(1, 2)
    return maps / maps.sum(dim=1, keepdim=True).clamp_min(1e-6)


def released_distance(labels: Tensor, classes: int, ignore_index: int = -100) -> Tensor:
    """Give the normalised signed distance (B, C, *spatial) of the released code: positive *outside*, s / max |s|.

    Of an absent class it is the distance to a corner outside the array, a ramp without meaning.
    """
    from scipy.ndimage import distance_transform_edt

    distances = np.empty((labels.shape[0], classes, *labels.shape[1:]), np.float32)
    for image, label in enumerate(labels.cpu().numpy()):
        for index in range(classes):
            mask = (label == index) & (label != ignore_index)
            signed = (distance_transform_edt(~mask) - distance_transform_edt(mask)).astype(np.float32)
            distances[image, index] = signed / (np.abs(signed).max() + np.float32(1e-6))
    return torch.from_numpy(distances).to(labels.device)


class ReleasedSDCLoss(SegmentationLoss):
    """CE + alpha mean |p - ytilde| + lam mean |2p - 1 - s / max |s|| / 100, as released by the SDC authors.

    The last term is smallest where every mask is inverted, since s is positive outside; the division by 100 keeps
    that from doing harm, and from doing anything else. A warning says so.

    Args:
        alpha: weight of the neighbourhood term.
        lam: weight of the distance term, before the division by 100.
        kernel: of the neighbourhood map.
        morph: operator on the masks before the kernel.
        ignore_index: label of voxels that do not count.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        lam: float = 0.1,
        kernel: str = "mean",
        morph: str = "gradient",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        warnings.warn(
            "The SDC authors' released distance term has the wrong sign: it grows towards the reference. "
            "It is kept for comparison; the default 'sdc' follows the paper.",
            stacklevel=2,
        )
        self.alpha, self.lam, self.kernel, self.morph = alpha, lam, kernel, morph

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Give `neighbours` and `sdf`, the normalised signed distance."""
        del image
        neighbours = released_neighbours(labels, classes, self.kernel, self.morph, self.ignore_index)
        return {"neighbours": neighbours, "sdf": released_distance(labels, classes, self.ignore_index)}

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        probabilities = voxels.logits.softmax(dim=1)
        neighbours = (targets["neighbours"] - probabilities).abs()
        sdf = (2 * probabilities - 1 - targets["sdf"]).abs()
        return {
            "ce": cross_entropy(voxels),
            "neighbours": self.alpha * class_mean(neighbours, voxels.known),
            "sdf": self.lam * (class_mean(sdf, voxels.known) / _SDF_SCALE),
        }


class ReleasedSVLSLoss(SegmentationLoss):
    """CE + alpha mean |p - ytilde|, ytilde a Gaussian (sigma 1) over closed masks: the SDC authors' `SVLS`.

    SVLS itself smooths the labels of CE; here they stay hard, and the setting sigma = 2 is never used.

    Args:
        alpha: weight of the neighbourhood term.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, alpha: float = 0.1, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.alpha = alpha

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Give `neighbours`."""
        del image
        return {"neighbours": released_neighbours(labels, classes, "gaussian", "closing", self.ignore_index)}

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        difference = (voxels.logits.softmax(dim=1) - targets["neighbours"]).abs()
        return {"ce": cross_entropy(voxels), "neighbours": self.alpha * class_mean(difference, voxels.known)}


class ReleasedMbLSLoss(SegmentationLoss):
    """CE smoothed to the other classes + 0.001 mean relu(margin - (z_1st - z_2nd)): the SDC authors' `MbLS`.

    MbLS punishes margins that are too large; this punishes those that are too small.

    Args:
        margin: smallest gap between the two largest logits that costs nothing.
        alpha: label smoothing.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, margin: float = 10.0, alpha: float = 0.1, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.margin, self.alpha = margin, alpha

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        classes = voxels.logits.shape[1]
        first, second = voxels.logits.topk(2, dim=1).values.unbind(dim=1)
        lack = (self.margin - (first - second)).relu()
        smoothed = cross_entropy(voxels, self.alpha * classes / (classes - 1))
        return {"ce": smoothed, "margin": 1e-3 * class_mean(lack[:, None], voxels.known)}
