"""What this process may take of the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Libraries whose version can change a number or a file.
LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "pillow", "pandas", "torch")
LIMIT = "CALIBEVAL_MAX_MEMORY"  # bytes, of `--max-memory`; in the environment, so that processes inherit it
_SHARE = 0.9  # of what is free: other programs want some, too
_CGROUPS = Path("/sys/fs/cgroup")


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
    """Bytes that one array or case may take: of `--max-memory`, else a share of what the system says is free.

    What is free is what can be taken without swapping, within the limits of the process and of its control groups;
    infinity where nothing tells.
    """
    given = os.environ.get(LIMIT)
    return float(given) if given else max(min(_free()), 0.0) * _SHARE


@contextmanager
def limit_memory(size: float | None) -> Iterator[None]:
    """Set what `available_memory` gives, here and in the processes that are started meanwhile; None sets nothing."""
    before = os.environ.get(LIMIT)
    if size is not None:
        os.environ[LIMIT] = str(size)
    try:
        yield
    finally:
        os.environ.pop(LIMIT, None)
        os.environ |= {LIMIT: before} if before is not None else {}


def _free() -> Iterator[float]:
    yield math.inf
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        yield float(fields["MemAvailable"].split()[0]) * 1024
    for group in _groups():
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            try:
                yield float((group / limit).read_text(encoding="ascii")) - float(
                    (group / used).read_text(encoding="ascii")
                )
            except (OSError, ValueError):  # no such file, or `max`
                continue


def _groups() -> Iterator[Path]:
    """Folders of this process's control groups and of those above them; each may have a limit."""
    own = Path("/proc/self/cgroup")
    for line in own.read_text(encoding="utf-8").splitlines() if own.exists() else ():
        _, kinds, name = line.split(":", 2)
        if kinds == "" or "memory" in kinds.split(","):
            root = _CGROUPS / ("memory" if kinds else "")
            yield from (root / place for place in (Path(name.lstrip("/")), *Path(name.lstrip("/")).parents))
