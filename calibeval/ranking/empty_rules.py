"""Apply another empty rule to a score table: what the numbers would be had it been scored under that rule.

The table's class rows keep their status (`empty_reference`, `empty_prediction`, `both_empty`), and the note of a
distance without value holds `diagonal_mm=NUMBER`; that is all that a rule needs. `EMPTY_RULES` in
`calibeval.protocol` says in words what each rule means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from calibeval.errors import TableError
from calibeval.metrics import METRICS
from calibeval.table import ALL, MEAN

if TYPE_CHECKING:
    import pandas as pd

_NAN, _INF = float("nan"), float("inf")
_DIAGONAL = -1.0  # stands in the table below for the image's diagonal


class EmptyValues(NamedTuple):
    """Value of an overlap or of a distance for each way in which a mask can be empty."""

    both_empty: float
    empty_reference: float
    empty_prediction: float


DISTANCES = tuple(name for name, metric in METRICS.items() if metric.needs == "surfaces" and metric.better == "lower")
OVERLAPS = tuple(
    name
    for name, metric in METRICS.items()
    if metric.needs != "probabilities" and (metric.low, metric.high) == (0, 1) and name not in DISTANCES
)
OVERLAP_VALUES: dict[str, EmptyValues] = {
    "nan": EmptyValues(_NAN, 0, 0),
    "worst": EmptyValues(1, 0, 0),
    "nacl": EmptyValues(1, 1, 0),
    "sdc-repo": EmptyValues(1, 0, 0),
    "deepmind": EmptyValues(_NAN, 0, 0),
}
DISTANCE_VALUES: dict[str, EmptyValues] = {
    "nan": EmptyValues(_NAN, _NAN, _NAN),
    "worst": EmptyValues(0, _DIAGONAL, _DIAGONAL),
    "nacl": EmptyValues(0, 0, _NAN),
    "sdc-repo": EmptyValues(0, _INF, _INF),
    "deepmind": EmptyValues(_INF, _INF, _INF),
}
# Their denominator is one mask alone, so one empty mask leaves them undefined where the rule defines no value.
_UNDEFINED_WITHOUT = {"precision": "empty_prediction", "recall": "empty_reference"}


def apply_empty_rule(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Recompute the `mean` rows of overlaps and distances from the class rows under an empty rule.

    Args:
        frame: rows of score tables, columns as `calibeval.table.COLUMNS`.
        rule: key of `EMPTY_RULES`.

    Returns:
        The frame with new values in the `mean` rows; a mean is over the classes that have a value under the rule,
        and NaN where none has. Rows of other metrics, and cases without class rows, stay as they are.

    Raises:
        TableError: the rule needs the image's diagonal in mm and the table does not hold it.
    """
    names = frame["metric"].isin((*OVERLAPS, *DISTANCES))
    classes = frame[names & ~frame["class"].isin((MEAN, ALL))]
    if classes.empty:
        return frame
    keys = ["method", "dataset", "case", "metric"]
    means = classes.assign(value=_values(classes, rule)).groupby(keys, sort=False)["value"].mean()
    wanted = (frame["class"] == MEAN) & names & ~frame["status"].isin(("missing", "failed"))
    rows = frame.loc[wanted, keys].join(means.rename("new"), on=keys)
    known = rows.join(classes.groupby(keys, sort=False).size().rename("classes"), on=keys)["classes"].notna()
    result = frame.copy()
    result.loc[rows.index[known], "value"] = rows.loc[known, "new"]
    return result


def has_empty_masks(frame: pd.DataFrame) -> bool:
    """Whether any empty rule could change a value: some class row has an empty mask."""
    return bool(frame["status"].isin(EmptyValues._fields).any())


def _values(classes: pd.DataFrame, rule: str) -> np.ndarray:
    """Values of class rows under a rule."""
    values = classes["value"].to_numpy(dtype=np.float64, copy=True)
    distance = classes["metric"].isin(DISTANCES).to_numpy()
    for status in EmptyValues._fields:
        rows = (classes["status"] == status).to_numpy()
        values[rows & distance] = getattr(DISTANCE_VALUES[rule], status)
        values[rows & ~distance] = getattr(OVERLAP_VALUES[rule], status)
    if rule in ("nan", "deepmind"):
        for metric, status in _UNDEFINED_WITHOUT.items():
            values[((classes["metric"] == metric) & (classes["status"] == status)).to_numpy()] = _NAN
    needed = values == _DIAGONAL
    values[needed] = _diagonals(classes[needed])
    return values


def _diagonals(rows: pd.DataFrame) -> np.ndarray:
    """Diagonals in mm from the notes."""
    import pandas as pd

    text = rows["note"].str.extract(r"diagonal_mm=([0-9.eE+-]+)", expand=False)
    diagonals = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.isnan(diagonals) | (rows["unit"] == "voxel").to_numpy()
    if bad.any():
        row = rows[bad].iloc[0]
        raise TableError(
            f"The empty rule 'worst' needs the image's diagonal in mm, and the {row['metric']} of case {row['case']!r} "
            f"by {row['method']!r} comes without it (unit {row['unit']!r}, note {row['note']!r}). "
            "Score the cases again with --empty worst."
        )
    return diagonals
