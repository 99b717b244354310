"""Shards put together are the single run, byte for byte."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.case_files import make_case, write_folders, write_nifti

OPTIONS = ("--metrics", "all", "--bins", "12", "--missing", "worst", "--classes", "background,RV,LV", "--hd95", "medpy")


@pytest.fixture
def data(tmp_path):
    """Five cases: one without a prediction, one broken, one whose prediction is a label map."""
    preds, labels = write_folders(tmp_path)
    for index, case in enumerate("de", start=3):
        probabilities, label = make_case(index)[:2]
        write_nifti(labels / f"{case}.nii.gz", label)
        write_nifti(preds / f"{case}.nii.gz", label if case == "e" else probabilities)
    (preds / "b.nii.gz").unlink()
    (preds / "c.nii.gz").write_bytes(b"no image")
    return preds, labels


def shards(cli, data, number, *options):
    for i in range(1, number + 1):
        outcome = cli("score", *data, *options, "--shard", f"{i}/{number}", "-o", "parts", "--quiet", "--workers", "1")
        assert outcome.code in (0, 2, 3), outcome.err
    return sorted(Path("parts").glob("*.csv"))


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_shards_merge_to_the_bytes_of_one_run(data, cli, number):
    assert cli("score", *data, *OPTIONS, "--quiet", "-o", "one.csv").code == 3
    parts = shards(cli, data, number, *OPTIONS)
    assert [part.name for part in parts] == [f"m.{i}of{number}.csv" for i in range(1, number + 1)]
    assert cli("merge", *reversed(parts), "-o", "all.csv", "--quiet").code == 0
    assert Path("all.csv").read_bytes() == Path("one.csv").read_bytes()
    with np.load("one.bins.npz") as one, np.load("all.bins.npz") as merged:
        assert one.files == merged.files
        for name in one.files:
            assert one[name].dtype == merged[name].dtype
            assert one[name].tobytes() == merged[name].tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts[:1], "m: found the shards 1/2; expected each of 1/2 to 2/2 once."),
        (lambda parts: [*parts, parts[0]], "m: found the shards 1/2, 1/2, 2/2; expected each"),
        (
            lambda parts: ["one.csv"],
            "one.csv: is no part of a table. Expected tables of `calibeval score --shard i/n`.",
        ),
        (lambda parts: [parts[0], swap(parts)], "the case a is in another shard as well."),
        (lambda parts: ["none.csv"], "none.bins.npz: is no side file"),
    ],
)
def test_parts_that_do_not_make_a_whole_are_refused(data, cli, change, message):
    cli("score", *data, "--metrics", "DSC", "--quiet", "-o", "one.csv")
    parts = shards(cli, data, 2, "--metrics", "DSC")
    outcome = cli("merge", *change(parts), "-o", "all.csv")
    assert outcome[:2] == (2, "")
    assert message in outcome.err
    assert not Path("all.csv").exists()


def swap(parts):
    """The second part's side file beside the first part's table."""
    shutil.copy(parts[0], parts[1])
    return parts[1]


def test_parts_of_different_runs_are_refused(data, cli):
    shards(cli, data, 2, "--metrics", "DSC")
    cli("score", *data, "--metrics", "IoU", "--shard", "2/2", "-o", "parts", "--quiet")
    outcome = cli("merge", *Path("parts").glob("*.csv"), "-o", "all.csv")
    assert outcome.code == 2
    assert "are of different runs. Score all shards by one command." in outcome.err


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/-2"])
def test_a_shard_that_cannot_be_is_named(data, cli, text):
    outcome = cli("score", *data, "--shard", text)
    assert outcome.code == 2
    assert "--shard" in outcome.err


def test_a_recorded_command_that_cannot_be_is_refused(data, cli):
    for part in shards(cli, data, 2, "--metrics", "DSC"):
        text = Path(part).read_text()
        Path(part).write_text(text.replace("--metrics DSC", "--bins many"))
    outcome = cli("merge", *Path("parts").glob("*.csv"), "-o", "all.csv")
    assert outcome.code == 2
    assert "score option bins is 'many'; expected int" in outcome.err
