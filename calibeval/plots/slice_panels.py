"""Slices: image, reference, prediction, probability, and where the model is sure and wrong, where it is worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.metrics.statistics import IGNORED
from calibeval.plots import style as st
from calibeval.plots.style import SMALL, WIDTHS
from calibeval.plots.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = ("reference", "prediction", "probability of any structure", "sure and wrong")
EXTRA, MISSED = "#d55e00", "#0072b2"  # false positives; structures missed or taken for others
_WINDOW = (1, 99)  # percentiles of the grey values that are black and white
_ROOM = 0.35  # of the structures' extent, around them
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_STRUCTURES = ("#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#e69f00", "#ffffff")  # that grey images let be seen
_TURNED = (("A", "S"), ("R", "A"))  # directions of rows and columns that are shown the other way round
_NAMED = 6  # structures in the legend


class _Plane(NamedTuple):
    """What is drawn of a volume: its slice, cropped and turned; the size of a pixel (down, across); a title."""

    found: dict[str, NDArray[Any]]
    pixel_mm: tuple[float, float]
    title: str
    names: tuple[str, ...]
    scaled: bool

    @property
    def ratio(self) -> float:
        """Height over width in mm."""
        height, width = self.found["reference"].shape
        return float(height * self.pixel_mm[0] / (width * self.pixel_mm[1]))


def slices(
    volumes: Volume | Sequence[Volume],
    axes: Sequence[Axes] | None = None,
    *,
    index: int | None = None,
    size: str = "page",
) -> list[Axes]:
    """Draw one slice of each volume four times; without an image on the reference alone.

    Orange is a structure seen where there is none (which pECE charges), blue one that is missed or taken for another;
    the more opaque, the surer the model was. Slices run across the axis with the largest voxels. Pixels keep their
    aspect ratio, and where the file tells directions, the view is a radiologist's.

    Args:
        volumes: as `Volumes.read` gives them.
        axes: four for each to draw on, without a legend; None makes a figure with one.
        index: number of the slice from 0; None takes the one with the most confidence in errors, of several methods on
            one case that of all together.
        size: width of the new figure, `column` (two rows a volume) or `page`.

    Returns:
        The axes, four for each volume.
    """
    with st.style():
        shown = [volumes] if isinstance(volumes, Volume) else list(volumes)
        if index is None and len({(each.case, each.wrong.shape) for each in shown}) == 1:
            index = _worst(shown)
        planes = [_plane(each, index) for each in shown]
        if axes is None:
            entries = _entries(planes)
            columns = int((WIDTHS[size] - 0.2) / (max(st.text_width(text, SMALL) for text in entries) + 0.35))
            bottom = 0.1 + 0.14 * -(-len(entries) // columns)
            grid = st.Grid(min(max(plane.ratio for plane in planes), 2), 0.25, 0.17, 0.1, 0.1, bottom, 0.1)
            axes = st.new_panels(4 * len(planes), 4 if size == "page" else 2, size, grid)
            st.figure_of(axes[0]).legend(
                list(entries.values()), list(entries), ncols=columns, loc="lower left", borderaxespad=0.4,
                handlelength=1.2, columnspacing=1, borderpad=0,
            )  # fmt: skip
        for number, plane in enumerate(planes):
            own = axes[4 * number : 4 * number + 4]
            for ax, panel in zip(own, PANELS, strict=True):
                _draw(ax, panel, plane.found, plane.pixel_mm[0] / plane.pixel_mm[1])
            own[0].set_title(st.fitted(plane.title, WIDTHS[size] - 0.2, weight="bold"), weight="bold", loc="left")
            if plane.scaled:
                _scale_bar(own[0], plane.found["reference"].shape[1], plane.pixel_mm[1])
    return list(axes)


def _across(volume: Volume) -> int:
    """The axis along which slices are counted."""
    return int(np.argmax(volume.spacing_mm)) if volume.spacing_mm else 0


def _worst(volumes: Sequence[Volume]) -> int:
    total = np.sum([np.abs(each.wrong) for each in volumes], axis=0)
    return int(total.sum(axis=tuple(axis for axis in range(total.ndim) if axis != _across(volumes[0]))).argmax())


def _plane(volume: Volume, index: int | None) -> _Plane:
    spacing = volume.spacing_mm or (1.0,) * volume.reference.ndim
    found: dict[str, NDArray[Any]] = {
        "reference": volume.reference, "prediction": volume.predicted, "structure": volume.structure,
        "wrong": volume.wrong,
    }  # fmt: skip
    if volume.image is not None:
        low, high = np.percentile(volume.image, _WINDOW)
        found["image"] = np.clip((volume.image - low) / max(high - low, 1e-12), 0, 1)
    title = ", ".join(filter(None, (volume.case, volume.method)))
    directions = volume.directions
    if volume.reference.ndim == 3:
        axis = _across(volume)
        index = _worst([volume]) if index is None else index
        title += f", slice {index + 1} of {volume.reference.shape[axis]}"
        found = {name: array.take(index, axis) for name, array in found.items()}
        spacing, directions = spacing[:axis] + spacing[axis + 1 :], directions[:axis] + directions[axis + 1 :]
    turned = [slice(None, None, -1 if directions[i : i + 1] in ends else 1) for i, ends in enumerate(_TURNED)]
    found = {name: array[*turned] for name, array in found.items()}
    window = _window((found["reference"] % IGNORED > 0) | (found["prediction"] > 0))
    found = {name: array[window] for name, array in found.items()}
    return _Plane(found, (spacing[0], spacing[1]), title, volume.names, volume.spacing_mm is not None)


def _window(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns around what is there; all where nothing is."""
    if not inside.any():
        return slice(None), slice(None)
    ends = [
        (int(found[0]), int(found[-1]) + 1) for axis in (1, 0) if (found := np.flatnonzero(inside.any(axis=axis))).size
    ]
    room = int(_ROOM * max(stop - start for start, stop in ends)) + 4
    rows, columns = (slice(max(0, start - room), stop + room) for start, stop in ends)
    return rows, columns


