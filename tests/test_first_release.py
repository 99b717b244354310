"""Tables of release 0.1 (stored in `golden/v0.1`, scored on sample_data) give the numbers that 0.1 printed of them."""

import pytest

from calibeval.bins import read_bins
from calibeval.gates.baseline import compare
from calibeval.gates.evaluate import evaluate_gates
from calibeval.gates.policy import Margin, Policy, parse_gate
from calibeval.gates.scores import load_baseline, load_scores
from calibeval.metrics.calibration import ece, top_bins
from calibeval.protocol import PROTOCOLS
from calibeval.ranking import RankSettings, rank_tables
from calibeval.table import read_table
from tests import ROOT

OLD = ROOT / "tests" / "golden" / "v0.1"
METHODS = ("calibrated", "overconfident", "underconfident")


def test_it_is_read_whole():
    header, frame = read_table(OLD / "calibrated.csv")
    assert header.version == "0.1.0"
    assert header.signature.differs(PROTOCOLS["paper"].signature, ["DSC", "HD95", "ECE", "CECE", "pECE"]) == ""
    assert header.command.startswith("calibeval score sample_data/preds sample_data/labelsTr")
    assert frame["case"].nunique() == 13
    assert (frame["status"] == "ok").all()


def test_its_side_file_gives_its_pooled_numbers():
    table = read_bins(OLD / "calibrated.bins.npz")
    frame = read_table(OLD / "calibrated.csv")[1]
    (pooled,) = table.pooled().values()
    expected = frame[(frame["case"] == "pooled") & (frame["metric"] == "ECE")]["value"].item()
    assert ece(top_bins(pooled, PROTOCOLS["paper"])) == pytest.approx(expected, rel=1e-12)
    assert len(table.cases) == 12


def test_it_ranks_to_the_same_numbers():
    ranking = rank_tables([OLD / f"{name}.csv" for name in METHODS], RankSettings(bootstrap=0))
    assert ranking.methods == METHODS
    assert ranking.overall.mean_rank == pytest.approx([1.4, 2.3, 2.3], rel=1e-12)
    assert ranking.friedman.chi2 == pytest.approx(23.14285714285714, rel=1e-12)
    assert ranking.friedman.p == pytest.approx(9.431753104603051e-06, rel=1e-9)
    assert {name: list(order.mean_rank) for name, order in ranking.per_metric.items()} == {
        "DSC": [2.0, 2.0, 2.0],
        "HD95": [2.0, 2.0, 2.0],
        "ECE": [1.0, 2.0, 3.0],
        "CECE": [1.0, 2.666666666667, 2.333333333333],
        "pECE": [1.0, 2.833333333333, 2.166666666667],
    }


def test_it_is_checked_to_the_same_numbers():
    scores, baseline = load_scores(OLD / "overconfident.csv"), load_baseline(OLD / "calibrated.csv", "")
    (outcome,) = compare(scores, baseline, Policy(margins=(Margin("ECE", "all", 0.005),)))
    assert outcome.status == "failed"
    assert outcome.value == pytest.approx(0.08497119465007773, rel=1e-12)
    (gate, cases) = evaluate_gates(scores, Policy(gates=(parse_gate("mean(ECE) <= 0.05"),), signature=scores.signature))
    assert (gate.status, cases.status) == ("failed", "passed")
