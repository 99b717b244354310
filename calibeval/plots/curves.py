"""Training curves: the loss, its terms and the validation DSC over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from calibeval.plots.style import COLOURS, INK, PALE, Grid, new_panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def training_curves(history: Sequence[Mapping[str, float]]) -> list[Axes]:
    """Draw a run: on the left the loss and its terms, on the right the validation DSC.

    Args:
        history: an epoch each, with `epoch`, `loss`, terms `loss_...` and `val_DSC`, as `metrics.csv` of a run has.
    """
    epochs = [row["epoch"] for row in history]
    names = ["loss", *(name for name in history[0] if name.startswith("loss_"))]
    with style():
        left, right = new_panels(2, 2, "page", Grid(0.7, left=0.55, below=0.3, apart=0.6))
        for place, name in enumerate(names):
            colour = COLOURS[(place - 1) % len(COLOURS)] if place else INK
            left.plot(epochs, [row[name] for row in history], color=colour, label=name, lw=1 if place else 1.8)
        left.set(xlabel="epoch", ylabel="training loss")
        left.legend()
        right.plot(epochs, [row["val_DSC"] for row in history], color=INK)
        right.set(xlabel="epoch", ylabel="validation DSC, mean over volumes", ylim=(0, 1))
        for axes in (left, right):
            axes.grid(color=PALE, lw=0.6)
    return [left, right]
