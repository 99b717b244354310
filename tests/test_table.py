"""The results table: what is written can be read, by us and by pandas, bit for bit."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.errors import TableError
from calibeval.files import atomic_path
from calibeval.table import COLUMNS, Row, read_header, read_table, render_table, to_frame, write_table

ROW = Row("ours", "ACDC", "case_1", "LV", "DSC", 0.1 + 0.2, "", "ok", "")


def write(path, *rows):
    write_table(path, rows, signature="paper|test", command="calibeval score a b")
    return path


def test_header_and_columns(tmp_path):
    text = write(tmp_path / "t.csv", ROW).read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# calibeval ")
    assert lines[1:4] == ["# signature: paper|test", "# command: calibeval score a b", ",".join(COLUMNS)]
    header = read_header(tmp_path / "t.csv")
    assert header.signature == "paper|test"
    assert header.command == "calibeval score a b"
    assert header.version


def test_pandas_reads_it_without_us(tmp_path):
    frame = pd.read_csv(write(tmp_path / "t.csv", ROW), comment="#")
    assert list(frame.columns) == list(COLUMNS)
    assert frame["value"].item() == 0.1 + 0.2


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
    assert path.read_text().splitlines()[-1] == "ours,ACDC,case_1,LV,DSC,,,both_empty,"
    assert np.isnan(read_table(path)[1]["value"].item())


def test_frames_have_the_columns():
    assert list(to_frame([ROW]).columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column method"),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,x,,ok,\n", "'x' where a number"),
        (",".join(COLUMNS) + "\nm,d,c,k,DSC,1,,fine,\n", "unknown status 'fine'"),
        ("", "cannot be read"),
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
