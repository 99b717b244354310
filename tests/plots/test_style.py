"""One look everywhere, and files that are the same each time."""

import re

import pytest

from calibeval.errors import MissingExtraError, UsageError

pytest.importorskip("matplotlib")

from calibeval import plots
from calibeval.plots import style
from calibeval.plots.style import figure_of, fitted, label, looks, new_panels, render, text_width


def test_twenty_methods_look_different_and_keep_their_look():
    names = [f"m{i:02}" for i in range(20)]
    found = looks(names)
    assert len({(look.colour, look.line) for look in found.values()}) == 20
    assert len({(look.colour, look.marker) for look in found.values()}) == 20
    assert looks(reversed(names)) == found


def test_names_are_shortened_in_the_middle():
    assert label("a name\n of two  lines") == "a name of two lines"
    assert label("abcdefghij", 6) == "abc\u2026ij"
    assert label("\u202ex\x07") == "\\u202ex\\x07"
    short = fitted("W" * 300, 1.0)
    assert "\u2026" in short and text_width(short) <= 1.0 < text_width("W" + short)


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_the_same_figure_gives_the_same_file(suffix, tmp_path):
    def drawn():
        (ax,) = new_panels(1, 1, "column")
        ax.set_title("a \u2192 b")
        return ax

    first, second = (render(figure_of(drawn()), suffix) for _ in range(2))
    assert first == second
    plots.save(drawn(), tmp_path / f"x{suffix}")
    assert (tmp_path / f"x{suffix}").read_bytes() == first
    if suffix == ".pdf":
        assert b"/FontFile2" in first and b"CreationDate" not in first
    if suffix == ".svg":
        assert b"<text" not in first and not re.search(rb"<dc:date>", first)


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"written as .svg, .png or .pdf, not as 'no suffix'"):
        style.check_suffix(tmp_path / "a")
    with pytest.raises(UsageError, match=r"Unknown size 'poster'. Known: column, page"):
        new_panels(1, 1, "poster")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"calibeval\[plots\]"), style.style():
        pass


def test_only_what_there_is_is_found():
    assert callable(plots.reliability)
    assert "reliability" in dir(plots)
    with pytest.raises(AttributeError, match="no attribute 'pie'"):
        plots.pie  # noqa: B018
