"""Which prediction belongs to which label: by file name, unambiguously, or with both sides listed.

How names are understood stands in `naming`, a table that says what names do not in `manifest`. Beside these,
nnU-Net's `case.npz` lies beside `case.nii.gz`, and the SDC repository's NPZ holds its label itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import format_of, open_array, stem_of
from calibeval.io.case_folders import labels_in_folders, predictions_in_folders
from calibeval.io.case_paths import CasePaths, Pairing
from calibeval.io.channels import group_channels
from calibeval.io.layout import squeezed
from calibeval.io.layouts import NO_ARRAY, empty_folders, find_methods, list_files
from calibeval.io.naming import (
    NUMBERED,
    Files,
    group_by_convention,
    group_by_pattern,
    is_bids_label,
    label_key,
    plain_name,
)
from calibeval.io.scheme import read_channel_names
from calibeval.table import POOLED

__all__ = [
    "LABEL_FOLDERS",
    "CasePaths",
    "Pairing",
    "case_names",
    "empty_folders",
    "find_labels",
    "find_methods",
    "list_files",
    "pair_files",
    "pair_images",
]

LABEL_FOLDERS = ("labelsTr", "labelsTs")  # of nnU-Net and MSD


def pair_files(
    predictions: Path,
    labels: Path | None,
    *,
    pattern: str | None = None,
    segmentations: Path | None = None,
    classes: Iterable[str] = (),
    rated: Mapping[str, Mapping[str, Path | None]] | None = None,
) -> Pairing:
    """Pair one method's predictions with the labels.

    Args:
        predictions: folder or file of one method.
        labels: folder or file; None when each NPZ holds its label.
        pattern: how prediction names are built, as in `{case}_softmax` or `{case}_{class}`.
        segmentations: folder of label maps, or one file, to take the overlap from.
        classes: names of classes and regions, which a pattern's `{class}` may stand for.
        rated: each case's labels by rater, from `find_rated`, where there are several.

    Raises:
        UsageError: nothing fits, or something fits twice; both sides are listed.
    """
    for path in (labels, segmentations):
        if path is not None and not path.exists():
            raise UsageError(f"{path}: no such file or folder.")
    if predictions.is_file() or (labels is not None and labels.is_file()):
        return _pair_single(predictions, labels, segmentations)
    if rated is not None:
        references = {case: next(filter(None, by_rater.values())) for case, by_rater in rated.items()}
    else:
        references = find_labels(labels, classes) if labels is not None else _own_labels(predictions)
    files = list_files(predictions)
    if pattern:
        found, others = group_by_pattern(files, pattern, classes)
    else:
        in_folders = predictions_in_folders(predictions, files, references, classes)
        found, others = in_folders or group_by_convention(files, set(references)), []
    matched = _match(found, references, predictions, labels or predictions)
    cases = [_case(case, matched.get(case), references[case], own_label=labels is None) for case in sorted(references)]
    if segmentations is not None:
        cases = with_maps(cases, segmentations, "segmentation")
    if rated is not None:
        cases = [case._replace(raters=tuple(rated[case.case].items())) for case in cases]
    used = {id(entry) for entry in matched.values()}
    return Pairing(cases, sorted([*others, *(key for key, entry in found.items() if id(entry) not in used)]))


def pair_images(predictions: Path, images: Path | None = None, channels: int | None = None) -> Pairing:
    """Group one method's predictions into cases without labels.

    Args:
        predictions: folder or file of one method.
        images: folder whose images are the cases; the first channel stands for the case. None takes every prediction
            for a case.
        channels: files an image, where names do not tell.

    Returns:
        Cases whose `reference` is the image, or None without images.

    Raises:
        UsageError: nothing fits, or something fits twice.
    """
    files = [predictions] if predictions.is_file() else list_files(predictions)
    if images is None:
        found = group_by_convention(files, _cases_of_planes(files))
        return Pairing([_case(case, found[case], predictions, own_label=True) for case in sorted(found)], [])
    references = _images(images, files, channels)
    found = group_by_convention(files, set(references))
    matched = _match(found, references, predictions, images)
    cases = [_case(case, matched.get(case), references[case], own_label=False) for case in sorted(references)]
    used = {id(entry) for entry in matched.values()}
    return Pairing(cases, sorted(key for key, entry in found.items() if id(entry) not in used))


def _cases_of_planes(files: Iterable[Path]) -> set[str]:
    """Cases whose numbered files are one class each: numbers from 0000 on, and too few axes to hold all classes."""
    numbered = [
        (match["case"], match["number"], path) for path in files if (match := NUMBERED.fullmatch(stem_of(path)))
    ]
    later = {case for case, number, _ in numbered if number != "0000"}
    return {case for case, number, path in numbered if number == "0000" and case in later and _is_plane(path)}


def _is_plane(path: Path) -> bool:
    try:
        return len(squeezed(open_array(path).shape)) <= 3
    except InputError:
        return False


def _images(folder: Path, predictions: Iterable[Path], channels: int | None) -> dict[str, Path]:
    """Images by case id: of several channels the first."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    files = list_files(folder)
    if not files:
        raise UsageError(f"{folder}: holds no image {NO_ARRAY}.")
    grouped = group_channels(files, _case_names(predictions), read_channel_names(folder), channels)
    return {case: found[0] for case, found in grouped.items()}


