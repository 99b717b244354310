"""What each loss adds to a training step over plain cross-entropy: python -m tests.benchmarks.train [BACKBONE]

`python -m tests.benchmarks.train yardstick DATA [STEPS]` trains MONAI's BasicUNet and our U-Net by DiceCE under one
budget (slices, augmentation, schedule, two seeds) and prints held-out DSC, the paired difference and seconds a step.

One batch as in the SDC paper, 16 x 1 x 224 x 224 with 4 classes. Times are CPU seconds of one thread, the least of
some repetitions, so that other work on the machine hardly matters. `targets` is what data workers do per batch.
"""

import math
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from calibeval import mean_interval
from calibeval.train.config import make_config
from calibeval.train.losses import LOSSES, LabelSmoothingLoss, build_loss
from calibeval.train.models import BACKBONES, Backbone, Network, build_network
from calibeval.train.plan import make_plan
from calibeval.train.run import run_whole
from calibeval.train.slices import pieces_of

SHAPE, CLASSES, REPEATS = (16, 224, 224), 4, 5


def heart(images, height, width):
    """Labels like a short-axis slice: a disc in a ring, and a crescent beside them."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    labels = torch.zeros(images, height, width, dtype=torch.long)
    for index in range(images):
        centre = torch.hypot(y - 112.0 - index, x - 120.0)
        beside = torch.hypot(y - 112.0, (x - 80.0) / 0.7)
        labels[index] = torch.where(centre < 25, 3, torch.where(centre < 36, 2, (beside < 30).long()))
    return labels


def least(function, repeats=REPEATS):
    """CPU seconds of the quickest call."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def network_step(backbone):
    """CPU seconds of one forward and backward pass of the network alone."""
    network = build_network(Network(backbone, BACKBONES[backbone].width, 1, CLASSES))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    image = torch.randn(SHAPE[0], 1, *SHAPE[1:])
    return least(lambda: network(image).square().mean().backward(), repeats=2)


def basic_unet(network):
    """MONAI's BasicUNet as it comes; `width` filters at full resolution."""
    from monai.networks.nets.basic_unet import BasicUNet

    w = network.width
    return BasicUNet(2, network.channels, network.classes, features=(w, w, 2 * w, 4 * w, 8 * w, w))


def held_out_dsc(data, backbone, seed, steps, out):
    """DSC of each held-out case by name, and the steps that were done."""
    settings = {"backbone": backbone, "loss": "dicece", "seed": seed, "width": 16, "lr": 3e-3}
    config = make_config("", data=data, out=str(out / f"{backbone}{seed}"), **settings)
    plan = make_plan(config)
    batches = math.ceil(len(pieces_of(plan.train, plan.size)) / config.batch_size)
    epochs = max(1, round(steps / batches))
    outcome = run_whole(make_config("", **{**vars(config), "epochs": epochs}))
    rows = [row for row in outcome.score.rows if row.metric == "DSC" and row.class_name == "mean"]
    return epochs * batches, {row.case: row.value for row in rows if row.case != "pooled"}


def yardstick(data, steps=1600):
    """Train both under one budget and compare them case by case."""
    BACKBONES["basicunet"] = Backbone(basic_unet, 32, 16, 32, "MONAI's BasicUNet")
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for backbone in ("basicunet", "unet"):
            started, runs = time.process_time(), []
            for seed in (0, 1):
                done, values = held_out_dsc(data, backbone, seed, steps, Path(folder))
                runs.append(values)
            found[backbone] = {case: np.mean([run[case] for run in runs]) for case in runs[0]}
            seconds = (time.process_time() - started) / done / len(runs)
            mean = np.mean(list(found[backbone].values()))
            print(f"{backbone:<10} {done} steps, DSC {mean:.4f}, {seconds:.3f} s a step")
    difference = [found["unet"][case] - value for case, value in found["basicunet"].items()]
    print(f"unet - basicunet, {len(difference)} cases: {np.mean(difference):+.4f} {mean_interval(difference)}")


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["yardstick"]:
        yardstick(sys.argv[2], *map(int, sys.argv[3:]))
        return
    backbone = sys.argv[1] if len(sys.argv) > 1 else "unet"
    labels = heart(*SHAPE)
    logits = torch.randn(SHAPE[0], CLASSES, *SHAPE[1:], requires_grad=True)
    plain = LabelSmoothingLoss(alpha=0.0)
    cross_entropy = least(lambda: plain(logits, labels).backward())
    step = network_step(backbone) + cross_entropy
    print(f"step with cross-entropy ({backbone}): {step:.3f} s, of it {1e3 * cross_entropy:.0f} ms loss")
    print("loss              loss ms  targets ms  added to step, targets apart  added with targets")
    specs = [spec for name, loss in LOSSES.items() for spec in (name, *(f"{name}:{each}" for each in loss.variants))]
    for spec in specs:
        loss = build_loss(spec)
        targets = loss.targets(labels, CLASSES)
        ahead = least(lambda loss=loss: loss.targets(labels, CLASSES)) if targets else 0.0
        value = least(lambda loss=loss, targets=targets: loss(logits, labels, targets=targets).backward())
        apart, whole = ((part - cross_entropy) / step for part in (value, value + ahead))
        print(f"{spec:<16} {1e3 * value:8.0f} {1e3 * ahead:11.0f} {apart:29.1%} {whole:19.1%}")


if __name__ == "__main__":
    main()
