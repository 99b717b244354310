"""What is drawn, as boxes in pixels."""

from __future__ import annotations

import itertools
from unittest.mock import patch


def texts_of(figure):
    """Boxes of all text that is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from calibeval.plots.style import no_glyph_warnings, style

    drawn, draw = {}, Text.draw

    def noted(text, renderer, *more, **others):
        drawn[id(text)] = text
        return draw(text, renderer, *more, **others)

    with style(), no_glyph_warnings(), patch.object(Text, "draw", noted):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        found = [(text.get_text(), text.get_window_extent(renderer)) for text in drawn.values() if text.get_visible()]
    return [(text, box) for text, box in found if text.strip()]


def check_texts(figure):
    """No text lies over another or leaves the figure."""
    found = texts_of(figure)
    for text, box in found:
        inside = figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1
        assert inside and figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, f"{text!r} leaves the figure"
    for (first, a), (second, b) in itertools.combinations(found, 2):
        apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1
        assert apart, f"{first!r} lies over {second!r}"
    return [text for text, _ in found]
