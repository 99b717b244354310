"""Every metric against a formula of its own, and the properties that a new one cannot escape.

A metric that is added to the registry fails here until it has a formula in `tests.oracles.metrics` and a place in each
pair of sets.
"""

import math

import numpy as np
import pytest

from calibeval import make_protocol, score_case
from calibeval.metrics import LESIONS, METRICS, RATED, select_metrics
from calibeval.metrics.rated import RATED_FUNCTIONS
from calibeval.metrics.registry import join
from calibeval.protocol import PROTOCOLS
from tests.oracles.metrics import FORMULAS, Scene

SPACING = (3.0, 1.5, 1.25)
SYMMETRIC = {
    "DSC",
    "IoU",
    "HD95",
    "HD",
    "ASSD",
    "NSD",
    "lesion_DSC",
    "lesion_F1",
    "PQ",
    "SQ",
    "RQ",
}  # reference and prediction may change places
DIRECTED = {"precision", "recall", "VD", "RVD", "lesion_precision", "lesion_recall", "lesion_FP", "CC_DSC"}
WHERE_DOES_NOT_MATTER = {"DSC", "IoU", "precision", "recall", "VD", "RVD"} | {
    "ECE", "CECE", "pECE", "ACE", "MCE", "gap", "Brier", "NLL", "aECE", "smECE", "MCB"
}  # fmt: skip
SPATIAL = {"HD95", "HD", "ASSD", "NSD", "bECE", *LESIONS}
SIZE_DOES_NOT_MATTER = {*WHERE_DOES_NOT_MATTER, *LESIONS} - {"VD"}
GROWS_WITH_SPACING = {"VD": 3, "HD95": 1, "HD": 1, "ASSD": 1}  # power of the length
HAS_A_TOLERANCE = {"NSD", "bECE"}  # in mm, so that no power holds


