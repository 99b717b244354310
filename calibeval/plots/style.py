"""The one look of all figures: colours, sizes, type, and how a figure becomes a file.

Colours are Okabe and Ito's, which colour-blind readers tell apart (https://jfly.uni-koeln.de/color/), without yellow,
which white paper swallows. A colour that comes again has another line, marker and hatching. Only matplotlib's object
interface is used, so that no display and no global state is touched. Lengths are in inches.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from calibeval.errors import MissingExtraError, UsageError
from calibeval.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE, ACCENT = "#222222", "#767676", "#e8e8e8", "#0072b2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
WIDTHS = {"column": 3.35, "page": 7.0}  # of a printed journal
SUFFIXES = (".svg", ".png", ".pdf")
SMALL, NORMAL = 6.5, 8.0  # points
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)))
_MARKERS, _HATCHES = "osD", ("", "/////", ".....")
_DPI = 300
_KEY, _LINE = 0.5, 0.14  # inches beside the text of a legend, and of its lines
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": NORMAL,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": NORMAL,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: a figure is the same on every machine
    "font.size": NORMAL,
    "hatch.linewidth": 0.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, embedded; in SVG letters are outlines
    "svg.hashsalt": "calibeval",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
}


class Look(NamedTuple):
    """How a method is drawn, everywhere."""

    colour: str
    line: Any
    marker: str
    hatch: str


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each method, by the order of the names: whatever order they are given in, they keep their colours.

    Twenty-one differ; a further method begins anew.
    """
    found = {}
    for place, method in enumerate(sorted(set(methods))):
        again, colour = divmod(place, len(COLOURS))
        again %= len(_LINES)
        found[method] = Look(COLOURS[colour], _LINES[again], _MARKERS[again], _HATCHES[again])
    return found


def label(text: str, letters: int = 40) -> str:
    """A name on one line that does nothing to a reader, its middle left out where it is too long."""
    words = " ".join(text.split())
    text = "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in words)
    head = letters // 2
    return text if len(text) <= letters else f"{text[:head]}\u2026{text[head + 1 - letters :]}"


def fitted(text: str, width: float, size: float = NORMAL, weight: str = "normal") -> str:
    """A name as `label` gives it, short enough for a width."""
    low, high = 2, max(2, min(len(text), 300))
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(label(text, middle), size, weight) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return label(text, low)


def text_width(text: str, size: float = NORMAL, weight: str = "normal") -> float:
    """Inches of a line of text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_STYLE["font.family"], size=size, weight=weight)
    with no_glyph_warnings():
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


@contextmanager
def style() -> Iterator[None]:
    """Give figures that are made and written inside the one look.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def need_matplotlib() -> None:
    """Say how to install it where it is missing.

    Raises:
        MissingExtraError: it is.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plots")


class Grid(NamedTuple):
    """Lengths of equal panels in rows: those of a figure's edges, of a panel, and between panels.

    Attributes:
        ratio: height of a panel over its width.
        above: room over each panel, for its title.
        below: room under each, for what hangs there.
        left: of the figure.
        right: of the figure.
        bottom: of the figure, below the last row's room.
        apart: between columns.
    """

    ratio: float = 1.0
    above: float = 0.25
    below: float = 0.2
    left: float = 0.45
    right: float = 0.1
    bottom: float = 0.2
    apart: float = 0.15


def new_panels(number: int, columns: int, size: str = "page", grid: Grid = Grid()) -> list[Axes]:  # noqa: B008  # immutable
    """Axes of equal panels in a new figure as wide as a `column` or a `page`, in reading order.

    Raises:
        UsageError: another size.
    """
    from matplotlib.figure import Figure

    if size not in WIDTHS:
        raise UsageError(f"Unknown size {size!r}. Known: {', '.join(WIDTHS)}.")
    total, rows = WIDTHS[size], -(-number // columns)
    width = (total - grid.left - grid.right - grid.apart * (columns - 1)) / columns
    row = grid.above + width * grid.ratio + grid.below
    height = rows * row + grid.bottom
    figure = Figure(figsize=(total, height))
    axes = []
    for place in range(number):
        down, across = divmod(place, columns)
        x, y = grid.left + across * (width + grid.apart), height - down * row - grid.above - width * grid.ratio
        axes.append(figure.add_axes((x / total, y / height, width / total, width * grid.ratio / height)))
    return axes


def figure_of(drawn: Axes | Figure) -> Figure:
    """The figure that axes are in."""
    figure: Any = drawn if hasattr(drawn, "savefig") else drawn.get_figure(root=True)
    return figure  # type: ignore[no-any-return]


class Legend(NamedTuple):
    """A legend that fits a width: what is written, in how many columns, and how high that is."""

    texts: dict[str, str]
    columns: int
    height: float

    @staticmethod
    def of(texts: Mapping[str, str], width: float) -> Legend:
        """Plan it.

        Args:
            texts: method to what is said of it beside its name; may be empty.
            width: inches.
        """
        shown = {
            name: fitted(name, width - _KEY - text_width(text, SMALL), SMALL) + text for name, text in texts.items()
        }
        columns = max(1, int(width / (_KEY + max(text_width(text, SMALL) for text in shown.values()))))
        return Legend(shown, columns, 0.1 + _LINE * -(-len(shown) // columns))

    def draw(self, where: Axes | Figure, methods: Mapping[str, Look], **place: Any) -> None:
        """Draw it; `place` is what matplotlib's legend takes."""
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color=each.colour, ls=each.line, marker=each.marker, ms=3, lw=1.2)
            for each in (methods[name] for name in self.texts)
        ]
        where.legend(
            handles,
            list(self.texts.values()),
            ncols=self.columns,
            borderpad=0,
            borderaxespad=0.4,
            handlelength=2.4,
            **place,
        )


def check_suffix(path: Path) -> None:
    """Refuse a file that `save` could not make.

    Raises:
        UsageError: its suffix is none of `SUFFIXES`.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES[:-1])
        raise UsageError(
            f"{path}: a plot is written as {known} or {SUFFIXES[-1]}, not as {path.suffix or 'no suffix'!r}."
        )
    need_matplotlib()


def render(figure: Figure, suffix: str = ".svg", *, tight: bool = False) -> bytes:
    """The bytes of a file; the same figure gives the same bytes, and fonts are inside.

    Args:
        figure: to be written.
        suffix: one of `SUFFIXES`.
        tight: grow or cut it to hold what is drawn.
    """
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    cut = {"bbox_inches": "tight", "pad_inches": 0.1} if tight else {}
    buffer, kind = io.BytesIO(), suffix.lower()
    with style(), no_glyph_warnings():
        figure.savefig(buffer, format=kind[1:], dpi=_DPI, metadata=dates.get(kind, {}), **cut)  # type: ignore[arg-type]
    return buffer.getvalue()


def save(figure: Figure | Axes, path: Path | str, *, tight: bool = False) -> None:
    """Write a figure, or the figure that axes are in, as .svg, .png or .pdf, all or nothing; `tight` as in `render`.

    Raises:
        UsageError: another suffix.
    """
    path = Path(path)
    check_suffix(path)
    content = render(figure_of(figure), path.suffix, tight=tight)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes, in silence."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield
