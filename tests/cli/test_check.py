"""`calibeval check` from the outside: what it reads, what it prints, how it exits; and the degraded phantom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel
import numpy as np
import pytest

from calibeval.phantom import METHODS, sharpen, write_sample_data
from calibeval.table import read_table, write_table
from tests import ROOT
from tests.case_files import read_nifti, write_folders, write_nifti, write_npz
from tests.gates.helpers import SIGNATURE, rows_of, write_scores

ECE = {"ECE": [0.01, 0.02, 0.03, 0.02, 0.01]}


@pytest.fixture
def table(tmp_path):
    return write_scores(tmp_path / "new.csv", ECE)


# --- a table ---------------------------------------------------------------------------------------------------------


def test_passing_and_failing_gates(cli, table):
    done = cli("check", table, "--gate", "mean(ECE) <= 0.05")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{table}, method m",
        "PASSED     mean(ECE) <= 0.05          0.018, 5 cases",
        "PASSED     no case failed or missing  5 cases",
        "passed (2 passed)",
    ]
    done = cli("check", table, "--gate", "mean(ECE) <= 0.01", "--gate", "max(ECE) <= 1")
    assert done.code == 1
    assert "FAILED     mean(ECE) <= 0.01" in done.out
    assert done.out.splitlines()[2].strip() == "c2: 0.03"
    assert done.out.splitlines()[-1] == "not passed (1 failed, 2 passed)"


def test_a_warning_passes_and_what_cannot_be_decided_does_not(cli, table):
    assert cli("check", table, "--warn", "mean(ECE) <= 0.01").code == 0
    done = cli("check", table, "--gate", "mean(NLL) <= 1")
    assert done.code == 2
    assert "ERROR      mean(NLL) <= 1" in done.out
    assert cli("check", table, "--gate", "mean(NLL) <= 1", "--gate", "mean(ECE) <= 0").code == 1


def test_unscored_cases_exit_with_3(cli, tmp_path):
    path = write_scores(tmp_path / "new.csv", {"ECE": [0.1, float("nan")]}, statuses={1: "failed"})
    done = cli("check", path, "--gate", "mean(ECE) <= 0.5")
    assert done.code == 3
    assert "INCOMPLETE no case failed or missing  1 of 2 cases, and no gate allows that" in done.out


def test_gates_of_a_file_and_of_pyproject(cli, table, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.calibeval.gates]\nfail = ["mean(ECE) <= 0.001"]\n')
    assert cli("check", table).code == 1
    (tmp_path / "gates.toml").write_text('fail = ["mean(ECE) <= 0.05"]\n')
    assert cli("check", table, "--gates", "gates.toml").code == 0
    assert cli("check", table, "--gates", "gates.toml", "--gate", "max(ECE) <= 0.01").code == 1


def test_baseline(cli, table, tmp_path):
    worse = write_scores(tmp_path / "worse.csv", {"ECE": [0.03, 0.04, 0.06, 0.04, 0.03]})
    done = cli("check", table, "--baseline", worse, "--margin", "ECE=0.001")
    assert done.code == 0
    assert f"{table}, baseline {worse}, method m" in done.out
    assert "better by 0.022 in the mean" in done.out
    done = cli("check", worse, "--baseline", table, "--margin", "ECE=0.01")
    assert done.code == 1
    assert "c2: 0.06, was 0.03" in done.out
    (tmp_path / "gates.toml").write_text("[margins]\nECE = 0.01\n")
    assert cli("check", worse, "--baseline", table, "--gates", "gates.toml").code == 1
    assert cli("check", worse, "--baseline", table, "--gates", "gates.toml", "--margin", "ECE=0.1").code == 0
    other = write_scores(tmp_path / "guo.csv", ECE, signature="guo|x")
    assert cli("check", table, "--baseline", other, "--margin", "ECE=0.1").code == 2


def test_margins_that_are_not_compared_are_spoken_of(cli, table, tmp_path):
    (tmp_path / "gates.toml").write_text('fail = ["mean(ECE) <= 1"]\nmargins = { ECE = 0.01 }\n')
    done = cli("check", table, "--gates", "gates.toml")
    assert done.code == 0
    assert "note: the margins of gates.toml need --baseline and were not compared" in done.out
    assert "note:" not in cli("check", table, "--gates", "gates.toml", "--baseline", table).out


def test_options_of_scoring_are_read_though_nothing_is_scored(cli, table, tmp_path):
    (tmp_path / "gates.toml").write_text('fail = ["mean(ECE) <= 1"]\nscore = { protocl = "guo" }\n')
    done = cli("check", table, "--gates", "gates.toml")
    assert (done.code, done.out) == (2, "")
    assert "gates.toml: unknown option 'protocl' of score" in done.err


def test_several_methods(cli, tmp_path):
    path = tmp_path / "all.csv"
    write_table(path, rows_of(ECE, method="a") + rows_of({"ECE": [0.5]}, method="b"), signature=SIGNATURE)
    done = cli("check", path, "--gate", "mean(ECE) <= 0.05")
    assert (done.code, done.out) == (2, "")
    assert "all.csv holds the methods a, b: name one with --method" in done.err
    assert cli("check", path, "--gate", "mean(ECE) <= 0.05", "--method", "a").code == 0
    assert cli("check", path, "--gate", "mean(ECE) <= 0.05", "--method", "b").code == 1
    (tmp_path / "gates.toml").write_text('method = "b"\nfail = ["mean(ECE) <= 0.05"]\n')
    assert cli("check", path, "--gates", "gates.toml").code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new.csv"], "No gate to decide. Give --gate, --gates or --baseline"),
        (["no.csv", "--gate", "mean(ECE) <= 1"], "no.csv: cannot be read"),
        (["no_folder"], "no_folder: no such file or folder"),
        (
            ["new.xlsx", "--gate", "mean(ECE) <= 1"],
            "new.xlsx: expected a results table (.csv), or predictions (.nii.gz",
        ),
        (["new.csv", "--gates", "no.toml"], "no.toml: cannot be read"),
        (["new.csv", "--gate", "mean(ECE)"], "expected AGGREGATE(METRIC) <= BOUND"),
        (["new.csv", "--margin", "ECE=1"], "give --baseline"),
        (["new.csv", "--baseline", "new.csv"], "Give --margin, as in DSC=0.01"),
        (["new.csv", "--baseline", "new.csv", "--margin", "ECE"], "expected METRIC=NUMBER"),
        (["new.csv", "labels", "--gate", "mean(ECE) <= 1"], "LABELS belongs to predictions"),
        (["new.csv", "--images", "x", "--table", "y.csv"], "--images, --table belongs to predictions"),
        (["new.csv", "--gate", "mean(ECE) <= 1", "--out", "x.docx"], "--out x.docx: unknown suffix"),
        (["preds", "--init"], "--init drafts gates from a results table"),
    ],
)
def test_usage_errors_are_one_message_and_exit_with_2(cli, table, arguments, message):
    table.with_suffix(".xlsx").write_bytes(b"PK")
    done = cli("check", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("calibeval: ")


def test_init_writes_a_file_that_passes_and_overwrites_only_by_force(cli, table, tmp_path):
    done = cli("check", table, "--init")
    assert (done.code, done.out) == (0, f"wrote gates.toml; check with: calibeval check {table} --gates gates.toml\n")
    first = (tmp_path / "gates.toml").read_text()
    assert "mean(ECE) <= 0.0230" in first
    assert cli("check", table, "--gates", "gates.toml").code == 0
    done = cli("check", table, "--init")
    assert done.code == 2
    assert "gates.toml exists. Give another name with --gates, or --force" in done.err
    (tmp_path / "gates.toml").write_text("mine")
    assert cli("check", table, "--init", "--force", "--quiet").out == ""
    assert (tmp_path / "gates.toml").read_text() == first
    assert cli("check", table, "--init", "--gates", "other.toml").code == 0
    assert (tmp_path / "other.toml").read_text() == first


def test_init_takes_bounds_from_the_spread_over_runs(cli, table, tmp_path):
    """Means .018, .028, .038: sd .01, t(.975, 2 df) = 4.303, .028 + 4.303 * .01 * sqrt(4/3) = .0777."""
    more = [write_scores(tmp_path / f"{i}.csv", {"ECE": [v + i / 100 for v in ECE["ECE"]]}) for i in (1, 2)]
    assert cli("check", table, "--init", "--also", more[0], "--also", more[1]).code == 0
    assert '"mean(ECE) <= 0.078",' in (tmp_path / "gates.toml").read_text()
    for run in (table, *more):
        assert cli("check", run, "--gates", "gates.toml", "--baseline", table).code == 0
    done = cli("check", table, "--init", "--force", "--also", more[0])
    assert (done.code, "take 3 runs at least" in done.err) == (2, True)
    done = cli("check", table, "--gates", "gates.toml", "--also", more[0])
    assert (done.code, "use it with --init" in done.err) == (2, True)


# --- formats ---------------------------------------------------------------------------------------------------------


def test_formats_of_stdout_and_files(cli, table, tmp_path):
    arguments = ("check", table, "--gate", "mean(ECE) <= 0.01")
    assert json.loads(cli(*arguments, "--format", "json").out)["exit_code"] == 1
    assert cli(*arguments, "--format", "markdown").out.startswith("### calibeval check: not passed")
    assert '<testcase name="mean(ECE) &lt;= 0.01"' in cli(*arguments, "--format", "junit").out
    done = cli(*arguments, "--quiet", "--out", "r/x.xml", "--out", "x.md", "--out", "x.json", "--out", "x.txt")
    assert (done.code, done.out) == (1, "")
    assert (tmp_path / "r" / "x.xml").read_text() == cli(*arguments, "--format", "junit").out
    assert (tmp_path / "x.txt").read_text() == cli(*arguments).out


def test_junit_without_its_library_is_refused_before_the_work(cli, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "junitparser", None)
    for arguments in (("--format", "junit"), ("--out", "x.xml")):
        done = cli("check", table, "--gate", "mean(ECE) <= 0.01", *arguments)
        assert (done.code, done.out) == (2, "")
        assert "pip install 'calibeval[junit]'" in done.err


def test_github_annotates_and_appends_the_summary(cli, table, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = cli("check", table, "--gate", "mean(ECE) <= 0.01", "--format", "github")
    assert done.out.splitlines()[-1].startswith("::error title=calibeval%3A gate failed::mean(ECE) <= 0.01: 0.018")
    assert summary.read_text(encoding="utf-8").startswith("### calibeval check: not passed")
    size = summary.stat().st_size
    cli("check", table, "--gate", "mean(ECE) <= 0.01")
    assert summary.stat().st_size == size


def test_a_summary_that_cannot_be_written_hides_no_result(cli, table, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "summary.md"))
    done = cli("check", table, "--gate", "mean(ECE) <= 0.01", "--format", "github")
    assert done.code == 2
    assert "::error title=calibeval%3A gate failed::" in done.out
    assert "$GITHUB_STEP_SUMMARY names" in done.err
    assert "which cannot be written: No such file or directory" in done.err


def test_a_console_that_knows_ascii_only_gets_utf8(table):
    command = [sys.executable, "-m", "calibeval", "check", table, "--gate", "mean(ECE) <= 1", "--format", "markdown"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "✅ passed" in done.stdout.decode("utf-8")


# --- predictions -----------------------------------------------------------------------------------------------------


def test_predictions_alone_are_checked_as_files(cli, tmp_path):
    preds, labels = write_folders(tmp_path)
    done = cli("check", preds)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "passed (7 passed, 4 skipped)"
    assert cli("check", preds, "--images", labels).out.splitlines()[-1] == "passed (10 passed, 1 skipped)"
    assert (
        cli("check", preds, labels, "--integrity").out == cli("check", preds, labels, "--integrity", "--workers", 2).out
    )
    write_nifti(preds / "b.nii.gz", np.full((3, 4, 5, 6), np.nan, np.float32))
    done = cli("check", preds, "--format", "json")
    assert done.code == 1
    (finding,) = json.loads(done.out)["findings"]
    assert finding["rule"] == "finite"
    assert finding["file"] == str(preds / "b.nii.gz")


def test_gates_of_pyproject_are_not_passed_over_in_silence(cli, tmp_path):
    preds, _ = write_folders(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.calibeval.gates]\nfail = ["mean(ECE) <= 1"]\n')
    done = cli("check", preds)
    assert done.code == 0
    assert "note: the gates of pyproject.toml [tool.calibeval.gates] need LABELS and were not decided" in done.out


def test_severities_of_rules_come_from_the_gates_file(cli, tmp_path):
    preds, labels = write_folders(tmp_path)
    shutil.copy(preds / "a.nii.gz", preds / "z.nii.gz")
    assert cli("check", preds, labels, "--integrity").code == 0
    (tmp_path / "pyproject.toml").write_text('[tool.calibeval.gates]\nintegrity = { extra = "fail" }\n')
    assert cli("check", preds, labels, "--integrity").code == 1


def test_predictions_are_scored_first(cli, tmp_path):
    preds, labels = write_folders(tmp_path)
    (tmp_path / "gates.toml").write_text(
        'fail = ["mean(ECE) <= 1", "n_empty <= 3"]\nscore = { protocol = "guo", bins = 10, spacing = [1.0, 1, 1] }\n'
    )
    done = cli("check", preds, labels, "--gates", "gates.toml", "--table", "new.csv")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{preds} against {labels}, method m")
    header, frame = read_table(tmp_path / "new.csv")
    assert header.signature.startswith("guo|ECE:top,all,10bins")
    assert set(frame["metric"]) == {"ECE", "DSC"}  # empty masks are counted in an overlap
    assert cli("check", "new.csv", "--gates", "gates.toml").out.splitlines()[1:] == done.out.splitlines()[1:]
    done = cli("check", preds, labels, "--gate", "mean(ECE) <= 1", "--protocol", "nacl", "--table", "new.csv")
    assert read_table(tmp_path / "new.csv")[0].signature.startswith("nacl|")
    both = cli("check", preds, labels, "--gates", "gates.toml", "--integrity")
    assert both.out.splitlines()[-1] == "passed (13 passed, 1 skipped)"


def test_labels_inside_the_files_are_found(cli, tmp_path):
    random = np.random.default_rng(0).random((3, 4, 5))
    probabilities = (random / random.sum(axis=0)).astype(np.float32)
    write_npz(tmp_path / "m" / "a.npz", probs=probabilities, label=probabilities.argmax(axis=0).astype(np.uint8))
    assert cli("check", "m", "--gate", "mean(DSC) >= 1", "--integrity").code == 0
    assert cli("check", "m").code == 0


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('score = { protocl = "guo" }', "unknown option 'protocl' of score. Known: protocol"),
        ('score = { bins = "10" }', "score option bins is '10'; expected int"),
        ('score = { protocol = "x" }', "Unknown protocol 'x'"),
        ('method = "other"', "holds no method 'other', only m"),
    ],
)
def test_bad_options_of_scoring(cli, tmp_path, toml, message):
    preds, labels = write_folders(tmp_path, cases=1)
    (tmp_path / "gates.toml").write_text(toml + '\nfail = ["mean(ECE) <= 1"]\n')
    done = cli("check", preds, labels, "--gates", "gates.toml")
    assert done.code == 2
    assert message in done.err


def test_predictions_without_gates_or_with_several_methods(cli, tmp_path):
    preds, labels = write_folders(tmp_path, cases=1)
    write_folders(tmp_path, cases=1, method="n")
    done = cli("check", preds, labels)
    assert done.code == 2
    assert "No gate to decide. Give --gate, --gates or --baseline with --margin. Or --integrity" in done.err
    done = cli("check", preds.parent, labels, "--gate", "mean(ECE) <= 1")
    assert done.code == 2
    assert "holds the methods m, n: name one with --method" in done.err
    assert cli("check", preds.parent, labels, "--gate", "mean(ECE) <= 1", "--method", "n").code == 0
    assert cli("check", preds.parent, labels, "--integrity", "--method", "n").out.count("1 case\n") == 10


def test_when_no_case_can_be_scored_nothing_is_decided(cli, tmp_path):
    preds, labels = write_folders(tmp_path, cases=1)
    write_nifti(preds / "a.nii.gz", np.full((3, 4, 5, 6), np.nan, np.float32))
    done = cli("check", preds, labels, "--gate", "n_failed <= 5")
    assert (done.code, done.out) == (2, "")
    assert "m/a: " in done.err
    assert "No case could be scored" in done.err


# --- the phantom, degraded on purpose --------------------------------------------------------------------------------

GATES = """
fail = ["mean(ECE) <= 0.05", "mean(DSC) >= 0.86", "n_missing <= 0", "n_failed <= 0"]
margins = { ECE = 0.04, DSC = 0.02 }
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Six cases, and the calibrated method's table as the baseline."""
    folder = tmp_path_factory.mktemp("phantom")
    write_sample_data(folder, cases=6)
    for method in set(METHODS) - {"calibrated"}:
        shutil.rmtree(folder / "preds" / method)
    (folder / "gates.toml").write_text(GATES)
    return folder


