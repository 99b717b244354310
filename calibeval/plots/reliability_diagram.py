"""Reliability diagrams: when a model says 80%, is it true in 80%?

One panel shows the share of voxels where it is true over the probability that was stated, for a class or for all; a
calibrated model lies on the dashed diagonal. The gap is tinted, the darker band is the 95% interval over cases, and the
bars beneath count voxels on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from calibeval.plots import style as st
from calibeval.plots.binned import BOUNDARY, Curve, curve_of, read_results
from calibeval.plots.style import GREY, NORMAL, PALE, SMALL, WIDTHS, Look
from calibeval.table import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 24  # panels, beyond which each has a name and its curves, and no words
_ACROSS = {"column": 2, "page": 4}  # panels with words side by side
_GRID, _WIDEST = st.Grid(), 2.9  # inches of a panel
_TIGHT = 1.1  # inches of a panel, in which less is written
_UNDER = 0.36  # what hangs under a square, of its side
_NAMES = {ALL: "all structures", BOUNDARY: "boundary"}
_SAYS, _TRUE = "the model says", "it is true in"
_TICKS, _TICK_TEXTS = [0, 0.5, 1], ["0", "0.5", "1"]


def reliability(
    results: Any,
    ax: Axes | None = None,
    *,
    part: str = ALL,
    groups: Mapping[str, str] | None = None,
    methods: Mapping[str, Look] | None = None,
    size: str = "column",
) -> Axes:
    """Draw one reliability diagram; several methods lie over one another, one has its gap tinted.

    Args:
        results: tables or their side files, or what `score_case` or `score_folder` give, see `binned.read_results`; or
            curves by method.
        ax: where to draw; None makes a figure.
        part: `all`, `boundary`, or a class; see `binned.curve_of`.
        groups: case to whom it belongs, for the band; None takes each case for its own.
        methods: looks of all methods of a paper or page, of which these are some; None takes these alone.
        size: width of the new figure, `column` or `page`.

    Returns:
        The axes of the curves; those of the counts are their child.

    Raises:
        UsageError: no such class.
    """
    with st.style():
        curves = _curves(results, part, groups)
        every = methods or st.looks(curves)
        if ax is None:
            title = name_of(part) if len(curves) > 1 else next(iter(curves), "") or name_of(part)
            return _panels([(title, curves)], every, size)[0]
        _draw(ax, curves, every)
        ax.set_ylabel(_TRUE)
        ax.child_axes[0].set_xlabel(_SAYS)
        _legend(curves, 2 * WIDTHS["page"]).draw(ax, every, loc="upper left", bbox_to_anchor=(0, -0.6))
    return ax


def reliability_panels(
    results: Any,
    parts: Sequence[str] = (ALL,),
    *,
    groups: Mapping[str, str] | None = None,
    methods: Mapping[str, Look] | None = None,
    size: str = "page",
) -> list[Axes]:
    """Draw a figure of reliability diagrams side by side, all to one scale.

    One part gives a panel a method, one method a panel a part. Several of both give a row a method where these are
    few, and else a panel a part with the methods over one another.

    Args:
        results: as for `reliability`.
        parts: each as `part` there.
        groups: as there.
        methods: as there.
        size: width of the figure.

    Returns:
        The axes of the curves, in reading order.

    Raises:
        UsageError: no such class.
    """
    with st.style():
        tables = read_results(results)
        every = methods or st.looks(tables)
        curves = {part: {name: curve_of(table, part, groups) for name, table in tables.items()} for part in parts}
        if len(parts) > 1 and len(tables) > 1 and (len(tables) * len(parts) > _MANY or len(parts) > _ACROSS[size]):
            return _panels([(name_of(part), found) for part, found in curves.items()], every, size)
        each = [
            (_panel_name(name, part, len(tables), len(parts)), {name: curves[part][name]})
            for name in tables
            for part in parts
        ]
        return _panels(each, every, size, len(parts) if len(parts) > 1 and len(tables) > 1 else 0)


def _curves(results: Any, part: str, groups: Mapping[str, str] | None) -> dict[str, Curve]:
    if isinstance(results, Mapping) and all(isinstance(each, Curve) for each in results.values()):
        return dict(results)
    return {name: curve_of(table, part, groups) for name, table in read_results(results).items()}


def name_of(part: str) -> str:
    """A part of the voxels, for people."""
    return _NAMES.get(part, part)


def _panel_name(method: str, part: str, methods: int, parts: int) -> str:
    return method if parts == 1 and method else name_of(part) if methods == 1 else f"{method}: {name_of(part)}"


def _panels(
    panels: list[tuple[str, dict[str, Curve]]], every: Mapping[str, Look], size: str, columns: int = 0
) -> list[Axes]:
    many, overlaid = len(panels) > _MANY, len(panels[0][1]) > 1
    columns = columns or min(len(panels), _ACROSS[size] * (2 if many else 1))
    width = (WIDTHS[size] - _GRID.left) / columns
    legend = _legend(panels[0][1] if len(panels) == 1 else dict.fromkeys(every), WIDTHS[size] - 0.1)
    grid = _GRID._replace(
        above=0.22 if many or overlaid else 0.48,
        below=_UNDER * width,
        bottom=0.36 + legend.height * overlaid,
        right=max(0.1, WIDTHS[size] - _GRID.left - _WIDEST * columns),
    )
    axes = st.new_panels(len(panels), columns, size, grid)
    for ax, (name, curves) in zip(axes, panels, strict=True):
        _draw(ax, curves, every)
        _title(ax, name, [] if many or overlaid else _words(next(iter(curves.values()))), width - grid.apart)
    _share(axes, columns, small=width < _TIGHT)
    if overlaid:
        legend.draw(st.figure_of(axes[0]), every, loc="lower left")
    return axes


def _legend(curves: Mapping[str, Curve | None], width: float) -> st.Legend:
    return st.Legend.of({name: f": {', '.join(_words(each))}" if each else "" for name, each in curves.items()}, width)


def _draw(ax: Axes, curves: Mapping[str, Curve], every: Mapping[str, Look]) -> None:
    """The square of the diagram, and beneath it its child, the counts."""
    counts = ax.inset_axes((0, -0.32, 1, 0.24))
    ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=0.7)
    for name, curve in curves.items():
        look, ends = every[name], np.linspace(0, 1, curve.voxels.size + 1)
        if len(curves) == 1:
            right = np.where(curve.seen, curve.right, math.nan)
            ax.fill_between(curve.says, curve.says, right, color=look.colour, alpha=0.15, lw=0)
            ax.fill_between(curve.says, curve.low, curve.high, color=look.colour, alpha=0.35, lw=0)
            counts.bar(ends[:-1], curve.voxels, 0.85 / curve.voxels.size, align="edge", color=GREY, alpha=0.55, lw=0)
        else:
            counts.stairs(curve.voxels, ends, color=look.colour, ls=look.line, lw=0.7, baseline=None)
        _line(ax, curve, look)
    for axes in (ax, counts):
        axes.set(xlim=(0, 1), xticks=_TICKS, xticklabels=_TICK_TEXTS)
        axes.tick_params(length=2)
    ax.set(ylim=(0, 1), yticks=_TICKS, yticklabels=_TICK_TEXTS, aspect="equal")
    ax.tick_params(labelbottom=False)
    _inside(ax)
    ax.grid(color=PALE, lw=0.5)
    scale_counts(counts, max(int(curve.voxels.max(initial=1)) for curve in curves.values()))


def _line(ax: Axes, curve: Curve, look: Look) -> None:
    """Bins of too few cases for a band are hollow and stand apart, where others have one."""
    seen = curve.seen
    dots: Any = {"color": look.colour, "marker": look.marker, "ms": 2.5, "clip_on": False}
    ax.plot(curve.says[seen], curve.right[seen], ls=look.line, lw=1.2, **dots)
    ax.plot(curve.says[~seen], curve.right[~seen], ls="", mfc="white", mew=0.6, **dots)


def scale_counts(counts: Axes, most: float, *, small: bool = False) -> None:
    """Let the axes of counts run from one voxel to the next power of ten, both written, in small panels the latter."""
    top = max(1, math.ceil(math.log10(max(most, 1))))
    counts.set(ylim=(0.7, 10**top), yscale="log", yticks=[1, 10**top])  # limits first: there may be no voxel
    counts.set_yticklabels(["" if small else "1", _count_text(10**top)])
    counts.minorticks_off()
    _inside(counts)


def _inside(axes: Axes) -> None:
    """Keep the outermost numbers of the upright axis between its ends, clear of those of the axes beside it."""
    lowest, *_, highest = axes.get_yticklabels()
    lowest.set_verticalalignment("bottom")
    highest.set_verticalalignment("top")


def _count_text(count: int) -> str:
    return next(
        f"{count // size:g}{name}" for size, name in ((10**9, "G"), (10**6, "M"), (1000, "k"), (1, "")) if count >= size
    )


def _share(panels: list[Axes], columns: int, *, small: bool) -> None:
    """One scale of counts for all; what axes say is said once a row and once a column."""
    counts: list[Any] = [ax.child_axes[0] for ax in panels]
    most = max(each.get_ylim()[1] for each in counts)
    for place, (ax, below) in enumerate(zip(panels, counts, strict=True)):
        scale_counts(below, most, small=small)
        if place % columns:
            ax.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
        if place + columns < len(panels):
            below.tick_params(labelbottom=False)
        elif not small or place % columns == 0:
            below.set_xlabel(_SAYS)
        if place % columns == 0:
            ax.set_ylabel(_TRUE)


def _title(ax: Axes, name: str, words: list[str], width: float) -> None:
    """The name in bold, and beneath it what is said of it."""
    font: Any = {"weight": "normal", "size": SMALL} if width < _TIGHT else {"weight": "bold", "size": NORMAL}
    ax.set_title(st.fitted(name, width, **font), loc="left", pad=5 + 1.4 * SMALL * len(words), fontdict=font)
    place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    ax.annotate("\n".join(words), (0, 1), (0, 4), size=SMALL, linespacing=1.3, **place)


def _words(curve: Curve) -> list[str]:
    return [curve.verdict, *[curve.words] * bool(curve.words)]
