"""Files written whole, in their folder, by one run at a time; and what is no file."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibeval import files
from calibeval.errors import UsageError
from calibeval.files import atomic_path, check_regular, check_writable, inside, read_text, release_claims, write_text

posix = pytest.mark.skipif(os.name != "posix", reason="has no such files")


@pytest.fixture(autouse=True)
def no_claims(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    files._swept.cache_clear()
    yield
    release_claims()


@posix
def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for function in (check_regular, read_text):
        with pytest.raises(OSError, match="pipe or a device"):
            function(tmp_path / "pipe")


@posix
def test_a_device_is_neither_read_nor_replaced(tmp_path):
    with pytest.raises(OSError, match="pipe or a device"):
        read_text(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe or a device"):
        write_text(tmp_path / "pipe", "x")
    with pytest.raises(UsageError, match="pipe or a device"):
        check_writable([tmp_path / "pipe"])


@pytest.mark.parametrize("name", ["../evil.csv", "a/../../evil.csv", "/evil.csv", "..", "link/evil.csv"])
def test_names_lead_to_no_file_outside_their_folder(name, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="lies outside of"):
        inside(folder, name)


def test_names_below_a_folder_are_its_own(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert inside(tmp_path / "out", "a/b.csv") == tmp_path / "out" / "a" / "b.csv"
    assert inside(tmp_path / "link", "b.csv") == tmp_path / "link" / "b.csv"


CLAIM = """
import sys, time
from pathlib import Path
from calibeval.files import atomic_path, check_writable
check_writable([Path(sys.argv[1])])
with atomic_path(Path(sys.argv[1])) as temporary:
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that is about to write a file, and in the middle of it."""
    target = tmp_path / "out" / "t.csv"
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    line = [sys.executable, "-c", CLAIM, str(target)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "ready\n"
        yield process, target
        process.kill()


def test_of_two_runs_that_write_a_file_the_later_is_told(other):
    process, target = other
    with pytest.raises(UsageError, match=f"t.csv: process {process.pid} is about to write it as well"):
        check_writable([target])
    check_writable([target.with_name("u.csv")])  # another file of the folder is free


def test_what_a_killed_run_left_is_swept_and_what_a_live_one_writes_is_not(other):
    process, target = other
    write_text(target.with_name("u.csv"), "x")
    assert len(list(target.parent.glob(".calibeval-*"))) == 1
    process.kill()
    process.wait()
    files._swept.cache_clear()
    check_writable([target])
    write_text(target, "x")
    assert sorted(path.name for path in target.parent.iterdir()) == ["t.csv", "u.csv"]
    release_claims()
    assert not list((target.parents[1] / "temporary").iterdir())


def test_what_another_machine_left_is_swept_when_it_is_old(tmp_path):
    new, old = (tmp_path / f".calibeval-00000000-{number}-1-x.csv" for number in (1, 2))
    new.touch()
    old.touch()
    os.utime(old, (time.time() - 1e6,) * 2)
    write_text(tmp_path / "a.txt", "x")
    assert (new.exists(), old.exists()) == (True, False)


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(ValueError, match="halt"), atomic_path(path) as temporary:
        temporary.write_text("after")
        raise ValueError("halt")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["a.txt"]
    assert path.read_text() == "before"
