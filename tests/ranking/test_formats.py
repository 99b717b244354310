from __future__ import annotations

import csv
import json

import pandas as pd
import pytest

from calibeval.cli.outputs import outputs_of
from calibeval.ranking import RankSettings, rank_tables
from calibeval.ranking.formats import table_cells, to_csv, to_json, to_latex, to_markdown, to_table
from calibeval.ranking.words import names, p_text, rank_text
from tests.ranking.helpers import make_tables


@pytest.fixture(scope="module")
def ranking(tmp_path_factory):
    values = {
        "a & b_1": {"DSC": [0.9, 0.8, 0.85, 0.9], "ECE": [0.1, 0.2, 0.1, 0.1]},
        "c|d#2": {"DSC": [0.7, 0.8, 0.80, 0.6], "ECE": [0.2, 0.3, 0.2, 0.05]},
        "e, f": {"DSC": [0.5, 0.9, 0.60, 0.7], "ECE": [0.3, 0.1, 0.3, 0.3]},
    }
    return rank_tables(make_tables(tmp_path_factory.mktemp("formats"), values), RankSettings(bootstrap=50))


def test_json_reads_back(ranking):
    assert json.loads(to_json(ranking))["methods"][0]["name"] == "a & b_1"


def test_csv_reads_back_in_full_precision(ranking, tmp_path):
    path = tmp_path / "ranks.csv"
    path.write_text(to_csv(ranking))
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# ")]
    rows = list(csv.DictReader(lines))
    assert [row["method"] for row in rows] == [ranking.methods[i] for i in ranking.best_first()]
    assert [float(row["mean_rank"]) for row in rows] == sorted(ranking.overall.mean_rank)
    assert set(pd.DataFrame(rows)) >= {"rank", "p_first", "mean_rank_DSC", "mean_rank_ECE", "rank_low", "rank_high"}


def test_csv_without_bootstrap_leaves_fields_empty(tmp_path):
    plain = rank_tables(make_tables(tmp_path, {"x": {"DSC": [1.0]}, "y": {"DSC": [0.5]}}), RankSettings(bootstrap=0))
    assert to_csv(plain).splitlines()[-1] == "y,2,2.0,,,,,,2.0,"


def test_latex_escapes_and_is_a_tabular(ranking):
    text = to_latex(ranking)
    assert r"a \& b\_1" in text
    assert r"c\textbar{}d\#2" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in body}) == 1


def test_markdown_escapes_and_holds_the_verdict(ranking):
    text = to_markdown(ranking)
    assert r"c\|d#2" in text
    assert "**Verdict**" in text
    assert ranking.verdict[1].replace("<", r"\<") in text
    assert r"| a \& b\_1 |" in text


def test_table_fits_the_terminal(ranking, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = to_table(ranking)
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(ranking.verdict[0].split()) in " ".join(text.split())
    assert "cluster-permutation p" in text
    assert "DSC" in text.splitlines()[2]


def test_narrow_terminals_leave_the_metrics_out_and_say_so(ranking, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    text = to_table(ranking)
    assert max(map(len, text.splitlines())) <= 50
    assert "ECE" not in text.splitlines()[3]
    assert "--format csv has" in " ".join(text.split())


def test_every_format_gives_text_that_ends_its_line(ranking):
    for name, output in outputs_of("rank").items():
        assert output.writer("rank")(ranking).endswith("\n"), name


def test_cells_are_aligned(ranking):
    header, rows = table_cells(ranking)
    assert {len(row) for row in rows} == {len(header)}


def test_words():
    assert p_text(0.00001) == "< .0001"
    assert p_text(0.0312) == "= .0312"
    assert p_text(1.0) == "= 1.0000"
    assert p_text(float("nan")) == "undefined"
    assert rank_text(2.795) == rank_text(2.795 - 1e-12)
    assert names(["a"]) == "a"
    assert names(["a", "b", "c"]) == "a, b and c"
    assert names(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert names([]) == "none"