def change(path, function):
    image = read_nifti(path)
    planes = np.asarray(image.dataobj, np.float32)
    nibabel.save(nibabel.Nifti1Image(function(planes), image.affine, image.header), path)


def heat(preds):
    for path in preds.glob("*.nii.gz"):
        change(path, lambda planes: np.moveaxis(sharpen(np.moveaxis(planes, -1, 0), 2.0), 0, -1))


def shift(preds):
    for path in preds.glob("*.nii.gz"):
        change(path, lambda planes: np.roll(planes, 1, axis=0))


def lose(preds):
    (preds / "phantom_003.nii.gz").unlink()


def poison(preds):
    def set_nan(planes):
        planes[0, 0, 0] = np.nan
        return planes

    change(preds / "phantom_003.nii.gz", set_nan)


@pytest.mark.parametrize(
    ("degrade", "gates", "rules"),
    [
        (lambda preds: None, [], []),
        (heat, ["mean(ECE) <= 0.05", "ECE not worse by more than 0.04"], []),
        (shift, ["mean(DSC) >= 0.86", "DSC not worse by more than 0.02"], []),
        (lose, ["n_missing <= 0"], ["missing"]),
        (poison, ["n_failed <= 0"], ["finite"]),
    ],
    ids=["unchanged", "temperature", "shifted", "missing", "NaN"],
)
def test_each_degradation_is_caught_by_its_gate_and_by_no_other(cli, phantom, tmp_path, degrade, gates, rules):
    preds, labels = tmp_path / "preds", phantom / "labelsTr"
    original = phantom / "preds" / "calibrated"
    shutil.copytree(original, preds)
    score = cli("score", original, labels, "--out", "main.csv", "--metrics", "DSC,ECE", "--quiet")
    assert score.code == 0, score.err
    degrade(preds)
    arguments = ("check", preds, labels, "--gates", phantom / "gates.toml", "--baseline", "main.csv", "--integrity")
    done = cli(*arguments, "--format", "json")
    report = json.loads(done.out)
    assert done.code == report["exit_code"] == (1 if gates else 0)
    decided = [outcome for outcome in report["outcomes"] if outcome["status"] != "skipped"]
    assert len(decided) == 16
    caught = [outcome for outcome in decided if outcome["status"] != "passed"]
    assert {outcome["status"] for outcome in caught} <= {"failed"}
    assert [o["name"] for o in caught if o["kind"] != "integrity"] == gates
    assert [o["name"].partition(":")[0] for o in caught if o["kind"] == "integrity"] == rules
    assert [finding["rule"] for finding in report["findings"]] == rules
    assert cli(*arguments, "--format", "json").out == done.out


