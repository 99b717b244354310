"""Where compiled kernels are kept, what damage there costs, and kernels compiled ahead."""

import errno
import os
import sys
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import caching

from calibeval.metrics._kernels import compiling, startup
from calibeval.metrics._kernels.compiling import kernel
from calibeval.metrics._kernels.startup import (
    compile_ahead,
    load_numba_without_blas,
    provide_kernel_cache,
    wait_for_kernels,
)
from tests.kernels import COMPILED

pytestmark = pytest.mark.skipif(not COMPILED, reason="about the compiler")


@pytest.fixture
def nowhere(monkeypatch):
    """Numba as in a read-only container without a home."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that it is undone
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", caching.CacheImpl._locator_classes[:1])
    provide_kernel_cache.cache_clear()
    yield
    provide_kernel_cache.cache_clear()


def test_a_folder_for_this_run_is_given_where_numba_has_none(nowhere):
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(lambda: None)
    provide_kernel_cache()

    @numba.njit("int64(int64)", cache=True)
    def twice(number):
        return 2 * number

    assert twice(4) == 8
    kept = [name for _, _, names in os.walk(os.environ["NUMBA_CACHE_DIR"]) for name in names]
    assert any(name.endswith(".nbi") for name in kept)


def test_numba_s_own_place_is_left_alone(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    provide_kernel_cache.__wrapped__()
    assert "NUMBA_CACHE_DIR" not in os.environ


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Commands that would have been started, with numba's cache in an empty folder."""
    commands = []

    class Process:
        def __init__(self, command, **_):
            commands.append(command)

        def wait(self):
            commands.append("waited")

        def kill(self):
            pass

    monkeypatch.setattr(startup, "_ahead", [])
    monkeypatch.setattr("subprocess.Popen", Process)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    provide_kernel_cache.cache_clear()
    yield commands
    provide_kernel_cache.cache_clear()


def test_kernels_are_compiled_ahead_once_and_waited_for(started):
    wait_for_kernels()
    assert started == []
    for _ in range(2):
        compile_ahead("surfaces", "distances")
    script = "compile_modules(('surfaces', 'distances'))"
    assert started == [
        [sys.executable, "-P", "-c", f"from calibeval.metrics._kernels.compiling import compile_modules; {script}"]
    ]
    wait_for_kernels()
    assert started[1:] == ["waited"]


def test_kernels_that_are_kept_are_not_compiled_ahead(started):
    folder = provide_kernel_cache()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "distances.far_distances-1.py311.nbi").touch()
    compile_ahead("surfaces", "distances")
    assert started == []


def double_all(numbers, result):
    for i in range(numbers.size):
        result[i] = 2 * numbers[i]


DOUBLE = (
    numba.void(compiling.read_only(numba.int64), numba.int64[::1]),
    numba.void(compiling.read_only(numba.float64), numba.float64[::1]),
)


def doubled(dtype=np.int64):
    """Use a kernel that this process has not compiled yet; tell whether it was loaded from the folder."""
    fresh: Any = kernel(*DOUBLE)(double_all)
    result = np.zeros(3, dtype)
    fresh(np.arange(3, dtype=dtype), result)
    np.testing.assert_array_equal(result, [0, 2, 4])
    (compiled,) = fresh._compiled.values()
    return bool(compiled.stats.cache_hits)


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """The folder of a kernel that is kept."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # numba reads it again when any variable has changed
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    provide_kernel_cache.cache_clear()
    assert [doubled(), doubled()] == [False, True]
    (folder,) = tmp_path.glob("metrics_*")
    yield folder
    provide_kernel_cache.cache_clear()


def test_the_first_argument_chooses_the_signature(kept):
    assert not doubled(np.float64)
    assert doubled(np.float64)
    assert len(list(kept.glob("*.nbc"))) == 2


def cut_short(path):
    path.write_bytes(path.read_bytes()[:100])


def empty(path):
    path.write_bytes(b"")


def overwritten(path):
    path.write_bytes(b"neither" * 40)


def one_byte_changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def missing(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut_short, empty, overwritten, one_byte_changed, missing])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_file_is_made_anew(kept, suffix, damage):
    (path,) = kept.glob(f"*.{suffix}")
    damage(path)
    doubled()
    assert doubled()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_what_cannot_be_made_anew_is_done_without(kept, suffix):
    """A folder in the place of a file can be neither read nor replaced."""
    (path,) = kept.glob(f"*.{suffix}")
    path.unlink()
    path.mkdir()
    assert not doubled()
    assert not doubled()


def test_a_full_disk_costs_the_keeping_alone(kept, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", full)
    assert not doubled(np.float64)
    assert doubled()


def test_without_any_folder_kernels_run_all_the_same(nowhere, monkeypatch):
    def none(**_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", none)
    monkeypatch.setattr(startup, "_ahead", [])  # another test of this process may have compiled ahead
    assert provide_kernel_cache() is None
    assert not doubled()
    compile_ahead("surfaces")
    assert startup._ahead == []


def test_another_text_of_any_kernel_makes_all_anew(kept, monkeypatch):
    """A kernel may call helpers of other files."""
    monkeypatch.setattr(compiling, "_sources", lambda: "another text")
    assert not doubled()
    assert doubled()


def test_a_dead_link_to_blas_is_not_left_behind():
    load_numba_without_blas()
    assert "scipy.linalg.cython_blas" not in sys.modules or sys.modules["scipy.linalg.cython_blas"] is not None
