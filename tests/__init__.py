"""Tests mirror the package; `ROOT` is the checkout they run in."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "sample_data"
# For `read_csv` of pandas 2, which rounds the last digit; pandas 3 warns of the option.
EXACT: Any = {"float_precision": "round_trip"} if version("pandas") < "3" else {}
