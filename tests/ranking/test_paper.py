"""The published tables of "We Care Each Pixel: Calibrating on Medical Segmentation Model", values as printed."""

from __future__ import annotations

from itertools import chain, permutations

import numpy as np
import pytest

from calibeval.errors import TableError
from calibeval.ranking import RankSettings, rank_tables

_METRICS = ("DSC", "HD95", "ECE", "CECE", "pECE")


def _header(*data_sets):
    return ",".join(["method", *(f"{d}/{m}" for d in data_sets for m in _METRICS), "published_mean_rank"]) + "\n"


TABLE_1 = (
    _header("ACDC", "FLARE")
    + """\
DiceCE,0.828,3.14,0.137,0.084,0.457,0.716,9.7,0.076,0.049,0.774,7.70
FL,0.620,7.30,0.153,0.179,0.224,0.834,6.65,0.053,0.059,0.217,7.70
ECP,0.782,4.44,0.130,0.094,0.193,0.857,5.30,0.037,0.027,0.307,5.15
LS,0.809,3.30,0.083,0.093,0.177,0.856,5.33,0.055,0.049,0.216,5.40
SVLS,0.824,2.81,0.091,0.083,0.179,0.857,5.72,0.039,0.036,0.420,4.60
MbLS,0.827,2.99,0.103,0.081,0.206,0.855,5.75,0.046,0.041,0.580,5.70
NACL,0.854,2.93,0.068,0.061,0.183,0.859,4.88,0.031,0.031,0.455,3.20
FCL,0.864,1.77,0.052,0.045,0.259,0.854,4.54,0.039,0.031,0.553,3.45
SDC,0.869,1.82,0.039,0.044,0.173,0.858,4.13,0.028,0.034,0.435,2.05
"""
)
TABLE_2 = (
    _header("ACDC", "FLARE")
    + """\
DiceCE,0.882,1.58,0.072,0.041,0.509,0.885,4.01,0.036,0.034,0.518,6.10
FL,0.872,1.60,0.089,0.065,0.169,0.862,3.93,0.039,0.043,0.476,7.10
ECP,0.879,1.48,0.067,0.112,0.205,0.869,3.85,0.046,0.131,0.454,6.70
LS,0.885,1.46,0.062,0.057,0.170,0.866,4.25,0.059,0.051,0.316,5.30
SVLS,0.879,2.86,0.059,0.111,0.172,0.886,3.15,0.029,0.029,0.351,4.75
MbLS,0.883,1.46,0.057,0.052,0.170,0.883,3.48,0.031,0.031,0.489,4.10
NACL,0.881,1.52,0.056,0.059,0.214,0.886,3.67,0.026,0.027,0.439,4.25
FCL,0.882,1.26,0.032,0.035,0.179,0.879,3.89,0.036,0.026,0.525,4.10
SDC,0.880,1.31,0.037,0.042,0.165,0.888,3.46,0.023,0.026,0.416,2.30
"""
)
TABLE_4 = (
    _header("BraTS", "Prostate")
    + """\
DiceCE,0.739,18.73,0.246,0.159,0.556,0.524,10.95,0.254,0.227,0.507,8.20
FL,0.776,14.82,0.187,0.145,0.454,0.520,9.93,0.225,0.205,0.424,4.40
ECP,0.742,16.55,0.232,0.151,0.425,0.526,9.36,0.208,0.199,0.311,4.25
LS,0.752,12.14,0.171,0.161,0.410,0.501,10.88,0.200,0.208,0.388,4.80
SVLS,0.761,14.62,0.176,0.140,0.466,0.481,10.29,0.186,0.216,0.326,4.15
MbLS,0.746,16.02,0.218,0.148,0.452,0.508,10.34,0.223,0.218,0.381,6.05
NACL,0.761,15.00,0.188,0.144,0.451,0.480,10.29,0.186,0.216,0.326,4.55
FCL,0.754,16.68,0.214,0.142,0.447,0.506,10.74,0.251,0.221,0.335,5.90
SDC,0.782,13.45,0.169,0.148,0.425,0.516,9.01,0.230,0.202,0.305,2.70
"""
)
PRINTED = {
    "DiceCE": 8.20, "FL": 4.40, "ECP": 4.25, "LS": 4.80, "SVLS": 4.15, "MbLS": 6.05, "NACL": 4.55, "FCL": 5.90,
    "SDC": 2.70,
}  # fmt: skip


