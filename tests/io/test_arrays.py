"""Opening array files: what the header says, and what becomes of files that are not what they should be."""

import gzip
import os
import struct
import zipfile

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.testing import assert_array_equal

from calibeval.errors import BrokenFileError, InputError
from calibeval.io import array_file
from calibeval.io.arrays import array_keys, open_array, stem_of, suffix_of
from calibeval.io.probabilities import file_source
from tests.case_files import AFFINE, SHAPE, itk_image, write_itk, write_nifti, write_npz, write_png

VALUES = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) / 8


def refused(path, *keys):
    """What a user reads of a file that cannot be read: at opening or, at the latest, at loading."""
    with pytest.raises(InputError) as caught:
        file = open_array(path, keys)
        if file.stream is not None:
            load_by_stream(file)
        file.load()
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def load_by_stream(file):
    """Read all values as scoring does."""
    from calibeval.io.probabilities import file_source

    for _ in file_source(file, file.shape).chunks():
        pass


@pytest.mark.parametrize(
    ("name", "suffix", "stem"),
    [
        ("a.nii.gz", ".nii.gz", "a"),
        ("a.b.NII.gz", ".nii.gz", "a.b"),
        ("a.nii", ".nii", "a"),
        (".nii.gz", ".nii.gz", ""),
        ("a.gz", "", "a.gz"),
        ("a", "", "a"),
        ("a.npz.bak", "", "a.npz.bak"),
    ],
)
def test_suffixes(name, suffix, stem, tmp_path):
    assert (suffix_of(tmp_path / name), stem_of(tmp_path / name)) == (suffix, stem)


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "mha", "mhd", "nrrd"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_an_image_opens_with_the_shape_type_place_and_values_of_its_writer(ending, dtype, tmp_path):
    path = tmp_path / f"a.{ending}"
    write = write_nifti if "nii" in ending else write_itk
    write(path, VALUES.astype(dtype))
    file = open_array(path)
    assert file.shape == SHAPE
    assert file.dtype == np.dtype(dtype)
    np.testing.assert_allclose(file.geometry.affine, AFFINE, atol=1e-6)
    assert file.geometry.spacing_mm == pytest.approx((8, 1.5, 1.25))
    np.testing.assert_array_equal(np.asarray(file.load()), VALUES.astype(dtype))


@pytest.mark.parametrize("pixel", [sitk.sitkVectorUInt64, sitk.sitkVectorInt64, sitk.sitkVectorFloat64])
def test_vector_images_of_any_type_open(pixel, tmp_path):
    image = sitk.Image([3, 4, 5], pixel, 2)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    file = open_array(tmp_path / "a.nrrd")
    assert file.shape == (5, 4, 3, 2)
    assert file.dtype == file.load().dtype


