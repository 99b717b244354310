"""What each method says and how often it is right: the distance between the two is its over- or under-confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from calibeval.plots import style as st
from calibeval.plots.binned import Curve, curve_of, read_results
from calibeval.plots.reliability_diagram import name_of
from calibeval.plots.style import GREY, SMALL, WIDTHS, Look
from calibeval.table import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW, _NAME, _SIDE = 0.22, 1.4, 0.95  # inches: height of a method, longest name, room for the verdict


def confidence(
    results: Any,
    ax: Axes | None = None,
    *,
    part: str = ALL,
    groups: Mapping[str, str] | None = None,
    methods: Mapping[str, Look] | None = None,
    size: str = "column",
) -> Axes:
    """Draw a row a method: a filled dot where it is right, a hollow one at what it says, and the verdict.

    Args:
        results: as for `reliability`.
        ax: where to draw; None makes a figure.
        part: `all`, `boundary`, or a class.
        groups: case to whom it belongs; None takes each case for its own.
        methods: looks of all methods of a paper or page; None takes these alone.
        size: width of the new figure, `column` or `page`.

    Raises:
        UsageError: no such class.
    """
    if ax is None:
        return confidence_panels(results, (part,), groups=groups, methods=methods, size=size)[0]
    with st.style():
        curves = {name: curve_of(table, part, groups) for name, table in read_results(results).items()}
        _draw(ax, name_of(part), curves, methods or st.looks(curves), WIDTHS[size])
    return ax


def confidence_panels(
    results: Any,
    parts: Sequence[str] = (ALL,),
    *,
    groups: Mapping[str, str] | None = None,
    methods: Mapping[str, Look] | None = None,
    size: str = "page",
) -> list[Axes]:
    """Draw a panel a part, as `confidence` does."""
    with st.style():
        tables = read_results(results)
        left = 0.15 + max(st.text_width(st.fitted(name, _NAME, SMALL), SMALL) for name in tables)
        columns = min(2 if size == "page" else 1, len(parts))
        width = (WIDTHS[size] - left - _SIDE - _SIDE * (columns - 1)) / columns
        grid = st.Grid(_ROW * (len(tables) + 0.6) / width, 0.3, 0.25, left, _SIDE, 0.15, _SIDE)
        axes = st.new_panels(len(parts), columns, size, grid)
        for place, (ax, part) in enumerate(zip(axes, parts, strict=True)):
            curves = {name: curve_of(table, part, groups) for name, table in tables.items()}
            _draw(ax, name_of(part), curves, methods or st.looks(curves), width)
            ax.tick_params(labelleft=place % columns == 0)
            if place + columns >= len(parts):
                ax.set_xlabel("\u25cf is right in   \u25cb says", size=SMALL)
    return axes


def _draw(ax: Axes, title: str, curves: Mapping[str, Curve], every: Mapping[str, Look], width: float) -> None:
    for row, (name, curve) in enumerate(curves.items()):
        colour = every[name].colour
        ax.plot([curve.correct, curve.stated], [row, row], color=colour, lw=1.5, alpha=0.5)
        ax.plot(curve.correct, row, "o", color=colour, ms=4)
        ax.plot(curve.stated, row, "o", color=colour, mfc="white", ms=4)
        ax.annotate(
            curve.verdict, (1, row), (4, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points", size=SMALL,
            va="center", color=GREY,
        )  # fmt: skip
    rows = len(curves)
    ax.set(ylim=(rows - 0.4, -0.6), yticks=range(rows), yticklabels=[st.fitted(name, _NAME, SMALL) for name in curves])
    ax.set_title(st.fitted(title, width, weight="bold"), loc="left", weight="bold")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.08)
    ax.locator_params(axis="x", nbins=4)