# --- the GitHub action -----------------------------------------------------------------------------------------------


def action_script():
    """The script of the action's last step."""
    text = (ROOT / ".github" / "actions" / "calibeval-check" / "action.yml").read_text(encoding="utf-8")
    return textwrap.dedent(text.rpartition("run: |\n")[2])


@pytest.mark.skipif(shutil.which("bash") is None, reason="the action is a bash script")
@pytest.mark.parametrize(("bound", "code"), [("0.05", 0), ("0.001", 1)])
def test_the_action_runs_as_on_github(table, tmp_path, bound, code):
    (tmp_path / "my gates.toml").write_text(f'fail = ["mean(ECE) <= {bound}"]\n')
    (tmp_path / "calibeval.py").write_text("raise SystemExit('a script of the user is no module of ours')")
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RESULTS": "new.csv", "LABELS": "", "IMAGES": "", "GATES": "my gates.toml", "BASELINE": "new.csv",
        "MARGINS": "ECE=0.01\nECE[all]=0.02\n", "ARGUMENTS": "--gate\nmax(ECE) <= 0.5\n", "JUNIT": "out.xml",
        "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }  # fmt: skip
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", action_script()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert (tmp_path / "output").read_text() == f"exit-code={code}\n"
    assert ("::error title=calibeval%3A gate failed::" in done.stdout) == bool(code)
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").count("not worse by more than 0.02") == 1
    assert (tmp_path / "out.xml").read_text(encoding="utf-8").count("<testcase ") == 4


