from __future__ import annotations

import numpy as np
import pytest

from calibeval.errors import MissingExtraError, UsageError
from calibeval.ranking import RankSettings, rank_tables
from tests.ranking.helpers import make_tables

pytest.importorskip("matplotlib")

from calibeval.plots.style import check_suffix, style
from calibeval.ranking import plots

PNG, SVG = b"\x89PNG", b"<?xml"


def ranking_of(folder, methods, cases=12, bootstrap=40, **settings):
    generator = np.random.default_rng(methods)
    values = {
        f"method {j} $with_a^very long% name & more": {
            "DSC": (0.8 - 0.05 * j / methods + 0.05 * generator.random(cases)).tolist(),
            "HD95": (10 + j + generator.random(cases) * 5).tolist(),
        }
        for j in range(methods)
    }
    return rank_tables(make_tables(folder, values), RankSettings(bootstrap=bootstrap, **settings))


@pytest.fixture(scope="module", params=[2, 3, 25])
def ranking(request, tmp_path_factory):
    return ranking_of(tmp_path_factory.mktemp("plots"), request.param)


@pytest.mark.parametrize("view", ["cd", "blob", "map", "podium"])
def test_views_are_drawn(ranking, view, tmp_path):
    for suffix, magic in ((".png", PNG), (".svg", SVG)):
        path = tmp_path / f"out_{view}{suffix}"
        plots.draw(ranking, path)
        assert path.read_bytes().startswith(magic)


def drawn_names(figure, methods):
    """Boxes of the methods' names in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    names = [text for text in figure.findobj(Text) if text.get_text() in methods and text.get_visible()]
    boxes = [name.get_window_extent(renderer) for name in names]
    return [box for box in boxes if box.width > 1]  # a tick's label on the side without labels has no extent


@pytest.mark.parametrize("view", ["cd", "blob", "map"])
def test_names_never_overlap(ranking, view):
    with style():
        boxes = drawn_names(plots.VIEWS[view](ranking), ranking.methods)
    assert len(boxes) == len(ranking.methods) * (2 if view == "map" else 1)
    for i, first in enumerate(boxes):
        for second in boxes[i + 1 :]:
            apart = first.x1 <= second.x0 or second.x1 <= first.x0 or first.y1 <= second.y0 or second.y1 <= first.y0
            assert apart


def test_a_podium_plot_makes_room_for_long_names(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    values = {f"{'a name with all of its settings, ' * 3}{j}": {"DSC": [0.5, 0.6 + j / 9]} for j in range(4)}
    with style():
        figure = plots.podium_plot(rank_tables(make_tables(tmp_path, values), RankSettings(bootstrap=0)))
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)  # a figure too small for its legend warns, and a warning is an error
        legend = figure.legends[0].get_window_extent(renderer)
        assert legend.x1 <= figure.bbox.x1
        assert max(axes.get_tightbbox(renderer).x1 for axes in figure.axes) <= legend.x0


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 4, [1, 2, 3, 4]),
        (3, 38, [3, 10, 15, 20, 25, 30, 35]),
        (14, 87, [14, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85]),
    ],
)
def test_numbers_on_the_axis_keep_apart(low, high, ticks):
    assert plots._ticks(low, high) == ticks


def test_the_same_ranking_gives_the_same_svg(tmp_path):
    ranking = ranking_of(tmp_path, 3)
    for name in ("a.svg", "b.svg"):
        plots.draw(ranking, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_bars_join_what_is_not_told_apart():
    significant = np.zeros((5, 5), dtype=bool)
    for i, j in ((0, 2), (0, 3), (0, 4), (1, 4), (2, 4), (3, 4)):
        significant[i, j] = significant[j, i] = True
    assert plots._groups(significant) == [(0, 1), (1, 3)]
    assert plots._groups(np.zeros((3, 3), dtype=bool)) == [(0, 2)]
    assert plots._groups(~np.eye(3, dtype=bool)) == []


def test_bars_of_one_level_do_not_touch():
    bars = [(0.0, 1.0), (0.5, 2.0), (1.5, 3.0), (2.5, 4.0)]
    assert plots._levels(bars) == [0, 1, 0, 1]


def test_no_difference_is_one_bar(tmp_path):
    values = {f"m{j}": {"DSC": np.random.default_rng(j).random(8).tolist()} for j in range(4)}
    ranking = rank_tables(make_tables(tmp_path, values), RankSettings(bootstrap=0))
    assert ranking.friedman.cluster_permutation.p > 0.05
    assert plots._groups(ranking.significant()) == [(0, 3)]


def test_all_equal_many_methods(tmp_path):
    values = {f"m{j}": {"DSC": [0.5] * 5} for j in range(14)}
    ranking = rank_tables(make_tables(tmp_path, values), RankSettings(bootstrap=10))
    for view in plots.VIEWS:
        plots.draw(ranking, tmp_path / f"x_{view}.png")


def test_infinite_and_failed_values_are_drawn_around(tmp_path):
    values = {"a": {"HD95": [1.0, float("inf"), 3.0]}, "b": {"HD95": [2.0, 2.0, 2.0]}}
    plots.draw(rank_tables(make_tables(tmp_path, values), RankSettings(bootstrap=10)), tmp_path / "x_podium.png")


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"written as .svg, .png or .pdf, not as '.jpg'"):
        check_suffix(tmp_path / "a.jpg")
    ranking = ranking_of(tmp_path, 2, bootstrap=0)
    with pytest.raises(UsageError, match="shows bootstrap draws, and there are none"):
        plots.draw(ranking, tmp_path / "a_blob.png")
    assert not (tmp_path / "a_blob.png").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"calibeval\[plots\]"):
        check_suffix(tmp_path / "a.png")
