"""Post-hoc calibrators: from a model's probabilities to better ones, with a few parameters fitted on other cases.

Conventions: p is (n, C), voxels by classes, rows summing to 1; y is (n,) class indices; w is (n,) weights.
Probabilities are clipped to [clip, 1 - clip] before a logarithm is taken, since quantised maps hold 0 and 1 exactly.
What is fitted is the weighted mean of -log q_y, a proper score; ECE is only reported. In one-against-rest methods each
class has a curve of its own, and the curves' values are renormalised to sum to 1; of two classes the second alone has
one.

Parameters are plain lists and numbers, as `calibrator.json` holds them. Sources: Guo et al., arXiv:1706.04599
(temperature, vector); Kull et al., arXiv:1910.12656 (Dirichlet, with its regularisation of everything off the
diagonal); Kull et al., 10.1214/17-EJS1338SI (beta); Zadrozny and Elkan, 10.1145/775047.775151 (isotonic).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import UsageError

Array = NDArray[np.float64]
Parameters = dict[str, Any]
SHRINKAGE = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # weights of the penalty that are tried for `dirichlet`
_STEEPEST = 100.0  # largest 1 / T that is looked at, and its inverse


class Method(NamedTuple):
    """One way to calibrate.

    Attributes:
        long_name: as in a text.
        formula: of the new probability q.
        fit: gives the parameters from (p, y, w, clip).
        apply: gives q (n, C) from (p, parameters, clip).
        keeps_argmax: whether the predicted class can never change.
        one_against_rest: whether classes are calibrated apart and renormalised.
        citation: DOI or arXiv number.
    """

    long_name: str
    formula: str
    fit: Callable[[Array, NDArray[np.intp], Array, float], Parameters]
    apply: Callable[[Array, Parameters, float], Array]
    keeps_argmax: bool
    one_against_rest: bool
    citation: str


def negative_log_likelihood(q: Array, y: NDArray[np.intp], w: Array, clip: float) -> float:
    """Weighted mean of -log max(q_y, clip)."""
    chosen = np.clip(q[np.arange(len(y)), y], clip, None)
    return float(-(w @ np.log(chosen)) / w.sum())


def _softmax(z: Array) -> Array:
    z = z - z.max(axis=1, keepdims=True)
    exponential = np.exp(z)
    return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


def _logs(p: Array, clip: float) -> Array:
    return np.asarray(np.log(np.clip(p, clip, 1.0)))


def _fit_temperature(p: Array, y: NDArray[np.intp], w: Array, clip: float) -> Parameters:
    """The slope of the likelihood in 1 / T rises, so that its zero is the one minimum."""
    from scipy.optimize import brentq

    z = _logs(p, clip)
    chosen = z[np.arange(len(y)), y]

    def slope(steepness: float) -> float:
        return float(w @ ((_softmax(steepness * z) * z).sum(axis=1) - chosen))

    low, high = 1 / _STEEPEST, _STEEPEST
    if slope(high) <= 0:
        return {"temperature": 1 / high}
    if slope(low) >= 0:
        return {"temperature": 1 / low}
    return {"temperature": 1 / float(brentq(slope, low, high, xtol=1e-10))}


def _apply_temperature(p: Array, parameters: Parameters, clip: float) -> Array:
    return _softmax(_logs(p, clip) / parameters["temperature"])


def _fit_linear(
    p: Array, y: NDArray[np.intp], w: Array, clip: float, *, full: bool, shrinkage: float = 0.0
) -> tuple[Array, Array]:
    """Weights (C, C), diagonal unless `full`, and offsets (C,) of softmax(W log p + b).

    The loss is convex, so that Newton's steps, by conjugate gradients, come down in a dozen rounds.
    """
    from scipy.optimize import minimize

    classes, weights = p.shape[1], (w / w.sum())[:, None]
    z = np.column_stack([_logs(p, clip), np.ones(len(p))])  # the last column carries the offsets
    target = np.eye(classes)[y]
    diagonal, column = np.eye(classes, classes + 1, dtype=bool), np.arange(classes + 1) == classes
    free = np.ones_like(diagonal) if full else diagonal | column
    counts = np.where(column, classes, classes * (classes - 1))
    penalty = np.where(diagonal, 0.0, 2 * shrinkage / counts)

    def unpack(x: Array) -> Array:
        matrix = np.zeros(free.shape)
        matrix[free] = x
        return matrix

    def loss(x: Array) -> tuple[float, Array]:
        matrix = unpack(x)
        q = _softmax(z @ matrix.T)
        value = negative_log_likelihood(q, y, weights[:, 0], 1e-300) + float((penalty * matrix**2).sum()) / 2
        return value, (((q - target) * weights).T @ z + penalty * matrix)[free]

    def curvature(x: Array, step: Array) -> Array:
        q, moved = _softmax(z @ unpack(x).T), z @ unpack(step).T
        change = q * (moved - (q * moved).sum(axis=1, keepdims=True))
        return np.asarray(((change * weights).T @ z + penalty * unpack(step))[free])

    start = diagonal[free].astype(np.float64)
    found = minimize(loss, start, jac=True, hessp=curvature, method="trust-ncg", options={"gtol": 1e-8})
    matrix = unpack(found.x)
    return matrix[:, :-1], matrix[:, -1] - matrix[:, -1].mean()  # a common offset changes nothing


def _fit_vector(p: Array, y: NDArray[np.intp], w: Array, clip: float) -> Parameters:
    matrix, offset = _fit_linear(p, y, w, clip, full=False)
    return {"weights": np.diag(matrix).tolist(), "offsets": offset.tolist()}


def _apply_vector(p: Array, parameters: Parameters, clip: float) -> Array:
    return _softmax(_logs(p, clip) * np.array(parameters["weights"]) + np.array(parameters["offsets"]))


def fit_dirichlet(p: Array, y: NDArray[np.intp], w: Array, clip: float, shrinkage: float = 1e-3) -> Parameters:
    """Fit softmax(W log p + b); `shrinkage` weighs the mean square of b and of W off its diagonal."""
    matrix, offset = _fit_linear(p, y, w, clip, full=True, shrinkage=shrinkage)
    return {"weights": matrix.tolist(), "offsets": offset.tolist(), "shrinkage": shrinkage}


def _apply_dirichlet(p: Array, parameters: Parameters, clip: float) -> Array:
    return _softmax(_logs(p, clip) @ np.array(parameters["weights"]).T + np.array(parameters["offsets"]))


def _curves(p: Array) -> range:
    """Classes that have a curve of their own."""
    return range(1, 2) if p.shape[1] == 2 else range(p.shape[1])


def _join(p: Array, curves: Sequence[Array]) -> Array:
    """Probabilities of all classes from the curves' values."""
    if p.shape[1] == 2:
        return np.stack([1 - curves[0], curves[0]], axis=1)
    q = np.stack(curves, axis=1)
    total = q.sum(axis=1, keepdims=True)
    return np.where(total > 0, q / np.where(total > 0, total, 1), p)


