"""Figures of characters: every line has its width, and the curve is where it belongs."""

import numpy as np

from calibeval.plots.binned import Curve
from calibeval.plots.terminal import BLOCK, confidence_text, curve_lines, curves_text, strips_text
from tests.plots.test_case_strips import frame


def curve(says, right, verdict="over-confident"):
    says, right = np.array(says), np.array(right)
    return Curve(says, right, right, right, np.ones(says.size, int), verdict, 0.9, 0.5)


def test_a_small_diagram_has_the_curve_below_the_diagonal():
    lines = curve_lines("m\x1b[31m" + "x" * 90, curve([0.5, 1], [0.5, 0.5]))
    assert {len(line) for line in lines} == {BLOCK}
    assert "\x1b" not in lines[0]
    rows = [line[5:] for line in lines[2:11]]
    assert rows[4][13:].rstrip() == "o" * 14, "half right, from half on"
    assert rows[0].rstrip().endswith(".") and rows[8].startswith(".")
    assert lines[-1].strip() == "says 90%, is right in 50%"


def test_an_empty_curve_is_a_diagonal():
    assert not any("o" in line for line in curve_lines("m", curve([np.nan], [np.nan]))[2:11])


def test_diagrams_stand_side_by_side():
    curves = {f"method {i}": curve([0.5], [0.5]) for i in range(5)}
    narrow, wide = list(curves_text(curves, 40)), list(curves_text(curves, 120))
    assert max(map(len, narrow[:-1])) <= 40 and max(map(len, wide)) <= 120
    assert wide[0].split() == ["method", "0", "method", "1", "method", "2"]
    assert sum(line.startswith("method") for line in narrow) == 5


def test_strips_count_cases_and_show_the_mean():
    from calibeval.plots.case_strips import read_values

    title, line, axis = strips_text("DSC", read_values(frame(1, 5), "DSC"), 60)
    assert title == "DSC"
    assert len(line) == 60 and line.count(".") == 4 and line.count("|") == 1, "the mean lies on the middle case"
    assert axis.split() == ["0.1", "0.9"]


def test_strips_of_equal_and_of_no_values():
    from calibeval.plots.case_strips import read_values

    values = read_values(frame(2, 3), "DSC")
    values.iloc[:, 0], values.iloc[:, 1] = 0.5, np.nan
    lines = list(strips_text("DSC", values, 60))
    assert "|" in lines[1] and not set(lines[2][26:])


def test_confidence_says_the_verdict():
    assert list(confidence_text("all", {"m": curve([1], [0.5])}))[1].split() == [
        "m", "over-confident", "says", "90%,", "is", "right", "in", "50%",
    ]  # fmt: skip
