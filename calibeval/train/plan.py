"""What is decided before any training: data, groups, split, classes, network and size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from calibeval.case_table import PATIENT, groups, patient_of, read_cases
from calibeval.errors import InputError, UsageError
from calibeval.io.classes import are_grey_levels, different_values
from calibeval.metrics.statistics import IGNORED
from calibeval.train.cases import DataSet, find_data
from calibeval.train.config import NNUNET, TrainConfig
from calibeval.train.folds import Split, refuse_shared, split_cases
from calibeval.train.frame import Size
from calibeval.train.models import BACKBONES, Backbone, Network
from calibeval.train.volumes import Volume, check_memory, count_channels, read_volume
from calibeval.wording import some_of

_LARGEST_AUTO_SIZE = {2: 256, 3: 128}
_DEFAULT_FOLD = "1/5"


class TrainingPlan(NamedTuple):
    """What is decided before any training: data, split, network, and the volumes in memory.

    Attributes:
        data: all cases.
        groups: whose each case is; the cases of one stay together. Empty for a kept split.
        split: names of the cases of each part.
        classes: names of the classes 0, 1, ...
        network: what the network is built from.
        size: of the training slices or patches; (0, 0) for nnU-Net, which plans its own.
        train: volumes to learn from; none for nnU-Net, which reads them by itself, and so with `val`.
        val: volumes that choose the best epoch.
    """

    data: DataSet
    groups: Mapping[str, str]
    split: Split
    classes: tuple[str, ...]
    network: Network
    size: Size
    train: tuple[Volume, ...]
    val: tuple[Volume, ...]


def make_plan(config: TrainConfig, kept: Split | None = None) -> TrainingPlan:
    """Find, split and read the data, and settle the network.

    Args:
        config: of the run.
        kept: split of a run that goes on.

    Raises:
        UsageError: no data, other cases than those of the kept split, an empty fold, too little memory, or a size that
            does not fit the network.
        InputError: an unusable file.
    """
    data = find_data(Path(config.data), config.channels or None)
    group_of = {} if kept else _group_cases(config, data)
    split = _keep_split(config, data, kept) if kept else _choose_split(config, data, group_of)
    channels = _common_channels(data, split)
    if config.backbone == NNUNET:
        classes = _declared_classes(data)
        network = Network(NNUNET, 0, channels, len(classes), config.dim)
        return TrainingPlan(data, group_of, split, classes, network, (0, 0), (), ())
    check_memory(data.cases[name] for name in (*split.train, *split.val))
    train = read_volumes(data, split.train)
    val = read_volumes(data, split.val)
    classes = _class_names(data, (*train, *val))
    if config.overfit_batch:
        train = val = (_first_batch(train, config.batch_size) if config.dim == 2 else train[0],)
    if config.backbone not in BACKBONES:
        raise UsageError(f"Unknown backbone {config.backbone!r}. Known: {', '.join(BACKBONES)}.")
    backbone = BACKBONES[config.backbone]
    network = Network(config.backbone, config.width or backbone.width, channels, len(classes), config.dim)
    return TrainingPlan(data, group_of, split, classes, network, _choose_size(config, train, backbone), train, val)


def read_volumes(data: DataSet, names: Sequence[str]) -> tuple[Volume, ...]:
    """Read cases with their labels.

    Raises:
        InputError: an unusable file, or a case without label.
    """
    volumes = tuple(read_volume(data.cases[name], data.scheme) for name in names)
    for volume in volumes:
        if volume.label is None:
            raise InputError(data.cases[volume.name].images[0], "no 'label' to learn from.")
    return volumes


def _group_cases(config: TrainConfig, data: DataSet) -> dict[str, str]:
    """Whose each case is; what names leave open, the data set's own split decides."""
    table = read_cases(Path(config.cases)) if config.cases else None
    if data.split and not config.fold and table is None and config.group_by == PATIENT:
        return {case: patient_of(case) for case in data.cases}
    return groups(data.cases, config.group_by, table)


def _choose_split(config: TrainConfig, data: DataSet, group_of: Mapping[str, str]) -> Split:
    if data.split and not config.fold:
        if not data.split.val:
            raise UsageError(f"{data.root / 'val'}: no .npz file, so that nothing could choose the best epoch.")
        refuse_shared(data.split, group_of)
        return data.split
    return split_cases(group_of, config.fold or _DEFAULT_FOLD, config.group_noun)


def _keep_split(config: TrainConfig, data: DataSet, split: Split) -> Split:
    """The split that a run began with, if its cases are still there and no others."""
    if changed := sorted(data.cases.keys() ^ {case for part in split for case in part}):
        raise UsageError(
            f"The data set has changed since the run in {config.out} began ({some_of(changed)}). Restore it, or begin "
            f"a new run."
        )
    return split


def _common_channels(data: DataSet, split: Split) -> int:
    """Channels that all cases share; held-out ones too, so that none fails after the training."""
    first, *others = (name for part in split for name in part)
    channels = count_channels(data.cases[first])
    for name in others:
        found = count_channels(data.cases[name])
        if found != channels:
            raise InputError(
                data.cases[name].images[0], f"case {name!r} has {found} channels, but {first!r} has {channels}."
            )
    return channels


def _declared_classes(data: DataSet) -> tuple[str, ...]:
    """Names of the classes, where voxels are not read.

    Raises:
        UsageError: the data set has none.
    """
    if not data.scheme.names:
        raise UsageError(f"{data.root}: nnU-Net needs a dataset.json that names the labels.")
    return data.scheme.names


def _class_names(data: DataSet, volumes: Sequence[Volume]) -> tuple[str, ...]:
    """Names of the classes; where the data set has none, numbers stand in.

    Raises:
        UsageError: without names, values that do not follow each other.
    """
    if data.scheme.names:
        return data.scheme.names
    labels = [volume.label for volume in volumes if volume.label is not None]
    values = frozenset[int]().union(*map(different_values, labels)) - {IGNORED}
    classes = max([1, *values]) + 1
    if len({0, 1, *values}) < classes:
        named = {f"label {value}" if value else "background": value for value in sorted(values)}
        what = "are grey levels, no numbers of classes" if are_grey_levels(values) else "leave numbers out"
        raise UsageError(
            f"{data.root}: the labels {', '.join(map(str, named.values()))} {what}: they would make {classes} classes. "
            f"Say what they mean in {data.root / 'dataset.json'}, for example: {json.dumps({'labels': named})}"
        )
    return data.scheme.with_classes(classes).names


def _choose_size(config: TrainConfig, volumes: Sequence[Volume], backbone: Backbone) -> Size:
    if not any(config.size):
        largest = (max(volume.image.shape[axis] for volume in volumes) for axis in (0, 2, 3)[-config.dim :])
        return tuple(min(backbone.fit(size), _LARGEST_AUTO_SIZE[config.dim]) for size in largest)
    if any(size != backbone.fit(size) for size in config.size):
        raise UsageError(
            f"--size {'x'.join(map(str, config.size))}: {config.backbone} needs multiples of {backbone.divisor}, "
            f"{backbone.smallest} at least."
        )
    return config.size


def _first_batch(volumes: Sequence[Volume], batch_size: int) -> Volume:
    """The slices of the first volume that show most foreground, as a volume of their own."""
    first = volumes[0]
    if first.label is None:
        raise ValueError(f"case {first.name} has no label")
    most = (first.label > 0).sum(axis=(1, 2)).argsort()[::-1][:batch_size]
    return first._replace(image=first.image[most], label=first.label[most], geometry=None)
