"""Neighbouring tools: equal numbers where the definition is the same, and their known errors as values.

A test skips where its tool is not installed; `pip install calibeval[oracles]` brings them.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval import make_protocol, score_case
from tests.case_files import make_case
from tests.kernels import large

torch = pytest.importorskip("torch")
pytestmark = large
BINARY = make_protocol("guo", bins=10)


def value(found, metric, name="all"):
    return next(row.value for row in found.rows if (row.metric, row.class_name) == (metric, name))


def random_case(seed, bins, classes=3, shape=(6, 7, 8)):
    """Probabilities away from 0, 1 and the bins' edges, where tools differ."""
    random = np.random.default_rng(seed)
    planes = random.dirichlet(np.ones(classes), shape).transpose(3, 0, 1, 2)
    while np.abs(planes * bins - np.rint(planes * bins)).min() < 1e-5:
        planes = random.dirichlet(np.ones(classes), shape).transpose(3, 0, 1, 2)
    return np.ascontiguousarray(planes), random.integers(0, classes, shape)


def torchmetrics_ece(planes, label, bins, norm="l1"):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    probabilities = torch.from_numpy(planes.reshape(len(planes), -1).T.copy())
    target = torch.from_numpy(label.ravel())
    return float(
        functional.multiclass_calibration_error(probabilities, target, num_classes=len(planes), n_bins=bins, norm=norm)
    )


def monai_error(p, target, bins, reduction="expected"):
    metrics = pytest.importorskip("monai.metrics")
    if not hasattr(metrics, "CalibrationErrorMetric"):
        pytest.skip("this MONAI has no calibration error")
    metric = metrics.CalibrationErrorMetric(num_bins=bins, calibration_reduction=reduction)
    shape = (1, 1, -1)
    metric(y_pred=torch.from_numpy(p).reshape(shape), y=torch.from_numpy(target.astype(np.float32)).reshape(shape))
    return float(metric.aggregate())


