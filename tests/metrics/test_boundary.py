"""Which voxels lie near the boundary of the reference."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.metrics import boundary
from calibeval.metrics.boundary import near_boundary
from tests.kernels import examples

LINE = np.array([[0, 0, 0, 0, 1, 1, 1, 1]], np.uint8)


@pytest.mark.parametrize(
    ("width", "kept"), [(0, [3, 4]), (0.9, [3, 4]), (1, [2, 3, 4, 5]), (2, range(1, 7)), (100, range(8))]
)
def test_voxels_within_the_width_are_kept(width, kept):
    found = near_boundary(LINE, (1.0, 1.0), width)
    expected = np.full(8, 255, np.uint8)
    expected[list(kept)] = LINE[0, list(kept)]
    np.testing.assert_array_equal(found[0], expected)


def test_the_width_is_in_mm():
    np.testing.assert_array_equal(near_boundary(LINE, (1.0, 2.0), 2), near_boundary(LINE, (1.0, 1.0), 1))


def test_without_a_boundary_nothing_is_near_it():
    assert (near_boundary(np.ones((3, 4), np.uint8), (1.0, 1.0), 9) == 255).all()


def test_the_border_of_an_ignored_part_is_no_boundary():
    label = LINE.copy()
    label[0, 3] = 255
    assert (near_boundary(label, (1.0, 1.0), 9) == 255).all()
    label[0, 6] = 2
    found = near_boundary(label, (1.0, 1.0), 9)
    assert found[0, 3] == 255
    assert found[0, 6] == 2


@given(
    st.integers(0, 10_000),
    st.sampled_from([(4, 5), (3, 4, 4), (3, 67), (2, 2, 130), (1, 1, 1)]),
    st.sampled_from([0.0, 1.0, 1.5, 2.7, 40.0, 1e300]),
    st.booleans(),
)
@settings(max_examples=examples(25), deadline=None)
def test_every_pair_of_voxels_says_the_same(seed, shape, width, by_bits):
    """Whether the band is made of bits or of distances."""
    random = np.random.default_rng(seed)
    label = random.choice([0, 1, 2, 255], shape, p=random.dirichlet([6, 2, 1, 1])).astype(np.uint8)
    spacing = tuple(float(step) for step in random.uniform(0.5, 2, len(shape)))
    voxels = list(itertools.product(*map(range, shape)))

    def differ(a, b):
        return sum(abs(i - j) for i, j in zip(a, b, strict=True)) == 1 and label[a] != label[b]

    known = [voxel for voxel in voxels if label[voxel] != 255]
    edge = [a for a in known if any(differ(a, b) for b in known)]
    expected = np.full(shape, 255, np.uint8)
    for a in known:
        if any(np.hypot.reduce([(i - j) * s for i, j, s in zip(a, b, spacing, strict=True)]) <= width for b in edge):
            expected[a] = label[a]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "_MANY_ROWS", 10**9 if by_bits else 0)
        np.testing.assert_array_equal(near_boundary(label, spacing, width), expected)
