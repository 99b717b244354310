"""Finished cases on disk: found again under their key, and nothing else."""

import math
import os

import numpy as np
import pytest

from calibeval import score_case
from calibeval.scoring.shards import CaseScore, ShardStore, make_key
from tests.case_files import NAMES, make_case

KEY = "key"


@pytest.fixture
def score():
    probabilities, label = make_case()
    found = score_case(probabilities, label, classes=NAMES, metrics="all")  # no spacing: some values are undefined
    return CaseScore(found.rows, found.bins, ('a note, with "quotes" and ü',))


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path / "results" / "m.csv")


def same(a, b):
    """NaN is equal to itself here."""
    return repr(a.rows) == repr(b.rows) and a.notes == b.notes and a.bins.keys() == b.bins.keys()


@pytest.mark.parametrize("case", ["a", "a/b", "..", "x" * 300, "ü #,\n"])
def test_a_case_comes_back_whole(case, store, score):
    assert not store.exists()
    assert store.load(case, KEY) is None
    store.save(case, KEY, score)
    assert store.exists()
    found = store.load(case, KEY)
    assert same(found, score)
    for name, statistics in score.bins.items():
        np.testing.assert_array_equal(found.bins[name].confusion, statistics.confusion)
        np.testing.assert_array_equal(found.bins[name].classes.total, statistics.classes.total)
    assert any(math.isnan(row.value) for row in found.rows)


def test_regions_come_back_by_name(store):
    label = make_case()[1]
    maps = np.stack([label > 0, label == 2]).astype(np.float32) * 0.5 + 0.25
    found = score_case(maps, label, regions={"WT": (1, 2), "E/T": (2,)})
    store.save("a", KEY, CaseScore(found.rows, found.bins))
    assert list(store.load("a", KEY).bins) == ["WT", "E/T"]


def test_another_key_or_another_case_finds_nothing(store, score):
    store.save("a", KEY, score)
    assert store.load("a", "other") is None
    assert store.load("b", KEY) is None


def test_a_folder_that_another_run_removes_meanwhile_costs_no_run(store, score, monkeypatch):
    def remove(*_, **__):
        store.remove()

    monkeypatch.setattr(np, "savez", remove)
    store.save("a", KEY, score)
    assert store.load("a", KEY) is None


def test_the_last_save_wins(store, score):
    store.save("a", KEY, score)
    store.save("a", "new", score._replace(notes=("new",)))
    assert store.load("a", KEY) is None
    assert store.load("a", "new").notes == ("new",)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", "half", "bit", "folder"])
def test_a_broken_shard_is_as_good_as_none(damage, store, score):
    store.save("a", KEY, score)
    (path,) = store.folder.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damage)
    assert store.load("a", KEY) is None


def test_a_shard_of_another_shape_is_as_good_as_none(store, score):
    store.save("a", KEY, score)
    (path,) = store.folder.iterdir()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "0/confusion"}
    np.savez(path, **arrays)
    assert store.load("a", KEY) is None


def test_shards_are_hidden_and_can_be_removed(store, score):
    store.save("a", KEY, score)
    assert store.folder.name == ".m.partial"
    store.remove()
    assert not store.exists()
    store.remove()


def test_the_key_follows_files_and_choices(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    keys = [make_key([path], "x"), make_key([path], "y"), make_key([path, tmp_path / "gone"], "x"), make_key([], "x")]
    assert len({*keys[:2], keys[3]}) == 3
    assert keys[0] == make_key([path], "x") == keys[2]
    path.write_bytes(b"123")
    longer = make_key([path], "x")
    assert longer != keys[0]
    os.utime(path, ns=(0, 0))
    assert make_key([path], "x") not in (longer, keys[0])
