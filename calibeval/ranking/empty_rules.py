"""Apply another empty rule to a score table: what the numbers would be had it been scored under that rule.

The table's class rows keep their status (`empty_reference`, `empty_prediction`, `both_empty`), which says what the
formula gave, and the column `diagonal` what a distance to nowhere is; that is all that a rule needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibeval.errors import TableError
from calibeval.metrics import METRICS
from calibeval.metrics.empty import apply_rule
from calibeval.ranking.scores import EMPTY_STATUSES, Array
from calibeval.table import ALL, MEAN

if TYPE_CHECKING:
    import pandas as pd

_DIAGONAL = -1.0  # stands for the image's diagonal until it is looked up in the row
_METRICS = tuple(name for name, metric in METRICS.items() if metric.follows_empty_rule)


def apply_empty_rule(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Recompute the class rows of overlaps and distances, and from these the `mean` rows, under an empty rule.

    Args:
        frame: rows of score tables, columns as `calibeval.table.COLUMNS`.
        rule: key of `EMPTY_RULES`.

    Returns:
        The frame with new values; a mean is over the classes that have a value under the rule, and NaN where none
        has. Rows of other metrics, and cases without class rows, stay as they are.

    Raises:
        TableError: the rule needs the image's diagonal and the table does not hold it.
    """
    names = frame["metric"].isin(_METRICS)
    classes = frame[names & ~frame["class"].isin((MEAN, ALL))]
    if classes.empty:
        return frame
    keys = ["method", "dataset", "case", "metric"]
    classes = classes.assign(value=_values(classes, rule))
    means = classes.groupby(keys, sort=False)["value"].mean().rename("new").to_frame().assign(known=True)
    wanted = (frame["class"] == MEAN) & names & ~frame["status"].isin(("missing", "failed"))
    rows = frame.loc[wanted, keys].join(means, on=keys)
    rows = rows[rows["known"].notna()]
    result = frame.copy()
    result.loc[classes.index, "value"] = classes["value"]
    result.loc[rows.index, "value"] = rows["new"]
    return result


def has_empty_masks(frame: pd.DataFrame) -> bool:
    """Whether an empty rule could change a value: some class row has an empty mask."""
    return bool((frame["status"].isin(EMPTY_STATUSES) & frame["metric"].isin(_METRICS)).any())


def formula_value(metric: str, status: str) -> float:
    """What the metric's formula gives for an empty mask: NaN where it is 0/0 or a distance to nowhere, else 0."""
    return float("nan") if METRICS[metric].is_undefined(status) else 0.0


def _values(classes: pd.DataFrame, rule: str) -> Array:
    """Values of class rows under a rule."""
    values = classes["value"].to_numpy(dtype=np.float64, copy=True)
    for metric in _METRICS:
        of_metric = (classes["metric"] == metric).to_numpy()
        for status in EMPTY_STATUSES if of_metric.any() else ():
            given = apply_rule(rule, metric, status, formula_value(metric, status), _DIAGONAL)
            values[of_metric & (classes["status"] == status).to_numpy()] = given
    needed = values == _DIAGONAL
    values[needed] = _diagonals(classes[needed])
    return values


def _diagonals(rows: pd.DataFrame) -> Array:
    """Lengths of the images' diagonals, in the unit of the distances."""
    diagonals = rows["diagonal"].to_numpy(dtype=np.float64)
    if np.isnan(diagonals).any():
        row = rows[np.isnan(diagonals)].iloc[0]
        raise TableError(
            f"The empty rule 'worst' needs the image's diagonal, and the {row['metric']} of {row['class']!r} in case "
            f"{row['case']!r} by {row['method']!r} comes without it . "
            "Score the cases again with --empty worst."
        )
    return diagonals