def _case_names(files: Iterable[Path]) -> set[str]:
    """Names of cases that prediction files may mean; a plane with a number may be one class of a case."""
    stems = {stem_of(path): path for path in files}
    numbered = {stem: match["case"] for stem in stems if (match := NUMBERED.fullmatch(stem))}
    return stems.keys() | {case for stem, case in numbered.items() if _is_plane(stems[stem])}


def check_case_names(names: list[str], where: str) -> None:
    """Refuse a case id that occurs twice, or that the table uses itself; the table knows single spaces alone."""
    counted = Counter(" ".join(name.split()) for name in names)
    if twice := sorted(name for name, count in counted.items() if count > 1):
        raise UsageError(
            f"{where}: more than one file for the case {', '.join(twice[:5])}. Keep one, use --manifest, or say with "
            "--raters who drew which."
        )
    if POOLED in counted:
        raise UsageError(
            f"{where}: a case is named {POOLED!r}, which is reserved for numbers over the whole data set. Rename it."
        )


def _pair_single(predictions: Path, labels: Path | None, segmentation: Path | None) -> Pairing:
    given = [path for path in (predictions, labels, segmentation) if path is not None]
    folders, files = [path for path in given if path.is_dir()], [path for path in given if not path.is_dir()]
    if folders:
        raise UsageError(f"{folders[0]} is a folder and {files[0]} a file: expected two folders or two files.")
    if labels is None and not format_of(predictions).holds_own_label:
        raise UsageError(f"{predictions}: LABELS is missing; only an NPZ can hold its label itself.")
    name = stem_of(labels or predictions)
    check_case_names([name], str(labels or predictions))
    return Pairing([CasePaths(name, (predictions,), (), segmentation, labels, "two files")], [])


def find_labels(folder: Path, classes: Iterable[str] = ()) -> dict[str, Path]:
    """Labels of a folder by case id; where BIDS names label maps, nothing else is one.

    Args:
        folder: of the data set's labels.
        classes: known names, as those of files of one structure each.

    Returns:
        Case id to its file, or to a folder of one binary file a structure.

    Raises:
        UsageError: no label there, two of one case, or a whole data set instead.
    """
    if inner := [str(folder / name) for name in LABEL_FOLDERS if (folder / name).is_dir()]:
        raise UsageError(f"{folder}: is a whole data set. Give the folder of its labels: {' or '.join(inner)}.")
    files = list_files(folder)
    files = [path for path in files if is_bids_label(path)] or files
    if not files:
        raise UsageError(f"{folder}: holds no label {NO_ARRAY}.")
    if in_folders := labels_in_folders(folder, files, classes):
        return in_folders
    keys = [label_key(path) for path in files]
    check_case_names(keys, str(folder))
    return dict(zip(keys, files, strict=True))


def case_names(labels: Path | None, classes: Iterable[str] = ()) -> frozenset[str]:
    """Case ids that a folder of labels gives; none where there is no such folder."""
    return frozenset(find_labels(labels, classes) if labels is not None and labels.is_dir() else ())


def _own_labels(predictions: Path) -> dict[str, Path]:
    """NPZ files by case id, each of which is to hold its label."""
    files = [path for path in list_files(predictions) if format_of(path).holds_own_label]
    if not files:
        raise UsageError(f"{predictions}: LABELS is missing; only NPZ files can hold their labels themselves.")
    check_case_names([stem_of(path) for path in files], str(predictions))
    return {stem_of(path): path for path in files}


