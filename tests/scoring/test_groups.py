"""Groups of cases in `calibeval score`: the column, the means, and the word where names look like patients."""

import json
from pathlib import Path

import pytest

from calibeval.table import POOLED, read_table
from tests.case_files import make_case, write_nifti

CASES = [f"patient{i}_{phase}" for i in range(1, 6) for phase in ("ED", "ES")]


@pytest.fixture
def data(tmp_path):
    for index, case in enumerate(CASES):
        probabilities, label = make_case(index)[:2]
        write_nifti(tmp_path / "preds" / f"{case}.nii.gz", probabilities)
        write_nifti(tmp_path / "labels" / f"{case}.nii.gz", label)
    lines = [f"{case},{case[7]},{'AB'[int(case[7]) % 2]}" for case in CASES]
    (tmp_path / "cases.csv").write_text("\n".join(["case,patient,centre", *lines]), encoding="utf-8")
    return "preds", "labels", "--metrics", "DSC,ECE"


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        (("patient",), [case[:8] for case in CASES]),
        (("patient", "--cases", "cases.csv"), [case[7] for case in CASES]),
        (("centre", "--cases", "cases.csv"), ["AB"[int(case[7]) % 2] for case in CASES]),
        (("_(E.)$",), [case[-2:] for case in CASES]),
    ],
)
def test_rows_carry_their_group_and_pooled_ones_none(data, cli, options, groups):
    outcome = cli("score", *data, "--group-by", *options, "-o", "t.csv", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    header, frame = read_table(Path("t.csv"))
    assert dict(zip(frame["case"], frame["group"], strict=True)) == dict(zip(CASES, groups, strict=True)) | {POOLED: ""}
    assert "--group-by" in header.command
    frame = frame[(frame["metric"] == "DSC") & (frame["class"] == "mean") & (frame["case"] != POOLED)]
    told = json.loads(outcome.out)["methods"][0]["metrics"]
    (found,) = [each for each in told if (each["metric"], each["class_name"]) == ("DSC", "mean")]
    assert found["mean"] == pytest.approx(frame.groupby("group")["value"].mean().mean(), rel=1e-12)
    assert (found["n"], found["n_cases"]) == (len(set(groups)), 10)
    assert ("5 groups of 10 cases" in cli("score", *data, "--group-by", *options).out) == (len(set(groups)) == 5)


def test_names_of_patients_are_asked_about_once_until_the_option_says(data, cli):
    said = "The 10 cases look like images of 5 patients (patient1_ED, patient1_ES)."
    outcome = cli("score", *data)
    assert outcome.err.count(said) == 1
    assert "--group-by patient when scoring, or none" in outcome.err
    assert "group" not in Path("results/preds.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert cli("score", *data, "--group-by", "none", "-o", "none.csv").err == ""
    assert cli("score", *data, "--quiet").err == ""
    assert cli("score", *data, "--group-by", "place").code == 2


def test_shards_of_patients_merge_to_the_bytes_of_one_run(data, cli):
    options = (*data, "--group-by", "patient", "--quiet")
    cli("score", *options, "-o", "one.csv")
    for i in (1, 2, 3):
        cli("score", *options, "--shard", f"{i}/3", "-o", "parts")
    assert cli("merge", *sorted(Path("parts").glob("*.csv")), "-o", "all.csv", "--quiet").code == 0
    assert Path("all.csv").read_bytes() == Path("one.csv").read_bytes()
