import pytest

from calibeval.ranking import rank_tables
from calibeval.study.collect import collect_tables
from calibeval.study.tables import as_cells, write_tables
from calibeval.table import read_table
from tests.study.helpers import make_done, make_study

CASES = [f"case{i}" for i in range(10)]


def make_all_done(study, value_of):
    """Folds hold out halves of the cases."""
    for run in study.runs:
        held = CASES[:5] if run.config.fold == "1/3" else CASES[5:]
        make_done(run, {case: value_of(run, CASES.index(case)) for case in held})


def values(run, i):
    """SDC is .1 better in DSC and equal in ECE; seeds differ by .02."""
    return {"DSC": 0.7 + 0.1 * (run.method == "SDC") + 0.01 * i + 0.02 * run.config.seed, "ECE": 0.25}


def marks(cell):
    return cell.mark


def test_a_case_is_the_mean_over_seeds_and_a_method_the_mean_over_all_folds(tmp_path):
    study = make_study(tmp_path)
    make_all_done(study, values)
    (table,) = collect_tables(study)
    assert [(column.data, column.metric) for column in table.columns] == [("heart", "DSC"), ("heart", "ECE")]
    found = table.columns[0].cells["SDC"]
    assert found.mean == pytest.approx(0.8 + 0.045 + 0.01)
    assert found.n == 10
    _, frame = read_table(study.out / "cases" / "losses-heart.csv")
    row = frame[(frame["method"] == "SDC") & (frame["case"] == "case3") & (frame["metric"] == "DSC")].iloc[0]
    assert row["value"] == pytest.approx(0.84)
    assert row["note"] == "mean of 2 of 2 seeds"


def test_best_and_second_are_marked_and_equal_ones_alike(tmp_path):
    study = make_study(tmp_path)
    make_all_done(study, values)
    header, rows = as_cells(*collect_tables(study))
    assert header == ["method", "heart DSC ↑", "heart ECE ↓", "rank", "rank by case"]
    assert [[marks(cell) for cell in row[1:3]] for row in rows] == [["second", "best"], ["best", "best"]]
    assert [row[3] for row in rows] == ["1.75", "1.25"]


def test_files_are_written_that_rank_reads(tmp_path):
    study = make_study(tmp_path)
    make_all_done(study, values)
    write_tables(study.out / "tables", collect_tables(study))
    folder = study.out / "tables"
    assert sorted(path.name for path in folder.iterdir()) == [
        "losses.csv", "losses.md", "losses.tex", "numbers.csv",
    ]  # fmt: skip
    notes = rank_tables([folder / "losses.csv"]).notes
    assert any("all 2 printed ranks are those of the printed values" in note for note in notes)
    assert "**0.855**" in (folder / "losses.md").read_text(encoding="utf-8")
    latex = (folder / "losses.tex").read_text(encoding="utf-8")
    assert r"method & heart DSC $\uparrow$ & heart ECE $\downarrow$ & rank & rank by case \\" in latex
    assert r"\underline{0.755}" in latex


def test_operators_stand_side_by_side(tmp_path):
    methods = '{ name = "N", loss = "nacl", morph = ["none", "erosion"] }'
    text = f'[data]\nd = "d"\n[grid]\nfolds = ["1/3", "2/3"]\nmethods = [{methods}]'
    study = make_study(tmp_path, text)
    make_all_done(study, lambda run, i: {"DSC": 0.5 + 0.01 * i, "ECE": 0.1})
    header, rows = as_cells(*collect_tables(study))
    assert header == ["nacl", "none", "erosion"]
    assert [row[0] for row in rows] == ["d DSC ↑", "d ECE ↓"]


def test_a_half_done_study_says_so(tmp_path):
    study = make_study(tmp_path)
    make_all_done(study, values)
    (study.runs[-1].folder / "score.csv").unlink()
    (study.runs[-2].folder / "score.csv").unlink()
    (table,) = collect_tables(study)
    assert table.notes[0] == "2 runs are not done: this is of those that are."
    assert table.columns[0].cells["SDC"].n == 5
    assert table.columns[0].cells["dicece"].n == 10


def test_cases_of_one_patient_count_once(tmp_path):
    study = make_study(tmp_path)
    for run in study.runs:
        fold = run.config.fold[0]
        make_done(run, {f"patient{fold}{i}_frame0{j}": {"DSC": 0.1 * j} for i in range(3) for j in (1, 2)})
    found = collect_tables(study)[0].columns[0].cells["SDC"]
    assert (found.n, found.n_cases) == (6, 12)
    assert found.mean == pytest.approx(0.15)
