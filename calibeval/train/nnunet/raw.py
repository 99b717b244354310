"""A data set as nnU-Net takes it, planned and preprocessed by nnU-Net: `RUN/nnunet/`.

Only the cases that train and validate are there, so that nothing is planned from held-out ones. Images keep their
intensities (nnU-Net normalises by itself); of their place nnU-Net needs the spacing alone. Labels are class indices,
checked on reading; ignored voxels get the number after the last class.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from calibeval.errors import UsageError
from calibeval.io.nifti import nifti_bytes
from calibeval.io.scheme import read_channel_names
from calibeval.metrics.statistics import IGNORED
from calibeval.train.checkpoint import write_bytes
from calibeval.train.config import TrainConfig
from calibeval.train.nnunet.predict import spacing_of
from calibeval.train.plan import TrainingPlan
from calibeval.train.record import write_json
from calibeval.train.volumes import read_volume

_ID, _NAME = 1, "Dataset001_calibeval"
_PLANS = "nnUNetPlans"
CONFIGURATIONS = {2: "2d", 3: "3d_fullres"}


@contextmanager
def nnunet_home(run: Path, processes: int) -> Iterator[Path]:
    """Let nnU-Net work in a run's folder `nnunet`, with so many processes; what it prints goes to `log.txt` there."""
    home = run / "nnunet"
    home.mkdir(parents=True, exist_ok=True)
    settings = {f"nnUNet_{name}": str(home / name) for name in ("raw", "preprocessed", "results")}
    settings |= {"nnUNet_n_proc_DA": str(processes), "nnUNet_def_n_proc": str(max(1, processes))}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with (home / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield home
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def prepare(config: TrainConfig, plan: TrainingPlan, run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan and preprocess, unless that is done; gives nnU-Net's plans and `dataset.json`.

    The split becomes `splits_final.json`, with one fold.

    Raises:
        InputError: an unusable image or label.
        UsageError: nnU-Net plans no 3-D network for these images.
    """
    with nnunet_home(run, max(1, config.workers)) as home:  # planning takes it for a number of threads
        folder = home / "preprocessed" / _NAME
        done = folder / "splits_final.json"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _write_raw(plan, home / "raw" / _NAME)
            _preprocess(config, folder)
            shutil.rmtree(home / "raw")
            write_json(done, [{"train": list(plan.split.train), "val": list(plan.split.val)}])
    plans, description = (json.loads((folder / f"{name}.json").read_text()) for name in (_PLANS, "dataset"))
    return plans, description


def _preprocess(config: TrainConfig, folder: Path) -> None:
    processes, configuration = max(1, config.workers), CONFIGURATIONS[config.dim]
    extract_fingerprint_dataset(_ID, num_processes=processes, verbose=False, show_progress_bar=False)
    plan_experiment_dataset(_ID)
    plans = PlansManager(str(folder / f"{_PLANS}.json"))
    if configuration not in plans.available_configurations:
        raise UsageError(f"--dim {config.dim}: nnU-Net plans no such network for these images; flat ones are 2-D.")
    preprocessor = plans.get_configuration(configuration).preprocessor_class(verbose=False)
    preprocessor.show_progress_bar = False
    preprocessor.run(_ID, configuration, _PLANS, num_processes=processes)


def _write_raw(plan: TrainingPlan, folder: Path) -> None:
    classes = len(plan.classes)
    ignoring = plan.data.scheme.ignore is not None
    for name in (*plan.split.train, *plan.split.val):
        volume = read_volume(plan.data.cases[name], plan.data.scheme, standardise=False)
        if volume.label is None:
            raise ValueError(f"case {name} has no label")
        affine = np.diag([*reversed(spacing_of(volume)), 1.0])
        for channel, image in enumerate(volume.image.swapaxes(0, 1)):
            write_bytes(folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz", nifti_bytes(image, affine))
        label = np.where(volume.label == IGNORED, classes, volume.label).astype(np.uint8)
        write_bytes(folder / "labelsTr" / f"{name}.nii.gz", nifti_bytes(label, affine))
    names = read_channel_names(plan.data.root / "imagesTr") or ("MRI",) * plan.network.channels
    labels = {name if index else "background": index for index, name in enumerate(plan.classes)}
    description = {
        "channel_names": {str(index): name for index, name in enumerate(names)},
        "labels": labels | ({"ignore": classes} if ignoring else {}),
        "numTraining": len(plan.split.train) + len(plan.split.val),
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", description)
