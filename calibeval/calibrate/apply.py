"""Applying a calibrator to a folder of predictions, case by case: new maps in the form of the old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from calibeval.calibrate.calibrator import CONFORMAL, FILE_NAME, Calibrator, overlap, read_calibrator, write_calibrator
from calibeval.calibrate.masks import mask_files, write_masks
from calibeval.calibrate.methods import METHODS
from calibeval.calibrate.sources import random_access
from calibeval.calibrate.write import copy_file, write_maps
from calibeval.errors import InputError, ProbabilityError, UsageError
from calibeval.files import file_hash
from calibeval.gates.case_files import find_place
from calibeval.io.array_file import ArrayFile
from calibeval.io.case_paths import CasePaths
from calibeval.io.classes import ClassScheme
from calibeval.io.maps import ReadOptions, open_maps
from calibeval.io.predictions import open_prediction
from calibeval.io.readings import find_reading, settle
from calibeval.planes import PlaneSource


class Applied(NamedTuple):
    """What was done.

    Attributes:
        written: cases written now.
        kept: cases whose files were there already.
        errors: case to reason, of those that could not be calibrated.
    """

    written: tuple[str, ...]
    kept: tuple[str, ...]
    errors: dict[str, str]


def apply_calibrator(
    calibrator: Calibrator,
    cases: Sequence[CasePaths],
    home: Path,
    out: Path,
    *,
    scheme: ClassScheme,
    options: ReadOptions,
    resume: bool = False,
    also_fitted: bool = False,
    progress: Callable[[str], None] = lambda _case: None,
) -> Applied:
    """Write calibrated maps of all cases, and the calibrator beside them; a bad case costs itself alone.

    Args:
        calibrator: fitted on other cases.
        cases: of one method.
        home: folder that their paths are kept relative to.
        out: folder to write to.
        scheme: classes.
        options: how to read the maps.
        resume: leave cases alone whose files are in `out`.
        also_fitted: calibrate cases that it was fitted on, too.
        progress: called with each case's name.

    Raises:
        UsageError: cases that it was fitted on, or a folder that holds maps of another calibrator.
    """
    _refuse_seen(calibrator, cases, also_fitted=also_fitted)
    _refuse_mixture(calibrator, home, out)
    write_calibrator(out / FILE_NAME, calibrator)
    for path in (home / "dataset.json", home.resolve().parent / "dataset.json"):
        if path.is_file():
            copy_file(path, out / path.name)
            break
    work = _Work(calibrator, home, out, scheme, options)
    written, kept, errors = [], [], {}
    for paths in settle(list(cases), scheme, options, find_place):
        try:
            if resume and all(target.exists() for target in work.targets(paths)):
                kept.append(paths.case)
            else:
                work.do(paths)
                written.append(paths.case)
        except (InputError, ProbabilityError) as error:
            errors[paths.case] = str(error)
        progress(paths.case)
    return Applied(tuple(written), tuple(kept), errors)


class _Work(NamedTuple):
    """What is done to each case."""

    calibrator: Calibrator
    home: Path
    out: Path
    scheme: ClassScheme
    options: ReadOptions

    def place(self, paths: CasePaths) -> ArrayFile:
        """A file of the spatial shape."""
        return find_place(paths, self.scheme)

    def targets(self, paths: CasePaths) -> list[Path]:
        """The files that a case will have."""
        if self.calibrator.method == CONFORMAL:
            return list(mask_files(paths.case, self.calibrator, self.place(paths), self.out).values())
        return [self.out / self._relative(path) for path in paths.prediction]

    def do(self, paths: CasePaths) -> None:
        """Write the files of a case."""
        place = self.place(paths)
        prediction = open_prediction(paths, place, self.scheme, self.options)
        if prediction.source is None:
            raise InputError(paths.prediction[0], "holds labels, not probabilities.", "Calibrate the probabilities.")
        if self.calibrator.method == CONFORMAL:
            source = random_access(prediction.source)
            write_masks(paths.case, self.calibrator, source, place, self.out, sigmoid=prediction.sigmoid)
            return
        if self.options.input == "logits":
            raise InputError(paths.prediction[0], "holds logits.", "Save their softmax, which calibrated maps replace.")
        self._write_maps(paths, place, self.calibrator.planes(prediction.source, sigmoid=prediction.sigmoid))
        if paths.segmentation is not None and METHODS[self.calibrator.method].keeps_argmax:
            copy_file(paths.segmentation, self.out / self._relative(paths.segmentation))

    def _write_maps(self, paths: CasePaths, place: ArrayFile, planes: PlaneSource) -> None:
        maps = open_maps(paths, place, self.scheme, self.options.axes)
        scale = find_reading(maps, paths.readings, place, self.scheme, self.options).scale
        first = planes.classes - max(maps.planes, 1)  # 1 where the background was added to the file's maps
        for index, (file, layout) in enumerate(zip(maps.files, maps.layouts, strict=True)):
            held = range(first + index, first + index + 1) if maps.a_class_each else range(first, planes.classes)
            write_maps(file, layout, planes, self.out / self._relative(file.path), classes=held, scale=scale)

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self.home) if path.is_relative_to(self.home) else Path(path.name)


def hashes_of(cases: Iterable[CasePaths]) -> dict[str, str]:
    """SHA-256 of each case's prediction; of several files, of the first."""
    return {paths.case: file_hash(paths.prediction[0]) for paths in cases if paths.prediction}


def _refuse_seen(calibrator: Calibrator, cases: Sequence[CasePaths], *, also_fitted: bool) -> None:
    if also_fitted or not calibrator.cases:
        return
    seen = overlap(calibrator, hashes_of(cases))
    if seen:
        named = ", ".join(seen[:5]) + (", ..." if len(seen) > 5 else "")
        raise UsageError(
            f"The calibrator was fitted on {len(seen)} of these cases ({named}): their numbers would look better than "
            "those of new cases. Give other cases, use `calibrate evaluate`, or say --also-fitted."
        )


def _refuse_mixture(calibrator: Calibrator, home: Path, out: Path) -> None:
    if home.resolve() == out.resolve():
        raise UsageError(f"{out}: the new maps would replace the old ones. Give another folder.")
    there = out / FILE_NAME
    if there.exists() and read_calibrator(there) != calibrator:
        raise UsageError(f"{out}: holds maps of another calibrator ({there}). Give another folder.")
