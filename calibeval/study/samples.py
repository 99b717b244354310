"""One case of a study for pictures: its image and label, and what each method made of it, from the run folders."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.io.arrays import open_array
from calibeval.study.collect import StudyTable
from calibeval.study.plan import Run
from calibeval.table import overall_class, read_table

Array = NDArray[Any]


class Sample:
    """A case that runs of one data set, fold and seed predicted; the first that they all hold, and its fullest slice.

    Args:
        runs: one a method.
        step: of the kept predictions of validation cases; 0 takes those of the held-out cases.
    """

    def __init__(self, runs: Sequence[Run], step: int = 0) -> None:
        part, folder = ("val", f"kept/step{step}") if step else ("test", "preds")
        names = json.loads((runs[0].folder / "splits.json").read_text(encoding="utf-8"))[part]
        held = {run.method: {_stem(path): path for path in (run.folder / folder).glob("*/*")} for run in runs}
        held = {method: paths for method, paths in held.items() if any(name in paths for name in names)}
        self.runs = [run for run in runs if run.method in held]
        self.case = next((name for name in names if held and all(name in paths for paths in held.values())), "")
        self._paths = {method: paths[self.case] for method, paths in held.items() if self.case}

    @cached_property
    def _volume(self) -> Any:
        return _read(self.runs[0], [self.case])[self.case]

    @property
    def images(self) -> Array:
        """(D, channels, H, W)."""
        found: Array = self._volume.image
        return found

    @property
    def labels(self) -> Array:
        """(D, H, W) class numbers."""
        found: Array = self._volume.label
        return found

    @cached_property
    def slice(self) -> int:
        """Number of the slice with the most foreground."""
        return int((self.labels > 0).sum(axis=(1, 2)).argmax())

    @cached_property
    def probabilities(self) -> dict[str, Array]:
        """Method to (C, D, H, W)."""
        return {method: open_array(path, ("probs",)).load() for method, path in self._paths.items()}

    def value(self, run: Run, metric: str) -> float:
        """A metric of this case, by the run's own table."""
        _, frame = read_table(run.folder / "score.csv")
        rows = frame[(frame["case"] == self.case) & (frame["metric"] == metric)]
        found = rows.loc[rows["class"] == overall_class(metric), "value"]
        return float(found.iloc[0]) if len(found) else math.nan


def one_run_a_method(table: StudyTable, data: str) -> list[Run]:
    """Of each method the run of the first fold and seed that is done."""
    found: dict[str, Run] = {}
    for run in table.runs:
        if run.data == data:
            found.setdefault(run.method, run)
    first = {(run.config.fold, run.config.seed) for run in found.values()}
    place = min(first) if first else None
    return [run for run in found.values() if (run.config.fold, run.config.seed) == place]


def held_out(run: Run) -> Iterator[tuple[Array, Array]]:
    """Labels (D, H, W) and probabilities (C, D, H, W) of each case that a run held out."""
    paths = {_stem(path): path for path in sorted((run.folder / "preds").glob("*/*"))}
    names = json.loads((run.folder / "splits.json").read_text(encoding="utf-8"))["test"]
    for name, volume in _read(run, [name for name in names if name in paths]).items():
        yield volume.label, open_array(paths[name], ("probs",)).load()


def read_history(run: Run) -> dict[str, Array]:
    """Columns of metrics.csv."""
    rows = list(csv.DictReader((run.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else {}


def _read(run: Run, names: Sequence[str]) -> dict[str, Any]:
    """Cases of a run's data set with their images and labels."""
    from calibeval.train.cases import find_data
    from calibeval.train.volumes import read_volume

    data = find_data(Path(run.config.data), run.config.channels or None)
    return {name: read_volume(data.cases[name], data.scheme) for name in names}


def _stem(path: Path) -> str:
    """A case's name, from its file of predictions."""
    return path.name.removesuffix(".nii.gz").removesuffix(".npz")
