"""Tests mirror the package; `ROOT` is the checkout they run in."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "sample_data"
