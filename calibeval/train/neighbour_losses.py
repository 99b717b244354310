"""Losses that look at a voxel's neighbourhood or its distance to the boundary: SVLS, NACL and SDC.

Notation: z logits, p = softmax(z), y label, CE = -log p_y, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from calibeval.errors import UsageError
from calibeval.train.loss_base import SegmentationLoss, Terms, Voxels, class_mean, cross_entropy, soft_cross_entropy
from calibeval.train.targets import (
    REGION_MORPHS,
    SATURATION,
    NeighbourTarget,
    morph_reference,
    sdf_probability,
    signed_distance,
)


class SVLSLoss(SegmentationLoss):
    """CE against the one-hot map under a Gaussian of width 3 whose centre weighs one half.

    Args:
        sigma: width of the Gaussian in voxels.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, *, sigma: float = 2.0, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.neighbours = NeighbourTarget("svls", border="replicate", sigma=sigma)

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Give `neighbours`, the smoothed one-hot map."""
        return {"neighbours": self.neighbours(labels, classes, self.ignore_index, image)}

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        return {"ce": soft_cross_entropy(voxels.logits, targets["neighbours"], voxels.known)}


class _NeighbourLoss(SegmentationLoss):
    """CE plus a penalty towards a neighbourhood map; CE may aim at the morphed masks instead of the labels."""

    def __init__(self, neighbours: NeighbourTarget, alpha: float, ce_target: str, ignore_index: int) -> None:
        super().__init__(ignore_index=ignore_index)
        _check_choice("ce_target", ce_target, ("labels", "morph"))
        if ce_target == "morph" and neighbours.morph not in REGION_MORPHS:
            raise UsageError(
                f"ce_target 'morph' needs an operator that leaves whole regions ({', '.join(REGION_MORPHS)}), "
                f"not {neighbours.morph!r}: the cross-entropy would see boundaries alone."
            )
        self.neighbours, self.alpha, self.ce_target = neighbours, alpha, ce_target

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Give `neighbours`, and `reference` (the morphed masks) when CE aims at them."""
        maps = {"neighbours": self.neighbours(labels, classes, self.ignore_index, image)}
        if self.ce_target == "morph":
            maps["reference"] = morph_reference(labels, classes, self.neighbours.morph, self.ignore_index)
        return maps

    def _cross_entropy(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Tensor:
        if self.ce_target == "labels":
            return cross_entropy(voxels)
        reference = targets["reference"]
        return soft_cross_entropy(voxels.logits, reference, voxels.known & reference.any(dim=1))

    def _penalty(self, difference: Tensor, voxels: Voxels, targets: Mapping[str, Tensor]) -> Tensor:
        """Weighted mean over the voxels that have a neighbourhood target."""
        return self.alpha * class_mean(difference, voxels.known & targets["neighbours"].any(dim=1))


def _check_choice(name: str, value: str, known: tuple[str, str]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {known[0]!r} or {known[1]!r}, not {value!r}.")


def _size(difference: Tensor, distance: str) -> Tensor:
    """Absolute values for `l1`, squares for `l2`."""
    return difference.abs() if distance == "l1" else difference**2


class NACLLoss(_NeighbourLoss):
    """CE + alpha mean over voxels and classes of |tau - z|, tau the classes around the voxel, on raw logits.

    Args:
        alpha: weight of the penalty.
        kernel: of the neighbourhood map, see `NeighbourTarget`; the SDC paper compares with `min`.
        morph: operator on the masks before the kernel.
        border: what lies outside the image; by default class 0, as in the NACL code, or the edge with a morph.
        sigma: width in voxels of the kernels `gaussian` and `svls`.
        distance: `l1`, or `l2` for squares.
        on: `logits`, or `probabilities` to compare tau with p.
        ce_target: `labels`, or `morph` for the morphed masks (closing, opening, dilation, erosion).
        ignore_index: label of voxels that do not count.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        kernel: str = "mean",
        morph: str = "none",
        border: str | None = None,
        sigma: float = 1.0,
        distance: str = "l1",
        on: str = "logits",
        ce_target: str = "labels",
        ignore_index: int = -100,
    ) -> None:
        border = border or ("background" if morph == "none" else "replicate")
        super().__init__(NeighbourTarget(kernel, morph, border, sigma), alpha, ce_target, ignore_index)
        _check_choice("distance", distance, ("l1", "l2"))
        _check_choice("on", on, ("logits", "probabilities"))
        self.distance, self.on = distance, on

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        output = voxels.logits if self.on == "logits" else voxels.logits.softmax(dim=1)
        penalty = self._penalty(_size(targets["neighbours"] - output, self.distance), voxels, targets)
        return {"ce": self._cross_entropy(voxels, targets), "neighbours": penalty}


class SDCLoss(_NeighbourLoss):
    """CE + alpha mean |p - ytilde| + lam L_SDF, both means over voxels and classes.

    ytilde is the neighbourhood map. L_SDF = 2 mean |p - sigma(-kappa s)| with s the signed distance to the class in
    voxels, negative inside, and +inf for an absent class: bounded, and smallest at the reference. The authors'
    released term points the other way; see `calibeval.train.released.ReleasedSDCLoss`.

    Args:
        alpha: weight of the neighbourhood penalty.
        lam: weight of L_SDF.
        kappa: steepness of the probability ramp across the boundary, per voxel.
        kernel: of the neighbourhood map.
        morph: operator on the masks before the kernel.
        border: what lies outside the image.
        sigma: width in voxels of the kernels `gaussian` and `svls`.
        distance: `l1`, or `l2` for the squares of both differences, p - ytilde and 2 (p - sigma(-kappa s)).
        on: `probabilities`, or `logits` for mean |shat - s| with shat = (logsumexp of the others - z_c) / kappa and s
            clipped to 10 / kappa.
        ce_target: `labels`, or `morph` for the morphed masks (closing, opening, dilation, erosion).
        ignore_index: label of voxels that do not count.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        lam: float = 0.1,
        kappa: float = 1.0,
        kernel: str = "mean",
        morph: str = "none",
        border: str = "replicate",
        sigma: float = 1.0,
        distance: str = "l1",
        on: str = "probabilities",
        ce_target: str = "labels",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(NeighbourTarget(kernel, morph, border, sigma), alpha, ce_target, ignore_index)
        if kappa <= 0:
            raise UsageError(f"kappa must be above 0, not {kappa}.")
        _check_choice("distance", distance, ("l1", "l2"))
        _check_choice("on", on, ("logits", "probabilities"))
        self.lam, self.kappa, self.distance, self.on = lam, kappa, distance, on

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Give `neighbours`, and `sdf`: sigma(-kappa s), or the clipped s for `on="logits"`."""
        limit = SATURATION / self.kappa
        distance = signed_distance(labels, classes, limit, self.ignore_index)
        sdf = distance.clamp(-limit, limit) if self.on == "logits" else sdf_probability(distance, self.kappa)
        return super().targets(labels, classes, image) | {"sdf": sdf}

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        probabilities = voxels.logits.softmax(dim=1)
        if self.on == "logits":
            sdf = _one_against_rest(voxels.logits) / self.kappa - targets["sdf"]
        else:
            sdf = 2 * (probabilities - targets["sdf"])
        neighbours = _size(probabilities - targets["neighbours"], self.distance)
        return {
            "ce": self._cross_entropy(voxels, targets),
            "neighbours": self._penalty(neighbours, voxels, targets),
            "sdf": self.lam * class_mean(_size(sdf, self.distance), voxels.known),
        }


def _one_against_rest(logits: Tensor) -> Tensor:
    """Logsumexp of the other classes' logits minus the own, for each class: -log(p / (1 - p)), without cancellation."""
    classes = range(logits.shape[1])
    rest = [torch.cat([logits[:, :c], logits[:, c + 1 :]], dim=1).logsumexp(dim=1) for c in classes]
    return torch.stack(rest, dim=1) - logits
