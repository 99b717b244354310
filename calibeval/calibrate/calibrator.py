"""A fitted calibrator, and its file: readable JSON, exact to load, nothing in it is run.

`calibrator.json` (`CALIBRATOR_FILE`) holds the method, its parameters by problem, the classes, the clip of logarithms,
what it was fitted on (case ids with the SHA-256 of their predictions, so that scoring the same cases is noticed), and
how sure the parameters are. Numbers are written in the shortest form that reads back to the same float64.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval._version import __version__
from calibeval.calibrate.methods import METHODS, Parameters, check_methods
from calibeval.calibrate.sources import calibrated_planes
from calibeval.errors import InputError, ProbabilityError, UsageError
from calibeval.files import read_text, write_text
from calibeval.planes import PlaneSource

CONFORMAL = "conformal"  # its parameters are an outer and an inner threshold by class; it gives masks
_FORMAT = 1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibrator:
    """A method with its parameters.

    Attributes:
        method: key of `METHODS`, or `conformal`.
        classes: names of the planes that it takes: classes, background first, or regions.
        parameters: by problem: of the classes together (the empty name), or of each region.
        clip: probabilities are held off 0 by this before a logarithm is taken.
        cases: that it was fitted on: id to the SHA-256 of the prediction.
        fitted: how it was fitted: domain, voxels a case, seed, groups, spread of parameters, likelihoods.
    """

    method: str
    classes: tuple[str, ...]
    parameters: dict[str, Parameters]
    clip: float
    cases: dict[str, str] = field(default_factory=dict)
    fitted: dict[str, Any] = field(default_factory=dict)

    @property
    def of_regions(self) -> bool:
        """Whether each plane is a region of its own."""
        return "" not in self.parameters

    def apply(self, p: Array, problem: str = "") -> Array:
        """Give new probabilities.

        Args:
            p: (n, C), background first; for a region (n, 2), outside first.
            problem: name of the region; empty for classes.

        Returns:
            (n, C); a row of NaN gives NaN.
        """
        return METHODS[self.method].apply(np.asarray(p, np.float64), self.parameters[problem], self.clip)

    def of_planes(self, p: Array) -> Array:
        """Give new probabilities of planes (C, n): of all classes, or of each region by itself."""
        if self.of_regions:
            return np.stack([self.of_region(c, plane) for c, plane in enumerate(p)])
        return self.apply(p.T).T

    def of_region(self, c: int, p: Array) -> Array:
        """Give new probabilities (n,) of one region by its place."""
        inside = np.asarray(p, np.float64)
        return self.apply(np.stack([1 - inside, inside], axis=1), self.classes[c])[:, 1]

    def planes(self, source: PlaneSource, *, sigmoid: bool) -> PlaneSource:
        """Planes of new probabilities.

        Raises:
            ProbabilityError: the planes are not those that it was fitted on.
        """
        check_planes(self, source.classes, sigmoid=sigmoid)
        if sigmoid:
            wide = replace(source, dtype=np.dtype(np.float64))
            return wide.map(lambda values, c, _start: self.of_region(c, values))
        return calibrated_planes(source, self.of_planes)


def check_planes(calibrator: Calibrator, planes: int, *, sigmoid: bool) -> None:
    """Refuse planes that a calibrator was not fitted on.

    Raises:
        UsageError: the calibrator gives masks.
        ProbabilityError: another number, or regions for classes.
    """
    if calibrator.method == CONFORMAL:
        raise UsageError("A conformal calibrator gives masks, no probabilities. `calibrate apply` writes them.")
    if sigmoid != calibrator.of_regions or planes != len(calibrator.classes):
        kinds = ("classes", "regions")
        wanted = f"{len(calibrator.classes)} {kinds[calibrator.of_regions]}: {', '.join(calibrator.classes)}"
        raise ProbabilityError(f"holds {planes} {kinds[sigmoid]}, and the calibrator was fitted on {wanted}")


def write_calibrator(path: Path, calibrator: Calibrator) -> None:
    """Write the file, all or nothing."""
    formula = METHODS[calibrator.method].formula if calibrator.method in METHODS else "p > threshold"
    content = {"calibeval": __version__, "format": _FORMAT, "formula": formula, **asdict(calibrator)}
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_calibrator(path: Path) -> Calibrator:
    """Read a file that `write_calibrator` wrote.

    Raises:
        InputError: the file is missing, damaged, or no calibrator.
    """
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise InputError(path, "no such file.", "`calibeval calibrate fit` writes one.") from error
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as a calibrator ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(path, f"is no calibrator: expected 'format' {_FORMAT}, as `calibeval calibrate fit` writes.")
    try:
        if content["method"] != CONFORMAL:
            check_methods([content["method"]])
        calibrator = Calibrator(
            content["method"], tuple(content["classes"]), dict(content["parameters"]), float(content["clip"]),
            dict(content["cases"]), dict(content["fitted"]),
        )  # fmt: skip
        _try(calibrator)
    except Exception as error:  # whatever is missing or odd in a file that people may edit
        raise InputError(path, f"is no whole calibrator ({type(error).__name__}: {error}).") from error
    return calibrator


def _try(calibrator: Calibrator) -> None:
    """Apply it once, so that odd parameters are told with the file and not with the first case."""
    if calibrator.method == CONFORMAL:
        if not all(0 <= part["inner"] <= 1 and 0 <= part["outer"] <= 1 for part in calibrator.parameters.values()):
            raise ValueError("thresholds must lie between 0 and 1")
        return
    for problem in calibrator.parameters:
        n = 2 if problem else len(calibrator.classes)
        q = calibrator.apply(np.full((1, n), 1 / n), problem)
        if q.shape != (1, n) or not np.isfinite(q).all() or not 0 < calibrator.clip < 0.5:
            raise ValueError(f"its parameters give {q.tolist()} for equal probabilities")


def overlap(calibrator: Calibrator, hashes: Mapping[str, str]) -> list[str]:
    """Cases that it was fitted on: of the same name, or of the same prediction."""
    fitted = set(calibrator.cases.values())
    return sorted(case for case, found in hashes.items() if case in calibrator.cases or found in fitted)
