"""Classes: their names, the label values that stand for them, regions, and the ignore label.

Label values of files become class indices 0..C-1 (background first) as uint8; ignored voxels become 255. Names come
from `--classes`, else from a `dataset.json` of nnU-Net (`{"name": value}`) or MSD (`{"value": "name"}`), else from a
BIDS `dseg.tsv`, else they are the indices themselves.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import ArrayFile, reading
from calibeval.statistics import IGNORED, MAX_CLASSES

_UNKNOWN = 254  # marks label values that stand for no class, until they are reported
_ROUNDING = 1e-3  # labels stored as floats, for example 2.9999, are rounded within this


@dataclass(frozen=True)
class ClassScheme:
    """How label values become classes.

    Attributes:
        names: by class index, background first; empty when only the files will tell.
        values: label value of each class; empty means 0, 1, 2, ...
        regions: region name to the class indices it unites; empty without regions.
        region_order: class that each region in turn writes when sigmoid maps are decoded to a label map.
        ignore: label value of voxels that count nowhere.
        mapping: label values to replace before anything else.
        dataset: name of the data set; may be empty.
        source: where the names come from, for people.
    """

    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    region_order: tuple[int, ...] = ()
    ignore: int | None = None
    mapping: dict[int, int] = field(default_factory=dict)
    dataset: str = ""
    source: str = "the files"

    def with_classes(self, classes: int) -> ClassScheme:
        """Fill in names 0, 1, ... when there are none."""
        return self if self.names else replace(self, names=tuple(str(c) for c in range(classes)))

    @property
    def signature(self) -> str:
        """The parts that change numbers, for the table's signature; empty when there are none."""
        parts = []
        if self.regions:
            listed = ";".join(f"{name}={'+'.join(map(str, members))}" for name, members in self.regions.items())
            parts.append(f"regions:{listed}")
        if self.ignore is not None:
            parts.append(f"ignore:{self.ignore}")
        if self.mapping:
            parts.append("map:" + ";".join(f"{old}={new}" for old, new in self.mapping.items()))
        return "|".join(parts)


def make_scheme(
    folders: Iterable[Path],
    *,
    classes: str | None = None,
    regions: str | None = None,
    ignore_label: int | None = None,
    label_map: str | None = None,
) -> ClassScheme:
    """Gather the scheme from options and from the first `dataset.json` in the folders.

    Args:
        folders: where to look for `dataset.json`, first match wins.
        classes: names by class index, as in `background,RV,MYO,LV`.
        regions: as in `WT=1,2,3;TC=2,3;ET=3`, class indices or names.
        ignore_label: label value that counts nowhere.
        label_map: as in `4=3,5=0`.
    """
    scheme = _find_scheme(list(folders))
    if classes:
        names = tuple(name.strip() for name in classes.split(","))
        if "" in names or len(set(names)) < len(names):
            raise UsageError(f"--classes {classes!r}: expected different names, background first, parted by commas.")
        scheme = replace(scheme, names=names, values=(), source="--classes")
    if label_map:
        scheme = replace(scheme, mapping=_parse_map(label_map))
    if ignore_label is not None:
        scheme = replace(scheme, ignore=ignore_label)
    if regions:
        scheme = replace(scheme, regions=_parse_regions(regions, scheme.names))
    if len(scheme.names) > MAX_CLASSES:
        raise UsageError(f"{len(scheme.names)} classes; at most {MAX_CLASSES} can be scored at a time.")
    return scheme


def read_labels(file: ArrayFile, scheme: ClassScheme) -> NDArray[np.uint8]:
    """Read a label map from a file as class indices; see `index_labels`."""
    raw = file.load()
    return index_labels(raw * file.slope + file.intercept if file.scaled else raw, scheme, file.path)


