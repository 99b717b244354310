"""What this process may take of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# Libraries whose version can change a number or a file.
LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "pillow", "pandas", "torch")


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each library, or `not installed`."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> float:
    """Bytes of memory that can be taken without swapping, as far as the system tells; infinity where it does not."""
    limits = [float("inf")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        limits.append(float(fields["MemAvailable"].split()[0]) * 1024)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        limits.append(float(text) - float(used.read_text(encoding="ascii")))
    return max(min(limits), 0.0)
