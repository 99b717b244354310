"""Data sets for training: nnU-Net or MSD folders, and folders of npz slices as in the SDC authors' repository.

`find_data` lists the cases without reading voxels; `read_volume` reads one case as (slices, channels, H, W), where the
slices of a volume file lie along its slowest axis (z of NIfTI), and z-scores each channel. Labels become class
indices, with `IGNORED` where they do not count. Loads no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import GeometryError, InputError, UsageError
from calibeval.io.arrays import ArrayFile, array_keys, format_of, open_array, reading, stem_of, suffix_of
from calibeval.io.cases import LABEL_KEYS
from calibeval.io.classes import ClassScheme, make_scheme, read_labels
from calibeval.io.geometry import Geometry, check_same_place
from calibeval.machine import available_memory
from calibeval.train.folds import Split

_GIB = 2**30
_CHANNEL = re.compile(r"_\d{4}$")
_SLICE = re.compile(r"[_-](slice|sl|s|z)[_-]?(\d+)$", re.IGNORECASE)


class Case(NamedTuple):
    """One case: the files of its channels, or of its npz slices, and the label file unless the npz hold it."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


class DataSet(NamedTuple):
    """Cases and classes of a data set.

    Attributes:
        root: its folder.
        cases: by name.
        scheme: of the labels; without names when the data set does not say.
        split: of the data set itself, when it has train, val and test folders.
    """

    root: Path
    cases: dict[str, Case]
    scheme: ClassScheme
    split: Split | None = None


class Volume(NamedTuple):
    """One case in memory.

    Attributes:
        name: of the case.
        image: (D, channels, H, W), z-scored.
        label: (D, H, W) class indices; None without labels.
        geometry: of the image; None for npz and PNG.
    """

    name: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    geometry: Geometry | None


def find_data(root: Path) -> DataSet:
    """List the cases of a data set.

    Raises:
        UsageError: the folder is missing, holds neither `imagesTr` and `labelsTr` nor npz files, or has regions.
        InputError: a case lacks its label, or `dataset.json` is unusable.
    """
    scheme = make_scheme([root])
    if scheme.regions:
        raise UsageError(f"{scheme.source}: its labels are overlapping regions, which these losses cannot learn.")
    if (root / "imagesTr").is_dir():
        return DataSet(root, _labelled(_volume_cases((root / "imagesTr").iterdir()), root / "labelsTr"), scheme)
    parts = {part: _npz_cases((root / part).glob("*")) for part in ("train", "val", "test")}
    if parts["train"]:
        return DataSet(root, _united(parts, root), scheme, Split(*(tuple(found) for found in parts.values())))
    cases = _npz_cases(root.glob("*"))
    if not cases:
        raise UsageError(
            f"{root}: no data set. Expected a folder with imagesTr/ and labelsTr/ (nnU-Net, MSD), or with .npz slices "
            f"that hold 'image' and 'label', in train/, val/ and test/ or side by side."
        )
    return DataSet(root, cases, scheme)


def find_images(path: Path) -> dict[str, Case]:
    """List the images to predict: one file, or a folder of them.

    Raises:
        UsageError: nothing is there.
    """
    files = [path] if path.is_file() else list(path.iterdir()) if path.is_dir() else []
    cases = _volume_cases(files) or _npz_cases(files)
    if not cases:
        raise UsageError(f"{path}: no image found. Expected .nii.gz, .mha, .nrrd, .png or .npz files.")
    return cases


def check_memory(cases: Iterable[Case]) -> None:
    """Refuse, before reading, images that would not fit into memory.

    Raises:
        UsageError: they would not.
    """
    if excess := _excess_memory(open_array(path, ("image",)) for case in cases for path in case.images):
        raise UsageError(
            f"The images for training and validation {excess} Crop or resample them first, or train on fewer."
        )


def _excess_memory(files: Iterable[ArrayFile]) -> str:
    """What images would take that do not fit into memory, as the end of a sentence; empty when they fit."""
    needed, free = sum(math.prod(file.shape) for file in files) * 4, available_memory()
    if needed <= free:
        return ""
    return f"take {needed / _GIB:.1f} GiB in memory, where {free / _GIB:.1f} GiB are free."


def count_channels(case: Case) -> int:
    """Channels of a case, by the headers of its files.

    Raises:
        InputError: a file is unreadable.
    """
    if format_of(case.images[0]).holds_own_label:  # all slices of a case agree, or `read_volume` says so
        return _channels(open_array(case.images[0], ("image",)))
    return sum(_channels(open_array(path)) for path in case.images)


def read_volume(case: Case, scheme: ClassScheme) -> Volume:
    """Read a case and z-score each channel over the volume.

    Args:
        case: from `find_data` or `find_images`.
        scheme: of the labels.

    Raises:
        InputError: unreadable, not finite, of a wrong shape, or with labels outside the classes.
        GeometryError: channels or label do not lie in the same place.
    """
    files = [open_array(path, ("image",)) for path in case.images]
    if excess := _excess_memory(files):
        raise InputError(case.images[0], f"its images {excess}")
    slices = [_as_slices(file) for file in files]
    _check_shapes(files, slices, case)
    if format_of(case.images[0]).holds_own_label:
        image, label_files = np.concatenate(slices), _npz_labels(case)
    else:
        image, label_files = np.concatenate(slices, axis=1), [open_array(case.label)] if case.label else []
        for file in (*files[1:], *label_files):
            _check_place(file, files[0])
    label = _read_label(label_files, scheme, (len(image), *image.shape[2:])) if label_files else None
    return Volume(case.name, _standardise(image), label, files[0].geometry)


