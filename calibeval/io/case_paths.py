"""The files of a case, and what is known of them: handed from pairing to reading, across process boundaries."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Reading(NamedTuple):
    """How values are to be read.

    Attributes:
        labels: they are labels; else probabilities.
        scale: what stands for probability 1; None where values are probabilities as they are.
        note: for people, where it was the values that told.
        problem: why they cannot be read; empty when they can.
        advice: the option that helps.
    """

    labels: bool = False
    scale: float | None = None
    note: str = ""
    problem: str = ""
    advice: str = ""


Readings = tuple[tuple[str, Reading], ...]  # by kind of file


class CasePaths(NamedTuple):
    """The files of one case.

    Attributes:
        case: id, from the label's name.
        prediction: one file, or one per class; empty when missing.
        classes: of per-class files: names (BIDS) or numbers.
        segmentation: label map beside the probabilities, to check them against.
        reference: the label; None when it is inside the prediction's NPZ.
        why: by which convention, for people.
        readings: what the values of such files mean, as far as the folder was asked; see `readings`.
        mask: label map that is above 0 in the field of view; voxels outside are ignored.
        image: that is above 0 in the body.
        raters: each rater's label, None where there is none; empty with one reference, which else is the first.
    """

    case: str
    prediction: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    segmentation: Path | None = None
    reference: Path | None = None
    why: str = ""
    readings: Readings = ()
    mask: Path | None = None
    raters: tuple[tuple[str, Path | None], ...] = ()
    image: Path | None = None


class Pairing(NamedTuple):
    """All cases of a method, and the predictions that no label asks for."""

    cases: list[CasePaths]
    extra: list[str]
