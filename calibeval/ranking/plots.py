"""Four pictures of a ranking: critical difference, bootstrap blobs, significance map, podium.

The views other than the first are those of challengeR (Wiesenfarth et al. 2021, doi:10.1038/s41598-021-82017-6); the
first is Demsar's (2006). Lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import UsageError
from calibeval.plots.style import ACCENT, GREY, INK, PALE, check_suffix, figure_of, looks, save, style
from calibeval.ranking.result import Ranking
from calibeval.ranking.words import p_text, rank_text, test_name, units_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = 150  # cases drawn in a podium plot
_ON_PODIUM = 10  # methods
_FULL_AXIS = 12  # methods up to which the axis of mean ranks runs from 1 to k
_APART = 0.15  # inches between bars of one level
_LEGEND_LETTERS = 36  # in a line of a podium plot's legend
_ANNOTATED = 12  # methods up to which the map prints its p-values


def draw(ranking: Ranking, path: Path) -> None:
    """Draw the view that the file's name ends in (`..._blob.svg`), else the critical-difference diagram."""
    check_suffix(path)
    view = VIEWS.get(path.stem.rpartition("_")[2], critical_difference_diagram)
    with style():
        save(view(ranking), path, tight=True)


def critical_difference_diagram(ranking: Ranking) -> Figure:
    """Mean ranks on a line; a bar joins methods that the test of pairs does not tell apart.

    Labels stand in two columns, each in a row of its own, so they never overlap.
    """
    ranks = ranking.block_ranks
    order = np.argsort(np.round(ranks, 9), kind="stable")
    k = len(order)
    width, row, step = max(3.5, min(8.0, 2.5 + 0.15 * k)), 0.22, 0.11
    low, high = (1, k) if k <= _FULL_AXIS else (int(np.floor(ranks.min())), int(np.ceil(ranks.max() + 0.01)))
    x = width * (ranks - low) / (high - low)
    bars = [(x[order[start]], x[order[stop]]) for start, stop in _groups(ranking.significant()[np.ix_(order, order)])]
    levels = _levels(bars)
    rows = (k + 1) // 2
    top = -0.28 - step * (max(levels, default=-1) + 1)
    axes = _blank(width, row * (rows - 1) - top)
    _rank_axis(axes, low, high, width)
    for level, (start, stop) in zip(levels, bars, strict=True):
        y = -0.16 - step * level
        axes.plot([start - 0.04, stop + 0.04], [y, y], color=INK, lw=3.2, clip_on=False)
    for place, i in enumerate(order):
        left = place < rows
        y = top - row * (place if left else k - 1 - place)
        edge, text_x, side = (-0.35, -0.4, "right") if left else (width + 0.35, width + 0.4, "left")
        axes.plot([x[i], x[i], edge], [0, y, y], color=GREY, lw=0.7, zorder=0, clip_on=False)
        axes.text(text_x, y, ranking.methods[i], ha=side, va="center", color=INK)
        axes.text(
            edge, y + 0.01, rank_text(ranks[i]), ha="left" if left else "right", va="bottom", size=6.5, color=GREY
        )
    _cd_bar(axes, ranking, width, width / (high - low))
    return figure_of(axes)


