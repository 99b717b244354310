"""FLARE 2021 (doi:10.1016/j.media.2022.102616): abdominal CT, four organs.

Images `train_000_0000.nii.gz` and labels `train_000.nii.gz`, mostly in folders of their own; those to validate with
(`validation_001_0000.nii.gz`) have no labels. The names do not say which hospital a scan comes from.
"""

from __future__ import annotations

import re
from pathlib import Path

from calibeval.datasets.listing import Listing, Source
from calibeval.io.arrays import stem_of
from calibeval.io.layouts import list_files

PATTERN = "train_[0-9][0-9][0-9]_0000.nii.gz"
_LABELS = {"background": 0, "liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
_SCANS = 361  # with labels
_IMAGE = re.compile(r"((?:train|validation)_\d+)_0000")
_LABEL = re.compile(r"train_\d+")


def find_cases(root: Path) -> Listing:
    """List images with their labels, wherever below the folder they lie."""
    files = list_files(root)
    images = [(match[1], path) for path in files if (match := _IMAGE.fullmatch(stem_of(path)))]
    labels = {stem: path for path in files if _LABEL.fullmatch(stem := stem_of(path))}
    image_home = images[0][1].parent if images else root
    label_home = next(iter(labels.values()), root / "x").parent
    images += [(case, image_home / f"{case}_0000.nii.gz") for case in labels.keys() - dict(images).keys()]

    def source(case: str, image: Path) -> Source:
        label = labels.get(case, label_home / f"{case}.nii.gz") if _LABEL.fullmatch(case) else None
        return Source(case, case, (image,), label, test=label is None)

    sources = tuple(source(case, image) for case, image in sorted(images))
    whole = len(labels) == _SCANS or not sources
    notes = () if whole else (f"{len(labels)} labels are there; the data set has {_SCANS}",)
    return Listing(sources, _LABELS, ("CT",), notes)
