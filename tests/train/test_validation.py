"""Numbers of the validation cases: those of `score`, volume by volume, and their means."""

import numpy as np
import pytest

from calibeval.io.geometry import Geometry
from calibeval.score import score_case
from calibeval.table import overall_class
from calibeval.train.validation import CURVES, mean_scores, score_volume
from calibeval.train.volumes import Volume


def volume(label, geometry=None):
    return Volume("v", np.zeros((len(label), 1, *label.shape[1:]), np.float32), label, geometry)


def certain(predicted, classes):
    return np.moveaxis(np.eye(classes, dtype=np.float32)[predicted], -1, 1)


def test_dsc_by_hand():
    """A class that is in neither mask does not count, nor does an ignored voxel."""
    label = np.array([[[0, 0, 1, 1, 255, 2]]], np.uint8)
    predicted = np.array([[[0, 1, 1, 1, 2, 2]]])
    found = score_volume(certain(predicted, 4), volume(label))
    assert found["DSC"] == pytest.approx((0.8 + 1.0) / 2)
    assert found["IoU"] == pytest.approx((2 / 3 + 1.0) / 2)
    assert np.isnan(found["HD95"])  # no geometry
    empty = score_volume(certain(np.zeros_like(predicted), 3), volume(np.zeros_like(label)))
    assert np.isnan(empty["DSC"])


def test_values_are_those_of_score():
    random = np.random.default_rng(0)
    label = random.integers(0, 3, (4, 9, 8)).astype(np.uint8)
    maps = random.dirichlet([1, 1, 1], label.shape).astype(np.float32)  # (D, H, W, C)
    found = score_volume(np.moveaxis(maps, -1, 1), volume(label, Geometry(np.eye(4), (8.0, 1.5, 1.5))))
    rows = score_case(np.moveaxis(maps, -1, 0), label, spacing_mm=(8, 1.5, 1.5), metrics=CURVES).rows
    expected = {row.metric: row.value for row in rows if row.class_name == overall_class(row.metric)}
    assert found == pytest.approx(expected) and set(found) == set(CURVES)
    flat = score_volume(np.moveaxis(maps, -1, 1)[:1], volume(label[:1], Geometry(np.eye(4), (1.5, 1.5))))
    assert found["HD95"] > 0 < flat["HD95"]


def test_means_are_over_the_volumes_that_have_a_value():
    nothing = dict.fromkeys(CURVES, np.nan)
    means = mean_scores([nothing, {**nothing, "DSC": 0.5, "ECE": 0.1}, {**nothing, "DSC": 0.7, "HD95": 3.0}])
    assert list(means) == [f"val_{name}" for name in CURVES]
    assert (means["val_DSC"], means["val_ECE"], means["val_HD95"]) == pytest.approx((0.6, 0.1, 3.0))
    assert np.isnan(means["val_NLL"]) and mean_scores([nothing])["val_DSC"] == 0.0