def index_labels(values: NDArray[Any], scheme: ClassScheme, path: Path | str) -> NDArray[np.uint8]:
    """Turn label values into class indices.

    Args:
        values: integers, or floats within .001 of integers.
        scheme: without names, values are taken for class indices as they are.
        path: for messages.

    Returns:
        uint8 class indices in the shape of the values; ignored voxels are 255.

    Raises:
        InputError: values that are no integers, or stand for no class.
    """
    integers = _to_integers(values, path)
    if not integers.size:
        raise InputError(path, f"holds no voxel (shape {values.shape}).")
    low, high = int(integers.min()), int(integers.max())
    known = len(scheme.names) or MAX_CLASSES
    plain = not scheme.values and not scheme.mapping and scheme.ignore is None
    if plain and low >= 0 and high < known:
        return integers.astype(np.uint8, copy=False)
    labels = _look_up(integers, low, high, scheme)
    if (labels == _UNKNOWN).any():
        unknown, counts = np.unique(integers[labels == _UNKNOWN], return_counts=True)
        raise InputError(path, _describe_unknown(unknown, counts, scheme), _advise(unknown, scheme))
    return labels


def check_decided(
    predicted: NDArray[np.uint8], reference: NDArray[np.uint8], scheme: ClassScheme, path: Path | str
) -> None:
    """Refuse a prediction that says "ignored" where the reference has a class.

    Args:
        predicted: class indices, 255 ignored.
        reference: of the same shape.
        scheme: for messages.
        path: for messages.

    Raises:
        InputError: naming the label and the number of voxels.
    """
    undecided = int(np.count_nonzero((predicted == IGNORED) & (reference != IGNORED)))
    if undecided:
        raise InputError(
            path,
            f"predicts the ignored label {scheme.ignore} at {undecided} voxels where the reference has a class.",
            f"Predict a class everywhere, or rename it with --map {scheme.ignore}=0.",
        )


def _to_integers(values: NDArray[Any], path: Path | str) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    rounded: NDArray[Any] = np.rint(values)
    off = ~(np.abs(values - rounded) <= _ROUNDING)
    if off.any():
        raise InputError(
            path,
            f"expected a label map of integers, found the value {values[off].flat[0]:.6g}.",
            "Interpolated label maps must be resampled with nearest neighbour; a probability map belongs in PREDS.",
        )
    if np.abs(rounded).max(initial=0) > np.iinfo(np.int32).max:
        raise InputError(path, f"holds the label {np.abs(rounded).max():.6g}, which is no label.")
    return rounded.astype(np.int32)


def _look_up(integers: NDArray[Any], low: int, high: int, scheme: ClassScheme) -> NDArray[np.uint8]:
    """Class index of each voxel, by a table over the range of values."""
    if high - low > 1 << 24:
        values, inverse = np.unique(integers, return_inverse=True)
        return _table(values, scheme)[inverse].reshape(integers.shape)
    table = _table(np.arange(low, high + 1), scheme)
    return table[integers.astype(np.int64) - low if low else integers]


def _table(values: NDArray[Any], scheme: ClassScheme) -> NDArray[np.uint8]:
    class_values = scheme.values or range(len(scheme.names) or MAX_CLASSES)
    index = {value: c for c, value in enumerate(class_values)}
    if scheme.ignore is not None:
        index[scheme.ignore] = IGNORED
    mapped = (scheme.mapping.get(int(value), int(value)) for value in values)
    return np.array([index.get(value, _UNKNOWN) for value in mapped], np.uint8)


def _describe_unknown(values: NDArray[Any], counts: NDArray[Any], scheme: ClassScheme) -> str:
    known = ", ".join(
        f"{value} {name}" for value, name in zip(scheme.values or range(len(scheme.names)), scheme.names, strict=False)
    )
    found = ", ".join(f"{value} ({n} voxels)" for value, n in zip(values[:5], counts[:5], strict=True))
    return f"label {found} stands for no class. Known from {scheme.source}: {known or f'0 to {MAX_CLASSES - 1}'}."


def _advise(values: NDArray[Any], scheme: ClassScheme) -> str:
    value = int(values[0])
    if len(values) == 1 and value in (255, -1):
        return f"If it means 'not annotated': --ignore-label {value}. If it means a class: --map {value}=1."
    return f"Rename it with --map {value}=CLASS, leave it out with --ignore-label {value}, or list all --classes."


