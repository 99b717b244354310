import numpy as np
import pytest

pytest.importorskip("matplotlib")

from calibeval.plots.maps import Picture, Scale, pictures
from calibeval.plots.style import figure_of, render

IMAGE = np.arange(20.0).reshape(4, 5)
LABEL = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 2, 2, 0], [0, 0, 0, 0, 0]])
CHANCE = Scale("chance", 0, 1, "viridis", 0.5)


def test_a_panel_shows_image_map_and_an_outline_for_each_class():
    (axes,) = pictures([Picture("one", IMAGE, IMAGE / 20, CHANCE, LABEL)], 1)
    assert [len(axes.images), len(axes.collections)] == [2, 2]
    np.testing.assert_array_equal(axes.images[1].get_array(), IMAGE / 20)
    assert axes.get_title() == "one"


def test_each_scale_has_one_bar_and_outlines_are_explained():
    panels = [Picture("a", values=IMAGE, scale=CHANCE), Picture("b", IMAGE, IMAGE, CHANCE, LABEL, LABEL)]
    figure = figure_of(pictures(panels, 2)[0])
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "chance"]
    assert [text.get_text() for text in figure.texts] == ["white: reference", "orange: prediction"]
    assert render(figure, ".svg") == render(figure, ".svg")


def test_a_label_without_foreground_or_background_has_its_classes_outlines_alone():
    (axes,) = pictures([Picture("none", IMAGE, reference=np.zeros_like(LABEL))], 1)
    assert not axes.collections