def test_what_cannot_be_written_is_told_before_the_work(cli, tmp_path):
    (tmp_path / "results.csv").write_text("no table at all", encoding="utf-8")
    (tmp_path / "full.json").mkdir()
    outcome = cli("check", "results.csv", "--gate", "mean(DSC) >= 0.5", "-o", "full.json")
    assert outcome[:2] == (2, "")
    assert (
        outcome.err == "calibeval: full.json: cannot be written to (Is a directory). Choose another file with --out.\n"
    )


def test_a_missing_spacing_fails_no_case_and_no_gate_on_masks(cli, tmp_path):
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = 1
    for folder, array in (("labels", label), ("preds", np.stack([1 - label, label]).astype(np.float32))):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    assert cli("score", "preds", "labels").code == 0
    frame = read_table(Path("results/preds.csv"))[1].set_index(["metric", "case", "class"])
    assert frame.loc[("HD95", "a", "mean"), "status"] == "not_computed"
    assert frame.loc[("DSC", "a", "mean"), "value"] == 1.0
    assert cli("check", "results/preds.csv", "--gate", "mean(DSC) >= 0.9").code == 0
    outcome = cli("check", "results/preds.csv", "--gate", "mean(HD95) <= 5")
    assert outcome.code == 2
    assert "without 1 not computed" in outcome.out
