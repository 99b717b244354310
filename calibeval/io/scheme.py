"""Which classes there are: names, label values, regions, the ignore label; from options and from files.

Names come from `--classes`, else from a `dataset.json` of nnU-Net (`{"name": value}`) or MSD (`{"value": "name"}`),
else from a BIDS `dseg.tsv`, else they are the label values themselves.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calibeval.errors import InputError, UsageError
from calibeval.files import read_text
from calibeval.io.array_file import reading
from calibeval.metrics.statistics import MAX_CLASSES
from calibeval.table import ALL, MEAN

_GIVE_CLASSES = "Repair it, or give --classes."


@dataclass(frozen=True)
class ClassScheme:
    """How label values become classes.

    Attributes:
        names: by class index, background first; empty when only the files will tell.
        values: label value of each class; empty means 0, 1, 2, ...
        regions: region name to the class indices it unites; empty without regions.
        only_regions: the labels of `dataset.json` name nothing but regions, so that a network has them for classes.
        region_order: class that each region in turn writes when sigmoid maps are decoded to a label map; empty when
            nothing tells.
        ignore: label value of voxels that count nowhere.
        mapping: label values to replace before anything else.
        dataset: name of the data set; may be empty.
        source: where the names come from, for people.
    """

    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    only_regions: bool = False
    region_order: tuple[int, ...] = ()
    ignore: int | None = None
    mapping: dict[int, int] = field(default_factory=dict)
    dataset: str = ""
    source: str = "the files"

    def with_classes(self, classes: int) -> ClassScheme:
        """Fill in names 0, 1, ... when there are none."""
        return self if self.names else replace(self, names=tuple(str(c) for c in range(classes)))

    @property
    def choices(self) -> dict[str, str]:
        """The parts of a table's signature that say how labels were taken."""
        listed = (f"{name}={'+'.join(map(str, members))}" for name, members in self.regions.items())
        return {
            "regions": ";".join(listed) or "none",
            "ignore": "none" if self.ignore is None else str(self.ignore),
            "map": ";".join(f"{old}={new}" for old, new in self.mapping.items()) or "none",
        }


