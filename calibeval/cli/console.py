"""What the commands share on the terminal: versions, progress, tables."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from calibeval._version import __version__

# Libraries whose version can change a number or a file.
_LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "SimpleITK", "pandas", "torch")


def version_text() -> str:
    """The version of calibeval and of the libraries that affect numbers, one a line."""
    lines = [f"calibeval {__version__}", f"python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join(lines)
