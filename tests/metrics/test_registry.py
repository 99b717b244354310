"""The registry: complete, consistent, and the README's table is made from it."""

import math

import pytest

from calibeval.errors import UsageError
from calibeval.metrics import CAUTIONS, DEFAULT, LESIONS, METRICS, PAPER, RATED, cautions, select_metrics
from calibeval.protocol import PROTOCOLS

HIGHER = {"DSC", "IoU", "precision", "recall", "NSD", *LESIONS, *RATED} - {"lesion_FP", "CRPS"}
LOWER = {"HD95", "HD", "ASSD", "ECE", "CECE", "pECE", "ACE", "MCE", "Brier", "NLL", "bECE", "aECE", "smECE", "MCB"}
LOWER |= {"lesion_FP", "CRPS"}
SIGNED = {"VD", "RVD", "gap"}


def test_every_metric_has_one_direction():
    assert set(METRICS) == HIGHER | LOWER | SIGNED
    for name, metric in METRICS.items():
        expected = "higher" if name in HIGHER else "lower" if name in LOWER else "zero"
        assert metric.better == expected, name


def test_rows_are_filled_in():
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.low < metric.high
        assert metric.long_name
        assert metric.formula
        assert metric.citation
        assert metric.undefined
        assert set(metric.rows) <= {"class", "mean", "all"}


def test_the_default_is_the_papers_five_and_what_orders_models_rightly():
    assert PAPER == ("DSC", "HD95", "ECE", "CECE", "pECE")
    assert (*PAPER, "gap", "Brier", "NLL") == DEFAULT
    assert select_metrics("default") == DEFAULT
    assert select_metrics("paper") == PAPER


def test_selection_keeps_the_registrys_order_and_ignores_case():
    assert select_metrics("ece, dsc") == ("DSC", "ECE")
    assert select_metrics(["NLL", "paper"]) == (*PAPER, "NLL")
    assert select_metrics("all") == tuple(name for name in METRICS if name not in (*LESIONS, *RATED))
    assert select_metrics("lesions,raters,all") == tuple(METRICS)


@pytest.mark.parametrize("text", ["", " , ", "dice", "ECE,foo"])
def test_unknown_names_are_refused_with_the_known_ones(text):
    with pytest.raises(UsageError, match="Known: default, paper, all, lesions, raters, DSC"):
        select_metrics(text)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("paper", ["ECE", "pECE"]), ("nacl", ["ECE, CECE", "pECE"]), ("guo", ["pECE"]), ("sdc-repo", ["pECE"])],
)
def test_numbers_that_mislead_come_with_a_caution(protocol, said):
    """Whatever is over voxels that the outcome selects; of an unknown protocol only what always holds is said."""
    found = cautions(["DSC", "ECE", "CECE", "pECE", "gap", "Brier"], PROTOCOLS[protocol].signature)
    assert [text.partition(":")[0].partition(" is")[0] for text in found] == said
    assert all("calibrated model" in text for text in found)
    assert cautions(["ECE", "pECE"], "") == [CAUTIONS["pECE"]]


def test_only_distances_and_losses_are_unbounded():
    unbounded = {name for name, metric in METRICS.items() if math.isinf(metric.high)}
    assert unbounded == {"VD", "RVD", "HD95", "HD", "ASSD", "pECE", "NLL", "lesion_FP", "CRPS"}
