"""Applying a calibrator to a folder of predictions, case by case: new maps in the form of the old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calibeval.calibrate.calibrator import CONFORMAL, Calibrator, overlap, read_calibrator, write_calibrator
from calibeval.calibrate.ensemble import Ensemble
from calibeval.calibrate.masks import mask_files, write_masks
from calibeval.calibrate.methods import METHODS
from calibeval.calibrate.sources import random_access
from calibeval.calibrate.write import copy_file, log_odds, log_probabilities, write_labels, write_maps
from calibeval.errors import InputError, UsageError, describe
from calibeval.files import check_writable, file_hash, inside
from calibeval.gates.case_files import find_place
from calibeval.io.array_file import ArrayFile
from calibeval.io.case_paths import CasePaths
from calibeval.io.cases import Case, open_label_map
from calibeval.io.classes import ClassScheme, read_labels
from calibeval.io.layout import squeezed
from calibeval.io.maps import open_maps
from calibeval.io.orientation import AGREEMENT, agreement, find_turns
from calibeval.io.predictions import Prediction, open_prediction
from calibeval.io.read_options import ReadOptions
from calibeval.io.readings import find_reading, settle
from calibeval.planes import PlaneSource
from calibeval.protocol import make_protocol
from calibeval.scoring.plan import CALIBRATOR_FILE
from calibeval.scoring.problems import Labels, read_planes
from calibeval.wording import some_of

_TAKE_AWAY = "Take it away to calibrate the maps alone."


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
    ensemble: Ensemble,
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
        ensemble: the folder that their paths are kept relative to, and those of other models.
        out: folder to write to.
        scheme: classes.
        options: how to read the maps.
        resume: leave cases alone whose files are in `out`.
        also_fitted: calibrate cases that it was fitted on, too.
        progress: called with each case's name.

    Raises:
        UsageError: cases that it was fitted on, classes in another order, or a folder that holds maps of another
            calibrator.
    """
    if not also_fitted:
        _refuse_seen(calibrator, cases)
    _refuse_order(calibrator, scheme)
    _refuse_mixture(calibrator, ensemble, out)
    check_writable([out / CALIBRATOR_FILE])
    write_calibrator(out / CALIBRATOR_FILE, calibrator)
    for path in (ensemble.home / "dataset.json", ensemble.home.resolve().parent / "dataset.json"):
        if path.is_file():
            copy_file(path, out / path.name)
            break
    work = _Work(calibrator, ensemble, out, scheme, options)
    written, kept, errors = [], [], {}
    for paths in settle(list(cases), scheme, options, find_place):
        try:
            if resume and all(target.exists() for target in work.targets(paths)):
                kept.append(paths.case)
            else:
                work.do(paths)
                written.append(paths.case)
        except Exception as error:  # whatever one case does must not cost the others
            errors[paths.case] = describe(error)
        progress(paths.case)
    return Applied(tuple(written), tuple(kept), errors)


