"""A place for compiled kernels where numba finds none."""

import os

import numba
import pytest
from numba.core import caching

from calibeval._numba_setup import provide_kernel_cache


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
