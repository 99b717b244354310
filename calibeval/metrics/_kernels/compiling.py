"""How every kernel is compiled: at its first call, for the signatures it names, and kept on disk.

A kernel is a plain function under `@kernel(signature, ...)`; it may call functions under `@helper()`. Types are fixed,
for each more than one costs a first run seconds. Kernels release the GIL and check no division.

With the compiler off (`NUMBA_DISABLE_JIT=1`) kernels and helpers are ordinary Python: slow, and open to a debugger.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile

from calibeval.metrics._kernels.startup import compiler_is_off, provide_kernel_cache

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])

# Without reference counts (`_nrt`) HD95 takes two thirds of the time; a kernel that makes arrays needs them.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def read_only(scalar: Any, dimensions: int = 1) -> Any:
    """Type of a contiguous array that a kernel only reads: one compiled version then takes memory maps as well."""
    return numba.types.Array(scalar, dimensions, "C", readonly=True)


def helper(**options: Any) -> Callable[[Function], Function]:
    """Make a function that kernels call; it is compiled together with them.

    With `inline="always"` it is copied into the one kernel that calls it: a first run compiles for .4 s less.
    """
    compile_: Callable[[Function], Function] = numba.njit(**(_OPTIONS | options))
    return compile_


def kernel(*signatures: Any, **options: Any) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Make a function a kernel; of several signatures the type of the first argument's elements chooses one."""
    return lambda function: Kernel(function, signatures, options)


class Kernel(Generic[P, R]):
    """A function that is compiled, or loaded from the disk, when it is called first."""

    def __init__(self, function: Callable[P, R], signatures: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.function, self._options = function, options
        self._signatures = {_element_type(signature): signature for signature in signatures}
        self._compiled: dict[Any, Callable[P, R]] = {}

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """Call the compiled function."""
        kind = arguments[0].dtype  # type: ignore[attr-defined]
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(kind)
        return self._compiled[kind](*arguments, **named)

    def compile_all(self) -> None:
        """Compile all signatures, or load them."""
        self._compiled |= {kind: self._compile(kind) for kind in self._signatures}

    def _compile(self, kind: Any) -> Callable[P, R]:
        if compiler_is_off():
            return np.errstate(all="ignore")(self.function)  # compiled integers wrap around without a word
        provide_kernel_cache()
        compiled: Any = numba.njit(**(_OPTIONS | self._options))(self.function)
        with suppress(RuntimeError, OSError):  # no place to keep it
            compiled._cache = _Cache(self.function)
        compiled.compile(self._signatures[kind])
        compiled.disable_compile()
        function: Callable[P, R] = compiled
        return function


def _element_type(signature: Any) -> Any:
    return np.dtype(str(signature.args[0].dtype))


def compile_modules(names: tuple[str, ...]) -> None:
    """Compile all kernels of modules of this package."""
    for name in names:
        for value in vars(import_module(f"{__package__}.{name}")).values():
            if isinstance(value, Kernel):
                value.compile_all()


class _Cache(FunctionCache):
    """Numba's store of compiled functions, which costs no more than time when its files are damaged or cannot be had.

    Numba takes a kept function for fresh when its own file is; here all files of this folder must be, for kernels
    call helpers of other files.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = (self._impl.locator.get_source_stamp(), _sources())
        self._cache_file = _CheckedFile(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling what is damaged raises anything
            with suppress(OSError):
                self.flush()  # an empty index, so that the function is kept anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):  # a full disk, a folder of others
            super().save_overload(sig, data)


class _CheckedFile(IndexDataCacheFile):
    """Files that end with a checksum: damaged machine code would crash, or compute something else."""

    def _dump(self, obj: Any) -> bytes:
        content: bytes = super()._dump(obj)
        return content + sha256(content).digest()

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        if sha256(content[:-32]).digest() != content[-32:]:
            raise ValueError(f"{name} is damaged")
        return pickle.loads(content)  # which ends before the checksum


@cache
def _sources() -> str:
    """Identify the text of all kernels."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
