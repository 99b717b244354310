"""The side file: statistics survive it, and pooled numbers come from it alone."""

import math
import zipfile

import numpy as np
import pytest

from calibeval.bins import bins_path, flatten, pool, read_bins, write_bins
from calibeval.errors import TableError
from calibeval.metrics.accumulate import Accumulator
from calibeval.metrics.calibration import CALIBRATION_FUNCTIONS
from calibeval.protocol import PROTOCOLS

PAPER = PROTOCOLS["paper"]


def some_statistics(seed):
    random = np.random.default_rng(seed)
    p = np.ascontiguousarray(random.dirichlet(np.ones(3), 500).T)
    y = random.integers(0, 3, 500).astype(np.uint8)
    return Accumulator(y, 3, PAPER, p.dtype).take(lambda c, _start: p[c])


@pytest.fixture
def side_file(tmp_path):
    cases = {f"case {i}": {"": some_statistics(i)} for i in range(3)}
    path = bins_path(tmp_path / "ours.csv")
    write_bins(path, cases, PAPER, signature=PAPER.signature, class_names=("background", "RV", "LV"))
    return path, cases


def test_name_of_the_side_file(tmp_path):
    assert bins_path(tmp_path / "a.b.csv") == tmp_path / "a.b.bins.npz"


def test_statistics_survive(side_file):
    path, cases = side_file
    table = read_bins(path)
    assert table.signature == PAPER.signature
    assert table.class_names == ("background", "RV", "LV")
    assert list(table.cases) == list(cases)
    for case, problems in cases.items():
        for name, array in flatten(problems[""]).items():
            np.testing.assert_array_equal(flatten(table.cases[case][""])[name], array, strict=True)


def test_a_side_file_of_the_first_release_has_no_gap(side_file):
    """It did not keep the voxels that the prediction selects; all else is read as before."""
    path, cases = side_file
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file.files if not name.startswith("selected")})
    pooled = read_bins(path).pooled()[""]
    assert math.isnan(CALIBRATION_FUNCTIONS["gap"](pooled, PAPER).overall)
    assert CALIBRATION_FUNCTIONS["ECE"](pooled, PAPER) == CALIBRATION_FUNCTIONS["ECE"](pool(cases.values())[""], PAPER)


def test_pooled_numbers_come_from_sums_not_from_means(side_file):
    path, cases = side_file
    pooled = read_bins(path).pooled()[""]
    np.testing.assert_array_equal(pooled.confusion, sum(case[""].confusion for case in cases.values()))
    ece = CALIBRATION_FUNCTIONS["ECE"]
    mean = np.mean([ece(case[""], PAPER).overall for case in cases.values()])
    assert ece(pooled, PAPER).overall < mean  # errors of small cases partly cancel


def test_equal_statistics_give_equal_bytes(side_file, tmp_path):
    path, cases = side_file
    again = tmp_path / "again.npz"
    write_bins(again, cases, PAPER, signature=PAPER.signature, class_names=("background", "RV", "LV"))
    assert again.read_bytes() == path.read_bytes()


def test_nothing_is_pickled(side_file):
    with np.load(side_file[0], allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "iufU" for name in file.files)


def test_no_case_is_no_error(tmp_path):
    write_bins(tmp_path / "none.bins.npz", {}, PAPER, signature="s", class_names=("0",))
    assert read_bins(tmp_path / "none.bins.npz").pooled() == {}
    assert pool([]) == {}


def test_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "x.bins.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "y.bins.npz", a=1)
    for name in ("x", "y", "z"):
        with pytest.raises(TableError, match=rf"{name}\.bins\.npz"):
            read_bins(tmp_path / f"{name}.bins.npz")


def test_a_damaged_header_of_an_array_is_told_with_the_file(tmp_path):
    """numpy's parser of it raises tokenize.TokenError, which is none of its usual errors."""
    np.savez(tmp_path / "x.bins.npz", a=np.zeros(3))
    content = (tmp_path / "x.bins.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.bins.npz", "w") as archive:
        header = content[content.index(b"\x93NUMPY") :][:128].replace(b"{", b"(", 1)
        archive.writestr("a.npy", header + bytes(24))
    with pytest.raises(TableError, match="is no side file of a results table, or a broken one"):
        read_bins(tmp_path / "x.bins.npz")


def test_a_side_file_that_unpacks_to_more_than_memory_is_one_sentence(tmp_path):
    """Its array is declared far longer than what is there."""
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000,), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "t.bins.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("cases.npy", header + bytes(1000))
    with pytest.raises(TableError, match="or a broken one"):
        read_bins(tmp_path / "t.bins.npz")
