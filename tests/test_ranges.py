"""Values that a metric cannot have."""

import math

import pandas as pd
import pytest

from calibeval.errors import TableError
from calibeval.ranges import in_range


def frame_of(**values):
    rows = [("m", "A", f"c{i}", metric, value) for metric, numbers in values.items() for i, value in enumerate(numbers)]
    return pd.DataFrame(rows, columns=["method", "dataset", "case", "metric", "value"])


def test_a_column_of_per_cent_becomes_a_ratio_and_is_said():
    frame, notes = in_range(frame_of(DSC=[85.0, 0.0, math.nan, 100], HD95=[3.0, 85.0], gap=[-20.0, 5.0]))
    assert frame["value"].iloc[:4].tolist()[:2] == [0.85, 0.0]
    assert frame[frame["metric"] == "HD95"]["value"].tolist() == [3.0, 85.0]
    assert frame[frame["metric"] == "gap"]["value"].tolist() == [-0.2, 0.05]
    assert notes == ("All values of DSC, gap were taken for per cent and divided by 100.",)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"DSC": [0.91, 85.3]},
            "DSC of 'm' in A/c1 is 85.3, and it cannot be above 1. If these are per cent, give all",
        ),
        ({"DSC": [1.7, 1.7]}, "DSC of 'm' in A/c0 is 1.7, and it cannot be above 1"),
        ({"DSC": [50.0, 120.0]}, "DSC of 'm' in A/c0 is 50"),
        ({"DSC": [50.0, -1.0]}, "DSC of 'm' in A/c0 is 50"),
        ({"HD95": [3.0, -1.0]}, "HD95 of 'm' in A/c1 is -1, and it cannot be below 0. Where there is no number, leave"),
        ({"Brier": [2.5]}, "Brier of 'm' in A/c0 is 2.5, and it cannot be above 2.$"),
        ({"gap": [0.1, -1.5]}, "gap of 'm' in A/c1 is -1.5, and it cannot be below -1"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(values, words):
    with pytest.raises(TableError, match=words):
        in_range(frame_of(**values))


def test_what_can_be_stays():
    frame = frame_of(DSC=[1.0 + 1e-9, 0.0], HD95=[math.inf, 0.0], RVD=[-1.0, 9.0], novel=[-7.0, 700.0])
    same, notes = in_range(frame)
    assert same is frame
    assert notes == ()