def test_a_nifti_in_other_units_is_read_in_mm(tmp_path):
    image = nibabel.Nifti1Image(VALUES.T, np.diag([0.00125, 0.0015, 0.008, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert open_array(tmp_path / "a.nii").geometry.spacing_mm == pytest.approx((8, 1.5, 1.25))


def test_units_that_mean_nothing_are_taken_for_mm(tmp_path):
    image = nibabel.Nifti1Image(VALUES.T, AFFINE)
    image.header["xyzt_units"] = 255
    nibabel.save(image, tmp_path / "a.nii")
    assert open_array(tmp_path / "a.nii").geometry.spacing_mm == pytest.approx((8, 1.5, 1.25))


def test_a_flat_nifti_needs_no_spacing_across_the_plane(tmp_path):
    image = nibabel.Nifti1Image(VALUES[:1].T, None)
    image.header["pixdim"][1:4] = [1.25, 1.5, 0]
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert open_array(tmp_path / "a.nii.gz").geometry.spacing_mm[1:] == pytest.approx((1.5, 1.25))


def test_a_compressed_nifti_is_streamed_and_a_plain_one_is_read_at_random(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", VALUES)
    write_nifti(tmp_path / "a.nii", VALUES)
    assert open_array(tmp_path / "a.nii.gz").stream is not None
    plain = open_array(tmp_path / "a.nii")
    assert_array_equal(plain.part(3, 5), VALUES.ravel()[3:8])
    assert not isinstance(plain.load(), np.memmap)


def test_only_a_large_array_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr("calibeval.io.stored._MAPPED", 100)
    write_nifti(tmp_path / "a.nii", VALUES)
    values = open_array(tmp_path / "a.nii").load()
    assert isinstance(values, np.memmap)
    assert_array_equal(values, VALUES)


@pytest.mark.parametrize("suffix", ["npy", "nii", "npz"])
def test_a_file_that_shrinks_after_it_was_opened_is_damage_and_no_signal(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        write_npz(path, compress=False, x=VALUES)
    elif suffix == "npy":
        np.save(path, VALUES)
    else:
        write_nifti(path, VALUES)
    file = open_array(path)
    os.truncate(path, path.stat().st_size // 2)
    for read in (file.load, lambda: file_source(file, file.shape).chunks()):
        with pytest.raises(BrokenFileError, match="truncated"):
            list(read())


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npz_gives_its_array_in_either_memory_order(compress, order, tmp_path):
    path = write_npz(tmp_path / "a.npz", compress=compress, x=np.asarray(VALUES, order=order), y=VALUES[0])
    file = open_array(path, ("none", "x"))
    assert (file.shape, file.dtype, file.member) == (SHAPE, VALUES.dtype, "x")
    np.testing.assert_array_equal(file.load(), VALUES)
    assert array_keys(path) == ("x", "y")


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_is_mapped(order, tmp_path):
    np.save(tmp_path / "a.npy", np.asarray(VALUES, order=order))
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy").load(), VALUES)


def test_an_npz_without_the_expected_array_lists_what_it_holds(tmp_path):
    message = refused(write_npz(tmp_path / "a.npz", x=VALUES, y=VALUES), "probabilities", "softmax")
    assert (
        message
        == "holds the arrays x, y; expected one of probabilities, softmax. Save it again with one of these names."
    )


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_pickled_objects_are_never_loaded(name, tmp_path):
    mark, array = tmp_path / "mark", np.empty(1, object)
    array[0] = Trap(mark)
    if name == "a.npz":
        write_npz(tmp_path / name, probabilities=array)
    else:
        np.save(tmp_path / name, array)
    assert refused(tmp_path / name, "probabilities") == (
        "holds pickled Python objects, which are never loaded. Save a plain array of numbers."
    )
    assert not mark.exists()


WRITERS = {
    "a.nii.gz": write_nifti,
    "a.nii": write_nifti,
    "a.npz": lambda path, array: write_npz(path, x=array),
    "stored.npz": lambda path, array: write_npz(path, compress=False, x=array),
    "a.npy": np.save,
    "a.mha": write_itk,
    "z.mha": lambda path, array: write_itk(path, array, compress=True),
    "a.nrrd": lambda path, array: write_itk(path, array, compress=True),
    "a.png": lambda path, array: write_png(path, np.rint(array[0] * 8).astype(np.uint8)),
}


@pytest.fixture(params=WRITERS)
def whole_file(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path, np.random.default_rng(1).random((8, 30, 30)).astype(np.float32))
    return path


@pytest.mark.parametrize("share", [0.01, 0.5, 0.98])
def test_a_file_that_breaks_off_is_refused(share, whole_file):
    content = whole_file.read_bytes()
    whole_file.write_bytes(content[: int(len(content) * share)])
    message = refused(whole_file, "x")
    assert any(word in message for word in ("truncated", "cannot be read", "is no NIfTI")), message


def test_an_empty_file_is_refused(whole_file):
    whole_file.write_bytes(b"")
    refused(whole_file, "x")


def test_text_under_a_false_name_is_refused(whole_file):
    whole_file.write_text("this is no image\n" * 1000)
    refused(whole_file, "x")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.npz", "stored.npz"])
def test_one_flipped_bit_in_the_values_fails_the_checksum(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, np.random.default_rng(1).random((8, 30, 30)).astype(np.float32))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "corrupt" in refused(path, "x")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.npz"])
def test_a_wrong_checksum_is_noticed_by_whole_loads_too(name, tmp_path):
    """The values come out, but the sum behind them does not fit."""
    path = tmp_path / name
    WRITERS[name](path, VALUES)
    content = bytearray(path.read_bytes())
    position = len(content) - 8 if name == "a.nii.gz" else content.index(b"PK\x01\x02") + 16
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="corrupt"):
        open_array(path, ("x",)).load()


def test_a_gzip_of_several_members_is_one_file(tmp_path):
    """bgzip and pigz write such files."""
    content = gzip.decompress(write_nifti(tmp_path / "a.nii.gz", VALUES).read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    np.testing.assert_array_equal(open_array(tmp_path / "a.nii.gz").load(), VALUES)


def test_a_plain_nifti_named_gz_is_refused(tmp_path):
    write_nifti(tmp_path / "a.nii", VALUES).rename(tmp_path / "a.nii.gz")
    refused(tmp_path / "a.nii.gz")


def test_a_name_that_contradicts_the_compression_is_told(tmp_path):
    write_nifti(tmp_path / "a.nii", VALUES).rename(tmp_path / "a.nii.gz")
    assert refused(tmp_path / "a.nii.gz") == "is not compressed, though its name says so. Compress or rename it."
    write_nifti(tmp_path / "b.nii.gz", VALUES).rename(tmp_path / "b.nii")
    assert refused(tmp_path / "b.nii") == "is compressed, and its name does not say so. Rename it to end in .gz."


def test_an_array_larger_than_the_free_memory_is_refused_and_no_damage(tmp_path, monkeypatch):
    path = write_nifti(tmp_path / "a.nii.gz", VALUES)
    monkeypatch.setattr(array_file, "available_memory", lambda: 100.0)
    with pytest.raises(InputError) as caught:
        open_array(path).load()
    assert type(caught.value) is InputError
    assert caught.value.problem == "its array takes 0.0 GiB, where 0.0 GiB of memory are free."
    load_by_stream(open_array(path))  # takes no more than a chunk


HEADER_DAMAGE = {
    "datatype": (70, "<h", 4096),
    "vox_offset 0": (108, "<f", 0.0),
    "vox_offset infinite": (108, "<f", float("inf")),
    "vox_offset huge": (108, "<f", 1e30),
    "scl_inter": (116, "<f", float("nan")),
    "dim 0": (40, "<h", 0),
    "dim negative": (42, "<h", -4),
}


@pytest.mark.parametrize("damage", HEADER_DAMAGE)
def test_a_nifti_header_that_cannot_be_is_damage(damage, tmp_path):
    path = write_nifti(tmp_path / "a.nii", VALUES)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 112, 2.0)  # scl_slope
    place, kind, value = HEADER_DAMAGE[damage]
    struct.pack_into(kind, content, place, value)
    path.write_bytes(content)
    with pytest.raises(BrokenFileError):
        open_array(path).load()


@pytest.mark.parametrize(
    "header", ["{'descr': '<f4', 'fortran_order': False, 'shape': (4, ", "(" * 500, "{" + "[" * 90]
)
def test_an_npy_header_that_is_no_python_is_damage(header, tmp_path):
    text = header.ljust(600).encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(480))
    with pytest.raises(BrokenFileError):
        open_array(tmp_path / "a.npy")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_with_another_compression_says_so(method, tmp_path):
    write_npz(tmp_path / "b.npz", x=VALUES)
    with zipfile.ZipFile(tmp_path / "b.npz") as old, zipfile.ZipFile(tmp_path / "a.npz", "w", method) as new:
        new.writestr("x.npy", old.read("x.npy"))
    assert "numpy.savez_compressed" in refused(tmp_path / "a.npz", "x")


def test_an_encrypted_npz_is_refused(tmp_path):
    content = bytearray(write_npz(tmp_path / "a.npz", x=VALUES).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "encrypted" in refused(tmp_path / "a.npz", "x")


@pytest.mark.parametrize("array", [np.array(1.0), np.zeros((0, 3)), np.array(["a"]), VALUES.astype(np.complex64)])
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_arrays_that_are_no_volume_of_numbers_are_refused(array, ending, tmp_path):
    if ending == "npz":
        write_npz(tmp_path / "a.npz", x=array)
    else:
        np.save(tmp_path / "a.npy", array)
    message = refused(tmp_path / f"a.{ending}", "x")
    assert "no voxel" in message or "numbers" in message


def test_a_suffix_that_mixes_cases_is_told(tmp_path):
    """nibabel looks for another file then."""
    path = write_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint8)).rename(tmp_path / "a.Nii.gz")
    with pytest.raises(InputError, match=r"a\.Nii\.gz: its suffix \.Nii\.gz mixes .* Rename it to \.nii\.gz\."):
        open_array(path)


def test_a_nifti_of_colours_is_refused(tmp_path):
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii.gz")
    assert "numbers" in refused(tmp_path / "a.nii.gz")


def test_an_image_of_complex_numbers_is_refused(tmp_path):
    sitk.WriteImage(sitk.Image([3, 4, 5], sitk.sitkComplexFloat32), str(tmp_path / "a.nrrd"))
    assert "numbers" in refused(tmp_path / "a.nrrd")


def test_missing_folders_unknown_suffixes_and_links_to_nowhere(tmp_path):
    assert refused(tmp_path / "a.nii.gz") == "no such file."
    (tmp_path / "b.nii.gz").mkdir()
    assert refused(tmp_path / "b.nii.gz") == "is a folder where a file is expected."
    assert refused(tmp_path / "c.jpg").startswith("unknown suffix. Known: .nii.gz .nii .npz")
    (tmp_path / "d.npz").symlink_to(tmp_path / "gone" / "d.npz")
    message = refused(tmp_path / "d.npz")
    assert f"is a link to {tmp_path / 'gone' / 'd.npz'}, which is not there" in message


def test_a_file_that_may_not_be_read_is_refused(plain_user):
    path = plain_user / "a.npz"
    write_npz(path, x=VALUES)
    path.chmod(0)
    assert "Permission denied" in refused(path, "x")


def test_an_itk_file_whose_values_are_shorter_than_its_header_says(tmp_path):
    write_itk(tmp_path / "a.mhd", VALUES)
    (tmp_path / "a.raw").write_bytes(b"123")
    refused(tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    refused(tmp_path / "a.mhd")


def test_a_header_without_spacing_is_no_geometry_but_a_file(tmp_path):
    image = itk_image(VALUES)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    broken = nibabel.Nifti1Image(VALUES.T, None)
    broken.header["pixdim"][1:4] = np.nan
    broken.header.set_sform(np.zeros((4, 4)), 1)
    nibabel.save(broken, tmp_path / "a.nii")
    file = open_array(tmp_path / "a.nii")
    assert file.geometry is None
    np.testing.assert_array_equal(file.load(), VALUES)
