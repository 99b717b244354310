"""Loading numba: where it keeps compiled kernels, how some are compiled ahead, and what it need not load.

Numba writes kernels beside the package or into the user's cache folder. In a read-only container without a home it
can do neither, and refuses to compile at all.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

_ahead: dict[str, subprocess.Popen[bytes]] = {}


@cache
def provide_kernel_cache() -> Path:
    """Give the folder of compiled kernels, one for this run and its workers where numba finds none.

    To be called before the first kernel.
    """
    import numba

    try:
        return _kernel_folder()
    except RuntimeError:  # no place found
        folder = tempfile.mkdtemp(prefix="calibeval-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder  # workers read it when they start
        vars(numba.config)["CACHE_DIR"] = folder  # numba read it when it was loaded
        return _kernel_folder()


def _kernel_folder() -> Path:
    """Where numba keeps the kernels of this package; it looks for a place when it sees a function, uncompiled."""
    import numba

    probe: Any = numba.njit(cache=True)(lambda: None)
    return Path(probe.stats.cache_path)


def compile_ahead(module: str) -> None:
    """Start compiling the kernels of a module beside this process, unless some are kept already.

    Compiling holds a lock, so that only processes share the work of a first run. For the commands alone: elsewhere
    the program that runs may not be a Python.
    """
    kept = provide_kernel_cache().glob(f"{module.rpartition('.')[2]}.*.nbi")
    if module in _ahead or any(kept):
        return
    nothing = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", f"import {module}"]
    _ahead[module] = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
    atexit.register(_ahead[module].kill)


def wait_for_kernels(module: str) -> None:
    """Wait until kernels that are compiled ahead are kept; what went wrong there is compiled again here."""
    if module in _ahead:
        _ahead[module].wait()


def load_numba_without_blas() -> None:
    """Load numba without scipy.linalg, which it asks for BLAS: a sixth of a warm start, and no kernel here uses it.

    Compiled code of others could then not multiply matrices; so this is for the commands, not for the library.
    """
    blas = "scipy.linalg.cython_blas"
    if "numba.np.arraymath" in sys.modules or blas in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]  # an import of it fails, and numba goes on without
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[blas]
