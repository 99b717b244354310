"""Case by case: a dot for each case, joined with the same case of the other methods, and the mean with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibeval.errors import UsageError
from calibeval.metrics import METRICS, PAPER
from calibeval.metrics.intervals import group_means, mean_interval
from calibeval.plots import style as st
from calibeval.plots.binned import names_of
from calibeval.plots.style import GREY, INK, SMALL, WIDTHS, Look
from calibeval.summary import direction
from calibeval.table import POOLED, overall_class, read_table
from calibeval.wording import count_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_FEW = 12  # cases up to which dots speak for themselves, without a box and without being spread
_JOINED = 150  # cases beyond which lines would be a grey field
_ROW = 0.3  # inches of a method
_NAME = 1.6  # inches of the longest name


def read_values(results: Any, metric: str, class_name: str = "") -> pd.DataFrame:
    """Values of a metric, a row a case (by its group and name) and a column a method; NaN where a method has none.

    Args:
        results: tables' paths, frames with the columns of a table, or what `score_case` or `score_folder` give; or a
            sequence of these.
        metric: name.
        class_name: of the table; empty takes the number over all classes.

    Raises:
        TableError: no table.
        UsageError: no such metric or class.
    """
    import pandas as pd

    each = results if isinstance(results, list | tuple) else [results]
    paths = [Path(one) for one in each if isinstance(one, str | Path)]
    frames = [read_table(path)[1].assign(method=name) for path, name in zip(paths, names_of(paths), strict=True)]
    table = pd.concat([*frames, *(getattr(one, "table", one) for one in each if not isinstance(one, str | Path))])
    wanted = class_name or overall_class(metric)
    rows = table[(table["metric"] == metric) & (table["class"] == wanted) & (table["case"] != POOLED)]
    if rows.empty:
        raise UsageError(
            f"No value of {metric} for the class {wanted!r}. Metrics: {', '.join(table['metric'].unique())}; classes: "
            f"{', '.join(table['class'].unique())}."
        )
    owned = rows.assign(group=rows["group"].where(rows["group"] != "", rows["case"]))
    found: pd.DataFrame = owned.groupby(["group", "case", "method"], sort=False)["value"].mean().unstack("method")
    return found


def read_metrics(results: Any, metrics: Sequence[str] = (), class_name: str = "") -> dict[str, pd.DataFrame]:
    """What `read_values` gives for each metric; without names for those of the paper's that the tables hold.

    Raises:
        TableError: no table.
        UsageError: no such metric or class, or none of the paper's.
    """
    found = {}
    for metric in metrics or PAPER:
        try:
            found[metric] = read_values(results, metric, class_name)
        except UsageError:
            if metrics or (metric == PAPER[-1] and not found):
                raise
    return found


def worst_case(results: Any) -> str:
    """The case that is worst in the mean over methods, by pECE, or by DSC where no table has it."""
    for metric in ("pECE", "DSC"):
        try:
            means = read_values(results, metric).mean(axis=1)
        except UsageError:
            continue
        return str((means if METRICS[metric].better == "lower" else -means).idxmax()[1])  # type: ignore[index]
    raise UsageError("No table has pECE or DSC to find the worst case by: name one with --case.")


def cases(
    results: Any,
    ax: Axes | None = None,
    *,
    metric: str = "DSC",
    class_name: str = "",
    methods: Mapping[str, Look] | None = None,
    size: str = "column",
) -> Axes:
    """Draw one metric: a row a method, a dot a case; thin lines join a case, the bar is the mean's 95% interval.

    Args:
        results: as for `read_values`.
        ax: where to draw; None makes a figure.
        metric: name.
        class_name: a class; empty takes the number over all.
        methods: looks of all methods of a paper or page; None takes these alone.
        size: width of the new figure, `column` or `page`.

    Raises:
        UsageError: no such metric or class.
    """
    with st.style():
        values = read_values(results, metric, class_name)
        if ax is None:
            return _panels({metric: values}, class_name, methods, size, 1)[0]
        _draw(ax, values, methods or st.looks(values.columns))
        _title(ax, metric, class_name, values)
    return ax


def cases_panels(
    results: Any,
    metrics: Sequence[str] = (),
    *,
    class_name: str = "",
    methods: Mapping[str, Look] | None = None,
    size: str = "page",
) -> list[Axes]:
    """Draw a panel a metric, as `cases` does; without names the paper's metrics that the tables hold."""
    with st.style():
        found = read_metrics(results, metrics, class_name)
        return _panels(found, class_name, methods, size, 1 if size == "column" else 2)


