"""The losses that are compared for calibrated segmentation, as plain `torch.nn.Module`s, and their registry.

Calling convention, as in MONAI and nnU-Net: `loss(logits, labels)` with logits (B, C, *spatial), 2-D or 3-D, and
integer labels (B, *spatial) or (B, 1, *spatial) gives one scalar, the mean over batch and known voxels. Half precision
is computed in float32 even under autocast; values and gradients are finite for logits up to 1e4 in size; voxels
labelled `ignore_index` neither count nor act as neighbours.

`loss.terms(...)` gives the weighted terms whose sum the loss is. What depends on labels alone can be computed ahead,
in a data worker for example: `loss(logits, labels, targets=loss.targets(labels, classes))`.

An L1 penalty on *probabilities* with a weight well below 1 cannot move the optimum where labels are noiseless, since
the slope of the cross-entropy is -1/p <= -1; it acts only through the path of training and on ambiguous voxels.
Penalties on *logits* (`MbLSLoss`, `NACLLoss`, the `logit` variant of `SDCLoss`) do move it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from calibeval.errors import UsageError
from calibeval.train.calibration_losses import HardL1ACELoss, SoftL1ACELoss
from calibeval.train.label_losses import (
    DiceCELoss,
    ECPLoss,
    FCLLoss,
    FocalLoss,
    LabelSmoothingLoss,
    MbLSLoss,
)
from calibeval.train.loss_base import SegmentationLoss, Terms, Voxels
from calibeval.train.neighbour_losses import NACLLoss, SDCLoss, SVLSLoss
from calibeval.train.released import ReleasedMbLSLoss, ReleasedSDCLoss, ReleasedSVLSLoss

__all__ = [
    "LOSSES",
    "DiceCELoss",
    "ECPLoss",
    "FCLLoss",
    "FocalLoss",
    "HardL1ACELoss",
    "LabelSmoothingLoss",
    "Loss",
    "MbLSLoss",
    "NACLLoss",
    "ReleasedMbLSLoss",
    "ReleasedSDCLoss",
    "ReleasedSVLSLoss",
    "SDCLoss",
    "SVLSLoss",
    "SegmentationLoss",
    "SoftL1ACELoss",
    "SumLoss",
    "Variant",
    "build_loss",
]


class Variant(NamedTuple):
    """A named setting of a loss: its class and what differs from that class's defaults."""

    build: type[SegmentationLoss]
    settings: Mapping[str, Any] = MappingProxyType({})


class Loss(NamedTuple):
    """What is known about a loss.

    Attributes:
        name: as on the command line.
        long_name: as in a text.
        build: its class; the constructor's defaults are the published setting.
        formula: in plain text; z logits, p = softmax(z), y label, C classes.
        citation: DOI or arXiv number of the method.
        variants: other published or common settings, by name.
    """

    name: str
    long_name: str
    build: type[SegmentationLoss]
    formula: str
    citation: str
    variants: Mapping[str, Variant] = MappingProxyType({})

    @property
    def defaults(self) -> dict[str, Any]:
        """The constructor's defaults, without `ignore_index`."""
        return _defaults(self.build)


_PAPER = "We Care Each Pixel: Calibrating on Medical Segmentation Model"
_ROWS = (
    Loss("dicece", "cross-entropy and Dice", DiceCELoss, "CE + 1 - Dice", "10.1109/3DV.2016.79",
         {"nnunet": Variant(DiceCELoss, {"include_background": False, "batch": True})}),
    Loss("fl", "focal loss", FocalLoss, "-(1 - p_y)^gamma log p_y", "arXiv:1708.02002"),
    Loss("ecp", "explicit confidence penalty", ECPLoss, "CE - lam H(p)", "arXiv:1701.06548",
         {"marginloss": Variant(ECPLoss, {"average_classes": True})}),
    Loss("ls", "label smoothing", LabelSmoothingLoss, "CE against (1 - alpha) y + alpha / C", "arXiv:1512.00567",
         {"complement": Variant(LabelSmoothingLoss, {"complement": True})}),
    Loss("svls", "spatially varying label smoothing", SVLSLoss, "CE against the smoothed y", "arXiv:2104.05788",
         {"margin": Variant(NACLLoss, {"kernel": "svls", "sigma": 2.0, "border": "replicate"}),
          "sdc_repo": Variant(ReleasedSVLSLoss)}),
    Loss("mbls", "margin-based label smoothing", MbLSLoss, "CE + alpha mean relu(max z - z_c - m)",
         "arXiv:2111.15430", {"sdc_repo": Variant(ReleasedMbLSLoss)}),
    Loss("nacl", "neighbour-aware calibration loss", NACLLoss, "CE + alpha mean |tau - z|", "arXiv:2401.14487",
         {"min": Variant(NACLLoss, {"kernel": "min"}),
          "prob": Variant(NACLLoss, {"on": "probabilities"}),
          "l2": Variant(NACLLoss, {"distance": "l2"}),
          "monai": Variant(NACLLoss, {"border": "zero"})}),
    Loss("fcl", "focal calibration loss", FCLLoss, "-(1 - p_y)^gamma log p_y + lam |p - y|^2", "arXiv:2410.18321",
         {"sdc_repo": Variant(FCLLoss, {"average_classes": True})}),
    Loss("sdc", "signed-distance calibration", SDCLoss,
         "CE + alpha mean |p - ytilde| + 2 lam mean |p - sigma(-kappa s)|", _PAPER,
         {"logit": Variant(SDCLoss, {"on": "logits"}),
          "l2": Variant(SDCLoss, {"distance": "l2"}),
          "authors": Variant(ReleasedSDCLoss)}),
    Loss("hard_l1ace", "average calibration error in hard bins", HardL1ACELoss,
         "CE + 1 - Dice + lam mean_bins |mean p - mean y|", "arXiv:2506.03942"),
    Loss("soft_l1ace", "average calibration error in soft bins", SoftL1ACELoss,
         "as hard_l1ace, each voxel in two bins", "arXiv:2506.03942"),
)  # fmt: skip

