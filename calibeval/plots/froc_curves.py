"""Free-response curves: lesions found against false positives a case, when less sure findings are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from calibeval.findings import RATES, froc
from calibeval.lesion_table import LesionRow
from calibeval.plots.style import PALE, Grid, Look, looks, new_panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def froc_curves(
    lesions: Mapping[str, tuple[Sequence[LesionRow], int]],
    ax: Axes | None = None,
    *,
    methods: Mapping[str, Look] | None = None,
) -> Axes:
    """Draw a curve a method, on a logarithmic axis of false positives a case.

    Args:
        lesions: method to the rows of its table of lesions, and the number of cases.
        ax: where to draw; None makes a figure.
        methods: how each is drawn; None chooses.

    Returns:
        The axes. A method whose findings have no confidence has no curve.
    """
    every = methods or looks(lesions)
    with style():
        if ax is None:
            (ax,) = new_panels(1, 1, "column", Grid(0.75, left=0.5, below=0.3))
        ax.set(xscale="symlog", xlim=(0, RATES[-1]), ylim=(0, 1.02))
        ax.set_xscale("symlog", linthresh=RATES[0])
        ax.set(xlabel="false positives a case", ylabel="lesions found", xticks=[0, *RATES])
        ax.set_xticklabels(["0", "1/8", "1/4", "1/2", *(f"{rate:g}" for rate in RATES[3:])])
        ax.minorticks_off()
        ax.grid(color=PALE, lw=0.6)
        for name, (rows, cases) in lesions.items():
            _, rates, found = froc(rows, cases)
            if found.size:
                ends = [0.0, *rates, max(RATES[-1], rates[-1])]
                ax.step(ends, [0.0, *found, found[-1]], where="post", color=every[name].colour, label=name)
    return ax
