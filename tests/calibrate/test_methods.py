"""Calibrators as functions of arrays: known distortions are undone, and each is what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from calibeval.calibrate.methods import METHODS, check_methods, fit_dirichlet, negative_log_likelihood
from calibeval.errors import UsageError

CLIP = 1e-30


def draw(classes, n=20_000, seed=0, spread=2.0):
    """True probabilities (n, C) and labels that are drawn from them."""
    random = np.random.default_rng(seed)
    true = softmax(random.normal(size=(n, classes)) * spread, axis=1)
    y = (random.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return true, np.minimum(y, classes - 1), np.ones(n)


def sharpened(p, power):
    return softmax(np.log(p) * power, axis=1)


@pytest.mark.parametrize("power", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_known_temperature_is_found(power, classes):
    true, y, w = draw(classes)
    p = sharpened(true, power)
    found = METHODS["temperature"].fit(p, y, w, CLIP)
    assert found["temperature"] == pytest.approx(power, rel=0.03)
    assert METHODS["temperature"].apply(p, {"temperature": power}, CLIP) == pytest.approx(true, abs=1e-9)


def labels_of(q, seed=0):
    random = np.random.default_rng(seed)
    return np.minimum((random.random((len(q), 1)) > q.cumsum(axis=1)).sum(axis=1), q.shape[1] - 1)


def test_known_weights_and_offsets_are_found():
    p, _, w = draw(3)
    known = {"weights": [1.4, 0.7, 1.0], "offsets": [0.4, -0.5, 0.1]}
    q = METHODS["vector"].apply(p, known, CLIP)
    assert q == pytest.approx(softmax(np.log(p) * known["weights"] + known["offsets"], axis=1))
    found = METHODS["vector"].fit(p, labels_of(q), w, CLIP)
    assert found["weights"] == pytest.approx(known["weights"], abs=0.08)
    assert found["offsets"] == pytest.approx(known["offsets"], abs=0.1)


def test_dirichlet_undoes_a_mixture_of_logarithms():
    true, y, w = draw(3)
    mix = np.array([[1.0, 0.2, 0.0], [0.0, 0.8, 0.1], [0.2, 0.0, 1.2]])
    p = softmax(np.log(true) @ np.linalg.inv(mix).T, axis=1)
    q = METHODS["dirichlet"].apply(p, fit_dirichlet(p, y, w, CLIP, 1e-6), CLIP)
    assert np.abs(q - true).mean() < 0.01
    vector = METHODS["vector"].apply(p, METHODS["vector"].fit(p, y, w, CLIP), CLIP)
    assert np.abs(q - true).mean() < np.abs(vector - true).mean() / 2


def test_shrinkage_draws_dirichlet_to_the_diagonal():
    true, y, w = draw(3, n=300)
    loose, tight = (np.array(fit_dirichlet(true, y, w, CLIP, shrinkage)["weights"]) for shrinkage in (1e-4, 1e4))
    off = ~np.eye(3, dtype=bool)
    assert np.abs(tight[off]).max() < 1e-3 < np.abs(loose[off]).max()


def test_beta_finds_its_own_curve():
    random = np.random.default_rng(1)
    p = random.beta(0.7, 0.7, 40_000)
    a, b, c = 1.7, 0.6, -0.4
    true = expit(a * np.log(p) - b * np.log1p(-p) + c)
    y = (random.random(p.size) < true).astype(int)
    pair = np.stack([1 - p, p], axis=1)
    (curve,) = METHODS["beta"].fit(pair, y, np.ones(p.size), CLIP)["curves"]
    assert curve == pytest.approx([a, b, c], abs=0.12)  # its sampling error is about .05
    assert METHODS["beta"].apply(pair, {"curves": [[a, b, c]]}, CLIP)[:, 1] == pytest.approx(true, abs=1e-9)


def test_isotonic_is_pool_adjacent_violators_by_hand():
    """Frequencies 0, 1, 0, 1 at .1, .3, .5, .9: the middle two are pooled to .5."""
    p = np.array([0.1, 0.3, 0.5, 0.9])
    pair = np.stack([1 - p, p], axis=1)
    found = METHODS["isotonic"].fit(pair, np.array([0, 1, 0, 1]), np.ones(4), CLIP)
    q = METHODS["isotonic"].apply(pair, found, CLIP)[:, 1]
    assert q == pytest.approx([0.1, 0.5, 0.5, 0.9])  # 0 and 1 are held off by half a voxel of five
    between = np.array([[0.6, 0.4], [0.3, 0.7], [1.0, 0.0]])
    assert METHODS["isotonic"].apply(between, found, CLIP)[:, 1] == pytest.approx([0.5, 0.7, 0.1])


def test_weights_count_as_voxels_do():
    true, y, _ = draw(3, n=400)
    p = sharpened(true, 2)
    twice = np.arange(400) % 4 == 0
    for name, method in METHODS.items():
        weighted = method.apply(p, method.fit(p, y, np.where(twice, 2.0, 1.0), CLIP), CLIP)
        repeated = np.r_[np.arange(400), np.flatnonzero(twice)]
        plain = method.apply(p, method.fit(p[repeated], y[repeated], np.ones(repeated.size), CLIP), CLIP)
        assert weighted == pytest.approx(plain, abs=2e-3), name


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_method_gives_probabilities_and_does_no_harm(name, classes):
    true, y, w = draw(classes, n=3000)
    p = sharpened(true, 3)
    p[:50] = np.eye(classes)[np.arange(50) % classes]  # exactly 0 and 1
    method = METHODS[name]
    q = method.apply(p, method.fit(p, y, w, 1e-4), 1e-4)
    assert q.sum(axis=1) == pytest.approx(np.ones(3000))
    assert (q >= 0).all()
    assert negative_log_likelihood(q, y, w, 1e-7) < negative_log_likelihood(p, y, w, 1e-7) - 0.1
    assert (q.argmax(axis=1) == p.argmax(axis=1)).all() or not method.keeps_argmax


def test_hard_maps_have_an_end_of_the_scale():
    p = np.eye(2)[np.array([0, 1, 0, 1])]
    found = METHODS["temperature"].fit(p, np.array([1, 0, 1, 0]), np.ones(4), 1e-3)
    assert found["temperature"] == 100.0
    assert METHODS["temperature"].fit(p, np.array([0, 1, 0, 1]), np.ones(4), 1e-3)["temperature"] == 0.01


def test_an_unknown_method_is_named():
    with pytest.raises(UsageError, match=r"Unknown method .platt.\. Known: temperature, vector"):
        check_methods(["platt"])
