"""Small results tables for the tests of `calibeval.gates` and `calibeval check`."""

from __future__ import annotations

import math
from pathlib import Path

from calibeval.gates.policy import Policy, parse_gate, parse_margin
from calibeval.gates.scores import ScoreTable, scores_of_rows
from calibeval.protocol import make_protocol
from calibeval.table import Row, overall_class, write_table

SIGNATURE = make_protocol().signature
EMPTY = math.nan


def rows_of(values: dict[str, list[float]], *, method="m", dataset="A", statuses=None) -> list[Row]:
    """Rows of METRIC or METRIC[CLASS], one number a case; cases are named c0, c1, ...

    `statuses` gives the status of a case by its index, for all of its rows.
    """
    rows = []
    for name, numbers in values.items():
        metric, _, class_name = name.removesuffix("]").partition("[")
        for i, value in enumerate(numbers):
            status = (statuses or {}).get(i, "ok")
            rows.append(Row(method, dataset, f"c{i}", class_name or overall_class(metric), metric, value, "", status))
    return rows


def missing_a_class(cases: int, missed: set[int], *, name="new.csv", metric="HD95") -> ScoreTable:
    """LV at 1 mm and RV at 5 mm, unless the model misses RV: then the mean over classes is that of LV alone."""
    rows = []
    for i in range(cases):
        rv = EMPTY if i in missed else 5.0
        rows += [
            Row("m", "A", f"c{i}", "LV", metric, 1.0, "mm"),
            Row("m", "A", f"c{i}", "RV", metric, rv, "mm", "empty_prediction" if i in missed else "ok"),
            Row("m", "A", f"c{i}", "mean", metric, 1.0 if i in missed else 3.0, "mm"),
        ]
    return scores_of_rows(name, SIGNATURE, rows)


def scores_of(values: dict[str, list[float]], *, signature=SIGNATURE, name="new.csv", **options) -> ScoreTable:
    return scores_of_rows(name, signature, rows_of(values, **options))


def write_scores(path: Path, values: dict[str, list[float]], *, signature=SIGNATURE, **options) -> Path:
    write_table(path, rows_of(values, **options), signature=signature)
    return path


def policy_of(*gates: str, margins: dict[str, float] | None = None, **settings) -> Policy:
    parsed = [parse_margin(name, margin) for name, margin in (margins or {}).items()]
    return Policy(**settings).extended([parse_gate(gate) for gate in gates], parsed)
