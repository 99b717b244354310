"""Every protocol on one case that fits on a sheet of paper; each number is worked out in the comments.

Two rows of four pixels of 2 x 1 mm (y, x), classes 0, 1, 2; voxels v0..v3 in the first row, v4..v7 in the second.
"""

import math
from typing import Any

import numpy as np
import pytest

from calibeval import make_protocol, read_table, score_case
from tests.case_files import write_npz

#                     v0   v1   v2   v3   v4    v5    v6   v7
P = np.array([
    [0.9, 0.9, 0.3, 1.0, 0.25, 0.60, 0.1, 0.05],
    [0.1, 0.1, 0.5, 0.0, 0.70, 0.35, 0.1, 0.15],
    [0.0, 0.0, 0.2, 0.0, 0.05, 0.05, 0.8, 0.80],
]).reshape(3, 2, 4)  # fmt: skip
Y = np.array([[0, 0, 0, 0], [1, 1, 2, 2]])
# argmax:      0  0  1  0    1  0  2  2
SPACING = (2.0, 1.0)

# ECE over the foreground, top label, 15 bins: v4 .7 right, v5 .6 wrong (bin 9, as .6 = 9/15), v6 and v7 .8 right
PAPER_ECE = (0.3 + 0.6 + 0.4) / 4
# over all voxels: v0, v1 .9 right, v2 .5 wrong and v3 1 right beside these
GUO_ECE = (0.2 + 0.5 + 0.0 + 0.3 + 0.6 + 0.4) / 8
# 1 - p0 against y > 0 in 10 bins: .1 .1 | .7 | 0 in no bin | .75 | .4 | .9 | .95; the last four are foreground
SDC_ECE = (0.2 + 0.7 + 0.25 + 0.6 + 0.1 + 0.05) / 8
# the same bins, and twice the mean p of each bin's background: .1 .1 (and 0) and .7
PECE = (0.2 + 2 * 0.2 + 0.7 + 2 * 0.7 + 0.25 + 0.6 + 0.1 + 0.05) / 8

# p_c against y = c, 15 bins, voxels with p_c > .001
PAPER_CECE = (
    (0.2 + 0.7 + 0.0 + 0.25 + 0.6 + 0.1 + 0.05) / 8,  # v0 v1 | v2 | v3 | v4 | v5 | v6 | v7
    (0.3 + 0.5 + 0.3 + 0.65 + 0.15) / 7,  # v0 v1 v6 | v2 | v4 | v5 | v7; v3 has 0
    (0.2 + 0.1 + 0.4) / 5,  # v2 | v4 v5 | v6 v7; v0 v1 v3 have 0
)
# all voxels: the zeros join the first bin
GUO_CECE = (PAPER_CECE[0], (0.3 + 0.5 + 0.3 + 0.65 + 0.15) / 8, (0.2 + 0.1 + 0.4) / 8)
# voxels of the foreground alone
NACL_CECE = (
    (0.25 + 0.6 + 0.1 + 0.05) / 4,  # v4 | v5 | v6 | v7
    (0.3 + 0.65 + 0.1 + 0.15) / 4,  # v4 | v5 | v6 | v7
    (0.1 + 0.4) / 4,  # v4 v5 | v6 v7
)
# as the paper's, in 10 bins: v2 .3 and v4 .25 share a bin, v6 .1 and v7 .05 as well
SDC_CECE = ((0.2 + 0.45 + 0.0 + 0.6 + 0.15) / 8, PAPER_CECE[1], PAPER_CECE[2])

# Class 1: reference v4 v5, predicted v2 v4, so distances 0 and 1 one way, 0 and hypot(2, 1) the other. Class 2 fits.
FAR = math.hypot(2, 1)
MONAI_HD95 = 0.95 * FAR  # the larger of two percentiles of two values
MEDPY_HD95 = 1 + 0.85 * (FAR - 1)  # of 0 0 1 2.24: between the third and the fourth, at position .95 * 3 = 2.85