def binary(p, target, metrics="ECE", protocol=BINARY):
    """Each class of a binary case has the bins of p against the target; class 1's are asked for."""
    p = np.asarray(p, np.float64)
    return score_case(np.stack([1 - p, p]), np.asarray(target, int), metrics=metrics, protocol=protocol)


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 5]), st.sampled_from([10, 15]))
@settings(max_examples=10, deadline=None)
def test_torchmetrics_agrees_on_the_top_label_s_ece(seed, classes, bins):
    planes, label = random_case(seed, bins, classes)
    found = score_case(planes, label, metrics="ECE,MCE", protocol=make_protocol("guo", bins=bins))
    assert value(found, "ECE") == pytest.approx(torchmetrics_ece(planes, label, bins), rel=1e-5)
    assert value(found, "MCE") == pytest.approx(torchmetrics_ece(planes, label, bins, norm="max"), rel=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_monai_agrees_on_the_errors_of_each_class(seed):
    """Its bins are right-closed too; it computes in float32."""
    planes, label = random_case(seed, 20)
    found = score_case(planes, label, metrics="CECE,ACE,MCE", protocol=make_protocol("guo", bins=20))
    for c, plane in enumerate(planes):
        for metric, reduction in (("CECE", "expected"), ("ACE", "average"), ("MCE", "maximum")):
            assert value(found, metric, str(c)) == pytest.approx(
                monai_error(plane, label == c, 20, reduction), rel=1e-4, abs=1e-6
            )


def test_monai_agrees_at_the_ends_of_the_scale():
    p, target = np.repeat([0.0, 0.2, 1.0], 4).reshape(3, 4), np.tile([0, 0, 0, 1], 3).reshape(3, 4)
    found = binary(p, target, "CECE")
    assert value(found, "CECE", "1") == pytest.approx((1 + 0.2 + 3) / 12)
    assert monai_error(p, target, 10) == pytest.approx((1 + 0.2 + 3) / 12)


def test_torchmetrics_gives_certainty_a_bin_of_its_own():
    """p = 1 and p = .95 share the last bin (.9, 1]; torchmetrics puts p = 1 into an eleventh."""
    p, target = np.array([[0.95, 1.0]]), np.array([[1, 0]])
    planes = np.stack([1 - p, p])
    found = score_case(planes, target, metrics="ECE", protocol=BINARY)
    assert value(found, "ECE") == pytest.approx((1.95 - 1) / 2)
    assert torchmetrics_ece(planes, target, 10) == pytest.approx((0.05 + 1) / 2)


def test_probability_zero_is_not_dropped():
    """900 voxels at p = 0 with 10% positive, 100 at p = .7 with 70%: the error is .09, and not the 0 of open bins."""
    p = np.repeat([0.0, 0.7], [900, 100])
    target = np.concatenate([np.arange(900) < 90, np.arange(100) < 70])
    found = binary(p.reshape(10, 100), target.reshape(10, 100), "CECE")
    assert value(found, "CECE", "1") == pytest.approx(0.09, rel=1e-9)
    dropped = binary(
        p.reshape(10, 100), target.reshape(10, 100), "CECE", make_protocol("guo", bins=10, zero_in_first_bin=False)
    )
    assert value(dropped, "CECE", "1") == pytest.approx(0, abs=1e-9)


P99, HALF = float(np.float32(0.99)), 17_000_000  # 34 million voxels are more than 2 ** 25


@pytest.fixture
def many_voxels():
    """Foreground probability float32(.99) everywhere, half of it right."""
    label = np.zeros((2, HALF), np.uint8)
    label[0] = 1
    return np.full(label.shape, P99, np.float32), label


def test_our_sums_do_not_saturate(many_voxels):
    _, label = many_voxels
    p = np.float32(P99)
    planes = np.broadcast_to(np.array([1 - p, p])[:, None, None], (2, *label.shape))
    found = score_case(planes, label, metrics="ECE", protocol="guo")
    assert found.bins[""].top.count.sum() == 2 * HALF
    assert value(found, "ECE") == pytest.approx(P99 - 0.5, abs=1e-9)


def test_monai_saturates(many_voxels):
    """At 2 ** 24 a float32 no longer grows by 1: counts, sums and hits stop there, and the error vanishes."""
    p, target = many_voxels
    assert monai_error(p, target, 15) == pytest.approx(0, abs=1e-6)


def test_torchmetrics_saturates(many_voxels):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p, label = (torch.from_numpy(array.ravel()) for array in many_voxels)
    theirs = functional.binary_calibration_error(p, label, n_bins=15, validate_args=False)
    assert float(theirs) == pytest.approx(0, abs=1e-6)


def test_float32_sums_drift_long_before_they_saturate():
    """Five million voxels at p = .9, nine tenths of them right: calibrated, yet two tools say .044."""
    functional = pytest.importorskip("torchmetrics.functional.classification")
    p, label = np.full((5, 1000, 1000), 0.9, np.float32), np.ones((5, 1000, 1000), np.uint8)
    label[:, ::10] = 0
    found = score_case(np.stack([1 - p, p]), label, metrics="ECE", protocol="guo")
    assert value(found, "ECE") == pytest.approx(0.9 - float(np.float32(0.9)), abs=1e-12)
    assert monai_error(p, label, 15) == pytest.approx(0.044, abs=5e-4)
    flat, target = torch.from_numpy(p.ravel()), torch.from_numpy(label.ravel())
    theirs = functional.binary_calibration_error(flat, target, n_bins=15, validate_args=False)
    assert float(theirs) == pytest.approx(0.044, abs=5e-4)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_monai_leaves_a_missed_organ_out_of_its_mean_without_a_word():
    """A model that misses the harder of two cases gets the better mean distance; here a status and a count tell."""
    metrics = pytest.importorskip("monai.metrics")
    label = np.zeros((2, 12, 12), int)
    label[:, 3:8, 3:8] = 1
    predicted = np.roll(label, 2, axis=2)
    predicted[1] = 0
    one_hot = [
        torch.from_numpy(np.stack([part == 0, part == 1], axis=1).astype(np.float32)) for part in (predicted, label)
    ]
    metric = metrics.HausdorffDistanceMetric(percentile=95)
    with pytest.warns(UserWarning, match="prediction|all 0"):
        metric(*one_hot)
    assert float(metric.aggregate()) == 2
    rows = [
        score_case(None, label[i], predicted=predicted[i], spacing_mm=(1, 1), metrics="HD95", case=str(i)).rows[0]
        for i in (0, 1)
    ]
    assert [(row.value, row.status) for row in rows[:1]] == [(2.0, "ok")]
    assert math.isnan(rows[1].value)
    assert rows[1].status == "empty_prediction"
    worst = make_protocol(empty="worst")
    found = score_case(None, label[1], predicted=predicted[1], spacing_mm=(1, 1), metrics="HD95", protocol=worst)
    assert found.rows[0].value == pytest.approx(math.hypot(12, 12))


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_medpy_and_monai_agree_with_the_definitions_of_their_name():
    planes, label = make_case(5, shape=(8, 9, 10))
    medpy = pytest.importorskip("medpy.metric.binary")
    metrics = pytest.importorskip("monai.metrics")
    predicted, spacing = planes.argmax(axis=0), (3.0, 1.5, 1.0)
    for c in (1, 2):
        a, b = predicted == c, label == c
        one_hot = [torch.from_numpy(np.stack([~part, part])[None].astype(np.float32)) for part in (a, b)]
        theirs = float(metrics.compute_hausdorff_distance(*one_hot, percentile=95, spacing=list(spacing)))
        ours = score_case(None, label, predicted=predicted, spacing_mm=spacing, metrics="HD95,DSC")
        assert value(ours, "HD95", str(c)) == pytest.approx(theirs, abs=1e-4)
        assert value(ours, "DSC", str(c)) == pytest.approx(medpy.dc(a, b), rel=1e-12)
        pooled = score_case(None, label, predicted=predicted, spacing_mm=spacing, metrics="HD95", protocol="nacl")
        assert value(pooled, "HD95", str(c)) == pytest.approx(medpy.hd95(a, b, spacing), rel=1e-9)
