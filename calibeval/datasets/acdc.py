"""ACDC (doi:10.1109/TMI.2018.2837502): cine MR of 150 hearts, labelled at end-diastole and at end-systole.

`training/patient001/` to `patient100`, `testing/patient101/` to `patient150`, each with `Info.cfg` (`ED: 1`, `ES: 12`,
`Group: DCM`), `patient001_frame01.nii.gz`, `patient001_frame01_gt.nii.gz` and the same of the other frame. The whole
film `patient001_4d.nii.gz` has no labels and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from calibeval.datasets.listing import Listing, Source, file_of, find_below
from calibeval.errors import InputError
from calibeval.io.arrays import reading

PATTERN = "patient[0-9][0-9][0-9]"
_LABELS = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
_TRAINING = 100  # patients; those after them are for testing


def find_cases(root: Path) -> Listing:
    """List both frames of every patient."""
    sources: list[Source] = []
    problems: list[InputError] = []
    folders = [path for path in find_below(root, PATTERN) if path.is_dir()]
    for folder in folders:
        try:
            sources += _frames(folder)
        except InputError as error:
            problems.append(error)
    return Listing(tuple(sources), _LABELS, ("cine-MRI",), tuple(_absent(folders)), tuple(problems))


def _frames(folder: Path) -> Iterator[Source]:
    patient, info = folder.name, read_info(folder / "Info.cfg")
    test = int(patient.removeprefix("patient")) > _TRAINING
    for phase in ("ED", "ES"):
        case = f"{patient}_frame{int(info[phase]):02d}"
        label = file_of(folder, f"{case}_gt")
        facts = {"phase": phase, "diagnosis": info.get("Group", "")}
        known = label if label.is_file() or not test else None  # the labels for testing came years later
        yield Source(case, patient, (file_of(folder, case),), known, facts, test)


def read_info(path: Path) -> dict[str, str]:
    """Read `Info.cfg`: words by their key, among them the frames ED and ES.

    Raises:
        InputError: it is missing, or names no frames.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8-sig")
    info = dict(re.findall(r"^\s*(\w+)\s*:\s*(\S+)", text, re.MULTILINE))
    if not all(info.get(phase, "").isdecimal() for phase in ("ED", "ES")):
        raise InputError(path, "expected the lines 'ED: FRAME' and 'ES: FRAME'.", "Download it again.")
    return info


def _absent(folders: list[Path]) -> Iterator[str]:
    """Patients that are not there, of each part of which some are."""
    found = {int(folder.name.removeprefix("patient")) for folder in folders}
    for part, numbers in (("training", range(1, _TRAINING + 1)), ("testing", range(_TRAINING + 1, 151))):
        absent = [f"patient{number:03d}" for number in numbers if number not in found]
        if 0 < len(absent) < len(numbers):
            yield f"{part}: {len(absent)} of {len(numbers)} patients are not there: {', '.join(absent)}"
