"""Slices: the worst one, cropped, turned, with its true shape."""

from typing import Any

import numpy as np
import pytest

from tests.plots.helpers import check_texts

pytest.importorskip("matplotlib")

from calibeval import plots
from calibeval.plots import slice_panels
from calibeval.plots.style import figure_of
from calibeval.plots.volumes import Volume


def volume(shape=(4, 30, 40), classes=1, **more):
    """A block of each class; the prediction is one voxel off in slice 2."""
    reference = np.zeros(shape, np.uint8)
    for c in range(classes):
        reference[..., 5:12, 6 + c : 9 + c] = c + 1
    predicted = reference.copy()
    (predicted[2] if predicted.ndim == 3 else predicted)[12, 6:12] = 1
    wrong = np.where(predicted != reference, np.float32(0.9), np.float32(0))
    names = ("background", *(f"a structure with a name {c}" for c in range(classes)))
    return Volume("case", "method", names, reference, predicted, (predicted > 0).astype(np.float32), wrong, **more)


@pytest.mark.parametrize("size", ["column", "page"])
@pytest.mark.parametrize("classes", [1, 4, 25])
def test_nothing_overlaps(classes, size):
    axes = plots.slices(volume(classes=classes, spacing_mm=(5.0, 1.0, 1.0)), size=size)
    texts = check_texts(figure_of(axes[0]))
    assert {"case, method, slice 3 of 4", *slice_panels.PANELS} <= set(texts)
    assert ("and 19 more" in texts) == (classes == 25)
    assert any(text.endswith(" mm") for text in texts)


def test_several_volumes_and_two_axes():
    flat = volume((30, 40))
    axes = plots.slices([flat, flat])
    assert len(axes) == 8
    texts = check_texts(figure_of(axes[0]))
    assert "case, method" in texts and not any(text.endswith(" mm") for text in texts)
    given = axes[:4]
    assert plots.slices(flat, given) == given


def test_methods_are_shown_on_the_slice_that_is_worst_of_all_together():
    first, second = volume(), volume()
    first.wrong[:] = second.wrong[:] = 0
    first.wrong[0, :2], second.wrong[1, :2], first.wrong[3, :1], second.wrong[3, 1:2] = 0.5, -0.5, 0.6, 0.6
    assert [slice_panels._worst(each) for each in ([first], [second], [first, second])] == [0, 1, 3]
    texts = check_texts(figure_of(plots.slices([first, second])[0]))
    assert texts.count("case, method, slice 4 of 4") == 2


def test_pixels_keep_their_shape_and_slices_cross_the_largest():
    axes = plots.slices(volume((20, 30, 40), spacing_mm=(1.0, 3.0, 2.0)), index=7)
    picture = axes[0].images[0]
    assert axes[0].get_aspect() == pytest.approx(1.0 / 2.0)
    assert picture.get_array().shape[0] == 20, "rows run along the first axis"


@pytest.mark.parametrize(("directions", "row", "column"), [("SAR", -1, -1), ("SPL", 1, 1), ("", 1, 1)])
def test_the_view_is_a_radiologists(directions, row, column):
    """Front is up, and the patient's right is on the left."""
    grey = np.arange(4 * 30 * 40, dtype=float).reshape(4, 30, 40)
    plane = slice_panels._plane(volume(spacing_mm=(5.0, 1.0, 1.0), image=grey, directions=directions), 2)
    image = plane.found["image"]
    assert np.sign(image[-1, 0] - image[0, 0]) == row
    assert np.sign(image[0, -1] - image[0, 0]) == column


def test_grey_values_are_cut_at_percentiles():
    grey = np.zeros((4, 30, 40))
    grey[0, 0, :5] = 1e9
    grey[:, :, 20:] = 100
    plane = slice_panels._plane(volume(image=grey), 2)
    assert set(np.unique(plane.found["image"])) <= {0.0, 1.0}


def test_outlines_follow_pixels():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    slice_panels._outline(ax, np.array([[0, 0], [0, 1]], np.uint8))
    lines: Any = ax.collections[0]
    ends = {tuple(map(tuple, np.sort(segment, axis=0).tolist())) for segment in lines.get_segments()}
    assert ends == {
        ((0.5, 0.5), (1.5, 0.5)),
        ((0.5, 1.5), (1.5, 1.5)),
        ((0.5, 0.5), (0.5, 1.5)),
        ((1.5, 0.5), (1.5, 1.5)),
    }
