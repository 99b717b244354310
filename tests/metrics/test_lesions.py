"""The table of lesion models: what the documentation says it shows."""

import math

import pytest

from tests.lesions import METRICS, lesion_means


@pytest.fixture(scope="module")
def found():
    return lesion_means()


def test_the_documented_figures(found):
    """Those of an independent simulation: ECE .167, .806 and 0, pECE .112 and .007, Brier .050, .081 and 1.88."""
    true, third, ones = (found[name] for name in ("the true p", "a third of the true p", "p = 1 everywhere"))
    assert [true["ECE"], third["ECE"], ones["ECE"]] == pytest.approx([0.167, 0.806, 0], abs=0.002)
    assert [true["pECE"], third["pECE"]] == pytest.approx([0.112, 0.007], abs=0.002)
    assert [true["Brier"], third["Brier"], ones["Brier"]] == pytest.approx([0.05, 0.081, 1.88], abs=0.002)
    assert math.isnan(found["p = 0 everywhere"]["gap"])


@pytest.mark.parametrize("metric", METRICS)
def test_which_metrics_put_the_truth_first(metric, found):
    values = {name: abs(of_model[metric]) for name, of_model in found.items() if not math.isnan(of_model[metric])}
    first = min(values, key=values.__getitem__)
    assert first == {"ECE": "p = 1 everywhere", "pECE": "a third of the true p"}.get(metric, "the true p")
