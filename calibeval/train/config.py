"""Settings of a training run: one frozen dataclass, its presets, and its JSON form. Loads no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from calibeval.case_table import NONE, PATIENT
from calibeval.errors import InputError, UsageError
from calibeval.files import read_text

Setting = float | int | bool | str


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run's numbers, and where they go.

    Attributes:
        data: folder of the data set.
        out: folder of the run.
        loss: `NAME` or `NAME:VARIANT` of `LOSSES`, or a sum of some, as `dicece+0.5*sdc`.
        settings: of the loss, where they differ from its defaults; of a part of a sum as `NAME.KEY`.
        backbone: key of `BACKBONES`, or `nnunet`.
        width: filters at full resolution; 0 takes the backbone's own.
        dim: 2 trains on slices, 3 on patches of volumes.
        size: height and width of the training slices, cropped or padded, of patches depth, height and width; 0 fits
            the largest slice, up to 256, or volume, up to 128.
        fold: `i/K`: fold i is held out for testing, the next one for choosing the best epoch; empty takes the
            data's own train, val and test folders, or 1/5.
        cases: table of facts about the cases; empty for none.
        group_by: whose cases stay together: `patient`, `none`, a column of the table or an expression on names.
        channels: files an image, where names do not tell; 0 where they do.
        epochs: passes over the training slices.
        batch_size: slices or patches per forward pass, over all processes.
        accumulate: forward passes per step of the optimizer.
        optimizer: `adam` or `adamw`.
        lr: learning rate at the start.
        weight_decay: of the optimizer.
        schedule: `constant`, `step` (times .1 after every `step_epochs`) or `cosine` (to 0 at the end).
        step_epochs: of the step schedule.
        augment: key of `AUGMENTATIONS`: random changes of the training slices. Earlier versions had true (`basic`) and
            false (`none`).
        early_stop: stop after so many epochs without a better validation DSC; 0 never does.
        overfit_batch: train and validate on one batch, to see whether the model can learn at all.
        seed: of weights, order and augmentation.
        deterministic: deterministic operations wherever torch has them.
        amp: half precision where it is safe.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        workers: processes that prepare data; 0 prepares in the main process.
        keep_predictions: batches, counted over all epochs, after which the validation cases' probabilities are kept.
    """

    data: str
    out: str
    loss: str = "sdc"
    settings: Mapping[str, Setting] = field(default_factory=dict)
    backbone: str = "unet"
    width: int = 0
    dim: int = 2
    size: tuple[int, ...] = (0, 0)
    fold: str = ""
    cases: str = ""
    group_by: str = PATIENT
    channels: int = 0
    epochs: int = 100
    batch_size: int = 16
    accumulate: int = 1
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "cosine"
    step_epochs: int = 50
    augment: str = "basic"
    early_stop: int = 0
    overfit_batch: bool = False
    seed: int = 0
    deterministic: bool = False
    amp: bool = False
    device: str = "auto"
    workers: int = 0
    keep_predictions: tuple[int, ...] = ()

    @property
    def method(self) -> str:
        """The loss as the name of a folder, and so of a method in tables."""
        return "".join(self.loss.split()).replace(":", "-").replace("*", "x")

    @property
    def group_noun(self) -> str:
        """What the cases are grouped by, for people."""
        return {PATIENT: "patient", NONE: "case"}.get(self.group_by, "group")

    def __post_init__(self) -> None:
        if isinstance(self.augment, bool):
            object.__setattr__(self, "augment", "basic" if self.augment else "none")
        for name, (least, most) in _RANGES.items():
            if not least <= (value := getattr(self, name)) <= most:
                bound = f"at least {least}" if value < least else f"at most {most}"
                raise UsageError(f"{option_of(name)} must be {bound}, not {value}.")
        if not 0 < self.lr < math.inf:
            raise UsageError(f"--lr must be above 0 and finite, not {self.lr}.")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"The weight decay must be at least 0 and finite, not {self.weight_decay}.")
        if any(self.size) and len(self.size) != self.dim:
            raise UsageError(f"--size {'x'.join(map(str, self.size))} has {len(self.size)} sides, --dim {self.dim}.")
        if max(self.size) > _LARGEST_SIDE:
            raise UsageError(f"--size must be at most {_LARGEST_SIDE} pixels, not {max(self.size)}.")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"Unknown {name.replace('_', '-')} {getattr(self, name)!r}. Known: {', '.join(known)}."
                )


NNUNET = "nnunet"  # the backbone that nnU-Net itself plans, builds and trains
MAY_CHANGE = ("device", "early_stop", "epochs", "workers")  # when a run goes on

_MANY = 10**6  # no run has as many epochs; one that would never end is a slip of the finger
_LARGEST_SIDE = 2**14
_RANGES = {
    "dim": (2, 3), "epochs": (1, _MANY), "batch_size": (1, _MANY), "accumulate": (1, _MANY), "step_epochs": (1, _MANY),
    "early_stop": (0, _MANY), "workers": (0, 1024), "width": (0, 4096), "channels": (0, 1024), "seed": (0, 2**63 - 1),
}  # fmt: skip
_TUPLES = ("size", "keep_predictions")
_CHOICES = {
    "augment": ("none", "basic", "nnunet"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "step", "cosine"),
}

