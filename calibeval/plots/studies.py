"""Figures of a study: curves of training, time of a step, a heat map over a weight, what pECE charges, and a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibeval.plots import style as st

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
_DOTS = 4000  # voxels drawn, evenly taken from all


def convergence(curves: Mapping[str, Sequence[Float]], name: str, ax: Axes | None = None) -> Axes:
    """Draw a number over epochs: the mean over runs, and as a band their range.

    Args:
        curves: method to its runs, each (epochs,); shorter ones stopped early.
        name: of the number.
        ax: where to draw; None makes a figure.
    """
    with st.style():
        axes = ax or st.new_panels(1, 1, "column", st.Grid(0.7, left=0.6, bottom=0.4))[0]
        for method, look in st.looks(curves).items():
            longest = max(map(len, curves[method]))
            runs = np.array([np.pad(run, (0, longest - len(run)), constant_values=np.nan) for run in curves[method]])
            epochs, there = np.arange(1, longest + 1), ~np.isnan(runs).all(axis=0)
            mean = np.nanmean(runs[:, there], axis=0)
            axes.plot(epochs[there], mean, color=look.colour, ls=look.line, lw=1.2, label=st.label(method))
            low, high = np.nanmin(runs[:, there], axis=0), np.nanmax(runs[:, there], axis=0)
            axes.fill_between(epochs[there], low, high, color=look.colour, alpha=0.12, lw=0)
        axes.set(xlabel="epoch", ylabel=name)
        axes.locator_params(axis="x", integer=True)
        axes.grid(color=st.PALE, lw=0.6)
    return axes


def step_times(seconds: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw the median time of a training step of each method, each step as a dot, and the ratio to the fastest."""
    with st.style():
        axes = (
            ax or st.new_panels(1, 1, "column", st.Grid(0.08 * len(seconds) + 0.1, left=0.9, right=0.35, bottom=0.4))[0]
        )
        medians = {name: float(np.median(times)) * 1000 for name, times in seconds.items()}
        fastest = min(medians.values())
        for row, (name, look) in enumerate((name, st.looks(seconds)[name]) for name in medians):
            axes.barh(row, medians[name], color=look.colour, height=0.62, hatch=look.hatch, alpha=0.75)
            axes.plot(np.array(seconds[name]) * 1000, np.full(len(seconds[name]), row), ".", color=st.INK, ms=2.5)
            axes.text(
                1.02,
                row,
                f"x {medians[name] / fastest:.2f}",
                va="center",
                size=st.SMALL,
                transform=axes.get_yaxis_transform(),
            )
        axes.set(
            xlim=(0, 1.5 * max(medians.values())),
            yticks=range(len(medians)),
            yticklabels=[st.label(name, 20) for name in medians],
            xlabel="ms a training step",
        )
        axes.invert_yaxis()
    return axes


