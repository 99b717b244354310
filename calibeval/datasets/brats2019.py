"""BraTS 2019 (doi:10.1109/TMI.2014.2377694): MR of 335 gliomas in four sequences.

`HGG/BraTS19_CBICA_AAB_1/BraTS19_CBICA_AAB_1_flair.nii.gz`, `..._t1`, `..._t1ce`, `..._t2` and the label `..._seg`, and
the same in `LGG/`; those to validate with lie side by side and have no labels. The second part of a name says where a
scan comes from (CBICA, TCIA01, 2013, ...), the last one is its number among the patient's scans.
"""

from __future__ import annotations

from pathlib import Path

from calibeval.datasets.listing import Listing, Source, file_of, find_below

PATTERN = "BraTS19_*_*"
CHANNELS = ("flair", "t1", "t1ce", "t2")
_LABELS = {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4}
_SCANS = {"HGG": 259, "LGG": 76}


def find_cases(root: Path) -> Listing:
    """List a case a folder."""
    sources = tuple(_source(path) for path in find_below(root, PATTERN) if path.is_dir())
    counts = {grade: sum(source.facts["grade"] == grade for source in sources) for grade in _SCANS}
    notes = tuple(
        f"{grade}: {counts[grade]} scans are there; the data set has {scans}"
        for grade, scans in _SCANS.items()
        if sources and counts[grade] != scans
    )
    return Listing(sources, _LABELS, CHANNELS, notes)


def _source(folder: Path) -> Source:
    case, grade = folder.name, folder.parent.name if folder.parent.name in _SCANS else ""
    label = file_of(folder, f"{case}_seg")
    known = label if grade or label.is_file() else None
    facts = {"grade": grade, "source": case.split("_")[1]}
    images = tuple(file_of(folder, f"{case}_{channel}") for channel in CHANNELS)
    return Source(case, case.rpartition("_")[0], images, known, facts, test=known is None)
