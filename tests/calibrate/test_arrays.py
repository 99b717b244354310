"""`calibeval.calibrate.fit` and `apply` on arrays, and the torch module that equals them."""

from __future__ import annotations

import numpy as np
import pytest

from calibeval.calibrate import METHODS, apply, fit
from calibeval.calibrate.sampling import USUAL
from calibeval.errors import ProbabilityError, UsageError
from tests.calibrate.test_cli_calibrate import POWER, make_case, sharpened


def fitted(method="temperature", **more):
    cases = [make_case(index) for index in range(4)]
    return fit([sharpened(true) for true, _ in cases], [label for _, label in cases], method, **more)


def test_arrays_are_fitted_and_mended():
    calibrator = fitted()
    assert calibrator.parameters[""]["temperature"] == pytest.approx(POWER, rel=0.1)
    true, _ = make_case(9)
    p = sharpened(true)
    q = apply(calibrator, p)
    assert (q.shape, q.dtype) == (p.shape, np.float32)
    assert np.abs(q - true).mean() < np.abs(p - true).mean() / 4
    p[1, 0, 0, 0] = np.nan
    assert np.isnan(apply(calibrator, p)[1, 0, 0, 0])


def test_odd_arrays_are_refused():
    true, label = make_case(0)
    with pytest.raises(UsageError, match="as many cases, one at least; found 2 of probabilities, 1 of labels"):
        fit([true, true], [label])
    with pytest.raises(UsageError, match="one at least"):
        fit([], [])
    with pytest.raises(ProbabilityError, match="holds 2 classes, and the calibrator was fitted on 3 classes"):
        apply(fitted(), true[:2])


def test_the_command_draws_as_the_function_does():
    import inspect

    from calibeval.cli.calibrate import evaluate
    from calibeval.cli.calibrate import fit as command

    for function in (command, evaluate):
        defaults = {name: each.default for name, each in inspect.signature(function).parameters.items()}
        assert (defaults["domain"], defaults["voxels"], defaults["seed"]) == USUAL


@pytest.mark.parametrize("method", METHODS)
def test_the_torch_module_equals_the_function(method):
    torch = pytest.importorskip("torch")
    from calibeval.train.calibrated import Calibrated

    calibrator = fitted(method)
    logits = np.random.default_rng(5).normal(size=(2, 3, 4, 5, 6)) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = Calibrated(calibrator)(torch.tensor(logits)).numpy()
    assert found.shape == logits.shape
    for new, old in zip(found, p, strict=True):
        assert new == pytest.approx(apply(calibrator, old), abs=1e-9)
    with pytest.raises(ProbabilityError, match="holds 4 classes"):
        Calibrated(calibrator)(torch.zeros(1, 4, 2, 2))


@pytest.mark.parametrize("method", METHODS)
def test_the_torch_module_takes_regions(method):
    torch = pytest.importorskip("torch")
    from calibeval.train.calibrated import Calibrated

    cases = [make_case(index) for index in range(4)]
    maps = [np.stack([true[1] + true[2], true[2]]) for true, _ in cases]
    calibrator = fit(maps, [label for _, label in cases], method, regions={"both": (1, 2), "b": (2,)})
    logits = np.random.default_rng(5).normal(size=(1, 2, 4, 5)) * 3
    found = Calibrated(calibrator)(torch.tensor(logits)).numpy()
    assert found[0] == pytest.approx(apply(calibrator, 1 / (1 + np.exp(-logits[0]))), abs=1e-9)
