"""A place for compiled kernels where numba finds none, and kernels compiled ahead."""

import os
import sys

import numba
import pytest
from numba.core import caching

from calibeval.metrics._kernels import setup as _numba_setup
from calibeval.metrics._kernels.setup import compile_ahead, provide_kernel_cache, wait_for_kernels


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

    monkeypatch.setattr(_numba_setup, "_ahead", {})
    monkeypatch.setattr("subprocess.Popen", Process)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    provide_kernel_cache.cache_clear()
    yield commands
    provide_kernel_cache.cache_clear()


def test_kernels_are_compiled_ahead_once_and_waited_for(started):
    wait_for_kernels("calibeval.metrics._kernels.distances")
    assert started == []
    for _ in range(2):
        compile_ahead("calibeval.metrics._kernels.distances")
    assert started == [[sys.executable, "-P", "-c", "import calibeval.metrics._kernels.distances"]]
    wait_for_kernels("calibeval.metrics._kernels.distances")
    assert started[1:] == ["waited"]


def test_kernels_that_are_kept_are_not_compiled_ahead(started):
    folder = provide_kernel_cache()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "distances.far_distances-1.py311.nbi").touch()
    compile_ahead("calibeval.metrics._kernels.distances")
    assert started == []
