"""The results table: what is written can be read, by us and by pandas, bit for bit."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.errors import TableError
from calibeval.files import atomic_path
from calibeval.table import COLUMNS, EXTRAS, Row, read_table, render_table, to_frame, write_table

ROW = Row("ours", "ACDC", "case_1", "LV", "DSC", 0.1 + 0.2, "", "ok", "")


def write(path, *rows):
    write_table(path, rows, signature="paper|test", command="calibeval score a b")
    return path


def test_header_and_columns(tmp_path):
    lines = write(tmp_path / "t.csv", ROW, ROW._replace(case="case_2")).read_text().splitlines()
    assert lines[0] == ",".join((*COLUMNS, "about"))
    assert lines[2] == "ours,ACDC,case_2,LV,DSC,0.30000000000000004,,ok,,"
    header, _ = read_table(tmp_path / "t.csv")
    assert header.signature == "paper|test"
    assert header.command == "calibeval score a b"
    assert header.version


def test_pandas_reads_it_without_us(tmp_path):
    path = write(tmp_path / "t.csv", ROW)
    frame = pd.read_csv(path)
    assert list(frame.columns) == [*COLUMNS, "about"]
    assert frame["value"].item() == pytest.approx(0.3)
    assert float(pd.read_csv(path, dtype=str)["value"].item()) == 0.1 + 0.2  # pandas 2 rounds the last digit
    about = json.loads(frame["about"].item())
    assert (about["rows"], about["signature"], about["command"]) == (1, "paper|test", "calibeval score a b")
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "t.csv", comment="#"))  # as tables of 0.1 were read


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), max_size=20)


@settings(max_examples=50, deadline=None)
@given(
    name=_TEXT,
    note=_TEXT,
    value=st.floats(allow_nan=True, allow_infinity=True),
)
def test_any_row_survives_the_file(tmp_path_factory, name, note, value):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    row = ROW._replace(case=f"x{name}", value=value, note=note)
    _, frame = read_table(write(path, row))
    assert len(frame) == 1
    found = frame.iloc[0]
    assert (found["case"], found["note"]) == (row.case, row.note)
    assert found["value"] == value or (math.isnan(value) and math.isnan(found["value"]))


@pytest.mark.parametrize("name", ["case #1", 'a "quoted" name', "a, b", "# first"])
def test_marks_of_csv_inside_fields(tmp_path, name):
    path = write(tmp_path / "t.csv", ROW._replace(method=name, case=name))
    assert read_table(path)[1]["method"].item() == name
    assert pd.read_csv(path, comment="#")["case"].item() == name


def test_line_breaks_in_notes_become_spaces(tmp_path):
    assert read_table(write(tmp_path / "t.csv", ROW._replace(note="a\nb")))[1]["note"].item() == "a b"


def test_equal_rows_give_equal_bytes():
    assert render_table([ROW], signature="s") == render_table([ROW], signature="s")


def test_undefined_values_are_empty_fields(tmp_path):
    path = write(tmp_path / "t.csv", ROW._replace(value=math.nan, status="both_empty"))
    assert path.read_text().splitlines()[-1].startswith("ours,ACDC,case_1,LV,DSC,,,both_empty,,")
    assert np.isnan(read_table(path)[1]["value"].item())


def test_frames_have_the_columns():
    assert list(to_frame([ROW]).columns) == [*COLUMNS, *EXTRAS]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column method"),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,x,,ok,\n", "'x' where a number"),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,1,,fine,\n", "unknown status 'fine'"),
        ("", "no column method, .* .found nothing"),
        (
            ",".join(COLUMNS) + "\nm,d,c,k,DSC,1,,ok,\nm,d,c,k\n",
            "line 3 has 4 fields, the header has 9. The file is cut",
        ),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,1,,ok,,x\n", "line 2 has 10 fields, the header has 9"),
        (",".join(COLUMNS) + ",note\nm,d,c,k,DSC,1,,ok,,\n", "the column 'note' stands twice"),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,'1.234.5',,ok,\n", "line 2, column value: "),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,1_5,,ok,\n", "line 2, column value: '1_5' where a number"),
        (",".join(COLUMNS) + '\nm,d,c,k,DSC,"1,234",,ok,\n', "line 2, column value: '1,234' where a number"),
        (",".join(COLUMNS) + ",about\nm,d,c,k,DSC,1,,ok,,x\n", "the column 'about' holds 'x'"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TableError, match=words) as caught:
        read_table(tmp_path / "t.csv")
    assert "t.csv" in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(TableError, match=r"b\.csv"):
        read_table(tmp_path / "b.csv")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "t.csv", ROW)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path):
    path = tmp_path / ("a" * 251 + ".csv")
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("name", ["nowhere.csv", "folder/nowhere.csv"])
def test_a_place_that_takes_no_files_is_named(name):
    with pytest.raises(OSError, match="'/proc/nowhere.csv'" if name == "nowhere.csv" else "'/proc/folder'"):
        write_table(Path("/proc", name), [ROW], signature="s")


def test_a_byte_order_mark_hides_nothing(tmp_path):
    """Spreadsheets and editors put one before the first line."""
    text = render_table([ROW], signature="s", command="c")
    (tmp_path / "t.csv").write_text(text, encoding="utf-8-sig")
    header, frame = read_table(tmp_path / "t.csv")
    assert (header.signature, header.command, len(frame)) == ("s", "c", 1)


def test_written_files_can_be_read_by_others(tmp_path):
    assert write(tmp_path / "deep" / "t.csv", ROW).stat().st_mode & 0o444 == 0o444


OLD = """# calibeval 0.1.0
# signature: paper|ECE:top,foreground,15bins|NLL:clip1e-07
# command: calibeval score p l --metrics DSC,IoU
method,dataset,case,class,metric,value,unit,status,note
m,A,c1,mean,HD95,,mm,empty_prediction,diagonal_mm=12.5
m,A,c1,mean,DSC,0.5,,ok,
m,A,pooled,mean,DSC,0.5,,ok,
"""


def saved_by_a_spreadsheet(text, delimiter, decimal="."):
    """Cells as a spreadsheet splits them, every row padded to the widest; BOM and CRLF."""
    rows = list(csv.reader(text.splitlines()))
    width = max(map(len, rows)) + 1
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, delimiter=delimiter)
    writer.writerows([[*(c.replace("0.5", f"0{decimal}5") for c in row), *[""] * (width - len(row))] for row in rows])
    return "\ufeff" + lines.getvalue()


@pytest.mark.parametrize(
    "text", [OLD, render_table([ROW._replace(value=0.5)] * 3, signature="a,b|c:1;2", command="x, y")]
)
@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ","), (",", ",")])
def test_what_a_spreadsheet_saved_reads_the_same(tmp_path, text, delimiter, decimal):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    (tmp_path / "b.csv").write_bytes(saved_by_a_spreadsheet(text, delimiter, decimal).encode())
    (header, frame), (same, other) = read_table(tmp_path / "a.csv"), read_table(tmp_path / "b.csv")
    assert same == header
    pd.testing.assert_frame_equal(frame, other)
    assert frame["value"].iloc[-1] == 0.5


def test_tables_of_the_first_release_are_read(tmp_path):
    (tmp_path / "t.csv").write_text(OLD)
    header, frame = read_table(tmp_path / "t.csv")
    assert header == ("0.1.0", "paper|ECE:top,foreground,15bins|NLL:clip1e-07", "calibeval score p l --metrics DSC,IoU")
    np.testing.assert_array_equal(frame["diagonal"], [12.5, np.nan, np.nan])


def test_a_table_that_was_cut_after_a_line_is_refused(tmp_path):
    new = write(tmp_path / "new.csv", *(ROW._replace(case=f"c{i}") for i in range(4))).read_text()
    for text, words in ((new, "holds 3 of the 4 rows"), (OLD, "pooled rows of DSC at its end are missing")):
        (tmp_path / "t.csv").write_text("".join(text.splitlines(keepends=True)[:-1]))
        with pytest.raises(TableError, match=words):
            read_table(tmp_path / "t.csv")


def test_tables_put_together_are_read_and_their_rows_counted(tmp_path):
    one = render_table([ROW], signature="paper|HD95:monai", command="c")
    two = render_table([ROW._replace(case="case_2")], signature="paper|HD95:monai|map:4=3", command="d")
    (tmp_path / "t.csv").write_text(one + two)  # the header comes twice
    header, frame = read_table(tmp_path / "t.csv")
    assert list(frame["case"]) == ["case_1", "case_2"]
    assert header.signature == "paper|HD95:monai"
    (tmp_path / "old.csv").write_text(OLD + OLD.replace(",c1,", ",c2,"))
    assert list(read_table(tmp_path / "old.csv")[1]["case"]) == ["c1", "c1", "pooled", "c2", "c2", "pooled"]
    (tmp_path / "t.csv").write_text(one + two.replace("monai", "medpy"))
    with pytest.raises(TableError, match=r"t.csv: rows of different protocols: definition of distances: monai against"):
        read_table(tmp_path / "t.csv")


def test_columns_that_no_row_uses_are_not_written(tmp_path):
    path = write(tmp_path / "t.csv", ROW, ROW._replace(diagonal=12.25, rater="r1"))
    assert path.read_text().splitlines()[0] == ",".join((*COLUMNS, "diagonal", "rater", "about"))
    _, frame = read_table(path, raters=True)
    np.testing.assert_array_equal(frame["diagonal"], [np.nan, 12.25])
    assert len(read_table(path)[1]) == 1  # without those of single raters
    assert (list(frame["rater"]), list(frame["group"])) == (["", "r1"], ["", ""])


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@SUM(A1)", "'=x", "''@", "'quoted'"])
def test_no_cell_is_a_formula_and_every_name_comes_back(tmp_path, name):
    path = write(tmp_path / "t.csv", ROW._replace(case=name, value=-0.5))
    cells = next(csv.DictReader(path.read_text().splitlines()))
    assert not cells["case"].startswith(("=", "+", "-", "@"))
    assert cells["value"] == "-0.5"
    assert read_table(path)[1]["case"].item() == name
