"""Figures of `calibeval.plots` as pictures of the page: SVG whose ink follows the page, with numbers beside them."""

from __future__ import annotations

import re
from html import escape as html
from itertools import count
from typing import TYPE_CHECKING

from calibeval.escape import page
from calibeval.plots.style import GREY, INK, PALE, figure_of, render, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawn

_ON_PAGE = {
    "#ffffff": "none",
    INK: "var(--ink)",
    GREY: "var(--grey)",
    PALE: "var(--pale)",
    "#000000": "var(--ink)",
    "#4d4d4d": "var(--black)",
    "#0072b2": "var(--blue)",
}
# Of no use inside a page: what its style sheet says once, turns by nothing, white space between elements.
_USELESS = re.compile(
    r"<metadata>.*?</metadata>|<style.*?</style>|font-family: [^;\"]*;? ?"
    r"| transform=\"rotate\(-?0 [^\"]*\"|(?<=>)\s+(?=<)",
    re.DOTALL,
)
_NUMBER = re.compile(r"(\d\.\d\d)\d+")
_MADE = count()  # identifiers of one page must differ between its pictures


def svg_of(drawn: Drawn | Axes, says: str) -> str:
    """A figure as an element of the page.

    Args:
        drawn: the figure, or axes in it.
        says: what a reader who cannot see it is told.
    """
    from matplotlib import rc_context

    with style(), rc_context({"svg.fonttype": "none"}):
        text = page(render(figure_of(drawn), tight=True).decode())
    text = _USELESS.sub("", text[text.index("<svg") :])
    text = _NUMBER.sub(r"\1", _own_names(text))
    text = on_page(text)
    head, _, rest = text.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    name = html(page(says))
    return f'<svg {box[0] if box else ""} role="img" aria-label="{name}">{rest.strip()}'


def on_page(text: str) -> str:
    """Colours that follow the page, light or dark, in place of those on paper."""
    for colour, ink in _ON_PAGE.items():
        text = text.replace(colour, ink)
    return text


def untitled(axes: Axes) -> Axes:
    """Axes without the title and the words over them, which the page says itself."""
    axes.set_title("", loc="left")
    for text in list(axes.texts):
        text.remove()
    return axes


def _own_names(text: str) -> str:
    """Identifiers that are pointed to get a name that no other picture has; the others go."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    own = f"f{next(_MADE)}-"
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}{found[1]}"' if found[1] in used else "", text)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{own}", text)
