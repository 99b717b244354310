"""Numbers without coarse bins: cells against plain counting, values by hand, and how far cells are from the sample."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibeval.metrics.accumulate import Accumulator
from calibeval.metrics.binless import adaptive_ece, likely, miscalibration, smooth_ece
from calibeval.metrics.cells import CELLS, Cells
from calibeval.planes import CHUNK
from calibeval.protocol import PROTOCOLS


def cells_of(p, y, dtype=np.float64):
    """Cells of a binary case; class 1 has p."""
    p = np.asarray(p, dtype)
    planes = np.stack([1 - p, p])
    accumulator = Accumulator(np.asarray(y, np.uint8), 2, PROTOCOLS["paper"], planes.dtype, fine=True)
    return accumulator.take(lambda c, start: planes[c, start : start + CHUNK]).cells


def sample(seed, voxels=20_000, power=1.0):
    """Probabilities of all sizes, and labels drawn from them; then the odds are raised to a power."""
    random = np.random.default_rng(seed)
    true = random.beta(0.5, 0.5, voxels)
    label = random.random(voxels) < true
    return true**power / (true**power + (1 - true) ** power), label


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cells_are_counted_as_by_hand(dtype):
    p, y = sample(0, 3000)
    p[:300], p[300:600], p[600:900] = 0, 1, np.arange(300) / 960  # ends, and values on the edges of cells
    y[:700:3] = False
    found = cells_of(p, y, dtype).of(1)
    key = np.asarray(p, dtype).astype(np.float32)
    edges = (np.arange(CELLS + 1) / CELLS).astype(np.float32)
    cell = np.searchsorted(edges, key)
    assert found.code.tolist() == sorted(set(cell.tolist()))
    np.testing.assert_array_equal(found.count, [np.sum(cell == k) for k in found.code])
    np.testing.assert_array_equal(found.positive, [np.sum(y[cell == k]) for k in found.code])
    np.testing.assert_allclose(found.total, [p[cell == k].sum() for k in found.code], atol=1e-5)


def test_cells_add_up_whatever_the_parts():
    """Ranges, cases, and the order of both: the same cells as of all voxels together."""
    p, y = sample(1, 4000)
    whole = cells_of(p, y)
    halves = cells_of(p[:1500], y[:1500]) + cells_of(p[1500:], y[1500:])
    for name in ("code", "count", "positive"):
        np.testing.assert_array_equal(getattr(halves, name), getattr(whole, name), strict=True)
    np.testing.assert_allclose(halves.total, whole.total, rtol=1e-12, atol=1e-6)
    assert (Cells.none() + whole).count.sum() == 8000  # two classes


def test_values_by_hand():
    """Half of the voxels at .25, of which none is positive, half at .75, of which all are."""
    cells = cells_of(np.repeat([0.25, 0.75], 30), np.repeat([0, 1], 30)).of(1)
    assert adaptive_ece(cells) == pytest.approx(14 / 15 * 0.25, abs=1e-6)  # the middle bin holds both, which cancel
    assert miscalibration(cells) == pytest.approx(0.25**2, abs=1e-6)  # refit as 0 and 1
    turned = cells_of(np.repeat([0.25, 0.75], 30), np.repeat([1, 0], 30)).of(1)
    assert miscalibration(turned) == pytest.approx(0.75**2 - 0.25, abs=1e-6)  # the best refit is .5 throughout
    one = cells_of(np.full(40, 0.5), np.repeat([0, 1], 20)).of(1)
    assert adaptive_ece(one) == 0
    assert smooth_ece(one) == pytest.approx(0, abs=1e-9)


def test_neighbours_of_both_signs_cancel_when_smoothed_and_far_ones_do_not():
    near = cells_of(np.repeat([0.499, 0.501], 500), np.repeat([1, 0], 500)).of(1)
    far = cells_of(np.repeat([0.2, 0.8], 500), np.repeat([1, 0], 500)).of(1)
    assert smooth_ece(near) < 0.05
    assert smooth_ece(far) > 0.3


def test_easy_background_waters_nothing_down():
    p, y = sample(2, 2000, power=2)
    padded = np.concatenate([p, np.full(100_000, 1e-4)]), np.concatenate([y, np.zeros(100_000)])
    few, many = likely(cells_of(p, y).of(1)), likely(cells_of(*padded).of(1))
    assert adaptive_ece(many) == pytest.approx(adaptive_ece(few), abs=1e-6)
    assert smooth_ece(many) == pytest.approx(smooth_ece(few), abs=1e-6)


def test_no_voxel_gives_nan():
    assert all(math.isnan(function(Cells.none())) for function in (adaptive_ece, smooth_ece, miscalibration))


@pytest.mark.parametrize("power", [0.6, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_cells_are_near_the_sample(seed, power):
    p, y = sample(seed, power=power)
    cells = cells_of(p, y).of(1)
    order = np.argsort(p)
    running = np.concatenate([[0], np.cumsum(y[order] - p[order])])
    ends = np.interp(np.linspace(0, p.size, 16), np.arange(p.size + 1), running)
    assert adaptive_ece(cells) == pytest.approx(np.abs(np.diff(ends)).sum() / p.size, abs=5e-4)
    assert smooth_ece(cells) == pytest.approx(smoothed(p, y, smooth_ece(cells)), abs=3e-5)


def smoothed(p, y, width):
    """Mean over [0, 1] of the error smoothed by a Gaussian, with the mirror images of every voxel on both sides."""
    x = (np.arange(1000) + 0.5) / 1000
    total = np.zeros(x.size)
    for image in (p, -p, 2 - p):
        total += np.exp(-((x[:, None] - image) ** 2) / (2 * width**2)) @ (y - p)
    return np.abs(total).mean() / (width * math.sqrt(2 * math.pi) * p.size)


@pytest.mark.parametrize("seed", range(3))
def test_miscalibration_is_near_that_of_scikit_learn_s_refit(seed):
    isotonic = pytest.importorskip("sklearn.isotonic")
    p, y = sample(seed, power=0.6)
    refit = isotonic.IsotonicRegression().fit(p, y).predict(p)
    expected = np.mean((p - y) ** 2) - np.mean((refit - y) ** 2)
    assert miscalibration(cells_of(p, y).of(1)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("power", [0.6, 1, 2])
def test_relplot_is_near(power):
    """It divides by a density that misses some of the mass at 0 and 1: up to a tenth more than the definition."""
    relplot = pytest.importorskip("relplot")
    p, y = sample(0, power=power)
    assert smooth_ece(cells_of(p, y).of(1)) == pytest.approx(relplot.smECE(p, y), rel=0.1, abs=1e-3)
