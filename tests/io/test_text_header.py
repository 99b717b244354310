"""MetaImage and NRRD against SimpleITK, header by header; and the damage that it does not see."""

import bz2
import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.arrays import open_array

VALUES = np.arange(120, dtype="<i2").reshape(4, 5, 6) - 7
DIRECTION = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
COMPRESSED = zlib.compress(VALUES.tobytes())
MHA = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "1 2 3",
    "DimSize": "6 5 4",
    "ElementType": "MET_SHORT",
}
NRRD = {
    "type": "short",
    "dimension": "3",
    "sizes": "6 5 4",
    "encoding": "raw",
    "endian": "little",
    "space": "left-posterior-superior",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "space origin": "(1,2,3)",
    "kinds": "domain domain domain",
}


def read_itk(path):
    """Values, and the affine in RAS+, of SimpleITK."""
    image = sitk.ReadImage(str(path))
    n = image.GetDimension()
    spatial = min(n, 3)
    direction, affine = np.array(image.GetDirection()).reshape(n, n), np.eye(4)
    affine[:spatial, :spatial] = (direction * np.array(image.GetSpacing()))[:spatial, :spatial]
    affine[:spatial, 3] = image.GetOrigin()[:spatial]
    affine[:2] *= -1
    return sitk.GetArrayFromImage(image), affine


def assert_as_itk(path):
    file = open_array(path)
    values, affine = read_itk(path)
    assert (file.shape, file.dtype.name) == (values.shape, values.dtype.name)
    np.testing.assert_array_equal(file.load(), values)
    told = [*range(len(file.geometry.spacing_mm)), 3]  # across a plane there is no place
    np.testing.assert_allclose(file.geometry.affine[:, told], affine[:, told], atol=1e-5)


def mha(path, fields=(), data=None, *, name="LOCAL", without=()):
    header = {key: value for key, value in (MHA | dict(fields)).items() if key not in without}
    text = "".join(f"{key} = {value}\n" for key, value in header.items()) + f"ElementDataFile = {name}\n"
    path.write_bytes(text.encode() + (VALUES.tobytes() if data is None else data))
    return path


def nrrd(path, fields=(), data=None, *, without=(), pairs=()):
    header = {key: value for key, value in (NRRD | dict(fields)).items() if key not in without}
    lines = [f"{key}: {value}" for key, value in header.items()] + [
        f"{key}:={value}" for key, value in dict(pairs).items()
    ]
    text = "NRRD0005\n# by hand\n" + "\n".join(lines) + "\n\n"
    path.write_bytes(text.encode() + (VALUES.tobytes() if data is None else data))
    return path


