"""A label map that is kept as one binary file a structure, as TotalSegmentator writes it.

Such a folder of `liver.nii.gz`, `spleen.nii.gz`, ... is one label map, and never a folder of cases.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibeval.errors import InputError, UsageError
from calibeval.io.array_file import Array, ArrayFile
from calibeval.io.arrays import open_array, segments_of, stem_of
from calibeval.io.case_paths import CasePaths, Pairing
from calibeval.io.classes import read_values
from calibeval.io.geometry import check_same_place
from calibeval.io.layouts import list_files
from calibeval.io.naming import is_image
from calibeval.io.scheme import ClassScheme
from calibeval.wording import some_of

_ORGANS = frozenset({
    "adrenal", "airway", "aorta", "artery", "atrial", "atrium", "autochthon", "bladder", "body", "bone", "bowel",
    "brachiocephalic", "brain", "brainstem", "breast", "cartilages", "cava", "clavicula", "cochlea", "colon", "cyst",
    "duodenum", "esophagus", "eye", "face", "fat", "femur", "fibula", "gallbladder", "gland", "gluteus", "heart",
    "hip", "hippocampus", "humerus", "iliac", "iliopsoas", "kidney", "larynx", "lens", "lesion", "liver", "lobe",
    "lung", "mandible", "muscle", "myocardium", "nodule", "oesophagus", "optic", "pancreas", "parotid", "patella",
    "pharynx", "prostate", "pulmonary", "radius", "rectum", "rib", "sacrum", "scapula", "skeletal", "skull", "spinal",
    "spleen", "sternum", "stomach", "subclavian", "thalamus", "thyroid", "tibia", "tongue", "trachea", "trunk",
    "tumor", "tumour", "ulna", "uterus", "vein", "ventricle", "vertebrae"
})  # fmt: skip
_COUNTED = re.compile(r"vertebrae_[CTLS]\d{1,2}|rib_(left|right)_\d{1,2}")


def is_structure(name: str) -> bool:
    """Whether a name is that of an organ and of no case: words alone, one of them anatomical (`liver_12` is a case)."""
    words = name.split("_")
    return bool(_COUNTED.fullmatch(name)) or (all(map(str.isalpha, words)) and not _ORGANS.isdisjoint(words))


def open_structures(folder: Path, scheme: ClassScheme) -> ArrayFile:
    """Open a folder of one binary file a class as the label map that they make.

    Args:
        folder: of the files.
        scheme: names the classes; each but the background needs its file, other files are left out.

    Raises:
        InputError: a file that is missing or does not fit the others; on loading, one that is no mask, or an overlap.
    """
    paths = {stem_of(path): path for path in list_files(folder)}
    if missing := [name for name in scheme.names[1:] if name not in paths]:
        raise InputError(
            folder, f"holds no file of the class {', '.join(missing)}.", "Add it, or name others: --classes."
        )
    files = {value: open_array(paths[name]) for name, value in _values(scheme).items()}
    first, *others = files.values()
    for file in others:
        if file.shape != first.shape:
            raise InputError(file.path, f"has the shape {file.shape}, {first.path.name} {first.shape}.")
        if file.geometry is not None and first.geometry is not None:
            check_same_place(file.path, file.geometry, first.path, first.geometry)
    return replace(
        first, path=folder, dtype=np.dtype(np.int32), values=lambda: _united(files, folder), part=None, stream=None,
        slope=1.0, intercept=0.0,
    )  # fmt: skip


def _values(scheme: ClassScheme) -> dict[str, int]:
    values = scheme.values or range(len(scheme.names))
    return dict(list(zip(scheme.names, values, strict=True))[1:])


def _united(files: dict[int, ArrayFile], folder: Path) -> Array:
    united: Array | None = None
    for value, file in files.items():
        stored = read_values(file)
        mask = stored != 0
        if len(levels := np.unique(stored[mask])) > 1:
            raise InputError(file.path, f"holds the values {levels[0]:g} and {levels[1]:g}; expected one mask.")
        united = np.zeros(mask.shape, np.int32) if united is None else united
        if overlap := int(np.count_nonzero(united[mask])):
            raise InputError(file.path, f"overlaps other structures of {folder} in {overlap} voxels.", _OVERLAP)
        united[mask] = value
    return np.zeros(0, np.int32) if united is None else united


_OVERLAP = "A label map has one class a voxel: leave a structure out with --classes, or save the parts as --regions."


def name_parts(scheme: ClassScheme, pairings: Iterable[Pairing]) -> ClassScheme:
    """Name classes that nothing names after files of one structure each, or after the segments that files name.

    Raises:
        UsageError: label maps beside structures, whose values nothing names; segments with other values in other files.
    """
    cases = [case for pairing in pairings for case in pairing.cases]
    return scheme if scheme.names else _of_structures(scheme, cases) or _of_segments(scheme, cases) or scheme


def _of_structures(scheme: ClassScheme, cases: list[CasePaths]) -> ClassScheme | None:
    folders = {case.reference for case in cases if case.reference and case.reference.is_dir()}
    if not folders:
        return None
    stems = {stem_of(path) for folder in folders for path in list_files(folder)}
    names = sorted(stem for stem in stems if not is_image(stem))
    if any(case.prediction and not case.classes for case in cases):
        raise UsageError(
            f"{min(folders)}: holds one file a structure ({some_of(names)}), and predictions are label maps or stacks. "
            "Give --classes in the order of their values, background first."
        )
    return replace(scheme, names=("background", *names), source="the files of structures")


def _of_segments(scheme: ClassScheme, cases: list[CasePaths]) -> ClassScheme | None:
    """Classes of Slicer's segmentations, of which each file brings its own list."""
    named: dict[str, tuple[int, Path]] = {}
    for path in dict.fromkeys(path for case in cases for path in (case.reference, *case.prediction) if path):
        with contextlib.suppress(InputError):  # told with its case when that is scored
            for segment in segments_of(path) if path.is_file() else ():
                value, first = named.setdefault(segment.name, (segment.value, path))
                if value != segment.value:
                    raise UsageError(
                        f"The segment {segment.name} has the value {value} in {first} and {segment.value} in {path}. "
                        "Export them with one list of segments."
                    )
    values = {name: value for name, (value, _) in named.items()}
    if not values or len({0, *values.values()}) <= len(values):
        return None
    ordered = sorted(values.items(), key=lambda item: item[1])
    return replace(
        scheme,
        names=("background", *(name for name, _ in ordered)),
        values=(0, *(value for _, value in ordered)),
        source="the segments of the files",
    )
