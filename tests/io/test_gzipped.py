"""Decompression on several cores, where rapidgzip is installed."""

import numpy as np
import pytest

from calibeval.errors import InputError
from calibeval.io import gzipped
from calibeval.io.arrays import open_array
from tests.case_files import write_nifti

rapidgzip = pytest.importorskip("rapidgzip")
NOISE = np.random.default_rng(1).random((8, 30, 30)).astype(np.float32)


@pytest.fixture
def several_cores(monkeypatch):
    """Every file is large enough for two cores."""
    monkeypatch.setattr(gzipped, "_WORTH_A_THREAD", 0)
    monkeypatch.setattr(gzipped, "_WORTH_CORES", 0)
    monkeypatch.setattr(gzipped, "_cores", 2)


def is_rapid(path):
    with open_array(path).stream() as file:
        return isinstance(file, rapidgzip.RapidgzipFile)


@pytest.mark.usefixtures("several_cores")
def test_the_values_are_those_of_the_file(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", NOISE)
    assert is_rapid(path)
    np.testing.assert_array_equal(open_array(path).load(), NOISE)


@pytest.mark.usefixtures("several_cores")
def test_a_file_that_compresses_well_is_left_to_one_core(tmp_path):
    """rapidgzip would hold pieces of 4 MiB of it, which may be gigabytes of zeros."""
    assert not is_rapid(write_nifti(tmp_path / "a.nii.gz", np.zeros_like(NOISE)))


@pytest.mark.usefixtures("several_cores")
@pytest.mark.parametrize("damage", ["bit", "checksum", "end"])
def test_a_damaged_file_is_refused(damage, tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", NOISE)
    content = bytearray(path.read_bytes())
    if damage == "end":
        del content[-500:]
    else:
        content[-8 if damage == "checksum" else len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read|corrupt"):
        open_array(path).load()
