"""`calibeval score --by COLUMN`."""

from __future__ import annotations

import json
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "sample_data"


def arguments(tmp_path: Path, *more: str) -> list[str]:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (SAMPLE / "labelsTr").glob("*.nii.gz"))
    table = tmp_path / "cases.csv"
    lines = [f"{name},{'GE' if i % 2 else 'Philips'}" for i, name in enumerate(names)]
    table.write_text("\n".join(["case,scanner", *lines]) + "\n", encoding="utf-8")
    return [
        "score", str(SAMPLE / "preds" / "calibrated"), str(SAMPLE / "labelsTr"), "--metrics", "DSC,gap",
        "--cases", str(table), "-o", str(tmp_path / "out.csv"), *more,
    ]  # fmt: skip


def test_numbers_stand_by_column_below_the_summary(cli, tmp_path):
    outcome = cli(*arguments(tmp_path, "--by", "scanner"))
    assert outcome.code == 0
    assert "calibrated by scanner; the intervals of a metric hold for all of them at once" in outcome.out
    assert outcome.out.index("Philips") > outcome.out.index("GE") > outcome.out.index("by scanner")


def test_json_holds_them_too(cli, tmp_path):
    outcome = cli(*arguments(tmp_path, "--by", "scanner", "--json"))
    by = json.loads(outcome.out)["methods"][0]["by"]
    assert by["column"] == "scanner"
    assert {(part["value"], part["row"]["metric"]) for part in by["subgroups"]} == {
        (value, metric) for value in ("GE", "Philips") for metric in ("DSC", "gap")
    }


def test_a_column_that_is_not_there_is_refused_before_anything_is_scored(cli, tmp_path):
    outcome = cli(*arguments(tmp_path, "--by", "centre"))
    assert outcome.code == 2
    assert "has no column 'centre', only case, scanner." in outcome.err
    assert not (tmp_path / "out.csv").exists()


def test_without_a_table_of_cases_it_says_what_is_needed(cli, tmp_path):
    outcome = cli(
        "score", str(SAMPLE / "preds"), str(SAMPLE / "labelsTr"), "--by", "scanner", "-o", str(tmp_path / "r")
    )
    assert outcome.code == 2
    assert "--by scanner: needs --cases FILE, a CSV with the columns case and scanner." in outcome.err