@pytest.mark.parametrize("ending", ["mha", "mhd", "nrrd", "nhdr"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["2-D", "3-D", "4-D", "2-D vector", "3-D vector"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_what_simpleitk_writes_is_read_as_simpleitk_reads_it(ending, compress, kind, dtype, tmp_path):
    n = int(kind[0])
    shape = (3, 4, 5, 6)[4 - n :] + ((3,) if "vector" in kind else ())
    array = (np.random.default_rng(1).random(shape) * 100).astype(dtype)
    image = (
        sitk.JoinSeries([sitk.GetImageFromArray(part) for part in array])
        if n == 4
        else sitk.GetImageFromArray(array, isVector="vector" in kind)
    )
    direction = np.eye(n)
    direction[: min(n, 3), : min(n, 3)] = DIRECTION if n > 2 else [[0.8, -0.6], [0.6, 0.8]]
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing((1.25, 1.5, 8, 2)[:n])
    image.SetOrigin((-20, 30, 5, 0)[:n])
    sitk.WriteImage(image, str(tmp_path / f"a.{ending}"), useCompression=compress)
    assert_as_itk(tmp_path / f"a.{ending}")


@pytest.mark.parametrize(
    ("fields", "data", "without"),
    [
        ({"BinaryDataByteOrderMSB": "True"}, VALUES.astype(">i2").tobytes(), ()),
        ({"ElementByteOrderMSB": "True"}, VALUES.astype(">i2").tobytes(), ("BinaryDataByteOrderMSB",)),
        ({}, None, ("BinaryData", "BinaryDataByteOrderMSB")),
        ({"ElementSize": "1 2 3"}, None, ("ElementSpacing",)),
        ({"ElementSize": "9 9 9"}, None, ()),
        ({}, None, ("ElementSpacing",)),
        ({"Position": "4 5 6"}, None, ("Offset",)),
        ({"HeaderSize": "-1"}, b"abcd" + VALUES.tobytes(), ()),
        ({"TransformMatrix": " ".join(map(str, DIRECTION.ravel()))}, None, ()),
        ({"Rotation": " ".join(map(str, DIRECTION.ravel()))}, None, ("TransformMatrix",)),
        ({"CompressedData": "True", "CompressedDataSize": str(len(COMPRESSED))}, COMPRESSED, ()),
        ({"ElementType": "MET_LONG"}, VALUES.astype("<i4").tobytes(), ()),
        ({"ElementType": "MET_LONG_LONG"}, VALUES.astype("<i8").tobytes(), ()),
        ({"DistanceUnits": "mm", "AnatomicalOrientation": "RAI"}, None, ()),
    ],
)  # fmt: skip
def test_headers_of_metaimage_are_understood_as_itk_does(fields, data, without, tmp_path):
    assert_as_itk(mha(tmp_path / "a.mha", fields, data, without=without))


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"space": "right-anterior-superior"}, None),
        ({"space": "RAS"}, None),
        ({"space": "left-anterior-superior"}, None),
        ({"space": "scanner-xyz"}, None),
        ({"measurement frame": "(0,1,0) (1,0,0) (0,0,1)"}, None),
        ({"encoding": "gzip"}, gzip.compress(VALUES.tobytes())),
        ({"encoding": "gz", "byte skip": "4"}, gzip.compress(b"abcd" + VALUES.tobytes())),
        ({"encoding": "gzip"}, gzip.compress(VALUES.tobytes()[:50]) + gzip.compress(VALUES.tobytes()[50:])),
        ({"encoding": "text"}, " ".join(map(str, VALUES.ravel())).encode()),
        ({"encoding": "hex"}, VALUES.tobytes().hex().encode()),
        ({"endian": "big"}, VALUES.astype(">i2").tobytes()),
        ({"byte skip": "4"}, b"abcd" + VALUES.tobytes()),
        ({"byteskip": "-1"}, b"abcd" + VALUES.tobytes()),
        ({"line skip": "1"}, b"abcd\n" + VALUES.tobytes()),
    ],
)  # fmt: skip
def test_headers_of_nrrd_are_understood_as_itk_does(fields, data, tmp_path):
    assert_as_itk(nrrd(tmp_path / "a.nrrd", fields, data))


