"""The same models in other libraries; each test skips where its library is absent.

netcal and fiducio pull torch, pyro and gpytorch, so a CI job of its own installs them (extra `calibrate-oracles`).
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import softmax

from calibeval.calibrate.methods import METHODS, fit_dirichlet
from tests.calibrate.test_methods import draw, sharpened

CLIP = 1e-7
ONES = np.ones(4000)


@pytest.fixture(scope="module")
def many():
    """Four classes, probabilities that are too sure, none so small that a library cuts it off."""
    true, y, _ = draw(4, n=4000, seed=3, spread=1.0)
    return sharpened(true, 1.8), y


@pytest.fixture(scope="module")
def two():
    true, y, _ = draw(2, n=4000, seed=4)
    return sharpened(true, 0.6), y


def ours(name, p, y):
    return METHODS[name].apply(p, METHODS[name].fit(p, y, np.ones(len(y)), CLIP), CLIP)


def quiet(function, *arguments):
    """Call what warns of its own habits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def test_isotonic_regression_is_that_of_scikit_learn(two):
    isotonic = pytest.importorskip("sklearn.isotonic", exc_type=ImportError)
    p, y = two
    random = np.random.default_rng(0)
    coarse, w = np.round(p[:, 1], 2), random.integers(1, 4, len(y)).astype(float)
    floor = 0.5 / (len(y) + 1)
    theirs = isotonic.IsotonicRegression(y_min=floor, y_max=1 - floor, out_of_bounds="clip").fit(coarse, y, w)
    pair = np.stack([1 - coarse, coarse], axis=1)
    curve = METHODS["isotonic"].fit(pair, y, w, CLIP)
    new = np.stack([1 - p[:, 1], p[:, 1]], axis=1)
    for points in (pair, new):
        assert METHODS["isotonic"].apply(points, curve, CLIP)[:, 1] == pytest.approx(
            theirs.predict(points[:, 1]), abs=1e-9
        )


def test_vector_and_beta_scaling_of_two_classes_are_logistic_regressions(two):
    linear = pytest.importorskip("sklearn.linear_model", exc_type=ImportError)
    p, y = two
    z = np.log(p)
    settings = {"C": np.inf, "tol": 1e-12, "max_iter": 5000, "solver": "newton-cholesky"}
    theirs = linear.LogisticRegression(**settings).fit(np.stack([z[:, 1], -z[:, 0]], axis=1), y)
    a, b = theirs.coef_[0]
    assert min(a, b) > 0  # else the beta curve's bounds are active
    q = theirs.predict_proba(np.stack([z[:, 1], -z[:, 0]], axis=1))
    assert ours("vector", p, y) == pytest.approx(q, abs=1e-6)
    assert ours("beta", p, y) == pytest.approx(q, abs=1e-6)
    (curve,) = METHODS["beta"].fit(p, y, ONES, CLIP)["curves"]
    assert curve == pytest.approx([a, b, theirs.intercept_[0]], abs=1e-4)


# netcal's logistic calibration of two classes has one slope, ours two, so that only several classes compare
@pytest.mark.parametrize(
    ("name", "of_netcal", "data"),
    [
        ("temperature", "TemperatureScaling", "two"),
        ("temperature", "TemperatureScaling", "many"),
        ("vector", "LogisticCalibration", "many"),
    ],
)
def test_netcal_scales_alike(name, of_netcal, data, request):
    scaling = quiet(pytest.importorskip, "netcal.scaling")
    p, y = request.getfixturevalue(data)
    x = p[:, 1] if data == "two" else p
    model = getattr(scaling, of_netcal)(method="mle")
    q = quiet(lambda: model.fit(x, y).transform(x))
    mine = ours(name, p, y)
    assert (mine[:, 1] if data == "two" else mine) == pytest.approx(np.asarray(q), abs=1e-4)


def test_netcal_finds_the_same_beta_curve(two):
    scaling = quiet(pytest.importorskip, "netcal.scaling")
    p, y = two
    q = quiet(lambda: scaling.BetaCalibration(method="mle").fit(p[:, 1], y).transform(p[:, 1]))
    assert ours("beta", p, y)[:, 1] == pytest.approx(np.asarray(q), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "of_fiducio", "settings"),
    [
        ("temperature", "TemperatureScaling", {}),
        ("vector", "VectorScaling", {}),
        ("dirichlet", "DirichletCalibration", {"lambda_reg": 1e-2, "mu_reg": 1e-2}),
    ],
)
def test_fiducio_scales_alike(name, of_fiducio, settings, many):
    fiducio = quiet(pytest.importorskip, "fiducio")
    torch = pytest.importorskip("torch")
    p, y = many
    logits = torch.tensor(np.log(p).T[None, :, :, None], dtype=torch.float32)  # (1, C, n, 1)
    # its L-BFGS stops 1e-3 away in float32
    model = getattr(fiducio, of_fiducio)(optimizer="adam", lr=0.02, max_iter=4000, **settings)
    model.fit(logits, torch.tensor(y[None, :, None]))
    q = np.asarray(model.predict_proba(logits))[0, :, :, 0].T
    mine = ours(name, p, y)
    if settings:
        mine = METHODS[name].apply(p, fit_dirichlet(p, y, ONES, CLIP, settings["lambda_reg"]), CLIP)
    assert q.sum(axis=1) == pytest.approx(np.ones(len(q)), abs=1e-5)
    assert mine == pytest.approx(q, abs=2e-4 if settings else 1e-4)  # where its Adam stands after 4000 steps
    assert np.abs(mine - softmax(np.log(p), axis=1)).max() > 0.05  # there was something to mend