def home_folders(*paths: Path | None) -> list[Path]:
    """Where a `dataset.json` of these files or folders may lie, nearest first: beside them, or around their folder."""
    homes = [path.parent if path.is_file() else path for path in paths if path is not None]
    return list(dict.fromkeys(folder for home in homes for folder in (home, home.resolve().parent)))


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
        regions: as in `WT=1,2,3;TC=2,3;ET=3`, label values or names; `none` for the classes themselves.
        ignore_label: label value that counts nowhere.
        label_map: as in `4=3,5=0`.

    Raises:
        UsageError: options that contradict themselves or each other, or a name that the table uses itself.
        InputError: a `dataset.json` or `dseg.tsv` that cannot be understood.
    """
    try:
        scheme = _find_scheme(list(folders))
    except InputError:
        if classes is None:
            raise
        scheme = ClassScheme()
    if classes is not None:
        scheme = replace(scheme, names=_parse_classes(classes), values=(), source="--classes")
    if label_map is not None:
        scheme = replace(scheme, mapping=_parse_map(label_map))
    if ignore_label is not None:
        scheme = replace(scheme, ignore=ignore_label)
    if regions is not None:
        scheme = replace(scheme, regions=_parse_regions(regions, scheme), region_order=())
    check_scheme(scheme)
    return scheme


def check_scheme(scheme: ClassScheme) -> None:
    """Refuse names that are not different or that the table uses itself, and regions of classes that are not there.

    Raises:
        UsageError: naming what is wrong and where it comes from.
    """
    if len(scheme.names) > MAX_CLASSES:
        raise UsageError(f"{len(scheme.names)} classes; at most {MAX_CLASSES} can be scored at a time.")
    if len(set(scheme.names)) < len(scheme.names):
        raise UsageError(f"The class names {', '.join(scheme.names)} are not all different ({scheme.source}).")
    for name in (*scheme.names, *scheme.regions):
        if name in (MEAN, ALL):
            raise UsageError(
                f"The class name {name!r} is reserved for numbers over several classes. Rename it ({scheme.source})."
            )
    classes = len(scheme.names) or MAX_CLASSES
    for name, members in scheme.regions.items():
        if not members or not all(0 < member < classes for member in members):
            raise UsageError(
                f"The region {name!r} unites the classes {', '.join(map(str, members)) or '(none)'}; "
                f"expected some of 1 to {classes - 1} ({scheme.source}). With --classes, give --regions too."
            )


def _parse_classes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise UsageError(f"--classes {text!r}: expected different names, background first, parted by commas.")
    if len(names) < 2:
        raise UsageError(f"--classes {text!r}: expected at least two names, background first.")
    return names


def _parse_map(text: str) -> dict[int, int]:
    try:
        pairs = [(int(old), int(new)) for old, new in (part.split("=") for part in text.split(","))]
    except ValueError as error:
        raise UsageError(f"--map {text!r}: expected OLD=NEW pairs of label values, as in 4=3,5=0.") from error
    if len(dict(pairs)) < len(pairs):
        raise UsageError(f"--map {text!r}: a label value can be renamed once only.")
    return dict(pairs)


def _parse_regions(text: str, scheme: ClassScheme) -> dict[str, tuple[int, ...]]:
    if text == "none":
        return {}
    try:
        parts = [(name.strip(), members) for name, members in (part.split("=") for part in text.split(";"))]
        regions = {
            name: tuple(_region_member(word.strip(), text, scheme) for word in members.split(","))
            for name, members in parts
        }
    except ValueError as error:
        raise UsageError(f"--regions {text!r}: expected NAME=CLASS,CLASS;..., as in WT=1,2,3;TC=2,3;ET=3.") from error
    if "" in regions or len(regions) < len(parts):
        raise UsageError(f"--regions {text!r}: expected different names.")
    return regions


def _region_member(word: str, text: str, scheme: ClassScheme) -> int:
    """Class index of a name or label value."""
    values = scheme.values or range(len(scheme.names) or MAX_CLASSES)
    index = scheme.names.index(word) if word in scheme.names else None
    if index is None:
        value = int(word)
        if value not in values:
            raise UsageError(f"--regions {text!r}: there is no class {value} ({scheme.source}).")
        index = values.index(value)
    if index == 0:
        raise UsageError(f"--regions {text!r}: a region cannot hold the background.")
    return index


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
    with reading(path):
        text = read_text(path)
    try:
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
        named = {str(row.get("abbreviation") or row["name"]): int(row["index"]) for row in rows if row["name"].strip()}
        complete = bool(rows) and len(named) == len(rows)
    except (csv.Error, KeyError, TypeError, ValueError, AttributeError):
        complete = False
    if not complete:
        raise InputError(path, "expected the columns index and name, a number and a name a row.", _GIVE_CLASSES)
    return _scheme_of(path, dict(named))


def _read_dataset_json(path: Path) -> ClassScheme:
    description = _description(path)
    labels = description.get("labels")
    if not isinstance(labels, dict):
        raise InputError(path, "has no 'labels' object.", _GIVE_CLASSES)
    named = _by_name(path, labels)
    ignore = named.pop("ignore", None)
    scheme = _scheme_of(path, named)
    if isinstance(beside := description.get("regions"), dict):
        scheme = replace(scheme, regions=_regions_beside(path, beside, scheme))
    return replace(
        scheme,
        region_order=_region_order(path, description.get("regions_class_order"), scheme),
        ignore=ignore if isinstance(ignore, int) else None,
        dataset=str(description.get("name") or ""),
    )


def _description(path: Path) -> dict[str, Any]:
    with reading(path):
        found = json.loads(read_text(path))
    return found if isinstance(found, dict) else {}


def read_channel_names(images: Path) -> tuple[str, ...]:
    """Channels of the images in a folder, by the `dataset.json` in or above it; empty when none tells.

    Raises:
        InputError: a `dataset.json` that cannot be read.
    """
    path = next((path for home in (images, images.resolve().parent) if (path := home / "dataset.json").is_file()), None)
    description = _description(path) if path else {}
    names = description.get("channel_names") or description.get("modality")  # nnU-Net; its version 1, and MSD
    return tuple(map(str, names.values())) if isinstance(names, dict) else ()


def _scheme_of(path: Path, named: dict[str, int | tuple[int, ...]]) -> ClassScheme:
    """Classes, and regions where some name unites several values; a background that is not named is added."""
    single = {name: value for name, value in named.items() if isinstance(value, int)}
    regions: dict[str, tuple[int, ...]] = {}
    if len(single) < len(named):  # nnU-Net: then every foreground entry is a region, a single label included
        regions = {name: value if isinstance(value, tuple) else (value,) for name, value in named.items() if value != 0}
        background = next((name for name, value in single.items() if value == 0), "background")
        united = sorted({value for members in regions.values() for value in members} - {0})
        single = {background: 0, **{str(value): value for value in united}}
    elif 0 not in single.values():
        single = {"background": 0, **single}
    if len(single) < 2:
        raise InputError(path, "its 'labels' names no class beside the background.", _GIVE_CLASSES)
    ordered = sorted(single.items(), key=lambda item: item[1])
    values = [value for _, value in ordered]
    for value, count in Counter(values).items():
        if count > 1:
            alike = " and ".join(name for name, other in ordered if other == value)
            raise InputError(path, f"the value {value} stands for both {alike}.", _GIVE_CLASSES)
    return ClassScheme(
        names=tuple(name for name, _ in ordered),
        values=() if values == list(range(len(values))) else tuple(values),
        regions={name: tuple(values.index(value) for value in members) for name, members in regions.items()},
        only_regions=bool(regions),
        source=str(path),
    )


def _regions_beside(path: Path, regions: dict[str, Any], scheme: ClassScheme) -> dict[str, tuple[int, ...]]:
    """Regions beside labels of one value each, as `calibeval prepare` writes them: these are scored."""
    values = list(scheme.values or range(len(scheme.names)))
    try:
        named = {name: _value(value) for name, value in regions.items()}
        members = {name: value if isinstance(value, tuple) else (value,) for name, value in named.items()}
        return {name: tuple(values.index(value) for value in united) for name, united in members.items()}
    except (TypeError, ValueError) as error:
        raise InputError(path, f"its 'regions' cannot be understood ({error}).", "Repair it.") from error


def _region_order(path: Path, order: Any, scheme: ClassScheme) -> tuple[int, ...]:
    if not order or not scheme.regions:
        return ()
    values = list(scheme.values or range(len(scheme.names)))
    if not isinstance(order, list) or len(order) != len(scheme.regions) or any(value not in values for value in order):
        raise InputError(
            path,
            f"its regions_class_order is {order}; expected one label value for each of {', '.join(scheme.regions)}.",
            "Repair it.",
        )
    return tuple(values.index(value) for value in order)


def _by_name(path: Path, labels: dict[str, Any]) -> dict[str, int | tuple[int, ...]]:
    """Labels by name: nnU-Net writes {"name": value}, MSD {"value": "name"}."""
    try:
        if labels and all(isinstance(name, str) for name in labels.values()):
            named = {name: int(value) for value, name in labels.items()}
            twice = next((name for name, count in Counter(labels.values()).items() if count > 1), None)
            if twice is not None:
                raise InputError(path, f"the name {twice} stands for two values.", _GIVE_CLASSES)
            return dict(named)
        return {name: _value(value) for name, value in labels.items()}
    except (TypeError, ValueError) as error:
        raise InputError(path, f"its 'labels' cannot be understood ({error}).", _GIVE_CLASSES) from error


def _value(value: Any) -> int | tuple[int, ...]:
    """A label value, or those that a region unites."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(number) is int for number in values):
        raise TypeError(f"{value!r} is no label value")
    return tuple(values) if isinstance(value, list) else int(value)
