"""Figures: each function takes data and `ax=None`, and returns the axes that it drew on; `style` is their one look.

Importing this package loads no matplotlib: it is loaded by the first figure.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Volumes": "volumes",
    "cases": "case_strips",
    "cases_panels": "case_strips",
    "confidence": "confidence_bars",
    "confidence_panels": "confidence_bars",
    "reliability": "reliability_diagram",
    "reliability_panels": "reliability_diagram",
    "save": "style",
    "slices": "slice_panels",
    "training_curves": "curves",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'calibeval.plots' has no attribute {name!r}")
    return getattr(import_module(f"calibeval.plots.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
