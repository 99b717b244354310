"""Planes of probabilities: the same values whatever the file, the memory order and the way of reading."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from calibeval.errors import InputError, ProbabilityError
from calibeval.io.arrays import open_array
from calibeval.io.probabilities import (
    array_source,
    file_source,
    sigmoid_source,
    softmax_source,
    stack_sources,
    with_background,
)
from calibeval.planes import CHUNK, PlaneSource
from tests.case_files import write_nifti, write_npz

SHAPE = (9, CHUNK // 8 // 32 + 5, 32)  # more than one chunk, the last one short


def gather(source):
    """All planes of a source, checking the order and the size of the chunks."""
    planes = np.full((source.classes, source.voxels), np.nan)
    seen = []
    for chunk in source.chunks():
        assert chunk.values.dtype == source.dtype
        assert chunk.start % CHUNK == 0
        assert chunk.start + chunk.values.size == min(chunk.start + CHUNK, source.voxels)
        planes[chunk.class_index, chunk.start : chunk.start + CHUNK] = chunk.values
        seen.append((chunk.start, chunk.class_index))
    starts = range(0, source.voxels, CHUNK)
    assert sorted(seen) == list(itertools.product(starts, range(source.classes)))
    for start in starts:
        assert [c for s, c in seen if s == start] == list(range(source.classes))
    return planes.reshape(source.classes, *source.shape)


@pytest.fixture(scope="module")
def planes():
    return np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("order", ["C", "F", "classes last", "turned"])
def test_an_array_in_any_memory_order_gives_its_planes(order, planes):
    array = {
        "C": planes,
        "F": np.asfortranarray(planes),
        "classes last": np.moveaxis(np.ascontiguousarray(np.moveaxis(planes, 0, -1)), -1, 0),
        "turned": np.ascontiguousarray(planes[:, ::-1])[:, ::-1],
    }[order]
    np.testing.assert_array_equal(gather(array_source(array)), planes)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.npz", "stored.npz", "a.npy"])
def test_a_file_gives_its_planes(name, planes, tmp_path):
    if name.endswith("npz"):
        write_npz(tmp_path / name, compress=name == "a.npz", x=planes)
    elif name == "a.npy":
        np.save(tmp_path / name, planes)
    else:
        write_nifti(tmp_path / name, planes)
    source = file_source(open_array(tmp_path / name), SHAPE)
    np.testing.assert_array_equal(gather(source), planes)
    np.testing.assert_array_equal(gather(source), planes)  # planes can be read again


@pytest.mark.parametrize(
    ("dtype", "wide"), [("float16", "float32"), (">f4", "float32"), ("float64", "float64"), ("int32", "float64")]
)
def test_values_are_held_by_a_type_that_holds_them_all(dtype, wide):
    array = (np.arange(24).reshape(2, 3, 4)).astype(dtype)
    source = array_source(array)
    assert source.dtype == wide
    np.testing.assert_array_equal(gather(source), array)


@pytest.mark.parametrize(("scale", "slope"), [(255.0, None), (None, 1 / 255)])
def test_scaled_integers_are_exact_in_float64(scale, slope, tmp_path):
    stored = np.arange(256, dtype=np.uint8).reshape(2, 8, 4, 4)
    if slope:
        write_nifti(tmp_path / "a.nii", stored * slope, dtype=np.uint8, slope=slope)
    else:
        write_nifti(tmp_path / "a.nii", stored)
    file = open_array(tmp_path / "a.nii")
    found = gather(file_source(file, (8, 4, 4), scale))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, stored / 255, rtol=1e-7)
    if scale:
        np.testing.assert_array_equal(found, stored / 255)


def test_planes_of_several_files_are_stacked(planes):
    parts = [array_source(planes[:1]), array_source(planes[1:].astype(np.float64))]
    np.testing.assert_array_equal(gather(stack_sources(parts)), planes)


def test_the_background_is_what_the_classes_leave(planes):
    source = with_background(array_source(planes / 2))
    found = gather(source)
    np.testing.assert_allclose(found[0], 1 - (planes / 2).sum(axis=0, dtype=float), atol=1e-15)
    np.testing.assert_array_equal(found[1:], planes / 2)


def test_a_background_that_is_negative_by_rounding_is_zero():
    """Three classes in half precision can sum to a little more than 1."""
    thirds = np.full((3, 1, 2), 0.3335, np.float16)
    assert thirds.astype(float).sum(axis=0).min() > 1
    thirds[:, 0, 1] = 0.25
    found = gather(with_background(array_source(thirds)))
    assert found[0].tolist() == [[0, 0.25]]
    with pytest.raises(ProbabilityError, match="3 maps without background sum to more than 1 in 2 voxels"):
        gather(with_background(array_source(np.full((3, 1, 2), 0.4))))


@given(st.integers(1, 5), st.integers(0, 10_000), st.sampled_from([1.0, 30.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_softmax_is_that_of_scipy(classes, seed, spread):
    logits = spread * np.random.default_rng(seed).standard_normal((classes, 3, 4))
    np.testing.assert_allclose(gather(softmax_source(array_source(logits))), softmax(logits, axis=0), atol=1e-12)


def test_softmax_takes_minus_infinity_for_impossible():
    logits = np.array([[[-np.inf, 0.0]], [[2.0, -np.inf]], [[-np.inf, 0.0]]])
    np.testing.assert_array_equal(gather(softmax_source(array_source(logits)))[:, 0], [[0, 0.5], [1, 0], [0, 0.5]])


def test_softmax_in_single_precision_sums_to_one():
    logits = np.random.default_rng(1).standard_normal((4, 50, 50)).astype(np.float32) * 20
    found = gather(softmax_source(array_source(logits)))
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(found, softmax(logits.astype(float), axis=0), atol=1e-6)


def test_sigmoid_is_that_of_scipy():
    logits = np.random.default_rng(1).standard_normal((2, 5, 5)) * 100
    np.testing.assert_array_equal(gather(sigmoid_source(array_source(logits))), expit(logits))


def test_a_stream_that_is_longer_than_its_header_is_refused(planes, tmp_path):
    import gzip

    path = write_nifti(tmp_path / "a.nii.gz", planes[:, :2, :2])
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"more"))
    with pytest.raises(InputError, match="longer than its header says"):
        gather(file_source(open_array(path), (2, 2, 2)))


def test_a_source_knows_how_many_voxels_it_has():
    assert PlaneSource(2, (3, 4), np.dtype(np.float32), 0.0).voxels == 12
