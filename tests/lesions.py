"""Models of one kind of lesion whose true probabilities are known: which numbers order the models rightly?

Each of 200 images of 48 x 48 pixels holds a disc of radius 6 with a soft rim; the label of a pixel is drawn from its
probability. One model says the true probabilities, the others something else.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibeval import score_case

Array = NDArray[np.float64]
METRICS = ("ECE", "CECE", "pECE", "gap", "Brier", "NLL")
IMAGES, EDGE, RADIUS, SEED = 200, 48, 6.0, 7001
MODELS: dict[str, Callable[[Array], Array]] = {
    "the true p": lambda p: p,
    "a third of the true p": lambda p: p / 3,
    "p = 0 everywhere": np.zeros_like,
    "p = 1 everywhere": np.ones_like,
}


def lesion_means() -> dict[str, dict[str, float]]:
    """Each model's mean of each metric over the images, under the protocol `paper`; NaN without a value."""
    random = np.random.default_rng(SEED)
    found: dict[str, dict[str, list[float]]] = {name: {metric: [] for metric in METRICS} for name in MODELS}
    for _ in range(IMAGES):
        p = _disc(random)
        label = (random.random(p.shape) < p).astype(np.uint8)
        for name, model in MODELS.items():
            said = model(p)
            for row in score_case(np.stack([1 - said, said]), label, metrics=METRICS).rows:
                if row.class_name == "all":
                    found[name][row.metric].append(row.value)
    return {name: {metric: float(np.mean(v)) for metric, v in of_model.items()} for name, of_model in found.items()}


def _disc(random: np.random.Generator) -> Array:
    """Probabilities that fall from 1 to 0 over about six pixels around the disc."""
    y, x = np.mgrid[:EDGE, :EDGE] - EDGE / 2
    away = np.hypot(y - random.uniform(-2, 2), x - random.uniform(-2, 2)) - RADIUS
    return np.asarray(1 / (1 + np.exp(away / 1.5)))
