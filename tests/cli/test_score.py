"""`calibeval score`: what it prints where, what it writes, and what names do to it."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibeval import read_table, score_folder
from calibeval.bins import read_bins
from calibeval.metrics import CAUTIONS, DEFAULT, METRICS, PAPER, select_metrics
from calibeval.protocol import make_protocol
from calibeval.summary import summarise
from calibeval.table import COLUMNS, STATUSES
from tests.case_files import NAMES, make_case, write_folders, write_names, write_nifti, write_npz

# under `paper`, which has CECE over all voxels
SAID = [
    "ECE, ACE, MCE: over reference-foreground voxels, which the outcome selects, a calibrated model does not get 0.",
    CAUTIONS["pECE"],
    CAUTIONS["bECE"],
]


@pytest.fixture
def data(tmp_path):
    return write_folders(tmp_path)


def test_the_table_opens_in_plain_pandas_and_says_what_it_is(data, cli):
    preds, labels = data
    assert cli("score", preds, labels, "--metrics", "all,lesions").code == 0
    path = Path("results/m.csv")
    frame = pd.read_csv(path)
    assert tuple(frame.columns) == (*COLUMNS, "about")
    about = json.loads(frame["about"].dropna().item())
    assert about["calibeval"].startswith("0.")
    assert about["signature"] == make_protocol().signature
    assert about["command"] == f"calibeval score {preds} {labels} --metrics all,lesions"
    assert about["notes"] == SAID
    assert about["rows"] == len(frame)
    assert set(frame["status"]) <= set(STATUSES)
    assert set(frame["metric"]) == set(select_metrics("all,lesions"))
    assert set(frame["case"]) == {"a", "b", "c", "pooled"}
    header, same = read_table(path)
    assert header.command == about["command"]
    assert len(same) == len(frame)


def test_classes_rows_and_units(data, cli):
    assert cli("score", *data, "--metrics", "all,lesions").code == 0
    frame = pd.read_csv("results/m.csv", comment="#", keep_default_na=False)
    one = frame[frame["case"] == "a"]
    rows = {metric: list(part["class"]) for metric, part in one.groupby("metric")}
    masks, classes = ["RV", "LV", "mean"], ["background", "RV", "LV", "all"]
    for name, metric in ((name, METRICS[name]) for name in select_metrics("all,lesions")):
        expected = ["all"] if metric.rows == ("all",) else classes if "all" in metric.rows else masks
        assert rows[name] == expected, name
    units = dict(zip(one["metric"], one["unit"], strict=True))
    assert {name for name, unit in units.items() if unit == "mm"} == {"HD95", "HD", "ASSD"}
    assert units["VD"] == "mL"
    pooled = set(frame[frame["case"] == "pooled"]["metric"])
    assert pooled == {name for name, metric in METRICS.items() if metric.pooled}


def test_default_metrics_and_the_five_of_the_paper_alone(data, scored):
    assert set(scored(*data)["metric"]) == set(DEFAULT)
    assert set(scored(*data, "--metrics", "paper")["metric"]) == set(PAPER)
    assert set(scored(*data, "--metrics", "hd95,brier")["metric"]) == {"HD95", "Brier"}


def test_the_dataset_is_that_of_dataset_json_or_the_folder_or_the_option(data, scored):
    preds, labels = data
    assert set(scored(preds, labels)["dataset"]) == {"labels"}
    write_names(labels, name="Heart, phantom #1")
    assert set(scored(preds, labels)["dataset"]) == {"Heart, phantom #1"}
    assert set(scored(preds, labels, "--dataset", "X")["dataset"]) == {"X"}


def test_the_side_file_pools_to_the_pooled_rows(data, scored):
    frame = scored(*data)
    side = read_bins(Path("results/m.bins.npz"))
    assert side.class_names == NAMES
    assert side.signature == make_protocol().signature
    assert list(side.cases) == ["a", "b", "c"]
    confusion = np.sum([case[""].confusion for case in side.cases.values()], axis=0)
    np.testing.assert_array_equal(side.pooled()[""].confusion, confusion)
    dsc = 2 * confusion[1, 1] / (confusion[1].sum() + confusion[:, 1].sum())
    pooled = frame[(frame["case"] == "pooled") & (frame["class"] == "RV") & (frame["metric"] == "DSC")]
    assert pooled["value"].item() == pytest.approx(dsc)


def test_results_go_to_stdout_and_the_rest_to_stderr(data, cli):
    preds, labels = data
    write_nifti(preds / "lonely.nii.gz", make_case()[0])
    outcome = cli("score", preds, labels)
    assert outcome.code == 0
    assert outcome.err == "calibeval: m: predictions without a label (1): lonely\n"
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["method", "metric", "mean", "95%", "interval", "n", "pooled"]
    assert lines[1].split()[:3] == ["m", "DSC", "↑"]
    assert lines[-1] == "wrote results/m.csv"
    assert f"signature: {make_protocol().signature}" in lines
    assert "pECE is not 0 for a calibrated model" in outcome.out
    assert not any(character in outcome.out + outcome.err for character in "\x1b\r█━")


def test_three_cases_have_a_mean_and_no_interval(data, cli):
    outcome = cli("score", *data, "--metrics", "ECE")
    row = outcome.out.splitlines()[1].split()
    assert row[:3] == ["m", "ECE", "↓"]
    assert row[4] == "3"
    assert "to" not in row
    assert "- no interval: fewer than 5 cases with a value" in outcome.out


def test_the_printed_mean_is_that_of_the_cases_with_its_interval(tmp_path, cli):
    data = write_folders(tmp_path, cases=5)
    outcome = cli("score", *data, "--metrics", "ECE")
    frame = pd.read_csv("results/m.csv", comment="#")
    values = frame[frame["case"] != "pooled"]["value"]
    (row,) = summarise(score_folder(*data, metrics="ECE").methods[0].rows)
    assert row.mean == pytest.approx(values.mean())
    assert row.low <= row.mean <= row.high
    mean, low, high, pooled = (f"{value:.4f}" for value in (row.mean, row.low, row.high, row.pooled))
    assert outcome.out.splitlines()[1].split()[3:] == [mean, low, "to", high, "5", pooled]


def test_quiet_prints_nothing(data, cli):
    preds, labels = data
    write_nifti(preds / "lonely.nii.gz", make_case()[0])
    outcome = cli("score", preds, labels, "--quiet")
    assert outcome == (0, "", "")


def test_json_is_json_without_nan(data, cli):
    preds, labels = data
    empty = np.zeros_like(make_case()[1])
    write_nifti(labels / "a.nii.gz", empty)  # an empty reference leaves distances undefined
    outcome = cli("score", preds, labels, "--json", "--metrics", "all")

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(outcome.out, parse_constant=refuse)
    assert found["cautions"] == SAID
    (method,) = found["methods"]
    assert outcome.err == ""
    assert method["method"] == "m"
    assert method["table"] == "results/m.csv"
    assert method["signature"] == make_protocol().signature
    assert method["errors"] == {}
    rows = {(row["metric"], row["class_name"]): row for row in method["metrics"]}
    assert rows["HD95", "mean"]["n"] == 2
    assert rows["HD95", "mean"]["statuses"] == {"empty_reference": 1, "ok": 2}
    assert rows["VD", "mean"]["pooled"] is None


def test_json_of_infinite_distances_is_null(data, cli):
    write_nifti(data[1] / "a.nii.gz", np.zeros_like(make_case()[1]))
    outcome = cli("score", *data, "--json", "--hd95", "deepmind")
    rows = {(row["metric"], row["class_name"]): row for row in json.loads(outcome.out)["methods"][0]["metrics"]}
    assert rows["HD95", "mean"]["mean"] is None
    assert rows["HD95", "mean"]["low"] is None


def test_the_dry_run_says_what_belongs_together_and_why(data, cli):
    preds, labels = data
    write_npz(preds / "a.npz", probabilities=make_case(0)[0])
    write_nifti(preds / "a.nii.gz", make_case(0)[0].argmax(axis=0).astype(np.uint8))
    write_nifti(preds / "lonely.nii.gz", make_case()[0])
    (preds / "c.nii.gz").unlink()
    outcome = cli("score", preds, labels, "--dry-run")
    assert outcome.code == 3
    assert outcome.err == ""
    text = outcome.out
    assert f"classes: background, RV, LV (from {labels / 'dataset.json'})" in text
    assert f"signature: {make_protocol().signature}" in text
    assert "m: 3 cases, paired by NPZ beside a label map, its name" in text
    assert f"label       {labels / 'a.nii.gz'}: uint8, 4 x 5 x 6 (slowest axis first), spacing 8, 1.5, 1.25 mm" in text
    assert f"prediction  {preds / 'a.npz'}: float32 probabilities, classes first" in text
    assert f"beside it   {preds / 'a.nii.gz'}: label map to check against" in text
    assert f"PROBLEM: {labels / 'c.nii.gz'}: has no prediction (no prediction of this name)." in text
    assert "lonely: a prediction without a label; not scored" in text
    assert not Path("results").exists()


def test_two_methods_give_two_tables(tmp_path, cli):
    write_folders(tmp_path, method="one")
    _, labels = write_folders(tmp_path, method="two")
    (tmp_path / "preds" / "empty").mkdir()
    (tmp_path / "preds" / "empty" / "log.txt").touch()
    outcome = cli("score", tmp_path / "preds", labels)
    assert outcome.code == 0
    assert outcome.err == f"calibeval: {tmp_path / 'preds' / 'empty'} holds no prediction and is left out\n"
    assert outcome.out.count("wrote results/") == 2
    for name in ("one", "two"):
        assert set(pd.read_csv(f"results/{name}.csv", comment="#")["method"]) == {name}


def test_methods_of_different_classes_fail_apart(tmp_path, cli):
    _, labels = write_folders(tmp_path, method="three")
    for name in "abc":
        write_nifti(tmp_path / "preds" / "two" / f"{name}.nii.gz", np.full((4, 4, 5, 6), 0.25, np.float32))
    outcome = cli("score", tmp_path / "preds", labels)
    assert outcome.code == 3
    assert outcome.err.count("holds 4 classes, but") == 1
    assert "two: 3 cases (a, b, c): " in outcome.err
    (labels / "dataset.json").unlink()
    outcome = cli("score", tmp_path / "preds", labels)
    assert outcome.code == 3
    assert "holds 4 classes, but the first prediction that can be read gives 3: 0, 1, 2." in outcome.err


def test_out_is_a_file_or_a_folder(data, cli):
    assert cli("score", *data, "--out", "x/y.csv").code == 0
    assert Path("x/y.csv").exists()
    assert Path("x/y.bins.npz").exists()
    assert cli("score", *data, "--out", "folder.v1").code == 0
    assert Path("folder.v1/m.csv").exists()
    assert sorted(path.name for path in Path("x").iterdir()) == ["y.bins.npz", "y.csv"]


def test_results_that_are_there_already_are_replaced(data, cli):
    Path("results").mkdir()
    Path("results/m.csv").write_text("old")
    assert cli("score", *data).code == 0
    assert "old" not in Path("results/m.csv").read_text()


NASTY = [
    "with space",
    "ünï-çødé-心",
    "comma, and 'quotes' \"both\"",
    "hash # inside",
    "[bold]markup[x] :heart:",
    "--option",
    "50% {case} $HOME `x` \\n",
    "x" * 200,
    "NA",
    "1e5",
    "-",
]


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names_survive_the_whole_way(name, tmp_path, cli):
    probabilities, label = make_case()
    write_nifti(tmp_path / "preds" / name / f"{name}.nii.gz", probabilities)
    write_nifti(tmp_path / "labels" / f"{name}.nii.gz", label)
    write_names(tmp_path / "labels", {"background": 0, name: 1, "other": 2})
    outcome = cli("score", tmp_path / "preds", tmp_path / "labels", "--resume")
    assert outcome.code == 0, outcome.err
    assert name in outcome.out
    path = Path("results") / f"{name}.csv"
    _, frame = read_table(path)
    assert set(frame["method"]) == {name}
    assert set(frame["case"]) == {name, "pooled"}
    assert name in set(frame["class"])
    assert set(frame["status"]) == {"ok"}
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert list(read_bins(path.with_name(f"{name}.bins.npz")).cases) == [name]
    assert name in cli("score", tmp_path / "preds", tmp_path / "labels", "--dry-run").out
    (method,) = json.loads(cli("score", tmp_path / "preds", tmp_path / "labels", "--json").out)["methods"]
    assert method["method"] == name


def test_a_long_table_is_not_cut_in_a_pipe(tmp_path, cli):
    name = "n" * 150
    _, labels = write_folders(tmp_path, method=name)
    outcome = cli("score", tmp_path / "preds", labels)
    line = next(line for line in outcome.out.splitlines() if line.startswith(name))
    assert line.split()[1:3] == ["DSC", "↑"]
    assert "…" not in outcome.out


def test_methods_and_cases_may_be_named_like_parts_of_the_table(tmp_path, scored):
    _, labels = write_folders(tmp_path, method="pooled")
    for name in ("all", "mean"):
        write_nifti(tmp_path / "preds" / "pooled" / f"{name}.nii.gz", make_case()[0])
        write_nifti(labels / f"{name}.nii.gz", make_case()[1])
    frame = scored(tmp_path / "preds", labels, table="results/pooled.csv")
    assert set(frame["case"]) == {"a", "b", "c", "all", "mean", "pooled"}
    assert set(frame["method"]) == {"pooled"}


def test_a_manifest_scores_what_it_names(data, cli):
    preds, labels = data
    rows = [
        "case,prediction,reference,method",
        f"x,{preds / 'a.nii.gz'},{labels / 'a.nii.gz'},m1",
        f"y,{preds / 'b.nii.gz'},{labels / 'b.nii.gz'},m1",
        f"x,{preds / 'gone.nii.gz'},{labels / 'a.nii.gz'},m2",
        f"y,{preds / 'b.nii.gz'},{labels / 'b.nii.gz'},m2",
    ]
    (labels / "cases.csv").write_text("\n".join(rows) + "\n")
    outcome = cli("score", "--manifest", labels / "cases.csv")
    assert outcome.code == 3
    assert f"m2/x: no prediction for {labels / 'a.nii.gz'} (the manifest names {preds / 'gone.nii.gz'}" in outcome.err
    _, frame = read_table(Path("results/m2.csv"))
    assert set(frame[frame["case"] == "x"]["status"]) == {"missing"}


@pytest.mark.parametrize("column", ["prediction", "reference"])
def test_a_name_in_a_manifest_that_no_file_can_have_is_told_with_its_line(column, data, cli):
    preds, labels = data
    row = {"case": "x", "prediction": preds / "a.nii.gz", "reference": labels / "a.nii.gz", column: "x" * 5000}
    (labels / "cases.csv").write_text("\n".join([",".join(row), ",".join(map(str, row.values()))]) + "\n")
    outcome = cli("score", "--manifest", labels / "cases.csv")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"calibeval: {labels / 'cases.csv'}: line 2: File name too long.\n"


def run(*arguments, **environment):
    """A process of its own."""
    command = [sys.executable, "-m", "calibeval", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False, encoding="utf-8"
    )


def test_a_process_of_its_own_gives_code_stdout_and_stderr(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("score", *data, "--metrics", "DSC")
    assert (done.returncode, done.stderr) == (0, "")
    (data[0] / "b.nii.gz").write_bytes(b"broken")
    done = run("score", *data, "--metrics", "DSC", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["methods"][0]["errors"].keys() == {"b"}
    assert done.stderr.startswith("calibeval: m/b: ")
    assert "Traceback" not in done.stderr


def test_a_terminal_without_arrows_gets_question_marks(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("score", *data, "--metrics", "DSC", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "DSC ?" in done.stdout


@pytest.mark.parametrize("option", ["--json", "--metrics=DSC"])
def test_a_reader_that_leaves_early_is_no_error(option, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = f"set -o pipefail; {sys.executable} -m calibeval score {data[0]} {data[1]} {option} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="closes a stream as POSIX shells do")
def test_stderr_may_be_closed(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = f"{sys.executable} -m calibeval score {data[0]} {data[1]} --metrics DSC 2>&-"
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=False).returncode == 0


def read_terminal(leader):
    """All that is written until the other end is closed, which Linux tells as an error."""
    parts = []
    with contextlib.suppress(OSError):
        while part := os.read(leader, 1 << 16):
            parts.append(part)
    os.close(leader)
    return b"".join(parts).decode()


def test_a_terminal_shows_a_progress_bar(data, tmp_path, monkeypatch):
    """The same command on a pseudo terminal; names with markup in them do not break it."""
    pty = pytest.importorskip("pty")
    monkeypatch.chdir(tmp_path)
    preds, labels = data
    for folder in data:
        (folder / "a.nii.gz").rename(folder / "[b]a[x].nii.gz")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "calibeval", "score", str(preds), str(labels), "--metrics", "DSC"]
    terminal = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, stderr=follower, stdout=subprocess.PIPE, env=terminal) as process:
        os.close(follower)
        shown = read_terminal(leader)
        process.communicate()
    assert process.returncode == 0
    assert "scoring" in shown
    assert "3/3" in shown
    assert "Traceback" not in shown
