"""Folder conventions: which files there are, and whether a sub-folder is a method, a case, or a part of a data set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from calibeval.errors import UsageError
from calibeval.io.formats import FORMAT_NAMES, stem_of, suffix_of, with_parts
from calibeval.io.naming import plain_name
from calibeval.table import BINS_SUFFIX

NO_ARRAY = f"(no {', '.join(FORMAT_NAMES[:-1])} or {FORMAT_NAMES[-1]} file)"
_FOLD = re.compile(r"fold_\d+")


def find_methods(predictions: Path, cases: Collection[str] = ()) -> dict[str, Path]:
    """Methods of a prediction folder: itself when it holds files or a folder a case, else its sub-folders by name.

    Args:
        predictions: the folder, or one file.
        cases: ids that the labels give; a folder of such a name is a case.

    Raises:
        UsageError: the folder is missing or holds nothing readable.
    """
    if not predictions.exists():
        raise UsageError(f"{predictions}: no such file or folder.")
    if predictions.is_file():
        return {stem_of(predictions): predictions}
    inside = sorted(path for path in predictions.iterdir() if not path.name.startswith("."))
    folders = {path.name: path for path in inside if path.is_dir() and list_files(path)}
    itself = any(_is_array_file(path) for path in inside)
    if not folders and not itself:
        raise UsageError(f"{predictions}: holds no prediction {NO_ARRAY}.")
    parts = all(name.startswith("sub-") for name in folders) or any(map(_FOLD.fullmatch, folders))  # BIDS, nnU-Net
    named = all(is_case_folder(folder) for folder in folders.values())  # one such may be a method of one case
    if itself or parts or (len(folders) > 1 and named) or (not named and not folders.keys().isdisjoint(cases)):
        return {predictions.resolve().name: predictions}
    return folders


def is_case_folder(folder: Path) -> bool:
    """Whether a folder holds the one case that it is named after, as MONAI's SaveImage writes it."""
    numbered = re.compile(re.escape(folder.name) + r"_\d{4}")
    stems = {stem_of(path) for path in list_files(folder)}
    return all(plain_name(stem) == plain_name(folder.name) or numbered.fullmatch(stem) for stem in stems)


def empty_folders(predictions: Path, methods: Iterable[str]) -> list[str]:
    """Sub-folders beside methods that hold no prediction; where the folder itself is the method there are none."""
    names = set(methods)
    folders = [path for path in predictions.glob("*") if path.is_dir() and not path.name.startswith(".")]
    return sorted({path.name for path in folders} - names) if names & {path.name for path in folders} else []


def list_files(folder: Path) -> list[Path]:
    """All files of known suffix below a folder, sorted; links are followed, but never in a circle.

    Hidden files and folders and the data beside a header are left out, links to nowhere are not; of nnU-Net's folds the
    collections beside them are.

    Raises:
        UsageError: a name that cannot be written to a table.
    """
    found = sorted(_walk(folder, frozenset(parent.resolve() for parent in folder.absolute().parents)))
    for path in found:
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # bytes that were no UTF-8
            raise UsageError(f"{str(path)!a}: the name is no valid text. Rename the file.")
    parts = {part for path in found for part in with_parts(path)[1:]}
    return [path for path in found if path not in parts]


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:
        return
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    folds = any(_FOLD.fullmatch(path.name) for path in inside)
    for path in inside:
        if path.is_dir():
            if not (folds and path.name.startswith("crossval_results")):  # copies of what the folds hold
                yield from _walk(path, above | {here})
        elif _is_array_file(path):
            yield path


def _is_array_file(path: Path) -> bool:
    if not suffix_of(path) or path.name.endswith(BINS_SUFFIX):  # of an earlier run's results
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())
