"""What a loss adds to a training step of nnU-Net over its own loss: python -m tests.benchmarks.nnunet DATA [2|3]

DATA is a data set as `calibeval train` takes; nnU-Net plans and preprocesses it in a temporary folder. Times are CPU
seconds of one thread, medians over batches that all losses see in turn; the loss is timed apart, forward and backward
over all outputs of deep supervision, since a step varies more than losses differ.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from calibeval.train.config import make_config
from calibeval.train.nnunet.raw import CONFIGURATIONS, nnunet_home, prepare
from calibeval.train.nnunet.trainers import TRAINERS
from calibeval.train.plan import make_plan

NAMES = ("nnUNetTrainerDICECE", "nnUNetTrainerFL", "nnUNetTrainerNACL_min", "nnUNetTrainerSDC")
REPEATS = 3


def seconds(function):
    """CPU seconds of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def copy(batch):
    """A batch that a step may write into."""
    return {"data": batch["data"].clone(), "target": [target.clone() for target in batch["target"]]}


def time_loss(trainer, batch):
    """CPU seconds of the loss and its gradient on the network's outputs for a batch."""
    with torch.no_grad():
        outputs = [output.requires_grad_() for output in trainer.network(batch["data"])]
    return seconds(lambda: trainer.loss(outputs, batch["target"]).backward())


def main():
    torch.set_num_threads(1)
    data, dim = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    with tempfile.TemporaryDirectory() as out:
        config = make_config("", data=data, out=out, backbone="nnunet", dim=dim, group_by="none", device="cpu")
        plans, description = prepare(config, make_plan(config), Path(out))
        steps, losses, trainers = {}, {}, {}
        with nnunet_home(Path(out), 0):
            for build in (nnUNetTrainer, *map(TRAINERS.__getitem__, NAMES)):
                plan = plans | {"continue_training": False}
                trainer = build(plan, CONFIGURATIONS[dim], 0, description, torch.device("cpu"))
                trainer.initialize()
                trainers[build.__name__] = trainer
            loader, _ = trainers["nnUNetTrainer"].get_dataloaders()
            for turn in range(REPEATS + 1):  # the first warms up
                batch = next(loader)
                for name, trainer in trainers.items():
                    whole = seconds(lambda trainer=trainer, batch=batch: trainer.train_step(copy(batch)))
                    alone = time_loss(trainer, copy(batch))
                    if turn:
                        steps.setdefault(name, []).append(whole)
                        losses.setdefault(name, []).append(alone)
    manager = trainers["nnUNetTrainer"].configuration_manager
    print(f"{CONFIGURATIONS[dim]}: batch {manager.batch_size} of {manager.patch_size}")
    step, own = median(steps["nnUNetTrainer"]), median(losses["nnUNetTrainer"])
    for name in trainers:
        added = (median(losses[name]) - own) / step
        print(f"{name:24} step {median(steps[name]):.2f} s, of it loss {median(losses[name]):.3f} s: {added:+.1%}")


if __name__ == "__main__":
    main()
