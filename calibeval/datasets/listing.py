"""What a data set's folder holds, as far as names tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from calibeval.errors import InputError
from calibeval.io.arrays import stem_of

_DEPTH = 4  # folders between the one given and those of the cases: data sets are unpacked in many ways


class Source(NamedTuple):
    """One case as it was downloaded.

    Attributes:
        case: its name, which stays.
        patient: whose it is.
        images: a file a channel, or one of all channels.
        label: None where the data set has none, as in the part it tests with.
        facts: further columns of `cases.csv`.
        test: it is not there to train on.
    """

    case: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None
    facts: Mapping[str, str] = {}
    test: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return (*self.images, *([self.label] if self.label else []))


class Listing(NamedTuple):
    """A data set's cases.

    Attributes:
        sources: in the order of their names; their files may be missing.
        labels: names of the classes to their values in the files, background first.
        channels: their names.
        notes: what else is to be said, for people.
        problems: files that tell of cases and cannot be used.
        name: of the data set, where its own files say it.
    """

    sources: tuple[Source, ...]
    labels: Mapping[str, int]
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[InputError, ...] = ()
    name: str = ""


def find_below(root: Path, pattern: str) -> list[Path]:
    """Files or folders of such a name in a folder or a few folders below it, none hidden, sorted by their names."""
    found = (path for depth in range(_DEPTH) for path in root.glob("*/" * depth + pattern))
    return sorted((path for path in found if not path.name.startswith(".")), key=lambda path: (path.name, path))


def file_of(folder: Path, stem: str) -> Path:
    """The NIfTI file of such a name in a folder, or where it is missed."""
    return next((path for path in folder.glob(f"{stem}.nii*") if stem_of(path) == stem), folder / f"{stem}.nii.gz")
