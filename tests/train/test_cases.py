"""Reading data sets: layouts, channels, classes, and every file that cannot be used."""

import gzip
import json

import numpy as np
import pytest
import SimpleITK as sitk

from calibeval.errors import BrokenFileError, GeometryError, InputError, UsageError
from calibeval.io.classes import ClassScheme
from calibeval.train.cases import find_data, find_images
from calibeval.train.volumes import count_channels, read_volume
from tests.train.data_sets import AFFINE, NAMES, SHAPE, disc_case, write_nifti, write_nnunet, write_npz_slices


def first_volume(data):
    return read_volume(next(iter(data.cases.values())), data.scheme)


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("channels", [1, 2])
def test_nnunet_and_msd_layouts_give_the_same_volume(tmp_path, numbered, channels):
    data = find_data(write_nnunet(tmp_path, NAMES[:2], channels, numbered))
    assert list(data.cases) == NAMES[:2]
    assert data.scheme.names == ("background", "ring", "disc")
    volume = first_volume(data)
    image, label = disc_case(0, channels)
    assert volume.image.shape == (SHAPE[0], channels, *SHAPE[1:])
    np.testing.assert_array_equal(volume.label, label)
    expected = (image - image.mean((1, 2, 3), keepdims=True)) / image.std((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(volume.image.swapaxes(0, 1), expected, atol=1e-4)
    np.testing.assert_array_equal(volume.geometry.affine, AFFINE)


def test_msd_class_names_and_float_labels(tmp_path):
    data = find_data(write_nnunet(tmp_path, NAMES[:1], labels={"0": "background", "1": "ring", "2": "disc"}))
    assert data.scheme.names == ("background", "ring", "disc")
    _, label = disc_case(0)
    write_nifti(tmp_path / "labelsTr" / f"{NAMES[0]}.nii.gz", label.astype(np.float32) + 1e-4)
    np.testing.assert_array_equal(first_volume(data).label, label)


def test_ignore_label_becomes_255(tmp_path):
    folder = write_nnunet(tmp_path, NAMES[:1], labels={"background": 0, "ring": 1, "ignore": 2})
    volume = first_volume(find_data(folder))
    assert set(np.unique(volume.label)) == {0, 1, 255}


def test_npz_slices_are_stacked_into_volumes(tmp_path):
    data = find_data(write_npz_slices(tmp_path, ["p1_frame01", "p1_frame02"]))
    assert list(data.cases) == ["p1_frame01", "p1_frame02"]
    volume = first_volume(data)
    np.testing.assert_array_equal(volume.label, disc_case(0)[1])
    assert volume.geometry is None and data.split is None


def test_npz_slices_are_in_the_order_of_their_numbers(tmp_path):
    for z in (10, 9, 1):
        np.savez(tmp_path / f"a_slice_{z}.npz", image=np.full((1, 4, 4), z), label=np.full((4, 4), z))
    assert [path.stem for path in find_data(tmp_path).cases["a"].images] == ["a_slice_1", "a_slice_9", "a_slice_10"]


def test_npz_volumes_and_their_own_split(tmp_path):
    for part, names in (("train", ["a", "b"]), ("val", ["c"]), ("test", ["d"])):
        (tmp_path / part).mkdir()
        for name in names:
            image, label = disc_case(0, channels=2)
            np.savez(tmp_path / part / f"{name}.npz", image=image, label=label)
    data = find_data(tmp_path)
    assert data.split == (("a", "b"), ("c",), ("d",))
    assert first_volume(data).image.shape == (SHAPE[0], 2, *SHAPE[1:])


def test_a_case_in_two_parts_is_refused(tmp_path):
    for part in ("train", "val"):
        write_npz_slices(tmp_path / part, ["a"])
    with pytest.raises(InputError, match="'a' is in another part"):
        find_data(tmp_path)


def test_images_to_predict(tmp_path):
    write_nnunet(tmp_path, NAMES[:2], channels=2)
    (tmp_path / "imagesTr" / "._case_000_0000.nii.gz").write_bytes(b"left by macOS")
    (tmp_path / "imagesTr" / "notes.txt").write_text("")
    found = find_images(tmp_path / "imagesTr")
    assert [(case.name, len(case.images), case.label) for case in found.values()] == [
        ("case_000", 2, None),
        ("case_001", 2, None),
    ]
    assert list(find_images(tmp_path / "imagesTr" / "case_001_0000.nii.gz")) == ["case_001"]
    with pytest.raises(UsageError, match="no image found"):
        find_images(tmp_path / "labelsTr" / "none")


@pytest.mark.parametrize("ending", ["_gt", "_seg", "-label", "_mask"])
def test_labels_beside_images_are_not_predicted(tmp_path, ending):
    for name in ("patient001_frame01", "patient001_frame12"):
        write_nifti(tmp_path / f"{name}.nii.gz", disc_case(0)[0][0])
        write_nifti(tmp_path / f"{name}{ending}.nii.gz", disc_case(0)[1])
    assert list(find_images(tmp_path, network_channels=1)) == ["patient001_frame01", "patient001_frame12"]


def test_a_label_beside_four_sequences_and_a_name_that_only_ends_like_one(tmp_path):
    for name in ("B_1_flair", "B_1_t1", "B_1_seg", "alone_mask"):
        write_nifti(tmp_path / f"{name}.nii.gz", disc_case(0)[0][0])
    assert list(find_images(tmp_path, network_channels=1)) == ["B_1_flair", "B_1_t1", "alone_mask"]


def test_ids_of_four_digits_are_cases(tmp_path):
    """amos_0001 and amos_0002 are two patients where their labels, or a network of one channel, say so."""
    names = [f"amos_{number:04d}" for number in (1, 2, 3)]
    folder = write_nnunet(tmp_path, names, numbered=False)
    assert list(find_data(folder).cases) == names
    assert list(find_images(folder / "imagesTr", network_channels=1)) == names


def test_numbers_that_may_be_ids_or_channels_need_a_word(tmp_path):
    for number in range(2):
        write_nifti(tmp_path / f"word_{number:04d}.nii.gz", disc_case(number)[0][0])
    with pytest.raises(UsageError, match=r"--channels 2 .*--channels 1"):
        find_images(tmp_path)
    assert list(find_images(tmp_path, channels=1)) == ["word_0000", "word_0001"]
    assert [path.name for path in find_images(tmp_path, channels=2)["word"].images] == [
        "word_0000.nii.gz",
        "word_0001.nii.gz",
    ]
    assert list(find_images(tmp_path, network_channels=2)) == ["word"]


def test_two_labels_or_slices_of_one_case_are_refused(tmp_path):
    folder = write_nnunet(tmp_path / "nifti", NAMES[:2])
    path = folder / "labelsTr" / "case_000.nii.gz"
    (folder / "labelsTr" / "case_000.nii").write_bytes(gzip.decompress(path.read_bytes()))
    with pytest.raises(UsageError, match="more than one file for the case case_000"):
        find_data(folder)
    write_npz_slices(tmp_path / "npz", ["a"])
    (tmp_path / "npz" / "a_slice_01.npz").write_bytes((tmp_path / "npz" / "a_slice_1.npz").read_bytes())
    with pytest.raises(UsageError, match=r"the case a has a slice twice: a_slice_01\.npz, a_slice_1\.npz"):
        find_data(tmp_path / "npz")


@pytest.mark.parametrize("suffix", [".png", ".mha"])
def test_colours_of_a_plane_are_channels(tmp_path, suffix):
    colours = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), tmp_path / f"a_0000{suffix}")
    case = find_images(tmp_path, network_channels=3)["a"]
    volume = read_volume(case, ClassScheme())
    assert count_channels(case) == 3 and volume.image.shape == (1, 3, 5, 4)
    for channel in range(3):
        expected = colours[..., channel] - colours[..., channel].mean()
        np.testing.assert_allclose(volume.image[0, channel], expected / colours[..., channel].std(), atol=1e-5)


