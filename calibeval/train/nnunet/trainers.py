"""Trainers of nnU-Net, one a loss and variant of `LOSSES`; all else is nnU-Net's own.

The loss takes the place of nnU-Net's at full resolution. The coarse outputs of deep supervision keep nnU-Net's
cross-entropy and Dice: distances and neighbourhoods mean something in voxels of the image alone. Weights, validation,
compilation of the network, and Dice gathered over GPUs are nnU-Net's.

nnU-Net reads the parameters of `__init__` by name, so a subclass either leaves `__init__` alone, as here, or repeats
its parameters literally.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from calibeval.errors import UsageError
from calibeval.train.loss_base import SegmentationLoss, check_labels
from calibeval.train.losses import LOSSES, build_loss
from calibeval.train.nnunet import trainer_name
from calibeval.train.nnunet.deep_supervision import DeeplySupervisedLoss

_NO_LABEL = -100  # torch's own number for "ignore nothing"
_OWN_LOSS = "dicece:nnunet"


class nnUNetTrainerCalibeval(nnUNetTrainer):  # noqa: N801  # nnU-Net looks classes up by such names
    """nnU-Net's trainer with a loss of `LOSSES`; a subclass may choose other settings.

    Attributes:
        loss_spec: `NAME` or `NAME:VARIANT`.
        loss_settings: of the loss, where they differ from its published ones.
    """

    loss_spec: str = "sdc"
    loss_settings: Mapping[str, Any] = MappingProxyType({})

    def _build_loss(self) -> Any:
        if self.label_manager.has_regions:
            raise UsageError(
                f"{type(self).__name__}: dataset.json has regions, which overlap; this loss calibrates classes that "
                f"exclude each other (a softmax). Train with classes, and give `calibeval score` the regions."
            )
        own: Any = super()._build_loss()
        if self.loss_spec == _OWN_LOSS and not self.loss_settings:
            return own  # with Dice gathered over GPUs
        fine = self._full_resolution_loss()
        self.print_to_log_file(f"calibeval: loss {self.loss_spec} at full resolution, {dict(self.loss_settings)}")
        return DeeplySupervisedLoss(fine, own.loss, own.weight_factors) if self.enable_deep_supervision else fine

    def _full_resolution_loss(self) -> SegmentationLoss:
        return build_loss(self.loss_spec, self.loss_settings, self._ignored)

    @property
    def _ignored(self) -> int:
        label = self.label_manager.ignore_label
        return _NO_LABEL if label is None else int(label)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step of nnU-Net, on labels that were looked at."""
        self._check_labels(batch)
        done: dict[str, Any] = super().train_step(batch)
        return done

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One validation batch of nnU-Net, on labels that were looked at."""
        self._check_labels(batch)
        done: dict[str, Any] = super().validation_step(batch)
        return done

    def _check_labels(self, batch: dict[str, Any]) -> None:
        """Refuse labels outside the classes while they are in main memory: on a GPU nothing would look at them."""
        labels = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
        check_labels(labels, labels != self._ignored, self.label_manager.num_segmentation_heads)


def make_trainers() -> dict[str, type[nnUNetTrainerCalibeval]]:
    """One class a loss and variant, by name; of this module, so that pickle and spawned processes find it."""
    specs = [spec for loss in LOSSES.values() for spec in (loss.name, *(f"{loss.name}:{v}" for v in loss.variants))]
    made = {}
    for spec in specs:
        name = trainer_name(spec)
        members = {"loss_spec": spec, "__module__": __name__, "__doc__": f"nnU-Net's trainer with the loss `{spec}`."}
        made[name] = type(name, (nnUNetTrainerCalibeval,), members)
    return made


TRAINERS = make_trainers()
globals().update(TRAINERS)
__all__ = ["nnUNetTrainerCalibeval", *TRAINERS]  # noqa: PLE0604  # names, made from LOSSES
