"""calibeval: how well segmentation masks fit, and how honest their probabilities are.

`score_case` scores arrays, `score_folder` scores files; `METRICS` and `PROTOCOLS` say what is computed.
Importing this package loads no heavy library: names are fetched on first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from calibeval._version import __version__

_HOMES = {
    "METRICS": "calibeval.metrics",
    "PROTOCOLS": "calibeval.protocol",
    "calibration_test": "calibeval.metrics.calibration_test",
    "debiased_error": "calibeval.metrics.debiased",
    "make_protocol": "calibeval.protocol",
    "mean_interval": "calibeval.metrics.intervals",
    "read_table": "calibeval.table",
    "score_case": "calibeval.score",
    "score_folder": "calibeval.score",
}
_ROOMS = ("plots",)
__all__ = [
    "METRICS",
    "PROTOCOLS",
    "__version__",
    "calibration_test",
    "debiased_error",
    "make_protocol",
    "mean_interval",
    "plots",
    "read_table",
    "score_case",
    "score_folder",
]


# Homes of modules in 0.1, which go on being imported under these names.
_MOVED = {
    f"calibeval.{old}": f"calibeval.metrics.{new}"
    for old, new in {
        "accumulate": "accumulate",
        "bootstrap": "intervals",
        "boundary": "boundary",
        "calibration": "calibration",
        "empty": "empty",
        "overlap": "overlap",
        "statistics": "statistics",
        "surface": "surface",
    }.items()
}


class _Moved:
    """Finds and loads a module that has moved by its old name: the same object, not a second copy.

    It has no base class: `importlib.abc` would cost 20 ms of every start.
    """

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(fullname, loader) if fullname in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(_MOVED[module.__name__])


sys.meta_path.append(_Moved())


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'calibeval' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
