"""What holds for every format of the table; a new row fails here until it has a sample."""

import numpy as np
import pytest

from calibeval.errors import BrokenFileError
from calibeval.io.arrays import array_keys, open_array
from calibeval.io.formats import FORMATS, SUFFIXES, format_of, segments_of, stem_of, with_parts
from calibeval.io.probabilities import file_source
from tests.case_files import AFFINE
from tests.io.format_samples import SAMPLES, array_of, written

KEYS = ("image",)
NAMING = [row.suffixes[0] for row in FORMATS if row.segments]
CASES = [(suffix, dtype) for suffix, sample in SAMPLES.items() for dtype in sample.dtypes]


def test_every_suffix_of_the_table_has_a_sample_here_and_belongs_to_one_format():
    assert set(SAMPLES) == set(SUFFIXES)
    assert sum(len(row.suffixes) for row in FORMATS) == len(SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


@pytest.mark.parametrize(("suffix", "dtype"), CASES)
def test_the_values_are_those_that_were_written(suffix, dtype, tmp_path):
    array = array_of(suffix, dtype)
    file = open_array(written(tmp_path, suffix, array), KEYS)
    assert file.format is format_of(file.path)
    assert file.shape == array.shape
    assert file.load().dtype.kind == file.dtype.kind
    np.testing.assert_array_equal(file.load(), array)
    planes = np.concatenate([chunk.values for chunk in file_source(file, file.shape).chunks()])
    np.testing.assert_array_equal(planes, array.ravel())


@pytest.mark.parametrize("suffix", SAMPLES)
def test_the_place_is_told_where_the_format_has_one_and_nowhere_else(suffix, tmp_path):
    file = open_array(written(tmp_path, suffix, array_of(suffix)), KEYS)
    if not file.format.has_geometry:
        assert file.geometry is None
        return
    np.testing.assert_allclose(file.geometry.affine, AFFINE, atol=1e-4)
    assert file.geometry.spacing_mm == pytest.approx((8, 1.5, 1.25))
    assert file.spatial == file.shape


@pytest.mark.parametrize("suffix", SAMPLES)
def test_a_file_of_several_arrays_can_hold_its_own_label(suffix, tmp_path):
    array = array_of(suffix)
    path = written(tmp_path, suffix, array)
    if not format_of(path).holds_own_label:
        assert array_keys(path) == ()
        return
    assert sorted(array_keys(path)) == ["image", "label"]
    np.testing.assert_array_equal(open_array(path, ("gt", "label")).load(), array > 3)


@pytest.mark.parametrize("suffix", [suffix for suffix, sample in SAMPLES.items() if sample.big])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_big_endian_values_are_the_same_numbers(suffix, dtype, tmp_path):
    array = array_of(suffix, dtype) * 300
    path = tmp_path / f"a{suffix}"
    SAMPLES[suffix].big(path, array)
    file = open_array(path, KEYS)
    assert file.dtype.byteorder == ">"
    np.testing.assert_array_equal(file.load(), array)
    planes = np.concatenate([chunk.values for chunk in file_source(file, file.shape).chunks()])
    np.testing.assert_array_equal(planes, array.ravel())


def _refused(path):
    """The whole path that a value takes: open, load and stream."""
    with pytest.raises(BrokenFileError) as caught:
        read_all_ways(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def read_all_ways(path):
    file = open_array(path, KEYS)
    values = np.asarray(file.load())
    for _ in file_source(file, file.shape).chunks():
        pass
    return values


@pytest.mark.filterwarnings("ignore")  # as users run it: damage is an error, not a warning
@pytest.mark.parametrize("suffix", SAMPLES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_a_file_that_breaks_off_is_damaged(suffix, share, tmp_path):
    path = written(tmp_path, suffix, noise(suffix))
    data = with_parts(path)[-1] if suffix in (".mhd", ".nhdr") else path
    content = data.read_bytes()
    data.write_bytes(content[: int(len(content) * share)])
    _refused(path)


def noise(suffix):
    return np.random.default_rng(1).integers(0, 6, array_of(suffix, shape=(12, 20, 16)).shape).astype(np.uint8)


@pytest.mark.parametrize("suffix", SAMPLES)
def test_text_under_a_false_name_is_damaged(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_text("this is no image\n" * 1000)
    _refused(path)


@pytest.mark.parametrize("suffix", SAMPLES)
def test_bytes_after_the_values_are_padding_if_few_and_zero_else_damage(suffix, tmp_path):
    array = array_of(suffix)
    path = written(tmp_path, suffix, array)
    data = with_parts(path)[-1] if suffix in (".mhd", ".nhdr") else path
    content = data.read_bytes()
    gzipped = suffix.endswith(("gz", ".mgz"))  # behind a whole gzip file gzip itself lets any number of zeros stand
    for more, refused in ((bytes(512), False), (bytes(513), not gzipped), (b"junk", True)):
        data.write_bytes(content + more)
        if refused and (gzipped or SAMPLES[suffix].strict):
            _refused(path)
        else:
            np.testing.assert_array_equal(read_all_ways(path), array)


@pytest.mark.parametrize("suffix", NAMING)
def test_segments_have_names_and_values(suffix, tmp_path):
    path = written(tmp_path, suffix, array_of(suffix))
    assert {segment.name: segment.value for segment in segments_of(path)} == {f"part {n}": n for n in range(1, 6)}


def test_formats_without_names_of_segments_have_none(tmp_path):
    assert segments_of(written(tmp_path, ".nrrd", array_of(".nrrd"))) == ()


def test_the_longest_suffix_counts(tmp_path):
    assert stem_of(tmp_path / "case.seg.nrrd") == "case"
    assert stem_of(tmp_path / "case.seg.nii.gz") == "case.seg"


@pytest.mark.parametrize(("suffix", "other"), [(".mhd", "a.raw"), (".nhdr", "a.raw.gz"), (".img", "a.hdr")])
def test_the_files_that_belong_to_a_header_are_told(suffix, other, tmp_path):
    path = written(tmp_path, suffix, array_of(suffix))
    assert with_parts(path) == (path, tmp_path / other)
    assert with_parts(tmp_path / "a.nii") == (tmp_path / "a.nii",)
    path.write_text("broken")
    assert path in with_parts(path)
