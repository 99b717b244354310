"""Compiled loops (numba), private to `calibeval.metrics`: how they are compiled stands in `setup`."""
