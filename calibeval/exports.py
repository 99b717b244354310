"""One method's numbers as other programs read them: grand-challenge, nnU-Net, and flat JSON for DVC and MLflow.

What is undefined is null. Means are over the cases that have a value, as in every summary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from calibeval.escape import finite
from calibeval.table import ALL, MEAN, POOLED, Row, overall_class

_NNUNET = {"DSC": "Dice", "IoU": "IoU"}  # of nnU-Net's names, those that are ratios and not counts of voxels


def grand_challenge(rows: Iterable[Row]) -> str:
    """`metrics.json`: `results`, an object a case, and `aggregates`, an object a metric; classes after `_`."""
    numbers = _numbers(rows, "_")
    cases: dict[str, dict[str, Any]] = {}
    for name, values in numbers.items():
        for case, value in values.items():
            cases.setdefault(case, {"case": case})[name] = value
    aggregates = {name: _aggregate([*values.values()]) for name, values in numbers.items()}
    return _text({"results": [*cases.values()], "aggregates": aggregates})


def nnunet_summary(rows: Iterable[Row]) -> str:
    """`summary.json` of nnU-Net with Dice and IoU: by class and case, by class, and over the foreground."""
    rows = [row for row in rows if row.metric in _NNUNET and row.class_name not in (MEAN, ALL) and row.case != POOLED]
    cases: dict[str, dict[str, dict[str, float]]] = {}
    classes: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        name = _NNUNET[row.metric]
        cases.setdefault(row.case, {}).setdefault(row.class_name, {})[name] = row.value
        classes.setdefault(row.class_name, {}).setdefault(name, []).append(row.value)
    means = {key: {name: _mean(values) for name, values in of_class.items()} for key, of_class in classes.items()}
    names = dict.fromkeys(name for of_class in means.values() for name in of_class)
    content = {
        "foreground_mean": {name: _mean([each.get(name, math.nan) for each in means.values()]) for name in names},
        "mean": means,
        "metric_per_case": [
            {"metrics": metrics, "prediction_file": case, "reference_file": case} for case, metrics in cases.items()
        ],
    }
    return _text(content)


def flat(rows: Iterable[Row]) -> str:
    """One object of numbers: `METRIC`, `METRIC/CLASS` (means over cases) and `METRIC/pooled`."""
    rows = list(rows)
    content = {name: _mean([*values.values()]) for name, values in _numbers(rows, "/").items()}
    pooled = {f"{_name(row, '/')}/{POOLED}": row.value for row in rows if row.case == POOLED}
    return _text(content | pooled)


def _numbers(rows: Iterable[Row], mark: str) -> dict[str, dict[str, float]]:
    """Values of the cases by the names of metric and class."""
    numbers: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.case != POOLED:
            numbers.setdefault(_name(row, mark), {})[row.case] = row.value
    return numbers


def _name(row: Row, mark: str) -> str:
    return row.metric if row.class_name == overall_class(row.metric) else f"{row.metric}{mark}{row.class_name}"


def _aggregate(values: list[float]) -> dict[str, Any]:
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return {"mean": None, "std": None, "min": None, "max": None, "count": 0}
    std = float(known.std(ddof=1)) if known.size > 1 and np.isfinite(known).all() else None
    return {
        "mean": float(known.mean()), "std": std, "min": float(known.min()), "max": float(known.max()),
        "count": int(known.size),
    }  # fmt: skip


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _text(content: dict[str, Any]) -> str:
    return json.dumps(finite(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
