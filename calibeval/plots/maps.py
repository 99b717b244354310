"""Pictures of slices side by side: an image, a map over it, and the outlines of reference and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.plots import style as st

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]


class Scale(NamedTuple):
    """How the values of a map are drawn.

    Attributes:
        name: below its bar.
        low: value at the bar's left.
        high: at its right.
        colours: of matplotlib.
        opacity: of the map over the image.
    """

    name: str
    low: float
    high: float
    colours: str
    opacity: float = 1.0


class Picture(NamedTuple):
    """One panel.

    Attributes:
        title: above it.
        image: (H, W) grey; None draws the map alone.
        values: (H, W) map over it.
        scale: of the map.
        reference: (H, W) class numbers; their outline is white.
        prediction: likewise; its outline is orange.
    """

    title: str
    image: Array | None = None
    values: Array | None = None
    scale: Scale | None = None
    reference: Array | None = None
    prediction: Array | None = None


def pictures(panels: Sequence[Picture], columns: int, ax: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw panels in rows, with a bar below for each scale.

    Args:
        panels: in reading order; all of one shape.
        columns: of the figure.
        ax: where to draw; None makes a figure as wide as a page, or as a column for up to three panels in a row.

    Returns:
        Their axes.
    """
    with st.style():
        shape = next(p.image if p.image is not None else p.values for p in panels).shape  # type: ignore[union-attr]
        scales = list(dict.fromkeys(panel.scale for panel in panels if panel.scale))
        outlined = any(panel.reference is not None for panel in panels)
        grid = st.Grid(shape[0] / shape[1], above=0.24, below=0.05, left=0.06, right=0.06, apart=0.06,
                       bottom=0.5 if scales else 0.25 * outlined)  # fmt: skip
        drawn = list(ax or st.new_panels(len(panels), columns, "column" if columns < 3 else "page", grid))
        for axes, panel in zip(drawn, panels, strict=True):
            _draw(axes, panel)
        _bars(drawn[0], scales)
        _key(drawn[0], outlined, any(panel.prediction is not None for panel in panels))
    return drawn


def _draw(axes: Axes, panel: Picture) -> None:
    if panel.image is not None:
        low, high = np.percentile(panel.image, (1, 99.5))
        axes.imshow(panel.image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    if panel.values is not None and panel.scale is not None:
        scale = panel.scale
        alpha = scale.opacity if panel.image is not None else 1.0
        axes.imshow(
            panel.values, cmap=scale.colours, vmin=scale.low, vmax=scale.high, alpha=alpha, interpolation="nearest"
        )
    _outline(axes, panel.reference, "white")
    _outline(axes, panel.prediction, st.COLOURS[1])
    axes.set_title(st.label(panel.title, 60), size=st.SMALL, pad=2)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, labels: Array | None, colour: str) -> None:
    """Each class's outline, so that neighbouring classes are parted too."""
    for value in np.unique(labels[labels > 0]) if labels is not None else ():
        axes.contour(labels == value, levels=[0.5], colors=[colour], linewidths=0.7)


def _bars(axes: Axes, scales: Sequence[Scale]) -> None:
    """A bar for each scale, in a row at the foot of the figure."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = st.figure_of(axes)
    width, height = figure.get_size_inches()
    for place, scale in enumerate(scales):
        left = (0.3 + place * 1.9) / width
        bar = figure.add_axes((left, 0.34 / height, 1.4 / width, 0.07 / height))
        figure.colorbar(ScalarMappable(Normalize(scale.low, scale.high), scale.colours), bar, orientation="horizontal")
        bar.set_xlabel(scale.name, size=st.SMALL, labelpad=1)
        bar.tick_params(length=2, pad=1)


def _key(axes: Axes, reference: bool, prediction: bool) -> None:
    """What the outlines are, at the right of the figure's foot."""
    figure = st.figure_of(axes)
    width, height = figure.get_size_inches()
    words = ["white: reference"] * reference + ["orange: prediction"] * prediction
    for place, word in enumerate(words):
        figure.text((width - 0.08) / width, (0.3 - 0.14 * place) / height, word, ha="right", size=st.SMALL)
