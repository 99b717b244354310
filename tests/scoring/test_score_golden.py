"""The sample data: numbers that must not change unnoticed, and methods that must come out as they were made."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from calibeval import read_table, score_folder
from calibeval.metrics.intervals import mean_interval
from calibeval.phantom import METHODS
from tests import ROOT, SAMPLE

GOLDEN = ROOT / "tests" / "golden"


def test_the_sample_gives_the_golden_table():
    spec = importlib.util.spec_from_file_location("golden_write", GOLDEN / "write.py")
    write = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(write)
    rows, signature = write.golden_rows()
    header, expected = read_table(GOLDEN / "sample.csv")
    assert header.signature == signature
    found = pd.DataFrame(rows, columns=expected.columns)
    keys = [column for column in expected.columns if column not in ("value", "note")]
    pd.testing.assert_frame_equal(found[keys], expected[keys], check_dtype=False)
    np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def gaps():
    """Signed gap where the prediction leaves room for foreground, case by case."""
    table = score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", protocol="guo", metrics="gap,ECE").table
    table = table[(table["class"] == "all") & (table["case"] != "pooled")]
    return {key: part["value"].to_numpy() for key, part in table.groupby(["method", "metric"])}


def test_the_true_probabilities_come_out_calibrated(gaps):
    """The labels were drawn from them, so the gap is noise: its interval over cases holds 0."""
    values = gaps["calibrated", "gap"]
    assert len(values) == 12
    low, high = mean_interval(values)
    assert low <= 0 <= high
    assert max(abs(low), abs(high)) < 0.01


@pytest.mark.parametrize(("method", "sign"), [("overconfident", 1), ("underconfident", -1)])
def test_the_others_come_out_in_their_direction(method, sign, gaps):
    low, high = mean_interval(sign * gaps[method, "gap"])
    assert low > 0.01
    assert high < 0.2
    assert (METHODS[method] > 1) == (sign > 0)


def test_the_true_probabilities_have_the_smallest_ece_in_every_case(gaps):
    for method in ("overconfident", "underconfident"):
        assert (gaps["calibrated", "ECE"] < gaps[method, "ECE"]).all()
