"""The one table of formats: all of it can be reached from the command line, and every writer stands in it."""

import inspect
import json
import math
from pathlib import Path

import pytest

from calibeval import exports
from calibeval.bins import bins_path
from calibeval.cli.outputs import OUTPUTS, output_of_name, output_of_path, outputs_of
from calibeval.errors import UsageError
from calibeval.foreign import read_scores
from calibeval.gates import formats as gate_formats
from calibeval.ranking import formats as rank_formats
from calibeval.table import Row, read_table, write_table
from tests.case_files import write_folders

NAN = math.nan
ROWS = [
    Row("m", "A", "c1", "LV", "DSC", 0.9),
    Row("m", "A", "c1", "RV", "DSC", 0.5),
    Row("m", "A", "c1", "mean", "DSC", 0.7),
    Row("m", "A", "c1", "all", "ECE", 0.1),
    Row("m", "A", "c2", "LV", "DSC", 0.8),
    Row("m", "A", "c2", "RV", "DSC", NAN, "", "both_empty"),
    Row("m", "A", "c2", "mean", "DSC", 0.8),
    Row("m", "A", "c2", "all", "ECE", 0.3),
    Row("m", "A", "pooled", "mean", "DSC", 0.75),
]


def test_every_writer_stands_in_the_table():
    written = {target for output in OUTPUTS for target in output.writers.values()}
    for module, start in ((rank_formats, "to_"), (gate_formats, "as_"), (exports, "")):
        for name, _ in inspect.getmembers(module, inspect.isfunction):
            if name.startswith(start) and not name.startswith("_") and name not in ("finite", "overall_class"):
                home = "calibeval.gates.junit" if name == "as_junit" else module.__name__
                assert f"{home}:{name}" in written, name


@pytest.mark.parametrize("command", ["rank", "check", "score"])
def test_every_format_is_reached_by_name_and_by_file(command, cli):
    helped = " ".join(cli(command, "--help").out.split())
    for name, output in outputs_of(command).items():
        assert name in helped
        assert output_of_name(command, name) is output
        assert callable(output.writer(command))
        if output.suffix:
            path = Path("x") / (output.file.upper() or f"any{output.suffix.upper()}")
            assert output_of_path(command, path) is output
    with pytest.raises(UsageError, match=r"--out a.xlsx: unknown suffix. Known: "):
        output_of_path(command, Path("a.xlsx"))
    with pytest.raises(UsageError, match="Unknown format 'x'"):
        output_of_name(command, "x")


def test_grand_challenge():
    content = json.loads(exports.grand_challenge(ROWS))
    assert content["results"] == [
        {"case": "c1", "DSC_LV": 0.9, "DSC_RV": 0.5, "DSC": 0.7, "ECE": 0.1},
        {"case": "c2", "DSC_LV": 0.8, "DSC_RV": None, "DSC": 0.8, "ECE": 0.3},
    ]
    dsc = content["aggregates"]["DSC"]
    assert dsc["mean"] == pytest.approx(0.75)
    assert dsc["std"] == pytest.approx(math.sqrt(0.005))
    assert (dsc["min"], dsc["max"], dsc["count"]) == (0.7, 0.8, 2)
    assert content["aggregates"]["DSC_RV"] == {"mean": 0.5, "std": None, "min": 0.5, "max": 0.5, "count": 1}


def test_nnunets_summary_reads_back(tmp_path):
    content = json.loads(exports.nnunet_summary(ROWS))
    assert content["mean"]["LV"]["Dice"] == pytest.approx(0.85)
    assert content["foreground_mean"] == {"Dice": pytest.approx(0.675)}
    assert content["metric_per_case"][1]["metrics"] == {"LV": {"Dice": 0.8}, "RV": {"Dice": None}}
    path = tmp_path / "m" / "summary.json"
    path.parent.mkdir()
    path.write_text(exports.nnunet_summary(ROWS))
    frame = read_scores(path)[1]
    means = frame[frame["class"] == "mean"].set_index("case")["value"]
    assert means.to_dict() == pytest.approx({"c1": 0.7, "c2": 0.8})


def test_flat_numbers():
    assert json.loads(exports.flat(ROWS)) == {
        "DSC/LV": pytest.approx(0.85), "DSC/RV": 0.5, "DSC": pytest.approx(0.75), "ECE": pytest.approx(0.2),
        "DSC/pooled": 0.75,
    }  # fmt: skip


def test_score_writes_its_table_and_all_that_is_named(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    preds, labels = write_folders(tmp_path)
    outs = ["t.CSV", "metrics.json", "x/summary.json", "flat.json", "own.json"]
    outcome = cli("score", preds, labels, "--metrics", "DSC", *(word for out in outs for word in ("--out", out)))
    assert outcome.code == 0
    frame = read_table(Path("t.CSV"))[1]
    assert bins_path(Path("t.CSV")) == Path("t.bins.npz")
    assert Path("t.bins.npz").is_file()
    mean = frame[(frame["class"] == "mean") & (frame["case"] != "pooled")]["value"].mean()
    assert json.loads(Path("metrics.json").read_text())["aggregates"]["DSC"]["mean"] == pytest.approx(mean)
    assert json.loads(Path("flat.json").read_text())["DSC"] == pytest.approx(mean)
    assert len(json.loads(Path("x/summary.json").read_text())["metric_per_case"]) == 3
    assert json.loads(Path("own.json").read_text())["methods"][0]["table"] == "t.CSV"
    assert json.loads(cli("score", preds, labels, "--metrics", "DSC", "--format", "flat").out)["DSC"] == pytest.approx(
        mean
    )


@pytest.mark.parametrize(
    ("outs", "words"),
    [
        (["scores.xlsx"], "--out scores.xlsx: unknown suffix. Known: .json"),
        (["a.csv", "b.csv"], "--out a.csv and b.csv: there is one table a method"),
    ],
)
def test_a_path_that_is_no_table_and_no_format_is_refused(tmp_path, monkeypatch, cli, outs, words):
    monkeypatch.chdir(tmp_path)
    preds, labels = write_folders(tmp_path)
    outcome = cli("score", preds, labels, *(word for out in outs for word in ("--out", out)))
    assert outcome.code == 2
    assert words in outcome.err
    assert not any(Path(out).exists() for out in outs)


def test_one_file_does_not_hold_several_methods(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path, method="net1")
    _, labels = write_folders(tmp_path, method="net2")
    outcome = cli("score", tmp_path / "preds", labels, "--out", "metrics.json")
    assert (outcome.code, "holds one method, and there are 2" in outcome.err) == (2, True)


def test_check_writes_the_numbers_of_its_table(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    write_table(Path("t.csv"), ROWS, signature="")
    arguments = ["check", "t.csv", "--gate", "mean(DSC) >= 0", "--out", "metrics.json"]
    outcome = cli(*arguments, "--format", "flat")
    assert json.loads(outcome.out)["DSC"] == pytest.approx(0.75)
    assert len(json.loads(Path("metrics.json").read_text())["results"]) == 2