def test_a_volume_of_vectors_has_channels(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 5, 4, 2)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=True), tmp_path / "a.nrrd")
    volume = read_volume(find_images(tmp_path)["a"], ClassScheme())
    expected = (values - values.mean((0, 1, 2))) / values.std((0, 1, 2))
    np.testing.assert_allclose(volume.image, expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_constant_images_become_zero(tmp_path):
    write_nifti(tmp_path / "flat.nii.gz", np.full(SHAPE, 7.0, np.float32))
    case = find_images(tmp_path)["flat"]
    assert not read_volume(case, find_data(write_nnunet(tmp_path / "d", NAMES[:1])).scheme).image.any()


class TestRefusals:
    def break_case(self, folder, part, array, affine=AFFINE):
        suffix = "_0000" if part == "imagesTr" else ""
        write_nifti(folder / part / f"{NAMES[0]}{suffix}.nii.gz", array, affine)
        return find_data(folder)

    def test_no_data(self, tmp_path):
        with pytest.raises(UsageError, match="Expected a folder with imagesTr"):
            find_data(tmp_path)
        with pytest.raises(UsageError, match="no data set"):
            find_data(tmp_path / "missing")

    def test_no_label(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:2])
        (folder / "labelsTr" / "case_001.nii.gz").unlink()
        with pytest.raises(InputError, match="no label of the name case_001"):
            find_data(folder)

    def test_regions(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:1], labels={"background": 0, "whole": [1, 2], "core": 2})
        with pytest.raises(UsageError, match="overlapping regions"):
            find_data(folder)

    def test_labels_outside_the_classes(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:1])
        data = self.break_case(folder, "labelsTr", np.full(SHAPE, 3, np.uint8))
        with pytest.raises(InputError, match=r"case_000.nii.gz: label 3 \(768 voxels\) stands for no class"):
            first_volume(data)

    def test_not_finite(self, tmp_path):
        image = disc_case(0)[0][0]
        image[0, 0, 0] = np.nan
        data = self.break_case(write_nnunet(tmp_path, NAMES[:1]), "imagesTr", image)
        with pytest.raises(InputError, match="NaN"):
            first_volume(data)

    def test_other_shape(self, tmp_path):
        data = self.break_case(write_nnunet(tmp_path, NAMES[:1]), "labelsTr", np.zeros((2, 16, 16), np.uint8))
        with pytest.raises(InputError, match=r"shape \(2, 16, 16\), the image \(3, 16, 16\)"):
            first_volume(data)

    def test_other_place(self, tmp_path):
        flipped = np.diag([-1.5, 1.5, 8, 1])
        data = self.break_case(write_nnunet(tmp_path, NAMES[:1]), "labelsTr", disc_case(0)[1], flipped)
        with pytest.raises(GeometryError, match="axes run LAS"):
            first_volume(data)

    def test_channels_of_different_shape(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:1], channels=2)
        write_nifti(folder / "imagesTr" / "case_000_0001.nii.gz", np.zeros((3, 16, 15), np.float32))
        with pytest.raises(InputError, match=r"case_000_0001.nii.gz: shape \(3, 16, 15\) does not fit"):
            first_volume(find_data(folder))

    def test_truncated_label(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:1])
        path = folder / "labelsTr" / "case_000.nii.gz"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(BrokenFileError, match=r"case_000\.nii\.gz"):
            first_volume(find_data(folder))

    def test_truncated(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:1])
        path = folder / "imagesTr" / "case_000_0000.nii.gz"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InputError, match=r"case_000_0000\.nii\.gz"):
            first_volume(find_data(folder))

    def test_broken_dataset_json(self, tmp_path):
        folder = write_nnunet(tmp_path, NAMES[:1])
        (folder / "dataset.json").write_text(json.dumps({"labels": 3}))
        with pytest.raises(InputError, match=r"dataset\.json"):
            find_data(folder)

    def test_pickled_npz(self, tmp_path):
        np.savez(tmp_path / "a.npz", image=np.array([{}], dtype=object), label=np.zeros((4, 4)))
        with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
            first_volume(find_data(tmp_path))

    def test_npz_with_some_labels(self, tmp_path):
        np.savez(tmp_path / "a_slice_0.npz", image=np.zeros((1, 4, 4)), label=np.zeros((4, 4)))
        np.savez(tmp_path / "a_slice_1.npz", image=np.zeros((1, 4, 4)))
        with pytest.raises(InputError, match="only 1 of 2 slices have a 'label'"):
            first_volume(find_data(tmp_path))

    def test_image_of_one_axis(self, tmp_path):
        np.savez(tmp_path / "a.npz", image=np.zeros(4), label=np.zeros(4))
        with pytest.raises(InputError, match=r"expected an image of shape \(C, H, W\)"):
            first_volume(find_data(tmp_path))
