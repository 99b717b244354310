"""calibeval: how well segmentation masks fit, and how honest their probabilities are.

`score_case` scores arrays, `score_folder` scores files; `METRICS` and `PROTOCOLS` say what is computed.
Importing this package loads no heavy library: names are fetched on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from calibeval._version import __version__

_HOMES = {
    "METRICS": "calibeval.metrics",
    "PROTOCOLS": "calibeval.protocol",
    "make_protocol": "calibeval.protocol",
    "read_table": "calibeval.table",
    "score_case": "calibeval.score",
    "score_folder": "calibeval.score",
}
__all__ = ["METRICS", "PROTOCOLS", "__version__", "make_protocol", "read_table", "score_case", "score_folder"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'calibeval' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
