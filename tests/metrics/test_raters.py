"""What raters say together: by hand, and as SimpleITK's STAPLE has it."""

import numpy as np
import pytest
import SimpleITK as sitk

from calibeval.metrics.raters import majority, staple, votes


def labels(*rows):
    return [np.array(row, np.uint8) for row in rows]


def test_the_majority_by_hand():
    raters = labels([0, 1, 1, 2, 255, 255], [0, 1, 2, 0, 255, 1], [0, 0, 2, 1, 255, 1])
    assert majority(raters).tolist() == [0, 1, 2, 0, 255, 1]  # of three different labels the lowest
    assert majority(raters[::-1]).tolist() == majority(raters).tolist()
    assert majority(labels([1, 2], [2, 0])).tolist() == [1, 0]
    assert votes(raters, 1).tolist() == [0, 2, 1, 1, 0, 2]


@pytest.mark.parametrize("seed", range(3))
def test_staple_is_that_of_simpleitk(seed):
    random = np.random.default_rng(seed)
    truth = np.zeros((4, 12, 12), bool)
    truth[1:3, 3:9, 3:9] = True
    raters = [(truth ^ (random.random(truth.shape) < share)).astype(np.uint8) for share in (0.02, 0.05, 0.1)]
    other = sitk.GetArrayFromImage(sitk.STAPLE([sitk.GetImageFromArray(each) for each in raters], 1.0))
    np.testing.assert_array_equal(staple(raters), (other > 0.5).astype(np.uint8))
    assert (staple(raters) != truth).mean() < min((each != truth).mean() for each in raters)


def test_staple_of_raters_who_agree_and_of_those_who_left_a_class_out():
    agreeing = labels([0, 1, 2, 2, 255], [0, 1, 2, 2, 255])
    assert staple(agreeing).tolist() == [0, 1, 2, 2, 255]
    assert staple(labels([0, 0, 0], [0, 0, 0])).tolist() == [0, 0, 0]
    assert staple(labels([1, 1], [1, 1])).tolist() == [1, 1]
    lazy = labels([0] * 90 + [1] * 10, [0] * 90 + [1] * 10, [0] * 100)
    assert staple(lazy).tolist() == lazy[0].tolist()