EXPECTED: Any = {
    "paper": {"ECE": PAPER_ECE, "CECE": PAPER_CECE, "pECE": PECE, "DSC": (0.5, 1.0), "HD95": (MONAI_HD95, 0.0)},
    "guo": {"ECE": GUO_ECE, "CECE": GUO_CECE, "pECE": PECE, "DSC": (0.5, 1.0), "HD95": (MONAI_HD95, 0.0)},
    "nacl": {"ECE": PAPER_ECE, "CECE": NACL_CECE, "pECE": PECE, "DSC": (0.5, 1.0), "HD95": (MEDPY_HD95, 0.0)},
    # the foreground as one mask: reference v4..v7, predicted v2 v4 v6 v7; distances 1 and 1 and six times 0 in voxels
    "sdc-repo": {"ECE": SDC_ECE, "CECE": SDC_CECE, "pECE": PECE, "DSC": (6 / 8,), "HD95": (1.0,)},
}
UNITS = {"paper": "mm", "guo": "mm", "nacl": "mm", "sdc-repo": "voxel"}


def rows_of(protocol, metrics="default", **choices):
    found = score_case(P, Y, spacing_mm=SPACING, protocol=protocol, metrics=metrics, **choices)
    return {(row.metric, row.class_name): row for row in found.rows}


def by_metric_and_class(frame):
    """Values of the case c."""
    one = frame[frame["case"] == "c"]
    return dict(zip(zip(one["metric"], one["class"].astype(str), strict=True), one["value"], strict=True))


@pytest.mark.parametrize("protocol", EXPECTED)
def test_the_five_numbers_of_each_protocol(protocol):
    rows, expected = rows_of(protocol), EXPECTED[protocol]
    assert rows["ECE", "all"].value == pytest.approx(expected["ECE"], rel=1e-12)
    assert rows["pECE", "all"].value == pytest.approx(expected["pECE"], rel=1e-12)
    for c, value in enumerate(expected["CECE"]):
        assert rows["CECE", str(c)].value == pytest.approx(value, rel=1e-12)
    assert rows["CECE", "all"].value == pytest.approx(sum(expected["CECE"]) / 3, rel=1e-12)
    names = ("foreground",) if protocol == "sdc-repo" else ("1", "2")
    for metric in ("DSC", "HD95"):
        for name, value in zip(names, expected[metric], strict=True):
            assert rows[metric, name].value == pytest.approx(value, rel=1e-12)
        mean = sum(expected[metric]) / len(expected[metric])
        assert rows[metric, "mean"].value == pytest.approx(mean, rel=1e-12)
    assert rows["HD95", "mean"].unit == UNITS[protocol]


@pytest.mark.parametrize("protocol", EXPECTED)
def test_the_command_line_gives_the_same_numbers(protocol, tmp_path, scored):
    write_npz(tmp_path / "m" / "c.npz", probs=P, label=Y)
    frame = scored(tmp_path / "m", "--protocol", protocol, "--spacing", "2,1")
    assert by_metric_and_class(frame) == {key: row.value for key, row in rows_of(protocol).items()}


def test_each_protocol_has_its_signature(tmp_path, cli):
    write_npz(tmp_path / "m" / "c.npz", probs=P, label=Y)
    seen = set()
    for protocol in EXPECTED:
        assert cli("score", tmp_path / "m", "--protocol", protocol).code == 0
        header, _ = read_table(tmp_path / "results" / "m.csv")
        assert header.signature == make_protocol(protocol).signature
        seen.add(header.signature)
    assert len(seen) == 4


def test_options_change_the_protocol_and_its_signature(tmp_path, scored):
    write_npz(tmp_path / "m" / "c.npz", probs=P, label=Y)
    options = ["--bins", 5, "--fp-weight", 0, "--threshold", 0.15, "--hd95", "medpy", "--spacing", "2,1"]
    frame = scored(tmp_path / "m", *options)
    rows = by_metric_and_class(frame)
    # 5 bins, 1 - p0: .1 .1 0 | .7 .75 | .4 | .9 .95
    assert rows["pECE", "all"] == pytest.approx((0.2 + 0.45 + 0.6 + 0.15) / 8)
    # top label over the foreground: .7 | .6 in (.4, .6] | .8 .8 shares (.6, .8] with .7
    assert rows["ECE", "all"] == pytest.approx((0.3 + 0.4 + 0.6) / 4)
    # class 2 with p > .15: v2 .2 in (0, .2] | v6 v7 .8
    assert rows["CECE", "2"] == pytest.approx((0.2 + 0.4) / 3)
    assert rows["HD95", "1"] == pytest.approx(MEDPY_HD95)
    signature = (tmp_path / "results" / "m.csv").read_text().splitlines()[1]
    for part in ("5bins", "p>0.15", "w0", "HD95:medpy"):
        assert part in signature


