"""Kernels with the compiler off: `NUMBA_DISABLE_JIT=1 pytest tests/metrics` runs the same tests on ordinary Python."""

import numba
import pytest

COMPILED = not vars(numba.config)["DISABLE_JIT"]

large = pytest.mark.skipif(not COMPILED, reason="too many voxels for kernels that are not compiled")


def examples(number: int) -> int:
    """So many examples of a property, or a few where kernels are not compiled."""
    return number if COMPILED else 3
