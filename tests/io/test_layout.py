"""What the axes of a prediction mean."""

from pathlib import Path

import numpy as np
import pytest

from calibeval.errors import InputError, UsageError
from calibeval.io.array_file import ArrayFile
from calibeval.io.formats import format_of
from calibeval.io.layout import find_layout, squeezed

LABEL = (4, 5, 6)  # slowest first


def opened(name, shape, member=""):
    array = np.empty(shape, np.float32)
    return ArrayFile(Path(name), shape, array.dtype, lambda: array, member=member, format=format_of(Path(name)))


def layout(shape, name="a.npz", label=LABEL, label_name="l.nii.gz", member="", **choices):
    """Permuted shape and C, or what the user reads."""
    file = opened(name, shape, member)
    found = find_layout(file, opened(label_name, label), **choices)
    inner = squeezed(shape)
    return tuple(inner[axis] for axis in found.order), found.classes


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.nii.gz", "a.mha"])
def test_the_label_s_shape_has_no_class_axis(name):
    assert layout(LABEL, name) == (LABEL, 0)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (4, 5, 6, 3), (3, 1, 4, 5, 6), (1, 3, 4, 5, 6)])
@pytest.mark.parametrize("name", ["a.npz", "a.nii", "a.nrrd"])
def test_the_class_axis_is_found_at_either_end(shape, name):
    assert layout(shape, name) == ((3, *LABEL), 3)


@pytest.mark.parametrize("shape", [(3, 6, 5, 4), (6, 5, 4, 3)])
def test_an_array_may_run_the_other_way_round_than_an_image(shape):
    assert layout(shape, "a.npz") == ((3, *LABEL), 3)
    with pytest.raises(InputError, match="fits no layout"):
        layout(shape, "a.nii.gz")


@pytest.mark.parametrize("shape", [(5, 6, 3), (3, 5, 6), (3, 6, 5)])
def test_two_dimensions(shape):
    assert layout(shape, label=(1, 5, 6)) == ((3, 5, 6), 3)


def test_singletons_in_the_label_do_not_matter():
    assert layout((3, 5, 6), label=(5, 1, 6)) == ((3, 5, 6), 3)


@pytest.mark.parametrize(("shape", "label"), [((4, 4, 4, 4), (4, 4, 4)), ((6, 6, 3), (6, 6))])
def test_what_fits_twice_is_refused(shape, label):
    with pytest.raises(InputError, match=r"can be read as .* or .*--axes"):
        layout(shape, label=label)


def test_nnunet_s_key_says_that_classes_come_first():
    assert layout((4, 4, 4, 4), label=(4, 4, 4), member="probabilities") == ((4, 4, 4, 4), 4)
    assert layout((2, 6, 6), label=(6, 6), member="softmax") == ((2, 6, 6), 2)


def test_a_png_runs_as_arrays_do():
    """Every reader of PNG gives (y, x); so do arrays made from it."""
    assert layout((3, 6, 6), label=(6, 6), label_name="l.png") == ((3, 6, 6), 3)
    with pytest.raises(InputError, match="fits no layout"):
        layout((3, 6, 5), label=(5, 6), label_name="l.png")


def test_a_label_map_beside_it_settles_in_which_order_the_axes_run():
    assert layout((3, 6, 6, 6), label=(6, 6, 6), may_be_turned=True) == ((3, 6, 6, 6), 3)
    assert layout((3, 6, 4, 5), may_be_turned=True) == ((3, 6, 4, 5), 3)
    with pytest.raises(InputError, match="can be read as"):
        layout((6, 6, 6, 6), label=(6, 6, 6), may_be_turned=True)


@pytest.mark.parametrize(
    ("axes", "shape", "name", "expected"),
    [
        ("czyx", (6, 6, 6, 6), "a.npz", (0, 1, 2, 3)),
        ("zyxc", (6, 6, 6, 6), "a.npz", (3, 0, 1, 2)),
        ("cxyz", (6, 6, 6, 6), "a.npz", (0, 3, 2, 1)),
        ("xyzc", (6, 6, 6, 6), "a.nii.gz", (0, 1, 2, 3)),
        ("cxyz", (6, 6, 6, 6), "a.nii.gz", (3, 0, 1, 2)),
        ("XYZC", (6, 6, 6, 6), "a.mha", (0, 1, 2, 3)),
    ],
)
def test_axes_settle_it_in_the_order_of_the_file_s_own_tools(axes, shape, name, expected):
    assert find_layout(opened(name, shape), opened("l.nii", (6, 6, 6)), axes).order == expected


def test_axes_name_squeezed_or_whole_shapes():
    file, flat = opened("a.npz", (6, 1, 6, 6)), opened("l.nii", (1, 6, 6))
    assert find_layout(file, flat, "czyx").order == (0, 1, 2)
    assert find_layout(file, flat, "cyx").order == (0, 1, 2)
    assert find_layout(opened("a.npz", (1, 6, 6)), opened("l.nii", (6, 6)), "cyx").classes == 0


@pytest.mark.parametrize("axes", ["", "c", "czyy", "abc", "cz", "czyxt", "cc"])
def test_axes_that_are_none_are_refused(axes):
    with pytest.raises(UsageError, match="--axes"):
        layout((3, *LABEL), axes=axes)


@pytest.mark.parametrize(("axes", "message"), [("cyx", "does not fit"), ("czxy", r"spans \(3, 4, 6, 5\)")])
def test_axes_that_do_not_fit_the_file_are_refused(axes, message):
    with pytest.raises(InputError, match=message):
        layout((3, *LABEL), axes=axes)


def test_a_cropped_map_is_told_as_such():
    with pytest.raises(InputError) as caught:
        layout((3, 4, 3, 6), member="softmax")
    assert "nnU-Net v1 saves probabilities of the cropped image" in str(caught.value)
    assert "(3, 4, 3, 6)" in str(caught.value)
    assert "(4, 5, 6)" in str(caught.value)


def test_a_map_of_another_image_is_told_as_such():
    with pytest.raises(InputError, match="Check that prediction and label belong to the same image"):
        layout((3, 9, 9, 9))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (1, 1, 7)])
def test_a_label_of_other_than_two_or_three_axes_is_refused(shape):
    with pytest.raises(InputError, match="expected a label map of 2 or 3 axes"):
        layout((3, 4, 5, 6), label=shape)


def test_a_label_in_colours_is_refused():
    with pytest.raises(InputError, match=r"expected a label map of 2 axes.*no colours"):
        layout((5, 6, 3), label=(5, 6, 3), label_name="l.png")