def _panels(
    found: Mapping[str, pd.DataFrame], class_name: str, methods: Mapping[str, Look] | None, size: str, columns: int
) -> list[Axes]:
    names = list(dict.fromkeys(name for values in found.values() for name in values.columns))
    columns = min(columns, len(found))
    left = 0.15 + max(st.text_width(st.fitted(name, _NAME, SMALL), SMALL) for name in names)
    width = (WIDTHS[size] - left - 0.1 - 0.2 * (columns - 1)) / columns
    grid = st.Grid((0.2 + _ROW * len(names)) / width, 0.42, 0.25, left, 0.1, 0.05, 0.2)
    axes = st.new_panels(len(found), columns, size, grid)
    for place, (ax, (metric, values)) in enumerate(zip(axes, found.items(), strict=True)):
        _draw(ax, values.reindex(columns=names), methods or st.looks(names))
        _title(ax, metric, class_name, values, width)
        ax.tick_params(labelleft=place % columns == 0)
    return axes


def _draw(ax: Axes, values: pd.DataFrame, every: Mapping[str, Look]) -> None:
    numbers = values.where(np.isfinite(values)).to_numpy()
    n, k = numbers.shape
    rows = np.arange(k) + (0 if n <= _FEW else 0.16) * np.sin(np.arange(n) * 2.4)[:, None]  # spread, the same each time
    if n <= _JOINED:
        ax.plot(numbers.T, rows.T, color=GREY, lw=0.4, alpha=0.4, zorder=1)
    for row, name in enumerate(values.columns):
        look, own = every[name], numbers[:, row]
        ax.scatter(
            own, rows[:, row], s=9 if n <= _FEW else 4, color=look.colour, marker=look.marker, lw=0,
            alpha=1 if n <= _JOINED else 0.5, zorder=2, clip_on=False,
        )  # fmt: skip
        _summary(ax, values.iloc[:, row].replace([np.inf, -np.inf], np.nan).dropna(), row + 0.32, look, boxed=n > _FEW)
    ax.set(
        ylim=(k - 0.4, -0.4), yticks=range(k), yticklabels=[st.fitted(name, _NAME, SMALL) for name in values.columns]
    )
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=4)


def _summary(ax: Axes, own: pd.Series[float], y: float, look: Look, *, boxed: bool) -> None:
    """Quartiles as a pale box, then the mean's interval, and the mean."""
    if not own.size:
        return
    if boxed:
        low, middle, high = np.quantile(own.to_numpy(), (0.25, 0.5, 0.75))
        ax.barh(y, high - low, 0.18, left=low, color=look.colour, alpha=0.25, lw=0)
        ax.plot([middle] * 2, [y - 0.09, y + 0.09], color=look.colour, lw=0.8)
    owners = list(own.index.get_level_values("group"))
    ax.plot(mean_interval(own, owners), [y, y], color=look.colour, lw=1.6, solid_capstyle="butt")
    ax.plot(group_means(own, owners).mean(), y, marker="|", ms=5, mew=1, color=INK)


def _title(ax: Axes, metric: str, class_name: str, values: pd.DataFrame, width: float = WIDTHS["column"]) -> None:
    """The metric with its direction, and the worst case by name."""
    known = METRICS.get(metric)
    arrow, unit = (f" {direction(metric)}", f" [{known.unit}]" * bool(known.unit)) if known else ("", "")
    ax.set_title(f"{metric}{arrow}{unit} {class_name}".rstrip(), loc="left", weight="bold", pad=5 + 1.4 * SMALL)
    finite = values.where(np.isfinite(values)).stack().dropna()
    undefined = int(values.size - finite.size)
    text = ""
    if known and finite.size:
        badness = {"higher": -finite, "lower": finite, "zero": finite.abs()}[known.better]
        _, case, method = badness.idxmax()  # type: ignore[misc]
        text = f"worst: {case}, {method}"
    lost = f"{count_of(undefined, 'value')} undefined" if undefined else ""
    shown = st.fitted("; ".join(filter(None, (lost, text))), width, SMALL)
    ax.annotate(shown, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", size=SMALL, color=GREY)
