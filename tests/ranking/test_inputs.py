from __future__ import annotations

import numpy as np
import pytest

from calibeval.errors import TableError, UsageError
from calibeval.protocol import make_protocol
from calibeval.ranking.inputs import is_score_table, read_inputs, refuse_unequal
from calibeval.ranking.scores import (
    ABSENT,
    FAILED,
    OK,
    UNDEFINED,
    choose_directions,
    choose_metrics,
    left_out_metrics,
    make_scores,
)
from calibeval.table import Row, write_table
from tests.ranking.helpers import SIGNATURE, make_tables, write_scores


def wide(tmp_path, text, name="wide.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def scores_of(tables, metrics=""):
    chosen = choose_metrics(tables, metrics)
    return make_scores(tables, chosen, choose_directions(chosen, {}))


def test_headers_tell_the_kinds_apart(tmp_path):
    assert is_score_table(write_scores(tmp_path / "a.csv", {"DSC": [1.0]}))
    assert not is_score_table(wide(tmp_path, "method,A/DSC\nx,1\n"))
    assert not is_score_table(wide(tmp_path, "metric,x,y\nDSC,1,2\n"))


def test_kinds_are_not_mixed(tmp_path):
    paths = [write_scores(tmp_path / "a.csv", {"DSC": [1.0]}), wide(tmp_path, "method,DSC\nx,1\n")]
    with pytest.raises(UsageError, match=r"wide.csv is a wide CSV.*a.csv is a score table"):
        read_inputs(paths)


def test_no_file_and_the_same_file_twice(tmp_path):
    path = wide(tmp_path, "method,DSC\nx,1\n")
    with pytest.raises(UsageError, match="Nothing to rank"):
        read_inputs([])
    with pytest.raises(UsageError, match="given twice"):
        read_inputs([path, tmp_path / "." / "wide.csv"])
    with pytest.raises(TableError, match=r"gone.csv: cannot be read"):
        read_inputs([tmp_path / "gone.csv"])


def test_wide_columns_name_data_sets_and_metrics(tmp_path):
    scores = scores_of(read_inputs([wide(tmp_path, "method,A/hd95,A/DSC,B/DSC\nx,3,.5,.6\ny,4,.7,.8\n")]))
    assert scores.methods == ("x", "y")
    assert scores.metrics == ("DSC", "HD95")
    assert [str(unit) for unit in scores.units] == ["A", "B"]
    assert scores.values[0].tolist() == [[0.5, 0.7], [3, 4]]
    assert scores.states[1].tolist() == [[OK, OK], [ABSENT, ABSENT]]


def test_a_turned_wide_table_reads_the_same(tmp_path):
    scores = scores_of(read_inputs([wide(tmp_path, "metric,x,y\nA/DSC,.5,.7\nA/HD95,3,4\n")]))
    assert scores.methods == ("x", "y")
    assert scores.values[0].tolist() == [[0.5, 0.7], [3, 4]]


def test_several_wide_tables_join_by_method(tmp_path):
    first = wide(tmp_path, "method,A/DSC\nx,.5\ny,.6\n", "a.csv")
    second = wide(tmp_path, "method,B/DSC\ny,.8\nx,.7\n", "b.csv")
    assert scores_of(read_inputs([first, second])).values[1].tolist() == [[0.7, 0.8]]
    third = wide(tmp_path, "method,A/DSC\nx,.9\n", "c.csv")
    with pytest.raises(TableError, match=r"hold A/DSC of the method 'x'"):
        read_inputs([first, third])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty. Expected a score table"),
        ("# only a comment\n\n", "the file is empty"),
        ("method,DSC\n", "there is a header and no row"),
        ("method|DSC\nx|0.5\n", "the first line is one field, 'method|DSC'. Expected a score table, or commas"),
        ("method,DSC\nx,.5\n ,.6\n", "line 3 has no name in its first field"),
        ("method,DSC\nx," + "9" * 200_000 + "\n", "is no table in UTF-8 .field larger than field limit"),
        ("DSC,HD95\n.5,3\n", "first column is the metric 'DSC'"),
        ("method,DSC\nx,.5±.1\n", "DSC of 'x' is '.5±.1'; expected a number"),
        ("method,DSC\nx,.5\nx,.6\n", "the method 'x' stands twice"),
        ("method,DSC,DSC\nx,.5,.6\n", "the column 'DSC' stands twice"),
        ("method,DSC\nx,.5,.6\n", "line 2 has 3 fields, the header has 2"),
    ],
)
def test_broken_wide_tables(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        read_inputs([wide(tmp_path, text)])


def test_text_in_another_encoding_is_refused_with_advice(tmp_path):
    (tmp_path / "wide.csv").write_bytes("method,DSC\nMüller,.5\n".encode("latin-1"))
    with pytest.raises(TableError, match=r"wide.csv: is no table in UTF-8 .*Save it as CSV in UTF-8"):
        read_inputs([tmp_path / "wide.csv"])


def test_names_may_begin_with_a_hash_and_are_one_line(tmp_path):
    path = wide(tmp_path, '# a comment\nmethod,DSC\n#1,.5\n"U\nNet",.6\n,\n')
    assert scores_of(read_inputs([path])).methods == ("#1", "U Net")


@pytest.mark.parametrize(("metric", "value"), [("HD95", "-1"), ("DSC", "-.2"), ("HD95", "-inf")])
def test_a_number_that_stands_for_none_is_refused(tmp_path, metric, value):
    tables = read_inputs([wide(tmp_path, f"method,A/{metric}\nx,{value}\ny,.7\n")])
    with pytest.raises(TableError, match=rf"{metric} of 'x' in A is -.*, and it cannot be below 0"):
        scores_of(tables)
    with pytest.raises(TableError, match=rf"{metric} of 'x' is -"):
        scores_of(read_inputs([wide(tmp_path, f"method,{metric}\nx,{value}\ny,.7\n")]))
    scores_of(read_inputs([wide(tmp_path, "method,gap,DSC\nx,-.1,90\ny,.7,80\n")]))  # signs and percentages may be


def test_rank_columns_are_no_metric(tmp_path):
    tables = read_inputs([wide(tmp_path, "method,DSC,published_mean_rank\nx,.5,2\ny,.7,1\n")])
    assert choose_metrics(tables, "") == ("DSC",)
    assert tables.printed[0].ranks == {"x": 2, "y": 1}


def test_unknown_directions_are_asked_for(tmp_path):
    tables = read_inputs([wide(tmp_path, "method,DSC,latency\nx,.5,2\ny,.7,1\n")])
    metrics = choose_metrics(tables, "")
    with pytest.raises(UsageError, match="--direction latency=lower"):
        choose_directions(metrics, {})
    assert choose_directions(metrics, {"latency": "lower"}) == ("higher", "lower")
    assert choose_directions(choose_metrics(tables, "DSC"), {}) == ("higher",)
    with pytest.raises(UsageError, match="must be higher, lower or zero, not 'down'"):
        choose_directions(metrics, {"latency": "down"})
    with pytest.raises(UsageError, match="DSC is a known metric and higher is better"):
        choose_directions(metrics, {"dsc": "lower", "latency": "lower"})


def test_metrics_by_default_all_and_by_name(tmp_path):
    tables = read_inputs([write_scores(tmp_path / "a.csv", {"IoU": [1.0], "DSC": [1.0], "ECE": [0.1]})])
    assert choose_metrics(tables, "") == ("DSC", "ECE")
    assert choose_metrics(tables, "all") == ("DSC", "IoU", "ECE")
    assert choose_metrics(tables, "iou") == ("IoU",)
    with pytest.raises(UsageError, match="No input holds the metric NLL"):
        choose_metrics(tables, "NLL,DSC")


def test_rows_join_by_case_and_never_by_position(tmp_path):
    first = write_scores(tmp_path / "a.csv", {"DSC": [0.1, 0.2, 0.3]}, method="x")
    second = write_scores(tmp_path / "b.csv", {"DSC": [0.4, 0.5, 0.6]}, method="y")
    lines = second.read_text().splitlines()
    second.write_text("\n".join([lines[0], lines[3], lines[1], lines[2]]) + "\n")
    scores = scores_of(read_inputs([first, second]))
    assert scores.values[:, 0].tolist() == [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]


def test_a_nameless_method_is_named_by_its_file(tmp_path):
    tables = read_inputs([write_scores(tmp_path / "unet.csv", {"DSC": [1.0]})])
    assert scores_of(tables).methods == ("unet",)


def test_one_method_in_two_files_with_the_same_cases_is_named_by_the_files(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "q").mkdir()
    paths = [write_scores(tmp_path / d / "scores.csv", {"DSC": [1.0]}, method="preds") for d in "pq"]
    tables = read_inputs(paths)
    assert scores_of(tables).methods == ("p/scores", "q/scores")
    assert "'preds'" in tables.notes[0]


def test_one_method_in_two_files_with_different_data_sets_stays_one(tmp_path):
    first = write_scores(tmp_path / "a.csv", {"DSC": [1.0]}, method="x", dataset="A")
    second = write_scores(tmp_path / "b.csv", {"DSC": [0.5]}, method="x", dataset="B")
    scores = scores_of(read_inputs([first, second]))
    assert scores.methods == ("x",)
    assert [str(unit) for unit in scores.units] == ["A/c0", "B/c0"]


def test_unequal_signatures_are_refused_by_their_difference(tmp_path):
    other = make_protocol(hd95="medpy").signature
    paths = [
        write_scores(tmp_path / "a.csv", {"DSC": [1.0], "HD95": [2.0]}, method="x"),
        write_scores(tmp_path / "b.csv", {"DSC": [1.0], "HD95": [2.0]}, method="y", signature=other),
    ]
    tables = read_inputs(paths)
    with pytest.raises(TableError, match=r"different protocols .*: definition of distances: monai against medpy"):
        refuse_unequal(tables.sources, ["DSC", "HD95"])
    refuse_unequal(tables.sources, ["DSC"])
    assert tables.signature.get("HD95") == ""
    assert tables.signature.get("empty") == "nan"


def test_data_sets_may_be_read_by_different_maps(tmp_path):
    mapped = SIGNATURE.extended({"map": "4=3"})
    paths = [
        write_scores(tmp_path / "a.csv", {"DSC": [0.9]}, method="x", dataset="A", signature=mapped),
        write_scores(tmp_path / "b.csv", {"DSC": [0.8]}, method="x", dataset="B"),
        write_scores(tmp_path / "c.csv", {"DSC": [0.7]}, method="y", dataset="A"),
    ]
    refuse_unequal(read_inputs(paths[:2]).sources, ["DSC"])
    with pytest.raises(TableError, match=r"a.csv and .*c.csv .*renamed labels: 4=3 against none"):
        refuse_unequal(read_inputs(paths).sources, ["DSC"])


def test_a_number_given_twice_is_refused(tmp_path):
    rows = [Row("x", "A", "c", "mean", "DSC", 0.5)] * 2
    write_table(tmp_path / "a.csv", rows, signature=SIGNATURE)
    with pytest.raises(TableError, match=r"one number stands twice.*case 'c'"):
        read_inputs([tmp_path / "a.csv"])


def test_states_and_classes_of_score_rows(tmp_path):
    rows = [
        Row("x", "A", "c", "liver", "DSC", 0.9),
        Row("x", "A", "c", "mean", "DSC", 0.5),
        Row("x", "A", "c", "all", "ECE", 0.1),
        Row("x", "A", "c", "liver", "CECE", 0.7),
        Row("x", "A", "c", "all", "CECE", 0.2),
        Row("x", "A", "c", "mean", "HD95", float("nan"), "mm", "empty_prediction", "diagonal_mm=9"),
        Row("x", "A", "pooled", "mean", "DSC", 0.99),
        Row("x", "A", "d", "mean", "DSC", 0.0, "", "missing", "no prediction"),
    ]
    write_table(tmp_path / "a.csv", rows, signature=SIGNATURE)
    scores = scores_of(read_inputs([tmp_path / "a.csv"]))
    assert scores.metrics == ("DSC", "HD95", "ECE", "CECE")
    assert [unit.case for unit in scores.units] == ["c", "d"]
    np.testing.assert_array_equal(scores.values[0, :, 0], [0.5, np.nan, 0.1, 0.2])
    assert scores.states[0, :, 0].tolist() == [OK, UNDEFINED, OK, OK]
    assert scores.states[1, :, 0].tolist() == [FAILED] * 4


def test_a_table_without_cases(tmp_path):
    write_table(tmp_path / "a.csv", [Row("x", "A", "pooled", "mean", "DSC", 1.0)], signature=SIGNATURE)
    with pytest.raises(TableError, match="holds no case"):
        read_inputs([tmp_path / "a.csv"])


def test_an_unknown_metric_needs_a_row_for_the_case(tmp_path):
    rows = [Row("x", "A", "c", "liver", "novel", 1.0)]
    write_table(tmp_path / "a.csv", rows, signature=SIGNATURE)
    tables = read_inputs([tmp_path / "a.csv"])
    with pytest.raises(TableError, match="'novel' has no row of class 'mean' or 'all'"):
        make_scores(tables, ("novel",), ("lower",))


def test_progress_counts_files(tmp_path):
    seen = []
    read_inputs(make_tables(tmp_path, {"x": {"DSC": [1.0]}, "y": {"DSC": [1.0]}}), lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]


def test_data_sets_that_differ_in_their_names_alone_are_refused(tmp_path):
    paths = [
        write_scores(tmp_path / "a.csv", {"DSC": [0.9, 0.8]}, method="x", dataset="labels"),
        write_scores(tmp_path / "b.csv", {"DSC": [0.8, 0.7]}, method="y", dataset="gt"),
    ]
    with pytest.raises(TableError, match=r"of 'x' and 'y' have different names.*: labels against gt\. Give both one"):
        read_inputs(paths)


def test_metrics_of_one_method_in_several_files_are_one_method(tmp_path):
    paths = [
        write_scores(tmp_path / "dsc.csv", {"DSC": [0.9, 0.8]}, method="x"),
        write_scores(tmp_path / "ece.csv", {"ECE": [0.1, 0.2]}, method="x"),
        write_scores(tmp_path / "y.csv", {"DSC": [0.7, 0.7], "ECE": [0.1, 0.2]}, method="y"),
    ]
    scores = scores_of(read_inputs(paths))
    assert scores.methods == ("x", "y")
    assert scores.values[:, :, 0].tolist() == [[0.9, 0.1], [0.8, 0.2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,DSC\n" + "".join(f"case_{i},.8\n" for i in range(8)), "line 2: 'case_0' in the column 'name' was taken"),
        ("loss,DSC\na,.7\nscan.nii.gz,.8\n", "line 3: 'scan.nii.gz' in the column 'loss' was taken for a case"),
    ],
)
def test_cases_are_not_ranked_as_methods(tmp_path, text, words):
    with pytest.raises(TableError, match=words):
        read_inputs([wide(tmp_path, text)])


def test_numbered_methods_are_methods_where_the_header_says_so(tmp_path):
    text = "method,DSC\n" + "".join(f"net{i},.{i}\n" for i in range(1, 8))
    assert len(scores_of(read_inputs([wide(tmp_path, text)])).methods) == 7


@pytest.mark.parametrize(
    "text",
    ["method;DSC;HD95\nx;0,5;3\ny;0,7;4\n", "method\tDSC\tHD95\nx\t.5\t3\ny\t.7\t4\n",
     "\ufeffmethod,DSC,HD95,,\r\nx,.5,3,,\r\ny,.7,4,,\r\n",
     'method,DSC,HD95\nx,"0,5",3\nmethod,DSC,HD95\ny,70e-2,"4,0"\n', "method,DSC,HD95\nx,50,3\ny,70,4\n"],
)  # fmt: skip
def test_what_is_unambiguous_is_read(tmp_path, text):
    (tmp_path / "wide.csv").write_bytes(text.encode())
    scores = scores_of(read_inputs([tmp_path / "wide.csv"]))
    assert scores.values[0].tolist() == [[0.5, 0.7], [3, 4]]


def test_metrics_that_nobody_asked_to_leave_out_are_named(tmp_path):
    paths = make_tables(tmp_path, {"x": {"DSC": [0.9], "Brier": [0.2], "NLL": [0.3]}})
    tables = read_inputs(paths)
    (note,) = left_out_metrics(tables, choose_metrics(tables, ""), "")
    assert note.startswith("Ranked by DSC alone; also held: Brier, NLL ")
    assert left_out_metrics(tables, ("DSC",), "DSC") == ()