def _volume_cases(paths: Iterable[Path]) -> dict[str, Case]:
    """Group `case_0000.nii.gz`, `case_0001.nii.gz` ... by case; a name without channel number is a case of its own."""
    files: dict[str, list[Path]] = {}
    for path in sorted(paths):
        if suffix_of(path) and not format_of(path).is_array and not path.name.startswith("."):  # macOS leaves ._ files
            files.setdefault(_CHANNEL.sub("", stem_of(path)), []).append(path)
    return {name: Case(name, tuple(found)) for name, found in files.items()}


def _labelled(cases: dict[str, Case], folder: Path) -> dict[str, Case]:
    labels = {stem_of(path): path for path in folder.glob("*") if suffix_of(path)}
    for case in cases.values():
        if case.name not in labels:
            raise InputError(case.images[0], f"no label of the name {case.name} in {folder}.")
    if not cases:
        raise UsageError(f"{folder.parent / 'imagesTr'}: no image found.")
    return {name: case._replace(label=labels[name]) for name, case in cases.items()}


def _npz_cases(paths: Iterable[Path]) -> dict[str, Case]:
    """Group slices `case_slice_3.npz` by volume, in the order of their numbers."""
    slices: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(path for path in paths if format_of(path).holds_own_label and not path.name.startswith(".")):
        stem = stem_of(path)
        match = _SLICE.search(stem)
        name, number = (stem[: match.start()], int(match[2])) if match else (stem, 0)
        slices.setdefault(name, []).append((number, path))
    return {name: Case(name, tuple(path for _, path in sorted(found))) for name, found in slices.items()}


def _united(parts: dict[str, dict[str, Case]], root: Path) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for part, found in parts.items():
        twice = sorted(found.keys() & cases.keys())
        if twice:
            raise InputError(root / part, f"the case {twice[0]!r} is in another part of the data as well.")
        cases |= found
    return cases


def _channels(file: ArrayFile) -> int:
    return file.shape[0] if len(file.shape) == 4 or (len(file.shape) == 3 and _in_plane(file)) else 1


def _in_plane(file: ArrayFile) -> bool:
    """Whether three axes are channels, height and width, rather than slices, height and width."""
    return file.format.is_array or file.format.planar


def _as_slices(file: ArrayFile) -> NDArray[np.float32]:
    """Read an image as (D, channels, H, W); npz hold (C, H, W) or (C, D, H, W), other files (C,) z, y, x."""
    with reading(file.path):
        values = file.load() * file.slope + file.intercept if file.scaled else file.load()
        image = np.asarray(values, np.float32)
    if not np.isfinite(image).all():
        raise InputError(file.path, "the image holds NaN or infinite values.")
    if image.ndim == 4:
        return image.swapaxes(0, 1)
    if image.ndim == 3:
        return image[None] if _in_plane(file) else image[:, None]
    if image.ndim == 2:
        return image[None, None]
    expected = "(C, H, W) or (C, D, H, W)" if _in_plane(file) else "(x, y, z) or (x, y, z, channels)"
    raise InputError(file.path, f"expected an image of shape {expected}, found {file.shape}.")


def _check_shapes(files: Sequence[ArrayFile], slices: Sequence[NDArray[np.float32]], case: Case) -> None:
    free = 0 if files[0].format.holds_own_label else 1  # npz files are stacked by slices, others by channels
    for file, image in zip(files[1:], slices[1:], strict=True):
        if np.delete(image.shape, free).tolist() != np.delete(slices[0].shape, free).tolist():
            raise InputError(file.path, f"shape {file.shape} does not fit {files[0].shape} of {files[0].path.name}.")


def _npz_labels(case: Case) -> list[ArrayFile]:
    labelled = [path for path in case.images if set(array_keys(path)) & set(LABEL_KEYS)]
    if labelled and len(labelled) < len(case.images):
        raise InputError(case.images[0], f"only {len(labelled)} of {len(case.images)} slices have a 'label'.")
    return [open_array(path, LABEL_KEYS) for path in labelled]


def _read_label(files: Sequence[ArrayFile], scheme: ClassScheme, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        parts = [read_labels(file, scheme) for file in files]
    except InputError as error:
        advice = "Correct the label, or declare its value in dataset.json ('ignore' where it does not count)."
        raise InputError(error.path, error.problem, advice) from error
    label = np.concatenate([part if part.ndim == 3 else part[None] for part in parts])
    if label.shape != shape:
        raise InputError(files[0].path, f"its label has the shape {label.shape}, the image {shape} (slices first).")
    return label


def _check_place(file: ArrayFile, reference: ArrayFile) -> None:
    if file.geometry is None or reference.geometry is None:
        return
    try:
        check_same_place(file.path, file.geometry, reference.path, reference.geometry)
    except GeometryError as error:
        raise GeometryError(error.path, error.problem, "Bring the files of a case to one grid.") from error


def _standardise(image: NDArray[Any]) -> NDArray[np.float32]:
    """Give each channel mean 0 and standard deviation 1 over the volume; a constant channel becomes 0."""
    axes = (0, 2, 3)
    mean = image.mean(axis=axes, keepdims=True, dtype=np.float64)
    deviation = image.std(axis=axes, keepdims=True, dtype=np.float64)
    standard: NDArray[np.float32] = ((image - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    return standard
