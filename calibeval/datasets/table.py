"""Every data set that `prepare` knows: how its cases are found, and what the SDC paper did with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from calibeval.datasets import acdc, brats2019, flare, msd
from calibeval.datasets.grid import FOREGROUND, Grid
from calibeval.datasets.listing import Listing, find_below


class DataSet(NamedTuple):
    """What is known of a data set.

    Attributes:
        name: as in `calibeval prepare NAME`.
        title: for people.
        find_cases: lists its cases.
        pattern: of a file or folder by which a download is recognised; empty where `train` reads it as it is.
        layout: what a download looks like, for people.
        paper: the grid of the paper's experiments.
        readings: what the paper leaves open, and how it is read here.
        regions: overlapping unions of classes that are scored.
    """

    name: str
    title: str
    find_cases: Callable[[Path], Listing]
    pattern: str
    layout: str
    paper: Grid
    readings: tuple[str, ...]
    regions: Mapping[str, tuple[str, ...]] = {}


_ROWS = (
    DataSet(
        "acdc",
        "ACDC",
        acdc.find_cases,
        acdc.PATTERN,
        "training/patient001/ with Info.cfg, patient001_frame01.nii.gz and patient001_frame01_gt.nii.gz",
        Grid(size=(224, 224)),
        (
            "100 patients are 200 volumes, end-diastole and end-systole: both are cases, which one fold holds together "
            "(cases.csv); patients 101 to 150 are in no fold (imagesTs)",
            "slices of 224 x 224 are cropped or padded at the centre, and nothing is resampled",
        ),
    ),
    DataSet(
        "flare",
        "FLARE 2021",
        flare.find_cases,
        flare.PATTERN,
        "train_000_0000.nii.gz and, there or in another folder, its label train_000.nii.gz",
        Grid(spacing=(2.0, 2.0, 8.0), size=(192, 192, 30), around=FOREGROUND),
        (
            "the paper has 360 scans, the download 361: all that have a label are taken",
            "the paper crops to 192 x 192 x 30 and does not say at which spacing or where: 2 x 2 x 8 mm (384 x 384 x "
            "240 mm, which hold the organs) around the middle of the labels; a scan without label at its centre",
        ),
    ),
    DataSet(
        "brats2019",
        "BraTS 2019",
        brats2019.find_cases,
        brats2019.PATTERN,
        "HGG/BraTS19_CBICA_AAB_1/ and LGG/... with _flair, _t1, _t1ce, _t2 and _seg.nii.gz",
        Grid(),
        (
            "the paper does not say whether it has classes or regions: networks learn four classes (0, 1, 2 and 4 "
            "become 0 to 3), and score counts the regions WT, TC and ET of dataset.json (--regions none: the classes)",
            "the paper names no size: the volumes stay whole",
        ),
        {"WT": ("necrosis", "edema", "enhancing"), "TC": ("necrosis", "enhancing"), "ET": ("enhancing",)},
    ),
    DataSet(
        "msd",
        "Medical Segmentation Decathlon",
        msd.find_cases,
        "",
        "dataset.json, imagesTr/ and labelsTr/, as in Task05_Prostate",
        Grid(),
        ("the paper names no size for its one task, Prostate (32 cases, two channels): the volumes stay whole",),
    ),
)
DATA_SETS = {row.name: row for row in _ROWS}


def recognise(folder: Path) -> str:
    """The `prepare` that would help with a folder, as the end of a message; empty where none would."""
    known = (row for row in _ROWS if row.pattern and find_below(folder, row.pattern))
    return next(
        (f"It looks like {row.title} as downloaded: calibeval prepare {row.name} {folder} DST" for row in known), ""
    )
