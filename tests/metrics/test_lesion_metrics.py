"""Lesions against their definitions and by hand: what splits, merges, touches, is small or is not there."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from calibeval.errors import UsageError
from calibeval.metrics.lesions import LESION_FUNCTIONS, find_lesions, match_lesions
from calibeval.protocol import make_protocol
from tests.oracles import lesions as plain

pytest.importorskip("cc3d")
MATCHINGS = ["overlap", "iou>0.5", "iou>0", "iou>.2", "centroid", "brats26-gli", "brats26-mets"]
UNIT = (1.0, 1.0, 1.0)


def mask(*boxes, shape=(1, 12, 12)):
    """Boxes of (y, x, height, width) on one slice."""
    found = np.zeros(shape, bool)
    for y, x, height, width in boxes:
        found[0, y : y + height, x : x + width] = True
    return found


def numbers(reference, predicted, spacing=UNIT, **choices):
    match = match_lesions(reference, predicted, make_protocol(**choices), spacing_mm=spacing)
    return {name: function(match, spacing) for name, function in LESION_FUNCTIONS.items()}


@pytest.mark.parametrize("matching", MATCHINGS)
@settings(max_examples=25, deadline=None)
@given(
    pair=st.tuples(*(arrays(bool, (2, 4, 5), elements=st.booleans()) for _ in range(2))),
    connectivity=st.sampled_from([6, 18, 26]),
    smallest=st.sampled_from([0.0, 3.0, 7.5]),
)
def test_numbers_follow_from_the_definitions(matching, pair, connectivity, smallest):
    reference, predicted = pair
    if max(len(plain.components(each, connectivity)) for each in pair) > 6:
        return  # every matching is tried
    spacing = (2.0, 0.5, 1.25)
    protocol = make_protocol(matching=matching, connectivity=connectivity, min_lesion_mm3=smallest)
    match = match_lesions(reference, predicted, protocol, spacing_mm=spacing)
    expected = plain.numbers(reference, predicted, spacing, protocol)
    found = {name: function(match, spacing) for name, function in LESION_FUNCTIONS.items()}
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@settings(max_examples=25, deadline=None)
@given(volume=arrays(bool, (3, 4, 5), elements=st.booleans()))
def test_components_are_those_of_a_flood_fill(connectivity, volume):
    found = find_lesions(volume, connectivity)
    sets = [set(map(tuple, np.argwhere(found.numbers == i + 1).tolist())) for i in range(found.voxels.size)]
    assert sorted(map(sorted, sets)) == sorted(map(sorted, plain.components(volume, connectivity)))
    assert found.voxels.tolist() == list(map(len, sets))
    assert ((found.numbers > 0) == volume).all()


def test_one_lesion_split_in_two():
    """4 x 6 pixels, of which two parts of 4 x 2 and 4 x 3 are predicted: IoU 1/3 and 1/2."""
    whole, parts = mask((2, 2, 4, 6)), mask((2, 2, 4, 2), (2, 5, 4, 3))
    overlap = numbers(whole, parts, matching="overlap")
    assert overlap["lesion_F1"] == 1
    assert overlap["lesion_DSC"] == pytest.approx(2 * 20 / 44)  # both parts together
    assert overlap["SQ"] == pytest.approx(20 / 24)
    assert numbers(whole, parts)["lesion_F1"] == 0  # an IoU of .5 is not above .5
    best = numbers(whole, parts, matching="brats26-gli")
    assert (best["lesion_FP"], best["lesion_recall"]) == (1, 1)
    assert best["lesion_DSC"] == pytest.approx(2 * 12 / 36)  # over what was found
    assert numbers(whole, parts, matching="iou>.4")["lesion_DSC"] == pytest.approx(2 * 12 / 36 / 2)  # and the other, 0


def test_two_lesions_merged_in_one():
    """Two of 4 x 2 and 4 x 3 pixels under one prediction of 4 x 6."""
    parts, whole = mask((2, 2, 4, 2), (2, 5, 4, 3)), mask((2, 2, 4, 6))
    overlap = numbers(parts, whole, matching="overlap")
    assert (overlap["lesion_recall"], overlap["lesion_precision"], overlap["lesion_FP"]) == (1, 1, 0)
    assert overlap["lesion_DSC"] == pytest.approx((2 * 8 / 32 + 2 * 12 / 36) / 2)
    one = numbers(parts, whole, matching="iou>.1")
    assert (one["lesion_recall"], one["lesion_precision"]) == (0.5, 1)
    assert one["lesion_DSC"] == pytest.approx(2 * 12 / 36 / 2)
    # The gap's column of four pixels is as near to both, and goes to the first: 12 of 8, 12 of 12 pixels.
    assert one["CC_DSC"] == pytest.approx((2 * 8 / 20 + 1) / 2)


def test_lesions_that_touch_at_a_corner_are_one_or_two():
    touching = mask((2, 2, 2, 2), (4, 4, 2, 2))
    assert [find_lesions(touching, ways).voxels.size for ways in (6, 18, 26)] == [2, 1, 1]
    assert [find_lesions(touching[0], ways).voxels.size for ways in (6, 18, 26)] == [2, 1, 1]


def test_the_centroid_decides():
    """A prediction of 2 x 8 whose centroid lies left of the lesion of 2 x 3 at its right end."""
    reference, predicted = mask((2, 7, 2, 3)), mask((2, 2, 2, 8))
    assert numbers(reference, predicted, matching="centroid")["lesion_F1"] == 0
    assert numbers(reference, predicted, matching="overlap")["lesion_F1"] == 1
    assert numbers(mask((2, 5, 2, 3)), predicted, matching="centroid")["lesion_F1"] == 1


@pytest.mark.parametrize("matching", MATCHINGS)
def test_lesions_below_the_minimal_volume_count_nowhere(matching):
    """One pixel found, one missed, one predicted for nothing; beside one lesion of 30 pixels found exactly."""
    big = (0, 0, 5, 6)
    reference, predicted = mask(big, (8, 0, 1, 1), (8, 4, 1, 1)), mask(big, (8, 0, 1, 1), (8, 8, 1, 1))
    found = numbers(reference, predicted, matching=matching, min_lesion_mm3=2)
    false = int(matching == "brats26-mets")  # there each counts
    assert found["lesion_FP"] == false
    assert found["lesion_recall"] == 1
    assert found["lesion_precision"] == 1 / (1 + false)
    assert found["lesion_DSC"] == 1 / (1 + false)
    every = numbers(reference, predicted, matching="iou>0.5")
    assert (every["lesion_recall"], every["lesion_precision"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_volumes_are_in_mm():
    """Eight pixels of .5 mm^3 are 4 mm^3."""
    lesion = mask((2, 2, 2, 4))
    assert numbers(lesion, lesion, (1.0, 1.0, 0.5), min_lesion_mm3=4)["lesion_F1"] == 1
    assert math.isnan(numbers(lesion, lesion, (1.0, 1.0, 0.5), min_lesion_mm3=4.1)["lesion_F1"])


NONE, SOME = mask(), mask((2, 2, 5, 5))


@pytest.mark.parametrize(
    ("reference", "predicted", "status", "expected"),
    [
        (NONE, NONE, "both_empty", {"lesion_DSC": math.nan, "lesion_F1": math.nan, "lesion_FP": 0, "SQ": math.nan}),
        (SOME, NONE, "empty_prediction", {"lesion_DSC": 0, "lesion_F1": 0, "lesion_precision": math.nan, "CC_DSC": 0}),
        (NONE, SOME, "empty_reference", {"lesion_DSC": 0, "lesion_recall": math.nan, "lesion_FP": 1}),
    ],
)  # fmt: skip
def test_empty_masks(reference, predicted, status, expected):
    assert match_lesions(reference, predicted, make_protocol(), spacing_mm=UNIT).status == status
    found = numbers(reference, predicted)
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_brats_has_values_of_its_own_where_nothing_is_found():
    """gli gives 0 where there is anything; mets gives no DSC where the reference has no lesion that counts."""
    assert numbers(NONE, SOME, matching="brats26-gli")["lesion_DSC"] == 0
    assert numbers(SOME, NONE, matching="brats26-gli")["lesion_DSC"] == 0
    assert math.isnan(numbers(NONE, SOME, matching="brats26-mets")["lesion_DSC"])
    assert numbers(SOME, mask((6, 6, 5, 5)), matching="brats26-mets")["lesion_recall"] == 0  # a DSC of 2/50


def test_shapes_that_differ_are_refused():
    with pytest.raises(UsageError, match=r"\(1, 12, 12\), the prediction \(2, 2\)"):
        match_lesions(NONE, np.ones((2, 2), bool), make_protocol())


@pytest.mark.parametrize("text", ["iou", "iou>1", "iou>1.5", "iou>-1", "dice", ""])
def test_an_unknown_matching_is_refused_with_the_known_ones(text):
    with pytest.raises(UsageError, match="Known: overlap, iou>T, centroid, brats26-gli, brats26-mets"):
        make_protocol(matching=text)


def test_other_choices_of_lesions_are_refused():
    with pytest.raises(UsageError, match="6, 18 and 26, not 8"):
        make_protocol(connectivity=8)
    with pytest.raises(UsageError, match="minimal volume of a lesion"):
        make_protocol(min_lesion_mm3=-1)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_are_those_of_scipy(dimensions, connectivity):
    """cc3d 4.1 joins across gaps and marks empty pixels in one mask of thirty, if they are truth values of a plane."""
    random = np.random.default_rng(0)
    reach = {6: 1, 18: 2, 26: 3}[connectivity] if dimensions == 3 or connectivity == 6 else 2
    structure = ndimage.generate_binary_structure(dimensions, reach)
    for _ in range(300):
        mask = random.random(random.integers(1, 8, dimensions)) < random.random()
        found, (expected, number) = find_lesions(mask, connectivity), ndimage.label(mask, structure)
        assert found.voxels.size == number
        pairs = np.unique(np.stack([found.numbers.ravel(), expected.ravel()]), axis=1)
        assert pairs.shape[1] == np.unique(found.numbers).size == np.unique(expected).size
