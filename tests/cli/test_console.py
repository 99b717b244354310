"""Standard output whose reader leaves, and one without room."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from calibeval.errors import UsageError
from tests import ROOT

TABLE = ROOT / "tests" / "golden" / "sample.csv"
GATE = f"check {TABLE} --method overconfident --gate"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="uses a POSIX shell")


def shell(line):
    command = f"set -o pipefail; {sys.executable} -m calibeval {line}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--version", 0),
        (f"rank {TABLE}", 0),
        (f"rank {TABLE} --format json", 0),
        (f"{GATE} 'mean(ECE) <= 0.5'", 0),
        (f"{GATE} 'mean(ECE) <= 0.05'", 1),
        (f"{GATE} 'mean(ECE) <= 0.05' --format json", 1),
    ],
)
def test_a_reader_that_leaves_early_changes_no_exit_code(arguments, code):
    done = shell(f"{arguments} | true")
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without room")
def test_output_that_finds_no_room_is_a_message():
    done = shell(f"rank {TABLE} > /dev/full")
    assert (done.returncode, done.stderr) == (2, "calibeval: standard output: No space left on device.\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ZeroDivisionError("x"),
            "unexpected ZeroDivisionError: x. This is a bug; please report it. (test_console.py",
        ),
        (MemoryError(), "not enough memory."),
        (RecursionError("deep"), "unexpected RecursionError: deep."),
        (OSError(28, "No space left on device", "a.csv"), "a.csv: No space left on device."),
        (UsageError("Say what."), "Say what."),
    ],
)
def test_whatever_is_raised_is_a_message_and_exit_code_2(error, message, cli, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("calibeval.ranking.rank_tables", fail)
    outcome = cli("rank", "a.csv")
    assert outcome[:2] == (2, "")
    assert outcome.err.startswith(f"calibeval: {message}")
    assert outcome.err.count("\n") == 1