_ABOVE_ZERO = ("bins", "eps", "kappa", "sigma")

LOSSES: dict[str, Loss] = {loss.name: loss for loss in _ROWS}


class SumLoss(SegmentationLoss):
    """Weighted sum of losses; its terms and targets are those of the parts, under `PART_TERM` and `PART.TARGET`.

    Args:
        parts: weight and loss by name.
        ignore_index: label of voxels that do not count.
    """

    def __init__(self, parts: Mapping[str, tuple[float, SegmentationLoss]], *, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.parts = dict(parts)

    def targets(self, labels: Tensor, classes: int, image: Tensor | None = None) -> Terms:
        """Give the targets of all parts."""
        found = {name: loss.targets(labels, classes, image) for name, (_, loss) in self.parts.items()}
        return {f"{name}.{key}": value for name, maps in found.items() for key, value in maps.items()}

    def _terms(self, voxels: Voxels, targets: Mapping[str, Tensor]) -> Terms:
        terms: Terms = {}
        for name, (weight, loss) in self.parts.items():
            own = {key.removeprefix(f"{name}."): value for key, value in targets.items() if key.startswith(f"{name}.")}
            terms |= {f"{name}_{key}": weight * value for key, value in loss._terms(voxels, own).items()}
        return terms


class _Part(NamedTuple):
    """One loss of a sum: as written, its weight, key of `LOSSES`, and class with settings."""

    spec: str
    weight: float
    name: str
    variant: Variant


def build_loss(
    spec: str, settings: Mapping[str, Any] = MappingProxyType({}), ignore_index: int = -100
) -> SegmentationLoss:
    """Make a loss from `NAME`, `NAME:VARIANT`, or a sum of some with weights, as `dicece+0.5*sdc:logit`.

    Args:
        spec: a key of `LOSSES`, with a key of its `variants` after a colon; of a sum, each name once.
        settings: constructor arguments that replace the defaults; `lambda` is read as `lam`. `NAME.KEY` goes to one
            part of a sum, `KEY` to every part that has it.
        ignore_index: label of voxels that do not count.

    Raises:
        UsageError: an unknown loss, variant or setting, or a value that makes no sense.
    """
    parts = [_read_part(text.strip()) for text in spec.split("+")]
    names = [part.name for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"The sum {spec!r} has {twice[0]!r} twice, so that settings could not tell them apart.")
    chosen = _share_settings(spec, parts, settings)
    built = {part.name: (part.weight, _build(part, chosen[part.name], ignore_index)) for part in parts}
    only = built[names[0]]
    return only[1] if len(parts) == 1 and only[0] == 1 else SumLoss(built, ignore_index=ignore_index)


def _read_part(text: str) -> _Part:
    """Read `NAME`, `NAME:VARIANT` or `WEIGHT*NAME`."""
    factor, star, named = text.rpartition("*")
    try:
        weight = float(factor) if star else 1.0
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(f"The weight in {text!r} must be a number above 0, as in 0.5*{named.strip()}.")
    spec = named.strip()
    name, _, variant = spec.partition(":")
    if name not in LOSSES:
        raise UsageError(f"Unknown loss {name!r}. Known: {', '.join(LOSSES)}.")
    loss = LOSSES[name]
    if variant and variant not in loss.variants:
        known = ", ".join(loss.variants) or "none"
        raise UsageError(f"Loss {name!r} has no variant {variant!r}. Known: {known}.")
    return _Part(spec, weight, name, loss.variants[variant] if variant else Variant(loss.build))


def _share_settings(spec: str, parts: Sequence[_Part], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each part is told."""
    chosen: dict[str, dict[str, Any]] = {part.name: {} for part in parts}
    for text, value in settings.items():
        name, _, key = text.rpartition(".")
        key = "lam" if key == "lambda" else key
        having = [part.name for part in parts if name in ("", part.name) and key in _defaults(part.variant.build)]
        if not having:
            prefixes = {part.name: f"{part.name}." if len(parts) > 1 else "" for part in parts}
            known = [prefixes[part.name] + each for part in parts for each in _defaults(part.variant.build)]
            raise UsageError(f"Loss {spec!r} has no setting {text!r}. Known: {', '.join(known) or 'none'}.")
        for each in having:
            chosen[each][key] = value
    return chosen


def _build(part: _Part, chosen: Mapping[str, Any], ignore_index: int) -> SegmentationLoss:
    allowed = _defaults(part.variant.build)
    for key, value in chosen.items():
        _check_value(f"Setting {key!r} of loss {part.spec!r}", key, value, allowed[key])
    return part.variant.build(**{**part.variant.settings, **chosen}, ignore_index=ignore_index)


def _check_value(what: str, key: str, value: Any, default: Any) -> None:
    if isinstance(default, bool) and not isinstance(value, bool):
        raise UsageError(f"{what} is true or false, not {value!r}.")
    if isinstance(default, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{what} is a number, not {value!r}.")
        if not (0 < value < math.inf or (value == 0 and key not in _ABOVE_ZERO)):
            least = "above 0" if key in _ABOVE_ZERO else "at least 0"
            raise UsageError(f"{what} must be {least} and finite, not {value!r}.")


def _defaults(build: type[SegmentationLoss]) -> dict[str, Any]:
    parameters = inspect.signature(build).parameters.values()
    return {each.name: each.default for each in parameters if each.name != "ignore_index"}
