"""What of a case's volumes is drawn, by hand; and the map in the geometry of the label."""

from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from calibeval.errors import InputError, UsageError
from calibeval.plots.volumes import Volumes
from tests import SAMPLE

REFERENCE = np.array([[0, 0, 1], [2, 2, 1]], np.uint8)
# Right, false positive, right; confused, missed, right.
PROBABILITIES = np.array(
    [[[0.9, 0.2, 0.1], [0.1, 0.7, 0.0]], [[0.1, 0.8, 0.9], [0.6, 0.1, 1.0]], [[0.0, 0.0, 0.0], [0.3, 0.2, 0.0]]]
)


@pytest.fixture
def folders(tmp_path):
    for name in ("labels", "preds", "images"):
        (tmp_path / name).mkdir()
    Image.fromarray(REFERENCE).save(tmp_path / "labels" / "a.png")
    np.savez(tmp_path / "preds" / "a.npz", probs=PROBABILITIES)
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[0, 1] = 30, 60, 90
    Image.fromarray(colours).save(tmp_path / "images" / "a_0000.png")
    return tmp_path


def read(folders, **more):
    found = Volumes.find(folders / "preds", folders / "labels", classes="background,RV,LV", **more)
    (method,) = found.job.pairings
    return found, found.read(method, "a")


def test_the_map_says_how_sure_the_model_is_where_it_is_wrong(folders):
    _, volume = read(folders, images=folders / "images")
    np.testing.assert_allclose(volume.wrong, np.array([[0, 0.8, 0], [-0.6, -0.7, 0]]), rtol=1e-6)
    np.testing.assert_allclose(volume.structure, 1 - PROBABILITIES[0], rtol=1e-6)
    assert volume.predicted.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert volume.image is not None and volume.image[0, 1] == 60
    assert (volume.spacing_mm, volume.directions, volume.names[1]) == (None, "", "RV")


def test_a_label_map_is_as_sure_as_can_be(folders):
    (folders / "preds" / "a.npz").unlink()
    Image.fromarray(np.zeros_like(REFERENCE)).save(folders / "preds" / "a.png")
    _, volume = read(folders)
    assert volume.wrong.tolist() == [[0, 0, -1], [-1, -1, -1]]


def test_overlapping_regions_are_one_structure(folders):
    np.savez(folders / "preds" / "a.npz", probs=PROBABILITIES[1:])
    _, volume = read(folders, regions="any=1,2;LV=2")
    assert volume.names == ("background", "any region")
    np.testing.assert_allclose(volume.wrong, np.array([[0, 0.8, 0], [0, -0.8, 0]]), rtol=1e-6)


def test_ignored_voxels_are_never_wrong(folders):
    Image.fromarray(np.where(REFERENCE == 2, np.uint8(255), REFERENCE)).save(folders / "labels" / "a.png")
    _, volume = read(folders, ignore_label=255)
    np.testing.assert_allclose(volume.wrong, np.array([[0, 0.8, 0], [0, 0, 0]]), rtol=1e-6)


def test_the_map_lies_where_the_label_lies(tmp_path):
    found = Volumes.find(SAMPLE / "preds", SAMPLE / "labelsTr", SAMPLE / "imagesTr")
    volume = found.read("overconfident", "phantom_001")
    assert volume.directions and volume.image is not None
    found.write_map(volume, tmp_path / "m.nii.gz")
    written: Any = nibabel.load(tmp_path / "m.nii.gz")
    label: Any = nibabel.load(SAMPLE / "labelsTr" / "phantom_001.nii.gz")
    np.testing.assert_array_equal(written.affine, label.affine)
    values, labels = written.get_fdata(), np.asarray(label.dataobj)
    np.testing.assert_array_equal(values, volume.wrong.T)
    assert (labels[values > 0] == 0).all() and (labels[values < 0] > 0).all()


def test_a_turned_map_is_turned_back(folders):
    """The label map beside the probabilities tells that they lie the other way round."""
    turned = np.ascontiguousarray(PROBABILITIES[:, ::-1].transpose(0, 2, 1))
    np.savez(folders / "preds" / "a.npz", probs=turned)
    Image.fromarray(PROBABILITIES.argmax(axis=0).astype(np.uint8)).save(folders / "preds" / "a.png")
    _, volume = read(folders)
    np.testing.assert_allclose(volume.wrong, np.array([[0, 0.8, 0], [-0.6, -0.7, 0]]), rtol=1e-6)


def test_a_place_is_made_up_where_there_is_none(folders, tmp_path):
    found, volume = read(folders)
    found.write_map(volume, tmp_path / "m.nii.gz")
    written: Any = nibabel.load(tmp_path / "m.nii.gz")
    assert written.shape == (3, 2)


def test_refusals(folders):
    found, _ = read(folders)
    (method,) = found.job.pairings
    with pytest.raises(UsageError, match="No predictions of 'x'"):
        found.read("x", "a")
    with pytest.raises(UsageError, match="No case 'b'"):
        found.read(method, "b")
    with pytest.raises(UsageError, match="no such folder of images"):
        read(folders, images=folders / "no")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folders / "images" / "a_0000.png")
    with pytest.raises(InputError, match=r"its shape \(5, 5\) differs from that of the label, \(2, 3\)"):
        read(folders, images=folders / "images")
    Image.fromarray(REFERENCE).save(folders / "labels" / "b.png")
    with pytest.raises(InputError, match="has no prediction of"):
        read(folders)[0].read(method, "b")