def _find_scheme(folders: list[Path]) -> ClassScheme:
    for folder in folders:
        if (folder / "dataset.json").is_file():
            return _read_dataset_json(folder / "dataset.json")
    for folder in folders:
        for path in sorted(folder.glob("*dseg.tsv")):
            return _read_dseg_tsv(path)
    return ClassScheme()


def _read_dseg_tsv(path: Path) -> ClassScheme:
    """BIDS: columns index, name and, if there, abbreviation, which file names use."""
    with reading(path), path.open(encoding="utf-8", newline="") as file:
        rows = sorted(
            (int(row["index"]), row.get("abbreviation") or row["name"]) for row in csv.DictReader(file, delimiter="\t")
        )
    if not rows or rows[0][0] != 0:
        rows.insert(0, (0, "background"))
    values = tuple(value for value, _ in rows)
    plain = values == tuple(range(len(values)))
    return ClassScheme(tuple(name for _, name in rows), () if plain else values, source=str(path))


def _parse_map(text: str) -> dict[int, int]:
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {int(old): int(new) for old, new in pairs}
    except ValueError as error:
        raise UsageError(f"--map {text!r}: expected OLD=NEW pairs of label values, as in 4=3,5=0.") from error


def _parse_regions(text: str, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    by_name = {name: c for c, name in enumerate(names)}
    try:
        regions = {}
        for part in text.split(";"):
            name, members = part.split("=")
            words = [member.strip() for member in members.split(",")]
            regions[name.strip()] = tuple(by_name[word] if word in by_name else int(word) for word in words)
    except ValueError as error:
        raise UsageError(f"--regions {text!r}: expected NAME=CLASS,CLASS;..., as in WT=1,2,3;TC=2,3;ET=3.") from error
    return regions


def _read_dataset_json(path: Path) -> ClassScheme:
    with reading(path):
        description = json.loads(path.read_text(encoding="utf-8"))
    labels = description.get("labels") if isinstance(description, dict) else None
    if not isinstance(labels, dict):
        raise InputError(path, "has no 'labels' object.", "Repair it, or give --classes.")
    named = _by_name(path, labels)
    ignore = named.pop("ignore", None)
    single = {name: value for name, value in named.items() if isinstance(value, int)}
    united = {name: value for name, value in named.items() if not isinstance(value, int)}
    regions: dict[str, tuple[int, ...]] = {}
    if united:  # nnU-Net: then every foreground entry is a region, a single label included
        regions = {name: value if isinstance(value, tuple) else (value,) for name, value in named.items() if value != 0}
        values = sorted({0} | {value for members in regions.values() for value in members})
        single = {str(value): value for value in values}
    ordered = sorted(single.items(), key=lambda item: item[1])
    values = [value for _, value in ordered]
    index = {value: c for c, value in enumerate(values)}
    return ClassScheme(
        names=tuple(name for name, _ in ordered),
        values=() if values == list(range(len(values))) else tuple(values),
        regions={name: tuple(index[value] for value in members) for name, members in regions.items()},
        region_order=tuple(index[value] for value in description.get("regions_class_order", ()) if value in index),
        ignore=ignore if isinstance(ignore, int) else None,
        dataset=str(description.get("name", "")),
        source=str(path),
    )


def _by_name(path: Path, labels: dict[str, Any]) -> dict[str, int | tuple[int, ...]]:
    """Labels by name: nnU-Net writes {"name": value}, MSD {"value": "name"}."""
    try:
        if all(isinstance(name, str) for name in labels.values()):
            return {name: int(value) for value, name in labels.items()}
        return {
            name: tuple(int(v) for v in value) if isinstance(value, list) else int(value)
            for name, value in labels.items()
        }
    except (TypeError, ValueError) as error:
        raise InputError(
            path, f"its 'labels' cannot be understood ({error}).", "Repair it, or give --classes."
        ) from error