def blob_plot(ranking: Ranking) -> Figure:
    """How often (area) a method took each place over the bootstrap draws; bars span the interval, crosses the data."""
    drawn = ranking.overall.drawn_ranks
    if not len(drawn):
        raise UsageError("The blob plot shows bootstrap draws, and there are none: it needs --bootstrap and two cases.")
    order, k = ranking.best_first(), len(ranking.methods)
    cell = 0.36 if k <= 20 else 0.26
    axes = _panel(max(2.4, cell * k), max(1.2, cell * k))
    for y, i in enumerate(order):
        places, counts = np.unique(drawn[:, i], return_counts=True)
        low, high = ranking.overall.rank_interval[:, i]
        axes.plot([low, high], [y, y], color=INK, lw=0.8, zorder=1)
        areas = (60 * cell) ** 2 * counts / len(drawn)
        axes.scatter(places, np.full(len(places), y), s=areas, color=ACCENT, alpha=0.75, lw=0, zorder=2)
        axes.plot(ranking.overall.rank[i], y, marker="x", color=INK, ms=5, mew=1.2, zorder=3)
    axes.set(xlim=(0.3, k + 0.7), ylim=(k - 0.3, -0.7), xlabel="place", xticks=_ticks(1, k), yticks=range(k))
    axes.set_yticklabels([ranking.methods[i] for i in order])
    axes.grid(color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    level = f"{100 * (1 - ranking.settings.alpha):g}%"
    _title(axes, f"Places over {len(drawn)} bootstrap draws", f"bar: {level} interval, cross: the data")
    return figure_of(axes)


def significance_map(ranking: Ranking) -> Figure:
    """Dark where the method of the row is significantly better than that of the column."""
    order, k = ranking.best_first(), len(ranking.methods)
    p = ranking.independent.adjusted(ranking.settings.posthoc)[np.ix_(order, order)]
    better = ranking.claims().better[np.ix_(order, order)]
    cell = 0.42 if k <= _ANNOTATED else 0.2
    axes = _panel(cell * k, cell * k)
    shades = np.where(better, 1.0, 0.0)
    shades[np.diag_indices(k)] = np.nan
    from matplotlib.colors import ListedColormap

    axes.pcolormesh(shades, cmap=ListedColormap([PALE, ACCENT]), vmin=0, vmax=1, edgecolors="white", lw=0.8)
    if k <= _ANNOTATED:
        for i, j in zip(*np.nonzero(~np.eye(k, dtype=bool)), strict=True):
            colour = "white" if better[i, j] else INK
            axes.text(j + 0.5, i + 0.5, _short_p(p[i, j]), ha="center", va="center", size=7, color=colour)
    names = [ranking.methods[i] for i in order]
    axes.set(xlim=(0, k), ylim=(k, 0), xticks=np.arange(k) + 0.5, yticks=np.arange(k) + 0.5)
    axes.set_yticklabels(names)
    axes.set_xticklabels(names, rotation=90)
    axes.tick_params(length=0, labelbottom=False, labeltop=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(
        f"blue: the row's method is better than the column's\n{test_name(ranking)}, {units_text(ranking)}, "
        f"level {ranking.settings.alpha:g}\n{_overall(ranking)}",
        fontsize=8,
    )
    return figure_of(axes)


def podium_plot(ranking: Ranking) -> Figure:
    """Per metric, every case as a line through the methods by place, and below how often each took each place.

    At most the ten best methods are shown, placed among themselves.
    """
    from matplotlib.figure import Figure

    shown = ranking.best_first()[:_ON_PODIUM]
    metrics = list(ranking.per_metric)
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    width = max(2.6, 0.5 + 0.42 * len(shown))
    names = [fill(ranking.methods[i], _LEGEND_LETTERS) for i in shown]
    letters = max(len(line) for name in names for line in name.splitlines())
    figure = Figure(figsize=(width * columns + 0.7 + 0.09 * letters, 2.9 * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2.2, 1] * rows)
    for number, metric in enumerate(metrics):
        row, column = divmod(number, columns)
        above, below = figure.add_subplot(grid[2 * row, column]), figure.add_subplot(grid[2 * row + 1, column])
        _podium(above, below, ranking, ranking.design.metrics.index(metric), shown)
        above.set_title(metric, loc="left", fontsize=9, fontweight="bold")
    title = None if len(shown) == len(ranking.methods) else f"{len(shown)} best of {len(ranking.methods)}"
    handles: Any = figure.axes[1].containers
    figure.legend(handles=handles, labels=names, loc="outside right upper", frameon=False, title=title)
    return figure


VIEWS: dict[str, Callable[[Ranking], Figure]] = {
    "cd": critical_difference_diagram,
    "blob": blob_plot,
    "map": significance_map,
    "podium": podium_plot,
}


def _podium(above: Axes, below: Axes, ranking: Ranking, metric: int, shown: list[int]) -> None:
    design, k = ranking.design, len(shown)
    units = np.flatnonzero(design.complete[:, metric] & np.isfinite(design.values[:, metric][:, shown]).all(axis=1))
    values = ranking.scores.values[units, metric][:, shown]
    places = np.argsort(np.argsort(design.keys[units, metric][:, shown], axis=1, kind="stable"), axis=1)
    offsets = (np.arange(k) - (k - 1) / 2) * 0.8 / k
    x = places + 1 + offsets
    some = np.unique(np.linspace(0, len(units) - 1, min(_LINES, len(units))).astype(int))
    for u in some:
        along = np.argsort(places[u])
        above.plot(x[u, along], values[u, along], color=GREY, lw=0.4, alpha=0.35, zorder=1)
    every = looks(ranking.methods)
    for j in range(k):
        look = every[ranking.methods[shown[j]]]
        above.scatter(x[some, j], values[some, j], s=7, color=look.colour, marker=look.marker, lw=0, zorder=2)
        counts = np.bincount(places[:, j], minlength=k) / max(1, len(units))
        below.bar(np.arange(1, k + 1) + offsets[j], counts, width=0.8 / k, color=look.colour, hatch=look.hatch)
    for axes in (above, below):
        axes.set_xlim(0.4, k + 0.6)
        for edge in np.arange(1.5, k):
            axes.axvline(edge, color=PALE, lw=0.8, zorder=0)
    above.set_xticks([])
    below.set(xticks=range(1, k + 1), xlabel="place")
    unit = _unit_of(ranking, metric)
    above.set_ylabel(unit)
    below.set_ylabel("share")


def _groups(significant: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Longest runs (first, last) of two or more methods, in order, without a significant pair."""
    k = len(significant)
    runs: list[tuple[int, int]] = []
    for start in range(k):
        stop = start
        while stop + 1 < k and not significant[start : stop + 1, stop + 1].any():
            stop += 1
        if stop > start and (not runs or stop > runs[-1][1]):
            runs.append((start, stop))
    return runs


def _levels(bars: list[tuple[float, float]]) -> list[int]:
    """A level for each bar, from 0, such that bars of one level do not touch; bars come from left to right."""
    ends: list[float] = []
    levels = []
    for start, stop in bars:
        level = next((level for level, end in enumerate(ends) if start > end + _APART), len(ends))
        ends[level : level + 1] = [stop]
        levels.append(level)
    return levels


def _rank_axis(axes: Axes, low: int, high: int, width: float) -> None:
    axes.plot([0, width], [0, 0], color=INK, lw=1, clip_on=False)
    for tick in _ticks(low, high):
        position = width * (tick - low) / (high - low)
        axes.plot([position, position], [0, 0.07], color=INK, lw=1, clip_on=False)
        axes.text(position, 0.1, str(tick), ha="center", va="bottom", size=8)


def _cd_bar(axes: Axes, ranking: Ranking, width: float, rank_width: float) -> None:
    """The critical difference to scale above the axis, if it fits there, and what the bars below mean."""
    cd = ranking.independent.critical(ranking.settings.posthoc)
    length = rank_width * cd
    text = f"{test_name(ranking)}, {units_text(ranking)}; {_overall(ranking)}"
    y = 0.32
    if not math.isnan(cd):
        text = f"CD {cd:.2f}. {text}"
        if length <= width:
            axes.plot([0, length], [0.4, 0.4], color=ACCENT, lw=2, marker="|", ms=7, clip_on=False)
            y = 0.48
    axes.text(0, y, text, ha="left", va="bottom", size=8, color=INK)


def _overall(ranking: Ranking) -> str:
    p = ranking.friedman.cluster_permutation.p
    found = "" if p < ranking.settings.alpha else ", so no pair is claimed"
    return f"cluster-permutation p {p_text(p)}{found}"


def _ticks(low: int, high: int) -> list[int]:
    """Whole ranks for an axis, the lowest and at most twenty round ones, of which none comes too close to it."""
    step = next(step for step in (1, 5, 10, 25, 50, 100, 1000) if high - low <= 20 * step)
    return [low, *(rank for rank in range(low + 1, high + 1) if rank % step == 0 and 2 * (rank - low) >= step)]


def _short_p(p: float) -> str:
    if np.isnan(p):
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 1 else "1"


def _unit_of(ranking: Ranking, metric: int) -> str:
    from calibeval.metrics import METRICS

    name = ranking.design.metrics[metric]
    return METRICS[name].unit if name in METRICS else ""


def _blank(width: float, height: float) -> Axes:
    """Axes without frame whose coordinates are inches, x from 0 and y down from 0."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(width, height)).add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, width), ylim=(-height, 0))
    axes.set_axis_off()
    return axes


def _panel(width: float, height: float) -> Axes:
    """Axes of the given size inside a figure that `savefig` grows to hold the labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height)).add_axes((0.0, 0.0, 1.0, 1.0))


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(f"{title}\n{subtitle}", loc="left", fontsize=8)
