"""Tables that others wrote: each form by a small file as its writer makes it, and the numbers that come out."""

import json
import math

import pytest

from calibeval.delimited import read_sheet
from calibeval.errors import TableError
from calibeval.foreign import FORMS, find_form, known_name, read_scores
from calibeval.ranking import RankSettings, rank_tables
from calibeval.table import Row, write_table


def values_of(path):
    _, frame, _ = read_scores(path)
    keys = zip(frame["method"], frame["dataset"], frame["case"], frame["class"], frame["metric"], strict=True)
    return dict(zip(keys, frame["value"], strict=True))


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


MONAI = "filename,class0,class1,mean,mean,mean\n/data/c1.nii.gz,0.5,0.9,0.7\n/data/c2.nii.gz,nan,0.8,0.8\n"
CHALLENGER = "task,alg_name,value,case\nT1,A,0.9,c1\nT1,B,0.8,c1\nT2,A,0.7,c1\n"
PANOPTICA = (
    "subject_name\tungrouped-tp\tungrouped-global_bin_dsc\tungrouped-global_bin_assd\ns1\t2\t0.9\t1.5\n"
    "s2\t1\t0.7\t2.5\n"
)
GROUPS = "subject_name,liver-global_bin_dsc,tumour-global_bin_dsc\ns1,0.9,0.5\ns2,0.8,\n"
TIDY = (
    "model,patient,organ,metric,value\nA,p1,liver,Dice,0.9\nA,p1,tumour,Dice,0.5\nB,p1,liver,Dice,0.7\n"
    "B,p1,tumour,Dice,0.7\n"
)
PLAIN = "Case,DSC,HD95\nx,0.9,3\ny,,4\n"
EXAMPLES = {
    "MONAI's table of a metric": [
        ("baseline/mean_dice_raw.csv", MONAI, ("baseline", "", "c1", "mean", "DSC"), 0.7),
        ("baseline/mean_dice_raw.csv", MONAI, ("baseline", "", "c1", "class1", "DSC"), 0.9),
        ("baseline/fold_0/mean_dice_raw.csv", MONAI, ("baseline", "", "c2", "mean", "DSC"), 0.8),
        ("b/hausdorff_distance_raw.csv", MONAI, ("b", "", "c2", "mean", "HD"), 0.8),
    ],
    "challengeR's table": [
        ("dice.csv", CHALLENGER, ("A", "T2", "c1", "mean", "DSC"), 0.7),
        ("my_score.csv", CHALLENGER, ("B", "T1", "c1", "mean", "my_score"), 0.8),
    ],
    "a tidy table, one number a row": [
        ("t.csv", TIDY, ("A", "", "p1", "mean", "DSC"), 0.7),
        ("t.csv", TIDY, ("B", "", "p1", "tumour", "DSC"), 0.7),
    ],
    "a table of a case a row and a metric a column, as panoptica's": [
        ("net/p.tsv", PANOPTICA, ("net", "", "s2", "mean", "DSC"), 0.7),
        ("net/p.tsv", PANOPTICA, ("net", "", "s1", "mean", "ASSD"), 1.5),
        ("net/p.tsv", PANOPTICA, ("net", "", "s1", "mean", "tp"), 2),
        ("net/p.csv", GROUPS, ("net", "", "s1", "mean", "DSC"), 0.7),
        ("net/p.csv", GROUPS, ("net", "", "s2", "mean", "DSC"), 0.8),
        ("net/p.csv", PLAIN, ("net", "", "x", "mean", "HD95"), 3),
    ],
}


def test_every_form_has_an_example():
    assert set(EXAMPLES) == {form.name for form in FORMS}


@pytest.mark.parametrize(("form", "name", "text", "key", "value"), [(f, *e) for f, es in EXAMPLES.items() for e in es])
def test_the_numbers_of_each_form(tmp_path, form, name, text, key, value):
    path = put(tmp_path / name, text)
    found = find_form(read_sheet(path))
    assert found is not None
    assert found.name == form
    assert values_of(path)[key] == pytest.approx(value)
    header, _, notes = read_scores(path)
    assert header.signature == ""
    assert "is not known" in notes[0]


def test_nnunets_summary(tmp_path):
    cases = [
        {
            "reference_file": f"/l/{case}.nii.gz",
            "prediction_file": "",
            "metrics": {"1": {"Dice": a, "TP": 3}, "2": {"Dice": b}},
        }
        for case, a, b in (("c1", 0.9, 0.5), ("c2", 0.8, math.nan))
    ]
    path = put(
        tmp_path / "nnUNetTrainer" / "fold_0" / "validation" / "summary.json", json.dumps({"metric_per_case": cases})
    )
    found = values_of(path)
    assert found["nnUNetTrainer", "", "c1", "2", "DSC"] == 0.5
    assert found["nnUNetTrainer", "", "c1", "mean", "DSC"] == pytest.approx(0.7)
    assert found["nnUNetTrainer", "", "c2", "mean", "DSC"] == 0.8
    with pytest.raises(TableError, match=r"other.json: is no summary.json of nnU-Net"):
        read_scores(put(tmp_path / "other.json", "{}"))


def test_methods_of_several_folders_are_ranked(tmp_path):
    for method, shift in (("a", 0.0), ("b", 0.1)):
        rows = "".join(f"c{i}.nii.gz,{0.5 + i / 100 + shift},{0.5 + i / 100 + shift}\n" for i in range(6))
        put(tmp_path / method / "mean_dice_raw.csv", "filename,class0,mean\n" + rows)
        put(tmp_path / method / "ace_raw.csv", "filename,class0,mean\n" + rows.replace("0.", "0.0"))
    paths = sorted(tmp_path.glob("*/*.csv"))
    ranking = rank_tables(paths, RankSettings(bootstrap=0, metrics="all"))
    assert ranking.methods == ("a", "b")
    assert ranking.scores.metrics == ("DSC", "ACE")
    assert ranking.per_metric["DSC"].mean_rank.tolist() == [2, 1]
    assert ranking.per_metric["ACE"].mean_rank.tolist() == [1, 2]


def test_rows_of_classes_alone_give_their_mean(tmp_path):
    rows = [Row(m, "A", "c", k, "DSC", v) for m, k, v in (("x", "LV", 0.9), ("x", "RV", 0.5), ("y", "LV", 0.6))]
    write_table(tmp_path / "t.csv", rows, signature="")
    assert values_of(tmp_path / "t.csv")["x", "A", "c", "mean", "DSC"] == pytest.approx(0.7)
    assert "holds classes only: the mean of DSC over them was computed" in read_scores(tmp_path / "t.csv")[2][0]


def test_broken_rows_are_named_by_line(tmp_path):
    with pytest.raises(TableError, match=r"m.csv: line 3, HD95: 'x' where a number is expected"):
        read_scores(put(tmp_path / "m.csv", "case,HD95\na,1\nb,x\n"))
    with pytest.raises(TableError, match=r"m.csv: line 3 has 1 fields, the header has 2"):
        read_scores(put(tmp_path / "m.csv", "case,HD95\na,1\nb\n"))
    with pytest.raises(TableError, match=r"line 2 has 2 fields; expected 4 or more"):
        read_scores(put(tmp_path / "dice_raw.csv", "filename,class0,class1,mean\na,1\n"))


def test_names_of_metrics():
    assert [known_name(name) for name in ("Dice", "mean_dice", "hd 95", "Surface Dice", "novel")] == [
        "DSC", "DSC", "HD95", "NSD", "novel",
    ]  # fmt: skip
