"""Loading numba: where it keeps compiled kernels when it finds no place of its own, and what it need not load.

Numba writes kernels beside the package or into the user's cache folder. In a read-only container without a home it
can do neither, and refuses to compile at all.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache


@cache
def provide_kernel_cache() -> None:
    """Give numba a folder for this run and its workers where it has none; call it before the first kernel."""
    import numba

    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:  # no place found
        folder = tempfile.mkdtemp(prefix="calibeval-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder  # workers read it when they start
        vars(numba.config)["CACHE_DIR"] = folder  # numba read it when it was loaded


def _probe() -> None:
    """Nothing; numba looks for a place when it sees a function, before it compiles it."""


def load_numba_without_blas() -> None:
    """Load numba without scipy.linalg, which it asks for BLAS: a sixth of a warm start, and no kernel here uses it.

    Compiled code of others could then not multiply matrices; so this is for the commands, not for the library.
    """
    blas = "scipy.linalg.cython_blas"
    if "numba.np.arraymath" in sys.modules or blas in sys.modules:
        return
    vars(sys)["modules"][blas] = None  # an import of it fails, and numba goes on without
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[blas]