def rank_text(tmp_path, *texts, **settings):
    paths = []
    for number, text in enumerate(texts):
        path = tmp_path / f"table{number}.csv"
        path.write_text(text)
        paths.append(path)
    return rank_tables(paths, RankSettings(**{"bootstrap": 0} | settings))


@pytest.fixture(scope="module")
def table_4(tmp_path_factory):
    return rank_text(tmp_path_factory.mktemp("paper"), TABLE_4, bootstrap=100)


def test_table_4_comes_out_exactly(table_4):
    found = {method["name"]: method["mean_rank"] for method in table_4.to_dict()["methods"]}
    assert list(found) == list(PRINTED)
    assert found == pytest.approx(PRINTED, abs=1e-12)
    assert any("all 9 printed ranks are those of the printed values" in note for note in table_4.notes)


def test_table_4_supports_no_claim(table_4, tmp_path):
    """Ten columns of two data sets: significant if they were independent, not so when they are kept together."""
    result = table_4.to_dict()["friedman"]
    assert (result["n_blocks"], result["n_methods"]) == (10, 9)
    assert result["p"] < 0.01
    assert result["f_p"] < 0.01
    first, second = table_4.blocks.cluster_scores
    orders = np.array(list(permutations(range(9))))
    sums = ((first + second[orders]) ** 2).sum(axis=1)
    assert result["cluster_permutation_p"] == pytest.approx((sums >= sums[0]).mean())
    assert 0.118 < result["cluster_permutation_p"] < 0.119
    assert "No difference between the methods is shown" in table_4.verdict[1]
    assert not table_4.significant().any()
    others = (rank_text(tmp_path, TABLE_4, posthoc=test).warnings for test in ("nemenyi", "wilcoxon-holm"))
    text = " ".join((*table_4.warnings, *chain.from_iterable(others)))
    assert "The 10 blocks are metrics of 2 data sets" in text
    assert "critical difference is 8.49, and mean ranks of 9 methods differ by at most 8" in text
    assert "with 10 blocks the smallest p is 0.0703" in text


@pytest.mark.parametrize(
    ("table", "largest", "total", "differing"),
    [(TABLE_1, ("FCL -0.35", 0.35), "44.95", 8), (TABLE_2, ("ECP -0.25", 0.25), "44.70", 6)],
)
def test_other_tables_differ_from_their_printed_ranks_and_say_so(tmp_path, table, largest, total, differing):
    ranking = rank_text(tmp_path, table)
    printed = [float(line.rpartition(",")[2]) for line in table.splitlines()[1:]]
    gaps = np.array(printed) - ranking.overall.mean_rank
    assert np.abs(gaps).max() == pytest.approx(largest[1])
    assert ranking.overall.mean_rank.sum() == pytest.approx(45)
    (note,) = [note for note in ranking.notes if "published_mean_rank" in note]
    assert f"{differing} of 9 printed ranks are not those of the printed values" in note
    assert largest[0] in note
    assert f"they sum to {total}, ranks of 9 methods to 45" in note


def test_data_sets_as_blocks(tmp_path):
    """With two data sets as the only blocks the mean ranks stay, and n is 2."""
    result = rank_text(tmp_path, TABLE_4, blocks="case").to_dict()
    assert {method["name"]: method["mean_rank"] for method in result["methods"]} == pytest.approx(PRINTED)
    assert result["friedman"]["n_blocks"] == 2
    assert result["friedman"]["permutation_p"] == result["friedman"]["cluster_permutation_p"]
    assert result["nemenyi"]["cd"] > 8


def test_both_u_net_tables_together_have_four_data_sets(tmp_path):
    ranking = rank_text(tmp_path, TABLE_1, TABLE_4)
    assert ranking.friedman.n_clusters == 4
    assert ranking.friedman.n_blocks == 20
    assert ranking.friedman.cluster_permutation.p < 0.01


def test_two_backbones_cannot_be_joined(tmp_path):
    with pytest.raises(TableError, match=r"hold ACDC/DSC of the method 'DiceCE'"):
        rank_text(tmp_path, TABLE_1, TABLE_2)