def heat_map(
    values: Float, rows: Sequence[str], columns: Sequence[str], ax: Axes | None = None, *, name: str = ""
) -> Axes:
    """Draw numbers as a table whose colours go from a column's best (dark) to its worst (light).

    Args:
        values: (rows, columns), smaller is better in every column; what is printed is their absolute value.
        rows: names.
        columns: names.
        ax: where to draw; None makes a figure.
        name: of what differs between the rows.
    """
    with st.style():
        axes = (
            ax or st.new_panels(1, 1, "column", st.Grid(0.11 * len(rows), above=0.3, below=0.05, left=0.8, bottom=0))[0]
        )
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        shade = (values - low) / np.where(high > low, high - low, 1)
        axes.imshow(shade, cmap="Blues_r", vmin=-0.35, vmax=1.1, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            text = "" if np.isnan(value) else f"{abs(value):.3g}"
            axes.text(
                j, i, text, ha="center", va="center", size=st.SMALL, color="white" if shade[i, j] < 0.4 else st.INK
            )
        axes.set(yticks=range(len(rows)), yticklabels=rows, ylabel=name)
        axes.set_xticks(range(len(columns)), columns)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return axes


def pece_charges(gap: Float, charge: Float, share: Float, ax: Axes | None = None) -> Axes:
    """Draw what each bin adds to pECE: |conf - acc| alone (as ECE would) and with the charge on false positives.

    Args:
        gap: (M,) conf - acc.
        charge: (M,) fp_weight times the mean probability of the bin's background voxels.
        share: (M,) of the voxels.
        ax: where to draw; None makes a figure.
    """
    with st.style():
        axes = ax or st.new_panels(1, 1, "column", st.Grid(0.7, left=0.6, bottom=0.4))[0]
        bins, alone, both = len(gap), share * np.abs(gap), share * np.abs(gap + charge)
        centres = (np.arange(bins) + 0.5) / bins
        axes.bar(centres, both, 0.86 / bins, color=st.COLOURS[1], alpha=0.8, label=f"pECE: sum {both.sum():.3f}")
        axes.bar(centres, alone, 0.5 / bins, color=st.COLOURS[0], label=f"without the charge: sum {alone.sum():.3f}")
        axes.set(xlabel="probability of foreground", ylabel="what the bin adds", xlim=(0, 1))
        axes.set_ylim(0, 1.35 * both.max())  # room for the legend
        axes.legend(loc="upper left")
    return axes


def sdf_bound(stated: Float, true: Float, kappa: float, ax: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw a model's probabilities against signed distances, and how far they are from what distances stand for.

    Left: quantiles (5, 50, 95%) of p at each true distance s, against p* = sigma(-kappa s). Right: |p - p*| against the
    error of the distance that p stands for, |s(p) - s| with s(p) = -logit(p) / kappa; the sigmoid's slope is at most
    kappa / 4, so that no voxel lies above the line kappa / 4 |s(p) - s|.

    Args:
        stated: (n,) probabilities.
        true: (n,) distances in pixels, negative inside.
        kappa: of the sigmoid, per pixel.
        ax: the two axes; None makes a figure.
    """
    with st.style():
        left, right = ax or st.new_panels(2, 2, "page", st.Grid(0.62, left=0.6, bottom=0.4, apart=0.7, right=0.15))
        reach = np.abs(true).max()
        places = np.unique(np.round(true))
        low, middle, high = np.array([np.quantile(stated[np.round(true) == s], (0.05, 0.5, 0.95)) for s in places]).T
        s = np.linspace(-reach, reach, 200)
        left.fill_between(places, low, high, color=st.ACCENT, alpha=0.2, lw=0, label="p, 5 to 95%")
        left.plot(places, middle, color=st.ACCENT, marker="o", ms=2.5, lw=1, label="median p")
        left.plot(s, 1 / (1 + np.exp(kappa * s)), color=st.INK, ls="--", lw=1, label="p*")
        left.set(xlabel="signed distance s [pixels]", ylabel="probability p", ylim=(-0.03, 1.03))
        left.legend(loc="upper right")
        error, delta = errors_and_distances(stated, true, kappa)
        few = slice(None, None, -(-len(delta) // _DOTS))
        right.plot(delta[few], error[few], ".", color=st.ACCENT, ms=1.5, alpha=0.3, mew=0, label="voxels")
        d = np.linspace(0, delta.max(), 100)
        right.plot(d, np.minimum(1, kappa * d / 4), color=st.COLOURS[1], lw=1.2, label="bound κ δ / 4")
        right.set(xlabel="δ = |ŝ - s| [pixels]", ylabel="|p - p*|", ylim=(-0.03, 1.06))
        right.legend(loc="lower right", markerscale=4)
    return [left, right]


def errors_and_distances(stated: Float, true: Float, kappa: float) -> tuple[Float, Float]:
    """|p - p*| and |s(p) - s| of each voxel, as `sdf_bound` has them."""
    error = np.abs(stated - 1 / (1 + np.exp(kappa * true)))
    return error, np.abs(-np.log(stated / (1 - stated)) / kappa - true)


def case_bounds(cases: Sequence[tuple[float, float]], ax: Axes | None = None) -> Axes:
    """Draw each case's mean error |p - p*| against the mean of its bound kappa / 4 |s(p) - s|.

    Args:
        cases: the two means of each; none lies above the diagonal.
        ax: where to draw; None makes a figure.
    """
    with st.style():
        axes = ax or st.new_panels(1, 1, "column", st.Grid(0.8, left=0.65, bottom=0.4))[0]
        error, bound = np.array(cases).T
        axes.plot([0, bound.max() * 1.1], [0, bound.max() * 1.1], color=st.COLOURS[1], lw=1.2, label="bound")
        axes.plot(bound, error, "o", color=st.ACCENT, ms=3.5, label="a held-out case")
        axes.set(xlabel="mean of \u03ba \u03b4 / 4", ylabel="mean of |p - p*|", xlim=(0, None), ylim=(0, None))
        axes.legend(loc="upper left")
    return axes