def scene(seed=0, classes=3, shape=(4, 6, 5)):
    """Probabilities in which every class occurs, and labels that fit two thirds of them; some p are 0 or on an edge."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, tuple(-(-n // 2) for n in shape))
    for axis, n in enumerate(shape):
        labels = labels.repeat(2, axis).take(range(n), axis)
    guess = np.where(random.random(shape) < 0.3, (labels + 1) % classes, labels)
    p = random.dirichlet(np.full(classes, 0.5), shape).transpose(3, 0, 1, 2)
    p = 0.5 * p + 0.5 * np.eye(classes)[guess].transpose(3, 0, 1, 2)
    p[:, 0] = np.eye(classes)[guess[0]].transpose(2, 0, 1)
    p[:, 1] = 0.2 + 0.4 * np.eye(classes)[guess[1]].transpose(2, 0, 1)
    return p, labels.astype(np.uint8)


def score(p, y, *, metrics="all,lesions", spacing=SPACING, **choices):
    protocol = choices.pop("protocol", "paper")
    rows = score_case(p, y, metrics=metrics, spacing_mm=spacing, protocol=protocol, **choices).rows
    return {(row.metric, row.class_name): row.value for row in rows}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PROTOCOLS)
def test_metrics_equal_their_formulas(name, seed):
    p, y = scene(seed)
    protocol = make_protocol(name, nsd_tolerance_mm=1.3, boundary_mm=1.3)
    found = score(p, y, protocol=protocol)
    expected = {
        (metric, class_name): value
        for metric, formula in FORMULAS.items()
        for class_name, value in formula(Scene(p, y, SPACING, protocol)).items()
    }
    for key, value in expected.items():
        close = 1e-4 if METRICS[key[0]].also_needs == "cells" else 1e-12  # cells stand for their mean probability
        assert found[key] == pytest.approx(value, rel=1e-9, abs=close), key
    assert {key for key, value in found.items() if not math.isnan(value)} == set(expected)


def test_no_metric_is_left_out():
    """One sentence for whoever adds a metric: what it still lacks."""
    assert set(RATED) == set(RATED_FUNCTIONS), "metrics of several raters have tests of their own, test_rated.py"
    every = set(METRICS) - set(RATED)
    assert set(FORMULAS) == every, "each metric needs an independent formula in tests/oracles/metrics.py"
    of_masks = {name for name, metric in METRICS.items() if metric.of_masks}
    assert of_masks == SYMMETRIC | DIRECTED, "each metric of masks is symmetric or directed"
    assert every == WHERE_DOES_NOT_MATTER | SPATIAL, "say whether it matters where a voxel lies"
    by_size = SIZE_DOES_NOT_MATTER | set(GROWS_WITH_SPACING) | HAS_A_TOLERANCE
    assert by_size == every, "say how a metric grows with the spacing"


def test_a_row_without_a_function_and_a_function_without_a_row_are_refused():
    masks = [name for name, metric in METRICS.items() if metric.needs == "masks"]
    assert list(join("masks", dict.fromkeys(reversed(masks), len))) == masks
    with pytest.raises(LookupError, match="of masks: DSC stands in the registry or has a function, but not both"):
        join("masks", dict.fromkeys(masks[1:], len))
    with pytest.raises(LookupError, match="of masks: mine stands"):
        join("masks", dict.fromkeys([*masks, "mine"], len))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_values_lie_in_their_range(name):
    for (metric, class_name), value in score(*scene(), protocol=name).items():
        known = METRICS[metric]
        worst = known.worst_value(PROTOCOLS[name], 99.0)
        assert math.isnan(value) or known.low <= value <= known.high, (metric, class_name)
        if known.better == "lower" and not math.isnan(value):
            assert value <= worst, metric


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_sure_and_right_map_gets_the_best_value(name):
    _, y = scene()
    best = {"higher": 1, "lower": 0, "zero": 0}
    for (metric, class_name), value in score(np.eye(3)[y].transpose(3, 0, 1, 2), y, protocol=name).items():
        assert math.isnan(value) or value == pytest.approx(best[METRICS[metric].better], abs=1e-12), class_name


def test_left_and_right_do_not_matter():
    p, y = scene()
    found = score(p, y)
    for axis in range(3):
        flipped = score(np.flip(p, axis + 1).copy(), np.flip(y, axis).copy())
        assert flipped == pytest.approx(found, rel=1e-12, nan_ok=True)


def test_names_of_classes_do_not_matter():
    p, y = scene()
    renamed = {"0": "0", "1": "2", "2": "1", "mean": "mean", "all": "all"}
    found = score(p, y)
    other = score(p[[0, 2, 1]], np.array([0, 2, 1], np.uint8)[y])
    for (metric, class_name), value in found.items():
        assert other[metric, renamed[class_name]] == pytest.approx(value, rel=1e-12, nan_ok=True), metric


def means(rows):
    """The numbers over all classes."""
    return {metric: value for (metric, class_name), value in rows.items() if class_name in ("mean", "all")}


def unchanged(change):
    """Metrics whose numbers over all classes a change of (p, y) leaves as they are, in every one of four scenes."""
    same = set(METRICS)
    for seed in range(4):
        p, y = scene(seed, 3, (4, 14, 14))
        found, other = (means(rows) for rows in change(p, y))
        same &= {name for name in found if other[name] == pytest.approx(found[name], rel=1e-9, nan_ok=True)}
    return same


def test_reference_and_prediction_may_change_places_where_that_is_said():
    def swapped(p, y):
        guess = p.argmax(axis=0).astype(np.uint8)
        return (score(None, a, predicted=b) for a, b in ((y, guess), (guess, y)))

    assert unchanged(swapped) & (SYMMETRIC | DIRECTED) == SYMMETRIC


def test_where_a_voxel_lies_matters_only_where_that_is_said():
    def mixed(p, y):
        order = np.random.default_rng(1).permutation(y.size)
        return score(p, y), score(p.reshape(3, -1)[:, order].reshape(p.shape), y.ravel()[order].reshape(y.shape))

    assert unchanged(mixed) == WHERE_DOES_NOT_MATTER


def test_lengths_volumes_and_ratios_grow_as_they_should():
    found, twice = score(*scene()), score(*scene(), spacing=tuple(2 * step for step in SPACING))
    for key, value in found.items():
        if key[0] not in HAS_A_TOLERANCE:
            assert twice[key] == pytest.approx(2 ** GROWS_WITH_SPACING.get(key[0], 0) * value, nan_ok=True), key


def calibrated_case():
    """Labels drawn from the probabilities: forty different ones, 10,000 voxels each, so that no bin is rare."""
    random = np.random.default_rng(2)
    p = random.permutation(random.dirichlet((4, 1, 0.5), 40).repeat(10_000, axis=0)).T.reshape(3, 40, 100, 100)
    return p, (random.random(p.shape[1:]) > p.cumsum(axis=0)[:2]).sum(axis=0).astype(np.uint8)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_calibrated_model_gets_0_where_that_is_said(name):
    signature = PROTOCOLS[name].signature
    found = score(*calibrated_case(), protocol=name, spacing=(3, 3, 3), metrics="all")
    assert not any(METRICS[metric].is_zero_if_calibrated(signature) for metric in LESIONS)  # of masks alone
    for metric, known in ((metric, METRICS[metric]) for metric in select_metrics("all")):
        value = abs(found[metric, "mean" if known.of_masks else "all"])
        assert (value < 0.02) == known.is_zero_if_calibrated(signature), (metric, value)