class _Work(NamedTuple):
    """What is done to each case."""

    calibrator: Calibrator
    ensemble: Ensemble
    out: Path
    scheme: ClassScheme
    options: ReadOptions

    def targets(self, paths: CasePaths) -> list[Path]:
        """The files that a case will have, the last of them written last."""
        if self.calibrator.method == CONFORMAL:
            return list(mask_files(paths.case, self.calibrator, find_place(paths, self.scheme), self.out).values())
        return [self._target(path) for path in (paths.segmentation, *paths.prediction) if path is not None]

    def do(self, paths: CasePaths) -> None:
        """Write the files of a case."""
        place = find_place(paths, self.scheme)
        prediction = open_prediction(paths, place, self.scheme, self.options)
        if prediction.source is None:
            raise InputError(paths.prediction[0], "holds labels, not probabilities.", "Calibrate the probabilities.")
        source = self.ensemble.mean(prediction.source, paths, place, self.scheme, self.options)
        if self.calibrator.method == CONFORMAL:
            readable = random_access(source)
            write_masks(paths.case, self.calibrator, readable, place, self.out, sigmoid=prediction.sigmoid)
            return
        planes = self.calibrator.planes(source, sigmoid=prediction.sigmoid)
        if paths.segmentation is not None:
            self._write_labels(paths.segmentation, place, prediction, planes)
        self._write_maps(paths, place, planes, alone=prediction.sigmoid)

    def _write_labels(self, beside: Path, place: ArrayFile, prediction: Prediction, planes: PlaneSource) -> None:
        """The label map beside the maps: as it was while no predicted class can change."""
        target = self._target(beside)
        if METHODS[self.calibrator.method].keeps_argmax and not self.ensemble.others:
            copy_file(beside, target)
            return
        scheme = prediction.scheme.with_classes(prediction.classes) if prediction.classes else prediction.scheme
        old = open_label_map(beside, place)
        labels = read_labels(old, scheme).reshape(squeezed(place.shape))
        case = Case(beside.name, scheme, np.zeros(planes.shape, np.uint8), None, planes, prediction.sigmoid)
        decoded = read_planes([case], planes, make_protocol(), ())[0].decoded
        write_labels(old, _turned(decoded, labels, beside), scheme.values, target)

    def _write_maps(self, paths: CasePaths, place: ArrayFile, planes: PlaneSource, *, alone: bool) -> None:
        maps = open_maps(paths, place, self.scheme, self.options.axes)
        scale = find_reading(maps, paths.readings, place, self.scheme, self.options).scale
        first = planes.classes - max(maps.planes, 1)  # 1 where the background was added to the file's maps
        if self.options.input == "logits":
            if maps.integers:
                raise InputError(paths.prediction[0], "holds logits as integers, which are too coarse to be replaced.")
            planes = planes.map(log_odds if alone or first else log_probabilities)
        for index, (file, layout) in enumerate(zip(maps.files, maps.layouts, strict=True)):
            held = range(first + index, first + index + 1) if maps.a_class_each else range(first, planes.classes)
            write_maps(file, layout, planes, self._target(file.path), classes=held, scale=scale)

    def _target(self, path: Path) -> Path:
        return inside(self.out, self.ensemble.relative(path))


def _turned(decoded: Labels | None, beside: Labels, path: Path) -> Labels:
    """New labels, brought to where the old label map lies."""
    if decoded is None:
        raise InputError(path, "is the label map of regions without an order, which cannot be made anew.", _TAKE_AWAY)
    if decoded.shape == beside.shape and agreement(decoded, beside) >= AGREEMENT:
        return decoded
    turns = find_turns(decoded, beside)
    if len(turns) != 1:
        raise InputError(path, f"differs from the maps beside it, and {len(turns)} turns would mend it.", _TAKE_AWAY)
    return turns[0].apply(decoded)


def hashes_of(cases: Iterable[CasePaths]) -> dict[str, str]:
    """SHA-256 of each case's prediction; of several files, of the first."""
    return {paths.case: file_hash(paths.prediction[0]) for paths in cases if paths.prediction}


def _refuse_seen(calibrator: Calibrator, cases: Sequence[CasePaths]) -> None:
    seen = overlap(calibrator, hashes_of(cases)) if calibrator.cases else []
    if seen:
        raise UsageError(
            f"The calibrator was fitted on {len(seen)} of these cases ({some_of(seen, 5)}): their numbers would look "
            "better than those of new cases. Give other cases, use `calibrate evaluate`, or say --also-fitted."
        )


def _refuse_order(calibrator: Calibrator, scheme: ClassScheme) -> None:
    """Refuse the calibrator's classes in another order; other names may be other words for them."""
    known = tuple(scheme.regions) if calibrator.of_regions else scheme.names
    if known != calibrator.classes and sorted(known) == sorted(calibrator.classes):
        raise UsageError(
            f"The classes are {', '.join(known)} ({scheme.source}), and the calibrator was fitted on "
            f"{', '.join(calibrator.classes)}."
        )


def _refuse_mixture(calibrator: Calibrator, ensemble: Ensemble, out: Path) -> None:
    if out.resolve() in [folder.resolve() for folder in (ensemble.home, *ensemble.others)]:
        raise UsageError(f"{out}: the new maps would replace the old ones. Give another folder.")
    there = out / CALIBRATOR_FILE
    if there.exists() and read_calibrator(there) != calibrator:
        raise UsageError(f"{out}: holds maps of another calibrator ({there}). Give another folder.")