def _draw(ax: Axes, panel: str, planes: dict[str, NDArray[Any]], aspect: float) -> None:
    from matplotlib.colors import to_rgb

    ax.annotate(panel, (0, 0), (0, -3), xycoords="axes fraction", textcoords="offset points", size=SMALL, va="top")
    ax.set_axis_off()
    shown: Any = {"aspect": aspect, "interpolation": "nearest"}
    if panel == PANELS[2]:
        ax.imshow(planes["structure"], cmap="cividis", vmin=0, vmax=1, **shown)
        return
    grey = planes.get("image", np.where(planes["reference"] % IGNORED > 0, 0.55, 0.35))
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1, **shown)
    if panel in planes:
        _outline(ax, planes[panel])
        return
    _outline(ax, (planes["reference"] % IGNORED > 0).astype(np.uint8), "white")
    layer = np.zeros((*planes["wrong"].shape, 4))
    layer[..., :3] = np.where(planes["wrong"][..., None] > 0, to_rgb(EXTRA), to_rgb(MISSED))
    layer[..., 3] = np.abs(planes["wrong"])
    ax.imshow(layer, **shown)


def _outline(ax: Axes, labels: NDArray[np.uint8], colour: str = "") -> None:
    """The edge of each structure, along the edges of its pixels."""
    from matplotlib.collections import LineCollection

    for c in _structures(labels):
        mask = np.pad(labels == c, 1)
        lying, upright = np.argwhere(mask[1:] != mask[:-1]), np.argwhere(mask[:, 1:] != mask[:, :-1])
        ends = [[(x - 1.5, y - 0.5), (x - 0.5, y - 0.5)] for y, x in lying]
        ends += [[(x - 0.5, y - 1.5), (x - 0.5, y - 0.5)] for y, x in upright]
        ax.add_collection(
            LineCollection(ends, colors=colour or _colour(c), linewidths=0.9, capstyle="projecting"), autolim=False
        )


def _structures(labels: NDArray[np.uint8]) -> list[int]:
    return [int(c) for c in np.unique(labels) if 0 < c < IGNORED]


def _colour(c: int) -> str:
    return _STRUCTURES[(c - 1) % len(_STRUCTURES)]


def _scale_bar(ax: Axes, width: int, pixel_mm: float) -> None:
    length = max((mm for mm in _BARS_MM if mm <= 0.3 * width * pixel_mm), default=_BARS_MM[0])
    start = 0.04 * width
    y = ax.get_ylim()[0] * 0.95
    ax.plot([start, start + length / pixel_mm], [y, y], color="white", lw=2, solid_capstyle="butt")
    ax.annotate(f"{length} mm", (start, y), (0, 3), textcoords="offset points", color="white", size=SMALL)


def _entries(planes: Sequence[_Plane]) -> dict[str, Any]:
    """What the legend says, and what stands for it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = {c: plane.names[c] for plane in planes for part in PANELS[:2] for c in _structures(plane.found[part])}
    entries: dict[str, Any] = {
        st.label(present[c], 16): Line2D([], [], color=_colour(c), lw=1.2) for c in sorted(present)[:_NAMED]
    }
    if len(present) > _NAMED:
        entries[f"and {len(present) - _NAMED} more"] = Line2D([], [], lw=0)
    return entries | {"seen where nothing is": Patch(color=EXTRA), "missed or confused": Patch(color=MISSED)}
