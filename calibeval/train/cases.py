"""Data sets for training: nnU-Net or MSD folders, and folders of npz slices as in the SDC authors' repository.

Cases are listed without reading voxels. Loads no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from calibeval.datasets import recognise
from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import format_of, open_array, stem_of, suffix_of
from calibeval.io.channels import group_channels
from calibeval.io.classes import ClassScheme, make_scheme
from calibeval.io.naming import bare_name
from calibeval.io.pairing import find_labels
from calibeval.io.scheme import read_channel_names
from calibeval.train.folds import Split
from calibeval.train.volumes import ImageFiles, channels_of
from calibeval.wording import some_of

_SLICE = re.compile(r"[_-](slice|sl|s|z)[_-]?(\d+)$", re.IGNORECASE)


class DataSet(NamedTuple):
    """Cases and classes of a data set.

    Attributes:
        root: its folder.
        cases: by name.
        scheme: of the labels; without names when the data set does not say.
        split: of the data set itself, when it has train, val and test folders.
    """

    root: Path
    cases: dict[str, ImageFiles]
    scheme: ClassScheme
    split: Split | None = None


def find_data(root: Path, channels: int | None = None) -> DataSet:
    """List the cases of a data set.

    Args:
        root: its folder.
        channels: files an image, where names do not tell.

    Raises:
        UsageError: the folder is missing, holds neither `imagesTr` and `labelsTr` nor npz files, or has regions; names
            that do not tell cases from channels; two labels of one case.
        InputError: a case lacks its label, or `dataset.json` is unusable.
    """
    scheme = make_scheme([root])
    if scheme.only_regions:
        raise UsageError(f"{scheme.source}: its labels are overlapping regions, which these losses cannot learn.")
    if (root / "imagesTr").is_dir():
        return DataSet(root, _labelled_cases(root / "imagesTr", root / "labelsTr", channels), scheme)
    parts = {part: _npz_cases((root / part).glob("*")) for part in ("train", "val", "test")}
    if parts["train"]:
        return DataSet(root, _united(parts, root), scheme, Split(*(tuple(found) for found in parts.values())))
    cases = _npz_cases(root.glob("*"))
    if not cases:
        raise UsageError(
            f"{root}: no data set. Expected a folder with imagesTr/ and labelsTr/ (nnU-Net, MSD), or with .npz slices "
            f"that hold 'image' and 'label', in train/, val/ and test/ or side by side. {recognise(root)}".rstrip()
        )
    return DataSet(root, cases, scheme)


def find_images(path: Path, network_channels: int | None = None, channels: int | None = None) -> dict[str, ImageFiles]:
    """List the images to predict: one file, or a folder of them.

    Args:
        path: of the file or folder.
        network_channels: what the network takes, which helps to tell channels from cases.
        channels: files an image, where names do not tell.

    Raises:
        UsageError: nothing is there, or the names do not tell cases from channels.
    """
    inside = path.iterdir() if path.is_dir() else []
    files = _volume_files([path]) if path.is_file() else _without_labels(_volume_files(inside))
    expected = range(_files_a_case(files, network_channels)) if network_channels else None
    cases = _as_cases(group_channels(files, None, expected, channels)) or _npz_cases(path.glob("*"))
    if not cases:
        raise UsageError(f"{path}: no image found. Expected .nii.gz, .mha, .nrrd, .png or .npz files.")
    return cases


def _labelled_cases(images: Path, folder: Path, channels: int | None) -> dict[str, ImageFiles]:
    labels, files = find_labels(folder), _volume_files(images.iterdir())
    if not files:
        raise UsageError(f"{images}: no image found.")
    cases = _as_cases(group_channels(files, labels.keys(), read_channel_names(images), channels))
    for case in cases.values():
        if case.name not in labels:
            raise InputError(case.images[0], f"no label of the name {case.name} in {folder}.")
    return {name: case._replace(label=labels[name]) for name, case in cases.items()}


def _volume_files(paths: Iterable[Path]) -> list[Path]:
    """Images that are no plain arrays."""
    known = (path for path in sorted(paths) if suffix_of(path) and not path.name.startswith("."))  # macOS leaves ._
    return [path for path in known if not format_of(path).is_array]


def _without_labels(files: list[Path]) -> list[Path]:
    """Leave out what is named after another file as its label: `patient001_frame01_gt` beside `patient001_frame01`."""
    stems = [stem_of(path) for path in files]

    def is_label(stem: str) -> bool:
        bare = bare_name(stem)
        return bare != stem and any(other.startswith(bare) and bare_name(other) == other for other in stems)

    return [path for path, stem in zip(files, stems, strict=True) if not is_label(stem)]


def _as_cases(files: dict[str, tuple[Path, ...]]) -> dict[str, ImageFiles]:
    return {name: ImageFiles(name, found) for name, found in files.items()}


def _files_a_case(files: Iterable[Path], channels: int) -> int:
    """How many files hold a case's channels, by the first that opens: an RGB image has its three by itself."""
    for path in files:
        try:
            return max(1, channels // channels_of(open_array(path)))
        except InputError:
            continue
    return channels


def _npz_cases(paths: Iterable[Path]) -> dict[str, ImageFiles]:
    """Group slices `case_slice_3.npz` by volume, in the order of their numbers."""
    slices: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(path for path in paths if format_of(path).holds_own_label and not path.name.startswith(".")):
        stem = stem_of(path)
        match = _SLICE.search(stem)
        name, number = (stem[: match.start()], int(match[2])) if match else (stem, 0)
        slices.setdefault(name, []).append((number, path))
    for name, found in slices.items():
        numbers = Counter(number for number, _ in found)
        if twice := [path.name for number, path in sorted(found) if numbers[number] > 1]:
            raise UsageError(f"{found[0][1].parent}: the case {name} has a slice twice: {some_of(twice)}. Keep one.")
    return {name: ImageFiles(name, tuple(path for _, path in sorted(found))) for name, found in slices.items()}


def _united(parts: dict[str, dict[str, ImageFiles]], root: Path) -> dict[str, ImageFiles]:
    cases: dict[str, ImageFiles] = {}
    for part, found in parts.items():
        twice = sorted(found.keys() & cases.keys())
        if twice:
            raise InputError(root / part, f"the case {twice[0]!r} is in another part of the data as well.")
        cases |= found
    return cases
