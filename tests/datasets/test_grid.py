"""Resampling, cropping and padding, against what the place of each voxel says."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from calibeval.datasets.grid import CENTRE, FOREGROUND, Grid, fit, parse_grid
from calibeval.errors import UsageError
from calibeval.io.geometry import affine_of_itk, make_geometry, place_itk
from tests.datasets.downloads import AFFINE


def itk(values):
    """An image from an array (x, y, z)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    place_itk(image, make_geometry(AFFINE, values.shape))
    return image


def array(image):
    return sitk.GetArrayFromImage(image).T


def places(shape, affine):
    """(x, y, z, 3) mm of each voxel."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def ramp(where):
    return (2 + where @ [0.5, -0.25, 1.5]).astype(np.float32)


@given(st.tuples(*[st.integers(2, 9)] * 3), st.tuples(*[st.integers(1, 12)] * 3))
def test_a_crop_keeps_values_where_they_lie(shape, size):
    values = np.arange(1, 1 + np.prod(shape), dtype=np.int32).reshape(shape)
    fitted = fit([itk(values)], itk((values % 3).astype(np.uint8)), Grid(size=size), 3)
    found, mask = array(fitted.images[0]), array(fitted.label)
    assert found.shape == mask.shape == size
    index = np.rint(places(size, np.linalg.inv(AFFINE) @ affine_of_itk(fitted.images[0]))).astype(int)
    inside = ((index >= 0) & (index < shape)).all(axis=-1)
    assert inside.sum() == np.prod(np.minimum(shape, size))
    np.testing.assert_array_equal(found[inside], values[tuple(index[inside].T)])
    np.testing.assert_array_equal(mask[inside], values[tuple(index[inside].T)] % 3)
    assert (found[~inside] == values.min()).all() and not mask[~inside].any()
    middle = index[0, 0, 0] + (np.array(size) - 1) / 2
    assert (np.abs(middle - (np.array(shape) - 1) / 2) <= 0.5).all()


@pytest.mark.parametrize("spacing", [(2.6, 2.6, 16.0), (1.0, 1.7, 5.0), (2.0, 2.0)])
def test_linear_interpolation_gives_a_ramp_back(spacing):
    shape = (12, 10, 8)
    fitted = fit([itk(ramp(places(shape, AFFINE)))], None, Grid(spacing=spacing), 2)
    (image,) = fitted.images
    wanted = np.array([*spacing, 8.0])[:3]
    np.testing.assert_allclose(image.GetSpacing(), wanted)
    assert image.GetSize() == tuple(np.rint(np.array(shape) * [1.3, 1.3, 8] / wanted).astype(int))
    affine = affine_of_itk(image)
    where = places(image.GetSize(), affine)
    index = where @ np.linalg.inv(AFFINE)[:3, :3].T + np.linalg.inv(AFFINE)[:3, 3]
    between = ((index >= 0) & (index <= np.array(shape) - 1)).all(axis=-1)  # beyond, the outermost value goes on
    assert between.mean() > 0.3
    np.testing.assert_allclose(array(image)[between], ramp(where)[between], rtol=2e-5, atol=1e-3)
    np.testing.assert_allclose(where.mean(axis=(0, 1, 2)), places(shape, AFFINE).mean(axis=(0, 1, 2)), atol=1e-6)


def test_labels_take_the_nearest_voxel():
    mask = np.random.default_rng(0).integers(0, 4, (5, 4, 3)).astype(np.uint8)
    fitted = fit([itk(mask.astype(np.int16))], itk(mask), Grid(spacing=(0.65, 1.3, 4.0)), 4)
    np.testing.assert_array_equal(array(fitted.label), mask.repeat(2, axis=0).repeat(2, axis=2))
    assert fitted.before == fitted.after == [4 * int((mask == value).sum()) for value in range(4)]


def test_integers_are_not_cut_off_when_they_are_mixed():
    image = itk(np.array([[[0]], [[3]], [[4]]], np.int16).repeat(2, axis=1).repeat(2, axis=2))
    (found,) = fit([image], None, Grid(spacing=(1.95, 1.3, 8.0)), 2).images
    assert found.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_allclose(array(found)[:, 0, 0], [0.75, 3.75])


def test_what_is_as_it_should_be_is_left_alone():
    image = itk(np.arange(60, dtype=np.int16).reshape(5, 4, 3))
    fitted = fit([image], None, Grid(spacing=(1.3, 1.3, 8.0), size=(5, 4, 3)), 2)
    assert fitted.images[0].GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(array(fitted.images[0]), array(image))


def test_a_label_without_foreground_is_cropped_at_its_centre():
    empty = np.zeros((9, 9, 3), np.uint8)
    empty[0, 0] = 255  # ignored
    grids = [Grid(size=(4, 4), around=around) for around in (CENTRE, FOREGROUND)]
    first, second = (fit([itk(empty.astype(np.int16))], itk(empty), grid, 2).images[0] for grid in grids)
    np.testing.assert_allclose(affine_of_itk(first), affine_of_itk(second))


@pytest.mark.parametrize(
    ("spacing", "size"),
    [("1", None), ("1,2,3,4", None), ("1,0", None), ("1,x,3", None), ("inf,1,1", None), ("", None)]
    + [(None, text) for text in ("224", "224x", "0x3", "1x2x3x4", "-1x2", "axb", "", "224,224")],
)
def test_options_that_cannot_be(spacing, size):
    with pytest.raises(UsageError, match=r"--spacing|--size"):
        parse_grid(spacing, size, None, Grid())


def test_options_win_over_the_preset():
    base = Grid((2.0, 2.0, 8.0), (192, 192, 30), FOREGROUND)
    assert parse_grid(None, None, None, base) == base
    assert parse_grid("1,1", "64x32", "centre", base) == Grid((1.0, 1.0), (64, 32), CENTRE)
