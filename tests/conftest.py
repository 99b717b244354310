"""Running the command line inside the test's process, in a folder of its own."""

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import calibeval.cli
from tests import EXACT


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    """Run `calibeval ARGUMENTS` in tmp_path; whatever escapes as an exception fails the test."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["calibeval", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            calibeval.cli.run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture
def scored(cli):
    """Run `calibeval score ARGUMENTS --quiet`, which must succeed silently; give the table of one method."""

    def run(*arguments, code=0, table=Path("results/m.csv")):
        outcome = cli("score", *arguments, "--quiet")
        assert outcome.code == code, outcome.err
        assert outcome.out == ""
        if code == 0:
            assert outcome.err == ""
        return pd.read_csv(table, comment="#", keep_default_na=False, na_values={"value": [""]}, **EXACT)

    return run


@pytest.fixture
def plain_user():
    """A folder of its own and the rights of an ordinary user, also when the tests run as root."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
