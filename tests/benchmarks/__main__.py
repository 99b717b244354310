"""All timings beside the peers', as markdown: `python -m tests.benchmarks FOLDER [surface fused files scale train]`.

FOLDER takes the files that are made once and read by every run, about 4 GB. Each part is a module of this package with
options of its own; all of them together take about half an hour on two cores.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.processes import ROOT

PARTS = {
    "surface": ["tests.benchmarks.surface"],
    "fused": ["tests.benchmarks.fused"],
    "files": ["tests.benchmarks.files", "FOLDER"],
    "scale": ["tests.benchmarks.scale", "FOLDER"],
    "train": ["tests.benchmarks.train"],
}
PACKAGES = ("calibeval", "numpy", "numba", "isal", "rapidgzip", "nibabel", "torch", "monai", "torchmetrics")


def describe_machine() -> str:
    """Date, processor, and the versions that matter."""
    processor = platform.processor() or "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    python = platform.python_version()
    return f"{date.today()}; {processor}, {os.cpu_count()} cores; Python {python}, {versions}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    """Run the parts named, or all."""
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(PARTS):
        raise SystemExit(__doc__)
    folder, *names = sys.argv[1:]
    print(describe_machine())
    for name in names or PARTS:
        print(f"\n### {name}\n", flush=True)
        command = [folder if word == "FOLDER" else word for word in PARTS[name]]
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
