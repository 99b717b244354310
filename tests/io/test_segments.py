"""Slicer's layered segmentations, and DICOM-SEG."""

import sys

import numpy as np
import pytest

from calibeval.errors import BrokenFileError, InputError, MissingExtraError
from calibeval.io.arrays import open_array, segments_of
from calibeval.io.segments import segment_masks
from tests.io.format_samples import write_dicom, write_pynrrd

LIVER = np.zeros((4, 5, 6), np.uint8)
LIVER[1:3, 1:4, 1:5] = 1
TUMOUR = np.zeros_like(LIVER)
TUMOUR[2, 2, 2] = 1  # inside the liver
SPLEEN = np.zeros_like(LIVER)
SPLEEN[0, 0] = 2


def layered(path, layers, **pairs):
    """Layers as Slicer writes them: a list axis before the three of space."""
    from tests.case_files import AFFINE

    directions = np.vstack([np.full(3, np.nan), AFFINE[:3, :3].T])
    kinds = {"kinds": ["list", "domain", "domain", "domain"], "space directions": directions}
    write_pynrrd(path, np.stack(layers, axis=-1), **kinds, **pairs)
    return path


def test_layers_whose_segments_do_not_overlap_are_one_label_map(tmp_path):
    names = {
        "Segment0_Name": "liver", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
        "Segment1_Name": "spleen", "Segment1_LabelValue": "2", "Segment1_Layer": "1",
    }  # fmt: skip
    path = layered(tmp_path / "a.seg.nrrd", [LIVER, SPLEEN], **names)
    file = open_array(path)
    assert (file.shape, file.spatial) == ((4, 5, 6), (4, 5, 6))
    assert file.geometry.spacing_mm == pytest.approx((8, 1.5, 1.25))
    np.testing.assert_array_equal(file.load(), LIVER + SPLEEN)
    assert [(segment.name, segment.value) for segment in segments_of(path)] == [("liver", 1), ("spleen", 2)]


def test_segments_of_equal_values_are_numbered(tmp_path):
    """As Slicer wrote them before there were layers: a volume a segment, each of the value 1."""
    path = layered(tmp_path / "a.seg.nrrd", [LIVER, SPLEEN // 2], Segment0_Name="liver", Segment1_Name="spleen")
    np.testing.assert_array_equal(open_array(path).load(), LIVER + SPLEEN)
    assert [(segment.name, segment.value) for segment in segments_of(path)] == [("liver", 1), ("spleen", 2)]


def test_segments_that_overlap_are_masks_and_no_label_map(tmp_path):
    path = layered(tmp_path / "a.seg.nrrd", [LIVER, TUMOUR], Segment0_Name="liver", Segment1_Name="tumour")
    with pytest.raises(InputError, match="its segments 'liver' and 'tumour' overlap, so that it is no label map"):
        open_array(path).load()
    masks = segment_masks(path)
    assert list(masks) == ["liver", "tumour"]
    np.testing.assert_array_equal(masks["liver"], LIVER == 1)
    np.testing.assert_array_equal(masks["tumour"], TUMOUR == 1)


def test_a_layer_that_is_not_there_is_damage(tmp_path):
    path = layered(tmp_path / "a.seg.nrrd", [LIVER, TUMOUR], Segment0_Name="liver", Segment0_Layer="7")
    with pytest.raises(BrokenFileError, match="it names a layer that is not among its 2"):
        open_array(path)


def test_binary_dicom_segments_are_a_label_map_of_their_numbers(tmp_path):
    write_dicom(tmp_path / "a.dcm", LIVER + SPLEEN)
    file = open_array(tmp_path / "a.dcm")
    np.testing.assert_array_equal(file.load(), LIVER + SPLEEN)
    assert file.notes == ()


def test_fractional_dicom_segments_are_probabilities_on_a_scale(tmp_path):
    fractions = np.random.default_rng(0).integers(0, 101, (4, 5, 6, 2)) / 200
    write_dicom(tmp_path / "a.dcm", fractions.astype(np.float32), fractional=True)
    file = open_array(tmp_path / "a.dcm")
    assert (file.shape, file.vector, file.spatial, file.slope) == ((4, 5, 6, 2), True, (4, 5, 6), 1 / 200)
    np.testing.assert_allclose(file.load() * file.slope, fractions, atol=1e-7)
    assert file.notes == (
        "fractions of 8 bits: fine for ECE, too coarse for NLL, which counts a probability of 0 as certain",
    )


@pytest.mark.parametrize(("name", "library", "extra"), [("a.dcm", "highdicom", "dicom"), ("a.h5", "h5py", "hdf5")])
def test_a_missing_library_is_told_with_the_pip_command(name, library, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / name).write_bytes(b"x")
    message = rf"{library} is not installed. Install it with: pip install 'calibeval\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=message):
        open_array(tmp_path / name)