def _fit_beta(p: Array, y: NDArray[np.intp], w: Array, clip: float) -> Parameters:
    return {"curves": [_beta_curve(p[:, c], (y == c).astype(np.float64), w, clip) for c in _curves(p)]}


def _beta_features(p: Array, clip: float) -> Array:
    clipped = np.clip(p, clip, 1 - clip)
    return np.stack([np.log(clipped), -np.log1p(-clipped), np.ones_like(clipped)], axis=1)


def _beta_curve(p: Array, target: Array, w: Array, clip: float) -> list[float]:
    """a, b, c of logit q = a log p - b log(1 - p) + c, with a and b not below 0, so that q never falls."""
    from scipy.optimize import minimize
    from scipy.special import expit

    features, weights = _beta_features(p, clip), w / w.sum()

    def loss(x: Any) -> tuple[float, Any]:
        z = features @ x
        value = float(weights @ (np.logaddexp(0, z) - target * z))
        return value, features.T @ (weights * (expit(z) - target))

    bounds: Any = [(0, None), (0, None), (None, None)]
    options: Any = {"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9}
    found = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return [float(value) for value in found.x]


def _apply_beta(p: Array, parameters: Parameters, clip: float) -> Array:
    from scipy.special import expit

    curves = zip(_curves(p), parameters["curves"], strict=True)
    return _join(p, [expit(_beta_features(p[:, c], clip) @ np.array(curve)) for c, curve in curves])


def _fit_isotonic(p: Array, y: NDArray[np.intp], w: Array, clip: float) -> Parameters:
    del clip
    return {"curves": [_isotonic_curve(p[:, c], (y == c).astype(np.float64), w) for c in _curves(p)]}


def _isotonic_curve(p: Array, target: Array, w: Array) -> dict[str, list[float]]:
    """Corners of the rising curve nearest to the targets, held off 0 and 1 by half of a voxel's weight."""
    from scipy.optimize import isotonic_regression

    x, place = np.unique(p, return_inverse=True)
    weight = np.bincount(place, w)
    mean = np.bincount(place, w * target) / weight
    found = isotonic_regression(mean, weights=weight)
    first, last = found.blocks[:-1], found.blocks[1:] - 1
    floor = 0.5 / (len(p) + 1)
    height = np.clip(found.x[first], floor, 1 - floor)
    corners = np.stack([x[first], x[last]], axis=1).ravel()
    heights = np.repeat(height, 2)
    kept = np.append(True, np.diff(corners) > 0)
    return {"x": corners[kept].tolist(), "y": heights[kept].tolist()}


def _apply_isotonic(p: Array, parameters: Parameters, clip: float) -> Array:
    del clip
    curves = zip(_curves(p), parameters["curves"], strict=True)
    return _join(p, [np.interp(p[:, c], curve["x"], curve["y"]) for c, curve in curves])


METHODS: dict[str, Method] = {
    "temperature": Method(
        "temperature scaling", "softmax(log p / T)", _fit_temperature, _apply_temperature,
        keeps_argmax=True, one_against_rest=False, citation="arXiv:1706.04599",
    ),
    "vector": Method(
        "vector scaling", "softmax(w log p + b), class by class", _fit_vector, _apply_vector,
        keeps_argmax=False, one_against_rest=False, citation="arXiv:1706.04599",
    ),
    "dirichlet": Method(
        "Dirichlet calibration", "softmax(W log p + b)", fit_dirichlet, _apply_dirichlet,
        keeps_argmax=False, one_against_rest=False, citation="arXiv:1910.12656",
    ),
    "beta": Method(
        "beta calibration", "sigma(a log p - b log(1 - p) + c), one against rest", _fit_beta, _apply_beta,
        keeps_argmax=False, one_against_rest=True, citation="10.1214/17-EJS1338SI",
    ),
    "isotonic": Method(
        "isotonic regression", "the nearest rising curve, one against rest", _fit_isotonic, _apply_isotonic,
        keeps_argmax=False, one_against_rest=True, citation="10.1145/775047.775151",
    ),
}  # fmt: skip


def check_methods(names: Iterable[str]) -> None:
    """Refuse names of no method.

    Raises:
        UsageError: there is none of that name.
    """
    if unknown := [name for name in names if name not in METHODS]:
        raise UsageError(f"Unknown method {unknown[0]!r}. Known: {', '.join(METHODS)}.")
