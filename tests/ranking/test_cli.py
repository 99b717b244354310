from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import NamedTuple

import pytest

from calibeval.__main__ import main
from calibeval.table import Row, write_table
from tests.ranking.helpers import SIGNATURE, make_tables, write_scores

VALUES = {
    "good": {"DSC": [0.9, 0.8, 0.9, 0.8, 0.9, 0.8], "ECE": [0.1, 0.1, 0.2, 0.1, 0.1, 0.2]},
    "bad": {"DSC": [0.5, 0.6, 0.5, 0.6, 0.5, 0.6], "ECE": [0.3, 0.3, 0.4, 0.3, 0.3, 0.4]},
}


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `calibeval rank` in this process, errors and exit code as a user gets them."""

    def run_rank(*arguments):
        monkeypatch.setattr(sys, "argv", ["calibeval", "rank", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run_rank


@pytest.fixture
def paths(tmp_path):
    return make_tables(tmp_path, VALUES)


def test_table_goes_to_stdout(run, paths):
    done = run(*paths)
    assert (done.code, done.err) == (0, "")
    assert "good has the best mean rank (1.00) of 2 methods" in done.out
    assert "The methods differ (cluster-permutation p = .0312, exact, 6 cases)" in " ".join(done.out.split())


def test_json_is_all_there_is(run, paths):
    done = run(*paths, "--json", "--bootstrap", "20", "--metrics", "dsc", "--control", "bad")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert [method["rank"] for method in document["methods"]] == [1, 2]
    assert list(document["design"]["metrics"]) == ["DSC"]
    assert document["control"]["method"] == "bad"


def test_out_and_plots(run, paths, tmp_path):
    pytest.importorskip("matplotlib")
    done = run(
        *paths, "--out", tmp_path / "r.tex", "--plot", tmp_path / "r.svg", "--plot", tmp_path / "r_blob.png"
    )  # fmt: skip
    assert (done.code, done.out) == (0, "")
    assert "wrote" in done.err
    assert r"\begin{tabular}" in (tmp_path / "r.tex").read_text()
    assert (tmp_path / "r.svg").exists()
    assert (tmp_path / "r_blob.png").exists()


def test_the_suffix_chooses_the_format_in_capitals_too(run, paths, tmp_path):
    run(*paths, "--out", tmp_path / "r.CSV")
    assert (tmp_path / "r.CSV").read_text().startswith("method,rank,")


def test_errors_name_file_and_remedy_and_exit_2(run, paths, tmp_path):
    short = write_scores(tmp_path / "short.csv", {"DSC": [0.5], "ECE": [0.5]}, method="short")
    done = run(*paths, short)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("calibeval: The methods do not have the same numbers: 'short' has no DSC of 'A/c1'")
    assert "--missing worst" in done.err
    assert run(*paths, short, "--missing", "drop").code == 0
    assert "Traceback" not in done.err


def test_when_every_case_failed_the_message_says_so(run, tmp_path):
    rows = [Row(name, "A", f"c{i}", "mean", "DSC", float("nan"), "", "failed", "x") for name in "xy" for i in range(3)]
    write_table(tmp_path / "all.csv", rows, signature=SIGNATURE)
    done = run(tmp_path / "all.csv")
    assert (done.code, done.out) == (2, "")
    assert "nothing can be compared: of 3, 3 failed or are missing for some method" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "xml"], "Unknown format 'xml'"),
        (["--json", "--format", "csv"], "--json contradicts --format csv"),
        (["--direction", "DSC"], "--direction takes NAME=lower"),
        (["--plot", "x.gif"], "a plot is written as .svg, .png or .pdf"),
        (["--alpha", "2"], "--alpha must lie between 0 and 1"),
        (["--blocks", "voxel"], "Unknown choice 'voxel' for --blocks"),
        (["--metrics", "HD95"], "No input holds the metric HD95"),
        (["--direction", "dics=lower"], "--direction speaks of dics"),
        (["--out", "x.html"], "--out x.html: unknown suffix. Known: .csv (csv)"),
        (["--bootstrap", "0", "--plot", "x_blob.svg"], "it needs --bootstrap"),
    ],
)
def test_refusals(run, paths, arguments, message):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    done = run(*paths, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_a_progress_bar_waits_for_a_terminal(monkeypatch):
    rank = import_module("calibeval.cli.rank")
    with rank._progress() as progress:
        assert progress is None
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(rank, "_PATIENCE_S", 0.0)
    with rank._progress() as progress:
        progress("bootstrap", 1, 2)
        progress("bootstrap", 2, 2)


def test_odd_numbers_and_places_are_messages(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for arguments, message in (
        (["--bootstrap", "1000000000000"], "--bootstrap must be at most 1,000,000, not 1,000,000,000,000."),
        (["--seed", "-1"], "--bootstrap and --seed must be zero or more."),
        (["-o", "file/x.csv"], "file: cannot be written to (File exists). Choose another folder with --out."),
        (["--plot", "file/x.svg"], "file: cannot be written to (File exists). Choose another folder with --out."),
    ):
        monkeypatch.setattr("sys.argv", ["calibeval", "rank", "none.csv", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        assert capsys.readouterr().err == f"calibeval: {message}\n"
