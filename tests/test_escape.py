"""Marks that would do something to a reader, by every kind of reader."""

import math
import subprocess
import sys

import pytest

from calibeval import escape
from calibeval.table import Row, write_table


def test_no_number_of_json_is_nan():
    assert escape.finite({"a": [math.nan, 1.0, (math.inf,)], "b": "nan"}) == {"a": [None, 1.0, [None]], "b": "nan"}


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        (escape.markdown, "a|b\n*c* <i> $x", "a\\|b \\*c\\* \\<i> \\$x"),
        (escape.cell, "=1+1", "'=1+1"),
        (escape.cell, "'-x", "''-x"),
        (escape.cell, "case-1", "case-1"),
        (escape.cell, "\uff1d1+1", "'\uff1d1+1"),
        (escape.latex, "a_b%\n\\input{x}", r"a\_b\% \textbackslash{}input\{x\}"),
        (escape.xml, "a\x00b\tc", "a\ufffdb\tc"),
        (escape.page, "<b>\x1b[31m\u202e\x07\r\udc80\u05e9", "<b>\\x1b[31m\\u202e\\x07\\r\ufffd\u05e9"),
        (escape.terminal, "a\x1b[2Jb\x07\r\u202ec\n\td", "a\\x1b[2Jb\\x07\\r\\u202ec\n\td"),
        (escape.terminal, "\x1b[1;31mred\x1b[0m \x1b[8mhidden", "\x1b[1;31mred\x1b[0m \\x1b[8mhidden"),
        (escape.log, "a\n  ::error::x\nb ##[error]c\nd::e", "a\n  \\::error::x\nb ##\\[error]c\nd::e"),
    ],
)
def test_each_mark_is_shown_and_does_nothing(function, text, expected):
    assert function(text) == expected


def test_names_of_cases_move_no_cursor_and_command_no_server(tmp_path):
    rows = [Row("m", "A", f"c{i}\x1b[2J::x", "mean", "DSC", 0.5) for i in range(5)]
    write_table(tmp_path / "t.csv", rows, signature="")
    command = [sys.executable, "-m", "calibeval", "check", tmp_path / "t.csv", "--gate", "mean(DSC) >= 0.9"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "c0\\x1b[2J::x: 0.5" in done.stdout
    done = subprocess.run(
        [*command[:4], tmp_path / "\x1b[2J\n::error::x.csv", "--init"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\n\\::error" in done.stderr