# Published protocols; see the notes on sources in the README.
PRESETS: dict[str, dict[str, Any]] = {
    "sdc-paper": {
        "optimizer": "adam", "lr": 1e-3, "schedule": "step", "step_epochs": 50, "epochs": 100, "batch_size": 16,
        "fold": "1/5", "group_by": PATIENT,
    },
    "nacl-code": {
        "optimizer": "adam", "lr": 1e-3, "schedule": "step", "step_epochs": 50, "epochs": 100, "batch_size": 4,
        "augment": "none", "backbone": "unet-nacl", "size": (192, 192),
    },
    "sdc-repo": {
        "optimizer": "adamw", "lr": 1e-4, "weight_decay": 1e-2, "schedule": "cosine", "epochs": 200, "batch_size": 4,
        "augment": "none", "backbone": "unet", "width": 32,
    },
}  # fmt: skip

# Without DATA: small enough for two CPU cores, long enough to learn.
_SMALL = {"epochs": 40, "batch_size": 8, "lr": 3e-3, "width": 16}
DEMO: dict[int, dict[str, Any]] = {2: _SMALL, 3: {**_SMALL, "batch_size": 2}}  # by dimension

BATCH = {2: 16, 3: 2}  # slices, patches


def option_of(name: str) -> str:
    """The option of `calibeval train` that sets a field."""
    return f"--{name.replace('_', '-')}"


def make_config(preset: str, **chosen: Any) -> TrainConfig:
    """Combine defaults, a preset (empty for none) and chosen settings; later ones win, None means not chosen.

    Raises:
        UsageError: an unknown preset, or a value that makes no sense.
    """
    if preset and preset not in PRESETS:
        raise UsageError(f"Unknown preset {preset!r}. Known: {', '.join(PRESETS)}.")
    given = {name: value for name, value in chosen.items() if value is not None}
    batch = {"batch_size": BATCH.get(given.get("dim", 2), 1)}  # an unknown dim is refused below
    return TrainConfig(**{**batch, **PRESETS.get(preset, {}), **given})


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Give the config with plain types only, as JSON and checkpoints hold it."""
    return {
        **asdict(config),
        **{name: list(getattr(config, name)) for name in _TUPLES},
        "settings": dict(config.settings),
    }


def config_from_dict(values: Mapping[str, Any], path: Path) -> TrainConfig:
    """Read what `config_to_dict` gave.

    Raises:
        InputError: fields are missing or unknown; `path` names the file. Fields that an earlier version did not have
            are as by default.
    """
    known = {each.name for each in fields(TrainConfig)}
    if odd := sorted((set(values) - known) | ({"data", "out", "size"} - set(values))):
        listed = ", ".join(name or "''" for name in odd)
        raise InputError(path, f"not a run configuration of this version: fields {listed} are missing or unknown.")
    usual = config_to_dict(TrainConfig("", ""))
    for name, value in values.items():
        if not _is_like(value, usual[name]) and not (name == "augment" and isinstance(value, bool)):
            raise InputError(path, f"its field {name} is {value!r}, expected {type(usual[name]).__name__}.")
    return TrainConfig(**{**values, **{name: tuple(values[name]) for name in _TUPLES if name in values}})


def _is_like(value: Any, usual: Any) -> bool:
    """Whether a value is of the kind of another; a whole number is a number too, and a pair has two of them."""
    if isinstance(usual, list):
        counted = isinstance(value, list) and len(value) == (len(usual) or len(value))
        return counted and all(type(part) is int for part in value)
    return type(value) is type(usual) or (type(usual) is float and type(value) is int)


def read_config(path: Path) -> TrainConfig:
    """Read `config.json` of a run.

    Raises:
        InputError: the file is missing or is none.
    """
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise InputError(path, "no such file, so that there is no run to go on with.") from error
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as a run configuration: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(path, "expected a JSON object with the settings of a run.")
    return config_from_dict(values, path)


def parse_settings(assignments: list[str]) -> dict[str, Setting]:
    """Read `key=value` assignments; values are true, false, whole numbers, numbers or words.

    Raises:
        UsageError: an assignment without `=`.
    """
    settings: dict[str, Setting] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (key and equals):
            raise UsageError(f"--set expects KEY=VALUE, for example --set alpha=0.2, not {assignment!r}.")
        settings[key.strip()] = _value(text.strip())
    return settings


def parse_size(text: str, dim: int = 2) -> tuple[int, ...]:
    """Read `N`, `HxW` or, of patches, `DxHxW`.

    Raises:
        UsageError: anything else.
    """
    parts = text.lower().split("x")
    if len(parts) not in (1, dim) or not all(part.isdigit() and int(part) > 0 for part in parts):
        patch = "DxHxW in voxels, for example 64 or 16x96x96"
        form = patch if dim == 3 else "HxW in pixels, for example 192 or 192x160"
        raise UsageError(f"--size expects N or {form}, not {text!r}.")
    return tuple(map(int, parts * dim if len(parts) == 1 else parts))


def parse_steps(text: str) -> tuple[int, ...]:
    """Read `STEP,...`.

    Raises:
        UsageError: something that is no whole number above 0.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--keep-predictions expects steps above 0, for example 100,400, not {text!r}.")
    return tuple(sorted(map(int, parts)))


def _value(text: str) -> Setting:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
