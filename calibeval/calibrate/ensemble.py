"""The models of an ensemble (folds of one cross-validation): files of the same names in several folders, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from calibeval.calibrate.sources import mean_planes
from calibeval.errors import InputError
from calibeval.io.array_file import ArrayFile
from calibeval.io.case_paths import CasePaths
from calibeval.io.classes import ClassScheme
from calibeval.io.predictions import open_prediction
from calibeval.io.read_options import ReadOptions
from calibeval.planes import PlaneSource


class Ensemble(NamedTuple):
    """Where the predictions of an ensemble lie.

    Attributes:
        home: folder of the first model, whose files say names and form.
        others: folders of the other models; none for a model by itself.
    """

    home: Path
    others: tuple[Path, ...] = ()

    @classmethod
    def of(cls, predictions: Path, others: Sequence[Path] | None) -> Ensemble:
        """The folders that a user gives; the first may be a file."""
        return cls(predictions if predictions.is_dir() else predictions.parent, tuple(others or ()))

    def relative(self, path: Path) -> Path:
        """A file's place in its folder."""
        return path.relative_to(self.home) if path.is_relative_to(self.home) else Path(path.name)

    def mean(
        self, source: PlaneSource, paths: CasePaths, place: ArrayFile, scheme: ClassScheme, options: ReadOptions
    ) -> PlaneSource:
        """Mean of the first model's planes with those of the others.

        Raises:
            InputError: another model has no such file, or one of other classes or another grid.
        """
        sources = [source]
        for folder in self.others:
            files = tuple(folder / self.relative(path) for path in paths.prediction)
            other = open_prediction(paths._replace(prediction=files), place, scheme, options).source
            if other is None or (other.classes, other.shape) != (source.classes, source.shape):
                found = "labels" if other is None else f"{other.classes} maps of {other.shape}"
                raise InputError(files[0], f"holds {found}, and the first model {source.classes} of {source.shape}.")
            sources.append(other)
        return mean_planes(sources) if self.others else source
