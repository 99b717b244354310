"""One folder a case, whose files have fixed names: `CASE/gt`, `CASE/seg`; KiTS, BraTS, TotalSegmentator.

The folder is then the case, and the name inside says what the file is: an image, the label, a prediction, or one
structure of a label map.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from calibeval.io.formats import stem_of
from calibeval.io.layouts import is_case_folder
from calibeval.io.naming import Files, is_bids, is_image, last_word
from calibeval.io.structures import is_structure

_TRUTH = ("gt", "label", "labels", "groundtruth", "truth", "reference", "manual")
_SEGMENTATION = ("seg", "segmentation", "mask")
_PREDICTED = ("pred", "prediction", "prob", "probs", "probabilities", "softmax", "logits", "output")
Inside = dict[str, Path]  # what a file is called beside the name of its folder, to its path


def labels_in_folders(root: Path, files: Iterable[Path], classes: Iterable[str] = ()) -> dict[str, Path]:
    """Labels by case where each case has its folder: a file, or the folder of its structures; else nothing.

    Args:
        root: of the labels.
        files: below it.
        classes: known names, which structures may have beside those of organs.
    """
    folders = _by_folder(root, files)
    counts = Counter(name for inside in folders.values() for name in inside)
    fixed = {name for name, count in counts.items() if count > 1 or len(folders) == 1}
    for words in (_TRUTH, _SEGMENTATION):
        if len(named := [name for name in fixed if last_word(name) in words]) == 1:
            return {case: inside[named[0]] for case, inside in folders.items() if named[0] in inside}
    if all(len(inside) == 1 for inside in folders.values()) and len(counts) == 1 < len(folders):
        return {case: next(iter(inside.values())) for case, inside in folders.items()}
    parts = {case: _structures(inside, classes) for case, inside in folders.items()}
    return (
        {case: next(iter(found.values())).parent for case, found in parts.items() if found}
        if all(parts.values())
        else {}
    )


def predictions_in_folders(
    root: Path, files: Collection[Path], references: Mapping[str, Path], classes: Iterable[str] = ()
) -> dict[str, Files]:
    """Predictions by case where each case has its folder of fixed names; else nothing.

    Args:
        root: of one method.
        files: below it.
        references: labels by case, which say what a case is called.
        classes: known names, which structures may have beside those of organs.
    """
    folders = _by_folder(root, files)
    if root.resolve().name in folders and len(folders) == len(references) == 1:  # one patient, whatever the folder
        folders = {next(iter(references)): folders[root.resolve().name]}
    if not folders or not folders.keys() & references.keys():
        return {}
    return {case: _of_case(inside, references.get(case), classes) for case, inside in folders.items()}


def _of_case(inside: Inside, label: Path | None, classes: Iterable[str]) -> Files:
    own = {name: path for name, path in inside.items() if path != label and not is_image(name)}
    for words in (_PREDICTED, _SEGMENTATION):
        if len(named := [path for name, path in own.items() if last_word(name) in words]) == 1:
            return Files(whole=named)
    parts = _structures(own, classes)
    return Files(by_class=dict(parts)) if parts else Files(whole=list((own or inside).values()))


def _by_folder(root: Path, files: Iterable[Path]) -> dict[str, Inside]:
    """Files by case and name inside; nothing where names do not leave the case to the folder."""
    folders: dict[str, Inside] = defaultdict(dict)
    stems = [stem_of(path) for path in files]
    for path, stem in zip(files, stems, strict=True):
        parts = path.relative_to(root).parts
        folder = parts[0] if len(parts) > 1 else root.resolve().name
        folders[folder][re.sub(rf"^{re.escape(folder)}(?=[_.-])", "", stem).strip("_-.")] = path
    alone = any(len(path.relative_to(root).parts) == 1 for path in files)
    if alone and not (len(stems) > 1 and all(map(is_structure, stems))):
        return {}
    if any(map(is_bids, stems)) or all(is_case_folder(root / name) for name in folders if (root / name).is_dir()):
        return {} if not alone else folders
    return folders


def _structures(inside: Inside, classes: Iterable[str]) -> Inside:
    """Files of one structure each, where all files are such or images; an organ or a class names them."""
    known = set(classes)
    found = {name: path for name, path in inside.items() if not is_image(name)}
    whole = len(found) > 1 and all(name in known or is_structure(name) for name in found)
    return found if whole and len({path.parent for path in found.values()}) == 1 else {}
