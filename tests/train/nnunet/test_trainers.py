"""Trainers as nnU-Net sees them. Skipped where nnunetv2 is not installed; CI has a job for it."""

import inspect
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("nnunetv2")
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from calibeval.errors import UsageError
from calibeval.train.losses import build_loss
from calibeval.train.nnunet import FOLDER
from calibeval.train.nnunet.deep_supervision import DeeplySupervisedLoss
from calibeval.train.nnunet.trainers import TRAINERS, nnUNetTrainerCalibeval

IGNORED = 3


def trainer(name="nnUNetTrainerSDC", *, regions=False, ignored=None, deep=True, **settings):
    """A trainer of three classes, as far as its loss asks."""
    made = object.__new__(TRAINERS[name])
    made.loss_settings = settings
    made.label_manager = SimpleNamespace(has_regions=regions, ignore_label=ignored, num_segmentation_heads=3)
    made.configuration_manager = SimpleNamespace(batch_dice=True, pool_op_kernel_sizes=[[1, 1], [2, 2], [2, 2]])
    made.device, made.is_ddp, made.enable_deep_supervision = torch.device("cpu"), False, deep
    made.print_to_log_file = lambda *_: None
    return made


def batch(seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = [torch.randn(2, 3, size, size, generator=random) for size in (8, 4)]
    labels = [torch.randint(0, 3, (2, 1, size, size), generator=random, dtype=torch.int16) for size in (8, 4)]
    return logits, labels


@pytest.mark.parametrize("name", TRAINERS)
def test_nnunet_finds_each_class(name):
    found = recursive_find_python_class(
        str(FOLDER), name, None, base_folder=str(FOLDER), cleanup_imports_from_base_folder=True
    )
    assert found is TRAINERS[name]
    assert pickle.loads(pickle.dumps(found)) is found


def test_no_class_of_nnunet_wins_by_name():
    folder = Path(inspect.getfile(nnUNetTrainer)).parent
    sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    assert len(sources) > 10
    assert not [name for name in TRAINERS if any(f"class {name}(" in source for source in sources)]


def test_init_has_the_literal_parameters_that_nnunet_reads():
    assert inspect.signature(nnUNetTrainerCalibeval.__init__) == inspect.signature(nnUNetTrainer.__init__)
    assert "__init__" not in vars(nnUNetTrainerCalibeval)


@pytest.mark.parametrize("name", ["nnUNetTrainerSDC", "nnUNetTrainerNACL_min", "nnUNetTrainerFL"])
def test_calibration_at_full_resolution_and_nnunets_loss_below(name):
    (fine, coarse), (labels, coarse_labels) = batch()
    loss = trainer(name)._build_loss()
    assert isinstance(loss, DeeplySupervisedLoss) and isinstance(loss.coarse, DC_and_CE_loss)
    assert loss.weights == (1.0, 0.0)  # nnU-Net leaves the lowest output out
    expected = build_loss(TRAINERS[name].loss_spec)(fine, labels)
    assert loss([fine, coarse], [labels, coarse_labels]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_deep_supervision_the_loss_is_that_of_losses():
    (fine, _), (labels, _) = batch()
    loss = trainer(deep=False, alpha=0.3)._build_loss()
    assert loss(fine, labels).item() == pytest.approx(build_loss("sdc", {"alpha": 0.3})(fine, labels).item(), rel=1e-6)


def test_ignored_voxels_do_not_count():
    (fine, _), (labels, _) = batch()
    labels[:, :, :4] = IGNORED
    loss = trainer(ignored=IGNORED, deep=False)._build_loss()
    value = loss(fine, labels)
    fine = fine.clone()
    fine[:, :, :4] = 7.0
    assert loss(fine, labels).item() == pytest.approx(value.item(), rel=1e-6)


def test_nnunets_own_loss_stays_its_own_and_gathers_dice():
    assert isinstance(trainer("nnUNetTrainerDICECE_nnunet", deep=False)._build_loss(), DC_and_CE_loss)


def test_regions_are_refused_with_the_reason():
    with pytest.raises(UsageError, match=r"nnUNetTrainerSDC: dataset.json has regions, which overlap"):
        trainer(regions=True)._build_loss()


def test_labels_outside_the_classes_are_refused_before_they_reach_the_gpu():
    _, labels = batch()
    labels[0][0, 0, 0, 0] = IGNORED
    with pytest.raises(UsageError, match=r"found \[3\]"):
        trainer().train_step({"data": torch.zeros(2, 1, 8, 8), "target": labels})
    with pytest.raises(UsageError, match=r"found \[3\]"):
        trainer().validation_step({"data": torch.zeros(2, 1, 8, 8), "target": labels[0]})
    trainer(ignored=IGNORED)._check_labels({"target": labels})


def test_it_joins_with_nnunets_variants():
    """As documented: the loss of ours, the epochs of theirs."""
    from nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs import nnUNetTrainer_5epochs

    both: Any = type("Short", (TRAINERS["nnUNetTrainerSDC"], nnUNetTrainer_5epochs), {})
    assert (both._build_loss, both.loss_spec) == (nnUNetTrainerCalibeval._build_loss, "sdc")
    assert both.__init__ is nnUNetTrainer_5epochs.__init__
