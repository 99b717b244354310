"""Values that a metric cannot have: per cent are made ratios, anything else is refused before it is ranked or gated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibeval.errors import TableError
from calibeval.metrics import METRICS, Metric

if TYPE_CHECKING:
    import pandas as pd

_ROUNDING = 1e-6  # beyond an end of the range
_LEAST_PERCENT = 2  # the largest value of a column of per cent; below, it is rather an impossible ratio


def in_range(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Hold each known metric's values to its range.

    Args:
        frame: columns `method`, `dataset`, `case`, `metric` and `value`, of everything that will be compared.

    Returns:
        The frame, a metric that is all per cent divided by 100, and a note on each of these.

    Raises:
        TableError: per cent beside ratios, or another value that the metric cannot have; with its place.
    """
    percent = []
    for name, values in frame.groupby("metric")["value"]:
        metric = METRICS.get(str(name))
        if metric is None or values.between(metric.low - _ROUNDING, metric.high + _ROUNDING)[values.notna()].all():
            continue
        if not _all_percent(metric, values):
            raise TableError(_impossible(frame.loc[values.index], metric))
        percent.append(metric.name)
    if not percent:
        return frame, ()
    of_percent = frame["metric"].isin(percent)
    frame = frame.assign(value=frame["value"].where(~of_percent, frame["value"] / 100))
    return frame, (f"All values of {', '.join(percent)} were taken for per cent and divided by 100.",)


def _all_percent(metric: Metric, values: pd.Series[float]) -> bool:
    """Whether all values are 0 or lie between 1 and 100: of a ratio, so that they can only be per cent."""
    size = values[values.notna() & (values != 0)]
    if metric.low < 0:
        size = size.abs()
    return metric.high == 1 and bool(((size > 1) & (size <= 100)).all()) and size.max() >= _LEAST_PERCENT


def _impossible(frame: pd.DataFrame, metric: Metric) -> str:
    """Name the first value out of range."""
    below = frame["value"] < metric.low - _ROUNDING
    row = frame[below | (frame["value"] > metric.high + _ROUNDING)].iloc[0]
    where = "/".join(filter(None, (row["dataset"], row["case"])))
    text = f"{metric.name} of {row['method']!r}{f' in {where}' if where else ''} is {row['value']:g}, and it cannot be "
    if row["value"] < metric.low:
        return f"{text}below {metric.low:g}. Where there is no number, leave the field empty."
    mixture = metric.high == 1 and row["value"] <= 100
    return f"{text}above {metric.high:g}." + (
        " If these are per cent, give all its values in per cent." if mixture else ""
    )
