"""Which prediction belongs to which label: by file name, unambiguously, or with both sides listed.

Understood without being told: equal stems; nnU-Net's `case.npz` beside `case.nii.gz`; one file a class
(`case_0000.nii.gz`, ...); BIDS (`sub-01_label-GM_probseg.nii.gz`, `sub-01_dseg.nii.gz`); the SDC repository's NPZ,
which holds its label itself; endings such as `_seg`, `_gt` or `_pred` on either side. Else `--pattern` or a manifest.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from calibeval.errors import InputError, UsageError
from calibeval.io.arrays import open_array, reading, stem_of, suffix_of
from calibeval.io.layout import squeezed

_ENDING = re.compile(
    r"[_.-](gt|seg|segmentation|labels?|mask|manual|pred|prediction|probs?|probabilities|softmax|0000)$", re.IGNORECASE
)
_BIDS = re.compile(r"(?P<entities>.+)_(?P<kind>probseg|dseg)")
_NUMBERED = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")


class CasePaths(NamedTuple):
    """The files of one case.

    Attributes:
        case: id, from the label's name.
        prediction: one file, or one per class; empty when missing.
        classes: of per-class files: names (BIDS) or numbers.
        segmentation: label map beside the probabilities, to check them against.
        reference: the label; None when it is inside the prediction's NPZ.
        why: by which convention, for people.
    """

    case: str
    prediction: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    segmentation: Path | None = None
    reference: Path | None = None
    why: str = ""


class Pairing(NamedTuple):
    """All cases of a method, and the predictions that no label asks for."""

    cases: list[CasePaths]
    extra: list[str]


@dataclass
class _Found:
    """Files of a prediction folder under one key."""

    whole: list[Path] = field(default_factory=list)
    by_class: dict[str, Path] = field(default_factory=dict)
    segmentation: list[Path] = field(default_factory=list)


def find_methods(predictions: Path) -> dict[str, Path]:
    """Methods of a prediction folder: itself when it holds files, else its sub-folders by name.

    Raises:
        UsageError: the folder is missing or holds nothing readable.
    """
    if not predictions.exists():
        raise UsageError(f"{predictions}: no such file or folder.")
    if predictions.is_file() or any(suffix_of(path) for path in predictions.iterdir() if path.is_file()):
        return {_method_name(predictions): predictions}
    folders = sorted(path for path in predictions.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = [folder for folder in folders if list_files(folder)]
    if not folders:
        raise UsageError(f"{predictions}: holds no prediction (no NIfTI, NPZ, NPY, MHA, NRRD or PNG file).")
    if all(folder.name.startswith("sub-") for folder in folders):  # BIDS: one folder a subject
        return {_method_name(predictions): predictions}
    return {folder.name: folder for folder in folders}


def _method_name(path: Path) -> str:
    return stem_of(path) if path.is_file() else path.resolve().name


def list_files(folder: Path) -> list[Path]:
    """All files of known suffix below a folder, sorted; hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if suffix_of(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def pair_files(
    predictions: Path, labels: Path | None, *, pattern: str | None = None, segmentations: Path | None = None
) -> Pairing:
    """Pair one method's predictions with the labels.

    Args:
        predictions: folder or file of one method.
        labels: folder or file; None when each NPZ holds its label.
        pattern: how prediction names are built, as in `{case}_softmax` or `{case}_{class}`.
        segmentations: folder of label maps to take the overlap from.

    Raises:
        UsageError: nothing fits, or something fits twice; both sides are listed.
    """
    if labels is not None and not labels.exists():
        raise UsageError(f"{labels}: no such file or folder.")
    if predictions.is_file() or (labels is not None and labels.is_file()):
        return _pair_single(predictions, labels)
    references = _references(labels or predictions)
    files = list_files(predictions)
    found = _group_by_pattern(files, pattern) if pattern else _group_by_convention(files, set(references))
    matched = _match(found, references, predictions, labels or predictions)
    cases = [_case(case, matched.get(case), references[case], own_label=labels is None) for case in sorted(references)]
    if segmentations is not None:
        maps = _references(segmentations)
        cases = [case._replace(segmentation=maps.get(case.case, case.segmentation)) for case in cases]
    used = {id(entry) for entry in matched.values()}
    return Pairing(cases, sorted(key for key, entry in found.items() if id(entry) not in used))


def pair_images(predictions: Path, images: Path | None = None) -> Pairing:
    """Group one method's predictions into cases without labels.

    Args:
        predictions: folder or file of one method.
        images: folder whose images are the cases; of nnU-Net's `case_0000`, `case_0001`, ... the first stands for the
            case. None takes every prediction for a case.

    Returns:
        Cases whose `reference` is the image, or None without images.

    Raises:
        UsageError: nothing fits, or something fits twice.
    """
    files = [predictions] if predictions.is_file() else list_files(predictions)
    if images is None:
        found = _group_by_convention(files, _cases_of_planes(files))
        return Pairing([_case(case, found[case], predictions, own_label=True) for case in sorted(found)], [])
    references = _images(images)
    found = _group_by_convention(files, set(references))
    matched = _match(found, references, predictions, images)
    cases = [_case(case, matched.get(case), references[case], own_label=False) for case in sorted(references)]
    used = {id(entry) for entry in matched.values()}
    return Pairing(cases, sorted(key for key, entry in found.items() if id(entry) not in used))


def _cases_of_planes(files: Iterable[Path]) -> set[str]:
    """Cases whose numbered files are one class each: numbers from 0000 on, and too few axes to hold all classes."""
    numbered = [
        (match["case"], match["number"], path) for path in files if (match := _NUMBERED.fullmatch(stem_of(path)))
    ]
    later = {case for case, number, _ in numbered if number != "0000"}
    return {case for case, number, path in numbered if number == "0000" and case in later and _is_plane(path)}


def _is_plane(path: Path) -> bool:
    try:
        return len(squeezed(open_array(path).shape)) <= 3
    except InputError:
        return False


def _images(folder: Path) -> dict[str, Path]:
    """Images by case id; further channels of an image are left out."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    numbered = {path: _NUMBERED.fullmatch(stem_of(path)) for path in list_files(folder)}
    first = {match["case"]: path for path, match in numbered.items() if match and match["number"] == "0000"}
    others = {stem_of(path): path for path, match in numbered.items() if not match or match["case"] not in first}
    if not first and not others:
        raise UsageError(f"{folder}: holds no image (no NIfTI, NPZ, NPY, MHA, NRRD or PNG file).")
    return first | others


def read_manifest(path: Path) -> dict[str, Pairing]:
    """Read a CSV with the columns case, prediction, reference and, if wanted, method and segmentation.

    Paths are relative to the manifest. Several prediction files (one a class) are parted by semicolons.
    """
    with reading(path), path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"case", "prediction", "reference"} - set(rows[0] if rows else ())
    if missing:
        raise UsageError(
            f"{path}: expected the columns case, prediction, reference; missing: {', '.join(sorted(missing))}."
        )
    methods: dict[str, list[CasePaths]] = defaultdict(list)
    for row in rows:
        prediction = tuple(path.parent / part.strip() for part in row["prediction"].split(";") if part.strip())
        segmentation = row.get("segmentation")
        methods[row.get("method") or path.stem].append(
            CasePaths(
                row["case"],
                prediction,
                tuple(str(number) for number in range(len(prediction))) if len(prediction) > 1 else (),
                path.parent / segmentation if segmentation else None,
                path.parent / row["reference"],
                "the manifest",
            )
        )
    for method, cases in methods.items():
        _refuse_twice([case.case for case in cases], f"{path}: method {method}")
    return {method: Pairing(sorted(cases), []) for method, cases in methods.items()}


def _pair_single(predictions: Path, labels: Path | None) -> Pairing:
    if predictions.is_dir() or (labels is not None and labels.is_dir()):
        folder, file = (predictions, labels) if predictions.is_dir() else (labels, predictions)
        raise UsageError(f"{folder} is a folder and {file} a file: expected two folders or two files.")
    case = CasePaths(stem_of(labels or predictions), (predictions,), reference=labels, why="two files")
    return Pairing([case], [])


def _references(folder: Path) -> dict[str, Path]:
    """Labels by case id."""
    files = list_files(folder)
    if not files:
        raise UsageError(f"{folder}: holds no label (no NIfTI, NPZ, NPY, MHA, NRRD or PNG file).")
    keys = [_reference_key(path) for path in files]
    _refuse_twice(keys, str(folder))
    return dict(zip(keys, files, strict=True))


def _reference_key(path: Path) -> str:
    bids = _BIDS.fullmatch(stem_of(path))
    return _bids_key(bids["entities"])[0] if bids else stem_of(path)


def _refuse_twice(keys: list[str], where: str) -> None:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UsageError(
            f"{where}: more than one file for the case {', '.join(twice[:5])}. Keep one, or use --manifest."
        )


def _bids_key(entities: str) -> tuple[str, str]:
    """Key without label and description, and the label."""
    parts = [part for part in entities.split("_") if not part.startswith(("label-", "desc-"))]
    label = next((part.removeprefix("label-") for part in entities.split("_") if part.startswith("label-")), "")
    return "_".join(parts), label


def _group_by_convention(files: Iterable[Path], cases: set[str]) -> dict[str, _Found]:
    groups: dict[str, _Found] = defaultdict(_Found)
    plain = {_plain(case) for case in cases}
    for path in files:
        stem = stem_of(path)
        bids, numbered = _BIDS.fullmatch(stem), _NUMBERED.fullmatch(stem)
        if bids:
            key, label = _bids_key(bids["entities"])
            if bids["kind"] == "dseg":
                groups[key].segmentation.append(path)
            elif label:
                groups[key].by_class[label] = path
            else:
                groups[key].whole.append(path)
        elif numbered and stem not in cases and _plain(numbered["case"]) in plain:
            groups[numbered["case"]].by_class[numbered["number"]] = path
        else:
            groups[stem].whole.append(path)
    return dict(groups)


def _group_by_pattern(files: Iterable[Path], pattern: str) -> dict[str, _Found]:
    if "{case}" not in pattern:
        raise UsageError(f"--pattern {pattern!r}: expected {{case}} in it, as in '{{case}}_softmax'.")
    expression = re.escape(pattern).replace(r"\{case\}", "(?P<case>.+?)").replace(r"\{class\}", "(?P<klass>[^_]+)")
    groups: dict[str, _Found] = defaultdict(_Found)
    for path in files:
        match = re.fullmatch(expression, stem_of(path)) or re.fullmatch(expression, path.name)
        if match and match.groupdict().get("klass"):
            groups[match["case"]].by_class[match["klass"]] = path
        elif match:
            groups[match["case"]].whole.append(path)
    return dict(groups)


def _plain(name: str) -> str:
    """A name without endings that tell a label from a prediction."""
    shorter = _ENDING.sub("", name)
    return name if shorter == name else _plain(shorter)


def _match(found: dict[str, _Found], references: dict[str, Path], predictions: Path, labels: Path) -> dict[str, _Found]:
    """Predictions by case: equal names first, then names that are equal without their endings."""
    matched = {case: found[case] for case in references if case in found}
    open_cases, open_found = defaultdict(list), defaultdict(list)
    for case in references.keys() - matched.keys():
        open_cases[_plain(case)].append(case)
    for key in found.keys() - matched.keys():
        open_found[_plain(key)].append(key)
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
            "Give --pattern (for example '{case}_softmax') or --manifest; --dry-run shows the pairing."
        )
    return matched


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f", ... ({len(listed)} in all)" if len(listed) > 5 else "") or "(nothing)"


def _case(case: str, found: _Found | None, reference: Path, *, own_label: bool) -> CasePaths:
    label = None if own_label else reference
    if found is None:
        return CasePaths(case, (), reference=label, why="no prediction of this name")
    first = next(iter(found.segmentation), None)
    if found.by_class:
        names = tuple(sorted(found.by_class))
        beside = first or next(iter(found.whole), None)
        return CasePaths(case, tuple(found.by_class[n] for n in names), names, beside, label, "one file a class")
    arrays = [path for path in found.whole if suffix_of(path) in (".npz", ".npy")]
    images = [path for path in found.whole if path not in arrays]
    if len(arrays) > 1 or (not arrays and len(images) > 1):
        raise UsageError(
            f"More than one prediction for the case {case}: {', '.join(str(path) for path in found.whole)}. "
            "Keep one, or use --pattern or --manifest."
        )
    if arrays:
        beside = next(iter(images), first)
        return CasePaths(case, (arrays[0],), (), beside, label, "NPZ beside a label map" if beside else "its name")
    if images:
        return CasePaths(case, (images[0],), (), first, label, "its name")
    return CasePaths(case, (found.segmentation[0],), (), None, label, "its name")