def with_maps(cases: list[CasePaths], folder: Path, field: Literal["segmentation", "mask", "image"]) -> list[CasePaths]:
    """Give the cases their label maps of a folder, as this field; a case without one there has none.

    Raises:
        UsageError: nothing there, nothing fits, or two maps of one case.
    """
    if not folder.exists():
        raise UsageError(f"{folder}: no such file or folder.")
    maps = find_labels(folder) if folder.is_dir() else {stem_of(folder): folder}
    by_plain: dict[str, list[Path]] = defaultdict(list)
    for name, path in maps.items():
        by_plain[plain_name(name)].append(path)

    def find(case: str) -> Path | None:
        if case in maps:
            return maps[case]
        alike = by_plain[plain_name(case)]
        if len(alike) > 1:
            listed = ", ".join(str(path) for path in alike)
            raise UsageError(f"More than one label map for the case {case}: {listed}. Keep one, or use --manifest.")
        return alike[0] if alike else None

    found = {case.case: find(case.case) for case in cases}
    if not any(found.values()):
        raise UsageError(
            f"No label map fits a label by name.\n  {folder}: {_some(maps)}\n  labels: "
            f"{_some(case.case for case in cases)}\nName them alike, or use --manifest."
        )
    changes: list[dict[str, Any]] = [{field: found[case.case]} for case in cases]
    return [case._replace(**change) for case, change in zip(cases, changes, strict=True)]


def _match(found: dict[str, Files], references: dict[str, Path], predictions: Path, labels: Path) -> dict[str, Files]:
    """Predictions by case: equal names first, then names that are equal without their endings."""
    matched = {case: found[case] for case in references if case in found}
    open_cases, open_found = defaultdict(list), defaultdict(list)
    for case in references.keys() - matched.keys():
        open_cases[plain_name(case)].append(case)
    for key in found.keys() - matched.keys():
        open_found[plain_name(key)].append(key)
    for plain in sorted(open_cases.keys() & open_found.keys()):
        if len(open_cases[plain]) > 1 or len(open_found[plain]) > 1:
            raise UsageError(
                f"Ambiguous: the predictions {', '.join(sorted(open_found[plain]))} in {predictions} and the labels "
                f"{', '.join(sorted(open_cases[plain]))} in {labels} look alike. Use --pattern or --manifest."
            )
        matched[open_cases[plain][0]] = found[open_found[plain][0]]
    if not matched:
        raise UsageError(
            f"No prediction fits a label by name.\n  {predictions}: {_some(found)}\n  {labels}: {_some(references)}\n"
            "Give --pattern (for example '{case}_softmax') or --manifest."
        )
    return matched


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f", ... ({len(listed)} in all)" if len(listed) > 5 else "") or "(nothing)"


def _case(case: str, found: Files | None, reference: Path, *, own_label: bool) -> CasePaths:
    label = None if own_label else reference
    if found is None:
        return CasePaths(case, (), reference=label, why="no prediction of this name")
    beside = next(iter(found.segmentation), None)
    arrays = [path for path in found.whole if format_of(path).is_array]
    images = [path for path in found.whole if path not in arrays]
    lonely = len(found.by_class) == 1 and next(iter(found.by_class)).isdigit()
    if lonely and not found.whole:  # a whole prediction that was named like its image
        images = list(found.by_class.values())
    elif found.by_class and not arrays and not (lonely and images):  # else numbered files are the image's channels
        names = tuple(sorted(found.by_class))
        files = tuple(found.by_class[name] for name in names)
        return CasePaths(case, files, names, next(iter(images), beside), label, "one file a class")
    if len(arrays) > 1 or (not arrays and len(images) > 1):
        raise UsageError(
            f"More than one prediction for the case {case}: {', '.join(str(path) for path in found.whole)}. "
            "Keep one, or use --pattern or --manifest."
        )
    if arrays:
        beside = next(iter(images), beside)
        return CasePaths(case, (arrays[0],), (), beside, label, "NPZ beside a label map" if beside else "its name")
    if images:
        return CasePaths(case, (images[0],), (), beside, label, "its name")
    return CasePaths(case, (found.segmentation[0],), (), None, label, "its name")
