"""Small score tables and designs for the tests of `calibeval.ranking`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibeval.metrics import METRICS
from calibeval.protocol import make_protocol
from calibeval.ranking.design import Design, make_design
from calibeval.ranking.scores import OK, Scores, Unit
from calibeval.table import Row, write_table

SIGNATURE = make_protocol().signature


def write_scores(path: Path, values: dict[str, list[float]], *, method: str = "", **options: object) -> Path:
    """Write a score table with one number a case for each metric; cases are named c0, c1, ..."""
    signature = str(options.get("signature", SIGNATURE))
    dataset = str(options.get("dataset", "A"))
    rows = [
        Row(method, dataset, f"c{i}", METRICS[metric].rows[-1], metric, value)
        for metric, numbers in values.items()
        for i, value in enumerate(numbers)
    ]
    write_table(path, rows, signature=signature)
    return path


def make_tables(folder: Path, values: dict[str, dict[str, list[float]]], **options: object) -> list[Path]:
    """One score table a method."""
    return [write_scores(folder / f"{name}.csv", of, method=name, **options) for name, of in values.items()]


def design_of(values: np.ndarray, metrics: tuple[str, ...] | None = None, datasets: list[str] | None = None) -> Design:
    """A design of (units, metrics, methods) values, all lower is better, all there."""
    u, m, k = values.shape
    names = metrics or tuple(f"loss{j}" for j in range(m))
    units = tuple(Unit(datasets[i] if datasets else "A", f"c{i}") for i in range(u))
    states = np.full(values.shape, OK, dtype=np.int8)
    methods = tuple(f"m{j}" for j in range(k))
    scores = Scores(
        methods, names, ("lower",) * m, units, values.astype(float), states, True, np.zeros((u, m), dtype=bool)
    )
    return make_design(scores, "error")[0]