def test_spacings_without_a_space_are_a_place_as_itk_has_it(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", {"spacings": "1 2 3"}, without=("space", "space directions", "space origin"))
    assert_as_itk(path)
    bare = nrrd(tmp_path / "b.nrrd", without=("space", "space directions", "space origin"))
    assert open_array(bare).geometry is None


def test_bzip2_is_read_which_itk_cannot(tmp_path):
    file = open_array(nrrd(tmp_path / "a.nrrd", {"encoding": "bzip2"}, bz2.compress(VALUES.tobytes())))
    np.testing.assert_array_equal(file.load(), VALUES)


def test_values_as_text_in_a_metaimage(tmp_path):
    data = " ".join(map(str, VALUES.ravel())).encode()
    np.testing.assert_array_equal(open_array(mha(tmp_path / "a.mha", {"BinaryData": "False"}, data)).load(), VALUES)


@pytest.mark.parametrize(
    ("sizes", "kinds", "directions", "shape", "vector"),
    [
        ("2 6 5 2", "list domain domain domain", "none (1,0,0) (0,2,0) (0,0,3)", (2, 5, 6, 2), True),
        ("6 5 2 2", "domain domain domain list", "(1,0,0) (0,2,0) (0,0,3) none", (2, 2, 5, 6), False),
        ("6 5 2 2", "space space space time", "(1,0,0) (0,2,0) (0,0,3) none", (2, 2, 5, 6), False),
    ],
)
def test_an_axis_that_is_none_of_space_leaves_the_others_their_spacing(
    sizes, kinds, directions, shape, vector, tmp_path
):
    fields = {"dimension": "4", "sizes": sizes, "kinds": kinds, "space directions": directions}
    file = open_array(nrrd(tmp_path / "a.nrrd", fields))
    assert (file.shape, file.vector, file.spatial) == (shape, vector, (2, 5, 6))
    assert file.geometry.spacing_mm == (3, 2, 1)
    np.testing.assert_array_equal(file.load(), VALUES.reshape(shape))


def _refusal(path):
    with pytest.raises(InputError) as caught:
        open_array(path).load()
    return type(caught.value), caught.value.problem


BAD_HEADERS = {
    "its encoding '{A}...' is unknown": {"encoding": "A" * 5000},
    "its 'sizes' is '6 5', expected 3 numbers": {"sizes": "6 5"},
    "its 'sizes' is '6 5 -4', expected whole numbers above 0": {"sizes": "6 5 -4"},
    "its 'sizes' is '6 5 nan', expected whole numbers above 0": {"sizes": "6 5 nan"},
    "its 'dimension' is '-3', expected whole numbers above 0": {"dimension": "-3"},
    "its endian is 'litt', expected 'little' or 'big'": {"endian": "litt"},
    "its type 'block' is no type of numbers": {"type": "block"},
    "its 'space directions' has 2 entries for 3 axes": {"space directions": "(1,0,0) (0,1,0)"},
    "its 'byte skip' is -3": {"byte skip": "-3"},
}


@pytest.mark.parametrize("problem", BAD_HEADERS)
def test_a_header_that_cannot_be_is_refused_with_its_reason(problem, tmp_path):
    path = nrrd(tmp_path / "a.nrrd", BAD_HEADERS[problem])
    problem = problem.replace("{A}", "a" * 40)
    assert _refusal(path) == (BrokenFileError, f"its header cannot be read: {problem}.")


def test_what_is_neither_true_nor_false_is_refused(tmp_path):
    """ITK takes it for False, and so would take the bytes of damaged headers for what they are not."""
    assert _refusal(mha(tmp_path / "a.mha", {"CompressedData": "=1"})) == (
        BrokenFileError,
        "its header cannot be read: its 'CompressedData' is '=1', expected True or False.",
    )


def test_sizes_that_the_file_cannot_hold_are_refused_before_anything_is_allocated(tmp_path):
    raw = nrrd(tmp_path / "a.nrrd", {"sizes": "60000 50000 40000"})
    there = raw.stat().st_size
    declared = 2 * 60000 * 50000 * 40000 + there - VALUES.nbytes
    kind, problem = _refusal(raw)
    assert (kind, problem) == (
        BrokenFileError,
        f"the file is truncated or corrupt: {declared} bytes declared, {there} found.",
    )
    packed = nrrd(tmp_path / "b.nrrd", {"sizes": "60000 50000 40000", "encoding": "gzip"})
    declares = "declares an array of 40000 x 50000 x 60000 int16"
    assert _refusal(packed)[1] == f"{declares}, more than its {packed.stat().st_size} bytes can hold."


def test_what_is_whole_and_does_not_fit_is_no_damage(tmp_path):
    assert _refusal(nrrd(tmp_path / "a.nrrd", {"data file": "LIST"})) == (
        InputError,
        "its values lie in several files ('LIST').",
    )
    middle = {"kinds": "domain list domain", "space directions": "(1,0,0) none (0,0,3)"}
    assert _refusal(nrrd(tmp_path / "a.nrrd", middle)) == (
        InputError,
        "its axes ['domain', 'list', 'domain'] mix space with others.",
    )
    assert _refusal(nrrd(tmp_path / "a.nrrd", {"kinds": "complex domain domain"})) == (
        InputError,
        "holds values of the type complex, expected plain numbers.",
    )


@pytest.mark.parametrize("ending", ["mha", "nrrd"])
def test_no_damage_to_compressed_values_passes_for_data(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), useCompression=True)
    whole = path.read_bytes()
    start = whole.index(b"LOCAL\n") + 6 if ending == "mha" else whole.index(b"\n\n") + 2
    refused = 0
    for place in range(start, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            np.testing.assert_array_equal(open_array(path).load(), VALUES)
        except BrokenFileError:
            refused += 1
    assert refused >= 0.9 * (len(whole) - start)


def test_a_header_that_names_its_missing_data_says_so(tmp_path):
    path = mha(tmp_path / "a.mhd", name="gone.raw", data=b"")
    assert _refusal(path) == (BrokenFileError, f"its values are not there: no file {tmp_path / 'gone.raw'}.")