# The other metrics, from the bins above
def test_the_other_metrics_of_the_paper_s_bins():
    rows = rows_of("paper", "all")
    value = {key: row.value for key, row in rows.items()}
    assert value["ACE", "all"] == pytest.approx((0.3 + 0.6 + 0.2) / 3)
    assert value["MCE", "all"] == pytest.approx(0.6)
    assert value["gap", "all"] == pytest.approx((0.9 + 0.9 + 0.5 + 0.7 + 0.6 + 0.8 + 0.8 - 5) / 7)  # v3 is sure
    squared = ((P - np.eye(3)[Y].transpose(2, 0, 1)) ** 2).sum(axis=0)
    assert value["Brier", "all"] == pytest.approx(squared.mean())
    true = [0.9, 0.9, 0.3, 1.0, 0.70, 0.35, 0.8, 0.8]
    assert value["NLL", "all"] == pytest.approx(-np.mean(np.log(true)))
    assert value["NLL", "2"] == pytest.approx(-math.log(0.8))
    assert (value["precision", "1"], value["recall", "1"], value["IoU", "1"]) == (0.5, 0.5, pytest.approx(1 / 3))
    assert value["RVD", "1"] == 0
    assert rows["VD", "1"].status == "not_computed"
    assert "flat" in rows["VD", "1"].note
    assert value["HD", "1"] == pytest.approx(FAR)
    assert value["ASSD", "1"] == pytest.approx((0 + 1 + 0 + FAR) / 4)
    assert value["NSD", "1"] == pytest.approx(3 / 4)  # 0, 1 and 0 lie within 2 mm
    # boundary: every pixel has a neighbour of another class within 2 mm, so all voxels count
    assert value["bECE", "all"] == pytest.approx(GUO_ECE)


def test_boundary_ece_counts_what_lies_near_the_boundary():
    rows = rows_of(make_protocol(boundary_mm=0.5), "bECE")
    # pixels with a face neighbour of another class: all of them again (each column changes from row to row)
    assert rows["bECE", "all"].value == pytest.approx(GUO_ECE)
    label = np.zeros((1, 6), int)
    label[0, 3:] = 1
    p = np.linspace(0.05, 0.9, 6)[None]
    near = score_case(
        np.stack([1 - p, p]), label, metrics="bECE", spacing_mm=(1, 1), protocol=make_protocol(boundary_mm=0)
    )
    inner = p[0, 2:4]
    gaps = np.abs(np.maximum(inner, 1 - inner) - ((inner > 0.5) == (label[0, 2:4] == 1)))
    assert near.rows[0].value == pytest.approx(gaps.mean())


def test_boundary_ece_without_spacing_or_boundary_says_why():
    found = score_case(P, Y, metrics="bECE").rows[0]
    assert (found.status, math.isnan(found.value)) == ("not_computed", True)
    assert "--spacing" in found.note
    flat = score_case(P, np.zeros_like(Y), metrics="bECE", spacing_mm=SPACING).rows[0]
    assert flat.status == "empty_reference"


def test_pooled_numbers_come_from_summed_bins(tmp_path, scored):
    """Two cases whose gaps have opposite signs: pooled they cancel, in the mean they do not."""
    label = np.ones((2, 4), int)
    for name, right in (("a", 4), ("b", 2)):
        p = np.full((2, 4), 0.75)
        planes = np.stack([1 - p, p])
        planes[:, :, right:] = planes[::-1, :, right:]
        write_npz(tmp_path / "m" / f"{name}.npz", probs=planes, label=label)
    frame = scored(tmp_path / "m", "--metrics", "ECE,gap").set_index(["metric", "class", "case"])["value"]
    assert frame["ECE", "all", "a"] == pytest.approx(0.25)
    assert frame["ECE", "all", "b"] == pytest.approx(0.25)
    assert frame["ECE", "all", "pooled"] == pytest.approx(0)
