"""What happens before the first kernel: where compiled ones are kept, which are compiled ahead, what numba loads.

Numba keeps kernels beside the package or in the user's cache folder. In a read-only container without a home it finds
no place. This module loads numba only when asked.
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

_ahead: list[subprocess.Popen[bytes]] = []


def compiler_is_off() -> bool:
    """Whether kernels run as ordinary Python, for those who look into them: `NUMBA_DISABLE_JIT=1`."""
    import numba

    return bool(vars(numba.config)["DISABLE_JIT"])


@cache
def provide_kernel_cache() -> Path | None:
    """Give the folder of compiled kernels, one for this run and its workers where numba finds none.

    None where not even a temporary folder can be made. To be called before the first kernel.
    """
    import numba

    try:
        return _kernel_folder()
    except RuntimeError:  # no place found
        try:
            folder = tempfile.mkdtemp(prefix="calibeval-")
        except OSError:
            return None
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder  # workers read it when they start
        vars(numba.config)["CACHE_DIR"] = folder  # numba read it when it was loaded
        return _kernel_folder()


def _kernel_folder() -> Path:
    """Where numba keeps the kernels of this package; it looks for a place when it sees a function, uncompiled."""
    from numba.core.caching import FunctionCache

    return Path(FunctionCache(_kernel_folder).cache_path)


def compile_ahead(*modules: str) -> None:
    """Start compiling the kernels of modules of this package beside this process, unless some are kept already.

    Compiling holds a lock, so that only processes share the work of a first run. For the commands alone: elsewhere
    the program that runs may not be a Python.
    """
    folder = provide_kernel_cache()
    if _ahead or compiler_is_off() or folder is None or any(any(folder.glob(f"{name}.*.nbi")) for name in modules):
        return
    nothing = subprocess.DEVNULL
    script = f"from {__package__}.compiling import compile_modules; compile_modules({modules!r})"
    _ahead.append(subprocess.Popen([sys.executable, "-P", "-c", script], stdin=nothing, stdout=nothing, stderr=nothing))
    atexit.register(_ahead[0].kill)


def wait_for_kernels() -> None:
    """Wait until kernels that are compiled ahead are kept; what went wrong there is compiled again here."""
    for process in _ahead:
        process.wait()


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
