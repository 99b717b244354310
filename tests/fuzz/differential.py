"""Metrics of random tiny cases against brute force (`tests.oracles`): any shape, spacing, classes and choices."""

import importlib.util
import itertools
import math
import random
import time
import warnings
from typing import Any, NamedTuple

import numpy as np

from calibeval import make_protocol, score_case
from calibeval.metrics import METRICS
from calibeval.protocol import HD95_DEFINITIONS, PROTOCOLS
from tests.oracles.metrics import FORMULAS, Scene

_SHAPES = ((2, 2), (3, 5), (7, 2), (1, 4, 3), (2, 2, 2), (2, 3, 4), (5, 1, 6), (4, 4, 4), (6, 5, 1), (3, 7, 5))
_STEPS = (0.5, 0.75, 1.0, 1.0, 1.25, 3.0)  # exact in binary, so that what is as near is as near by any formula
_UNDEFINED = (
    ZeroDivisionError,
    ValueError,
    IndexError,
)  # of a formula without a voxel: see test_empty.py
_ASKED = "all,lesions" if importlib.util.find_spec("cc3d") else "all"
_CLOSE = {"smECE": 2e-3}  # the formula's grid resolves no smaller error


class Tiny(NamedTuple):
    """One case: probabilities (C, *shape), labels, spacing in mm, choices beside the protocol's."""

    p: np.ndarray
    y: np.ndarray
    spacing: tuple[float, ...]
    protocol: str
    choices: dict[str, Any]


class _Filled(Scene):
    """Without classes that are empty on one side."""

    def pairs(self):
        return {name: pair for name, pair in super().pairs().items() if all(mask.any() for mask in pair)}

    def masks(self, metric):
        whole = len(self.pairs()) == len(super().pairs())
        values = super().masks(metric)
        return values if whole else {name: value for name, value in values.items() if name != "mean"}


def draw_case(draws):
    """A case by a `random.Random`: labels in blocks, probabilities that follow them, many of them on edges of bins."""
    numbers = np.random.default_rng(draws.randrange(2**32))
    classes, shape = draws.randint(2, 4), draws.choice(_SHAPES)
    y = numbers.integers(0, classes, shape)
    for axis in range(len(shape)):
        y = np.where(numbers.random(shape) < 0.5, np.roll(y, 1, axis), y)
    guess = np.where(numbers.random(shape) < draws.random(), numbers.integers(0, classes, shape), y)
    p = np.moveaxis(numbers.dirichlet(np.full(classes, draws.choice((0.05, 0.5, 5.0))), shape), -1, 0)
    p = draws.random() * p
    p = p + (1 - p.sum(axis=0)) * (np.arange(classes).reshape(-1, *[1] * len(shape)) == guess)
    if draws.random() < 0.5:  # whole parts of 60, which are edges of 10, 12 and 15 bins
        p = np.floor(60 * p)
        p = (p + (60 - p.sum(axis=0)) * (np.arange(classes).reshape(-1, *[1] * len(shape)) == guess)) / 60
    choices = {
        "hd95": draws.choice([name for name, chosen in HD95_DEFINITIONS.items() if not chosen.weighted]),
        "bins": draws.choice((1, 2, 10, 12, 15, 40)),
        "fp_weight": draws.choice((0.0, 1.0, 2.0)),
        "nsd_tolerance_mm": draws.choice((0.0, 1.0, 1.3)),
        "boundary_mm": draws.choice((0.0, 1.0, 1.3)),
        "empty": "nan",
    }
    spacing = tuple(draws.choice(_STEPS) for _ in shape)
    return Tiny(np.ascontiguousarray(p), y.astype(np.uint8), spacing, draws.choice(list(PROTOCOLS)), choices)


def disagreements(case):
    """Numbers that differ, as (metric, class) to ours and that of the formula; and how many were compared."""
    protocol = make_protocol(case.protocol, **case.choices)
    rows = score_case(case.p, case.y, metrics=_ASKED, spacing_mm=case.spacing, protocol=protocol).rows
    ours = {(row.metric, row.class_name): row.value for row in rows}
    long = [axis for axis, n in enumerate(case.y.shape) if n > 1]  # others mean nothing
    p, spacing = case.p.squeeze(), tuple(case.spacing[axis] for axis in long)
    scene = _Filled(p, case.y.squeeze(), spacing, protocol)
    differing, compared = {}, 0
    for metric, formula in FORMULAS.items():
        if METRICS[metric].needs == "lesions" and _ASKED == "all":
            continue
        for name, value in _expected(formula, scene).items():
            if math.isnan(value) or (metric == "VD" and case.y.squeeze().ndim < 3):
                continue
            compared += 1
            close = _CLOSE.get(metric, 1e-4 if METRICS[metric].also_needs == "cells" else 1e-9)
            if not math.isclose(ours[metric, name], value, rel_tol=1e-9, abs_tol=close):
                differing[metric, name] = (ours[metric, name], value)
    return differing, compared


def _expected(formula, scene):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return formula(scene)
        except _UNDEFINED:
            return {}


def search(seconds, seed=0):
    """Compare cases for some seconds: cases, numbers compared, and the first case of each metric that differs."""
    end, compared, faults = time.monotonic() + seconds, 0, {}
    for number in itertools.count(seed * 10**9):
        differing, more = disagreements(draw_case(random.Random(number)))
        compared += more
        for (metric, name), values in differing.items():
            faults.setdefault(metric, f"draw_case(random.Random({number})): {metric} of {name}: {values}")
        if time.monotonic() > end:
            return number + 1 - seed * 10**9, compared, list(faults.values())
    raise AssertionError
