"""Files that claim or unpack to more than may be taken, and files that change: each costs its case alone."""

import gzip
import os

import numpy as np
import pytest

from calibeval.errors import InputError
from calibeval.io.arrays import open_array
from calibeval.machine import limit_memory
from calibeval.scoring import job as scoring_job
from calibeval.scoring import raters as scoring_raters
from tests.case_files import write_folders, write_nifti
from tests.io.format_samples import SAMPLES, array_of, written


@pytest.mark.parametrize("suffix", SAMPLES)
def test_every_format_asks_before_it_allocates(suffix, tmp_path):
    path = written(tmp_path, suffix, array_of(suffix))
    with limit_memory(10), pytest.raises(InputError, match=r"GiB of memory are free\. .*--max-memory"):
        open_array(path, ("image", "x", "y")).load()


def test_a_bomb_fails_alone(tmp_path, cli):
    """64 MB of zeros in 0.3 MB: as much as deflate can make of it."""
    preds, labels = write_folders(tmp_path)
    write_nifti(labels / "b.nii.gz", np.zeros((64, 1000, 1000), np.uint8))
    assert (labels / "b.nii.gz").stat().st_size < 1 << 19
    write_nifti(preds / "b.nii.gz", np.zeros((64, 1000, 1000), np.uint8))
    out = tmp_path / "t.csv"
    outcome = cli("score", preds, labels, "--out", out, "--max-memory", "16M", "--input", "auto")
    assert outcome.code == 3, outcome.err
    assert outcome.err.count("memory are free") == 1
    failed = [line for line in out.read_text().splitlines() if ",failed," in line]
    assert failed
    assert all(",b," in line for line in failed)


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused_when_it_is_opened(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.uint8))
    data = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(InputError, match=r"more than its \d+ bytes can hold"):
        open_array(tmp_path / "a.nii.gz")


def test_a_file_that_changes_while_it_is_read_fails_its_case(tmp_path, cli, monkeypatch):
    preds, labels = write_folders(tmp_path)
    read = vars(scoring_raters)["read_case"]

    def meddle(case, *arguments):
        if case.name == "b":
            os.utime(labels / "b.nii.gz", (1, 1))
        return read(case, *arguments)

    monkeypatch.setattr(scoring_raters, "read_case", meddle)
    outcome = cli("score", preds, labels, "--out", tmp_path / "t.csv")
    assert outcome.code == 3
    assert "m/b" in outcome.err
    assert "changed while they were read" in outcome.err


def test_names_of_methods_write_no_file_outside(tmp_path):
    from calibeval.errors import UsageError

    with pytest.raises(UsageError, match="lies outside of"):
        scoring_job.table_path(tmp_path / "out", "../evil", 1)


def test_results_of_cases_are_kept_in_no_folder_that_a_link_leads_to(tmp_path, cli):
    preds, labels = write_folders(tmp_path)
    for name in ("out", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / ".t.partial").symlink_to(tmp_path / "elsewhere")
    outcome = cli("score", preds, labels, "--out", tmp_path / "out" / "t.csv")
    assert (outcome.code, "lies outside of" in outcome.err) == (2, True)
    assert not list((tmp_path / "elsewhere").iterdir())
