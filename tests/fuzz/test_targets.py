"""Each target reads its whole files; damage that Hypothesis draws is refused, or read as another reader reads it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibeval.errors import InputError
from calibeval.io.formats import FORMATS, format_of
from tests import ROOT
from tests.fuzz import engine
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Differs, Target, prepare, run

NEEDS = {"checkpoint": "torch", "config.json": "torch", "splits.json": "torch", "tif": "tifffile"}
EXAMPLES = {"dcm": 5, "checkpoint": 5, "bins": 10, "shard": 10, "table": 10, "foreign": 10, "summary.json": 10}

pytestmark = pytest.mark.filterwarnings("ignore")  # as users run it


def prepared(name, folder):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return TARGETS[name], *prepare(TARGETS[name], folder)


def test_every_format_is_a_target():
    fuzzed = {id(format_of(Path(target.file))) for target in TARGETS.values()}
    assert [row.suffixes for row in FORMATS if id(row) not in fuzzed] == [(".img", ".img.gz")]
    assert TARGETS["hdr"].beside().keys() == {"a.img"}  # it is read by its header


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read_and_as_others_read_them(name, tmp_path):
    target, path, seeds = prepared(name, tmp_path)
    assert seeds
    for seed in seeds:
        assert run(target, path, seed) == (True, target.other is not None)


@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_refused_or_read_as_others_read_it(name, tmp_path):
    target, path, seeds = prepared(name, tmp_path)

    @settings(max_examples=EXAMPLES.get(name, 25), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(seeds), st.randoms(use_true_random=False))
    def damaged(seed, random):
        run(target, path, mutate(seed, random))

    damaged()


def _read_badly(path):
    """A reader with every fault that the loop must tell."""
    content = path.read_bytes()
    if len(content) % 7 == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if len(content) % 7 == 2:
        raise KeyError("b")
    if len(content) % 7 == 3:
        raise InputError(path, "is refused.")
    return len(content)


def test_the_loop_tells_faults_crashes_and_wrong_values(tmp_path, monkeypatch):
    bad = Target("a.bin", lambda _: [bytes(28)], _read_badly, lambda path: 5 if path.stat().st_size == 5 else None)
    monkeypatch.setitem(TARGETS, "bad", bad)
    outcome = engine.fuzz("bad", 0.5, tmp_path, guided=False)
    assert {kind.partition("_test")[0] for kind in outcome.findings} == {"bad_KeyError", "bad_died_SIGSEGV"}
    assert all(len(file.read_bytes()) % 7 in (1, 2) for file in outcome.findings.values())
    assert outcome.runs > outcome.read > 0
    wrong = Target("a.bin", lambda _: [b"x"], Path.read_bytes, lambda path: b"y")
    with pytest.raises(Differs, match="another reader finds"):
        run(wrong, tmp_path / "a.bin", b"x")


@pytest.mark.slow
def test_a_second_of_every_target(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--blind", "--out", str(tmp_path)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" files (") == len(TARGETS)
