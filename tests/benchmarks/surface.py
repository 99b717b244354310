"""Time HD95 of all foreground classes against MONAI, surface-distance and medpy: `python -m tests.benchmarks.surface`.

Each tool gets its own kind of input ready-made (label maps for calibeval, one bool mask a class for the others), so
only its computation is timed. Tools take turns on a case, so that a slow minute of the machine hits all alike; the
table gives medians, the ratio to calibeval and the largest difference to its values.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from calibeval.metrics.surface import hd95, surface_distances
from tests.benchmarks.cases import GEOMETRY, Case, adversarial, many_classes, organ_case

Timed = tuple[float, list[float]]  # seconds, HD95 of each foreground class


class Result(NamedTuple):
    """One tool on one case."""

    case: str
    tool: str
    seconds: float
    ratio: float
    difference: float


def ours(case: Case, threads: int = 1, definition: str = "monai") -> Timed:
    """Time calibeval."""
    start = time.perf_counter()
    found = surface_distances(
        case.reference, case.prediction, range(1, case.classes), case.spacing_mm, definition, threads=threads
    )
    values = [hd95(distances, definition) for distances in found.values()]
    return time.perf_counter() - start, values


def monai(case: Case) -> Timed:
    """Time MONAI's compute_hausdorff_distance on tensors."""
    import torch
    from monai.metrics import compute_hausdorff_distance

    def compute(reference: np.ndarray, prediction: np.ndarray) -> float:
        ours, theirs = (torch.from_numpy(mask)[None, None] for mask in (prediction, reference))
        return float(
            compute_hausdorff_distance(ours, theirs, include_background=True, percentile=95, spacing=case.spacing_mm)
        )

    return _class_by_class(compute, case)


def surface_distance(case: Case) -> Timed:
    """Time surface-distance; its percentile is another one, compare with `definition="deepmind"`."""
    from scipy import ndimage

    # The published package predates numpy 2 and uses scipy's old names.
    np.__dict__["Inf"] = np.inf
    ndimage.filters = ndimage.morphology = ndimage
    import surface_distance as package

    def compute(reference: np.ndarray, prediction: np.ndarray) -> float:
        distances = package.compute_surface_distances(reference, prediction, case.spacing_mm)
        return float(package.compute_robust_hausdorff(distances, 95))

    return _class_by_class(compute, case)


def medpy(case: Case) -> Timed:
    """Time medpy; it refuses empty masks, which count as nan here."""
    from medpy.metric.binary import hd95 as compute_hd95

    def compute(reference: np.ndarray, prediction: np.ndarray) -> float:
        if not (reference.any() and prediction.any()):
            return float("nan")
        return float(compute_hd95(prediction, reference, case.spacing_mm))

    return _class_by_class(compute, case)


def _class_by_class(compute: Callable[[np.ndarray, np.ndarray], float], case: Case) -> Timed:
    seconds, values = 0.0, []
    for label in range(1, case.classes):
        reference, prediction = case.reference == label, case.prediction == label
        start = time.perf_counter()
        values.append(compute(reference, prediction))
        seconds += time.perf_counter() - start
    return seconds, values


PEERS: dict[str, tuple[Callable[[Case], Timed], str]] = {  # with the definition whose values theirs must equal
    "MONAI": (monai, "monai"),
    "surface-distance": (surface_distance, "deepmind"),
    "medpy": (medpy, "medpy"),
}


def compare(case: Case, peers: Iterable[str], repeats: int, threads: int) -> list[Result]:
    """Run calibeval and peers on a case in turns."""
    ours(case, threads)  # compiled or loaded before the clock starts
    times: dict[str, list[float]] = {"calibeval": []}
    differences = {}
    for _ in range(repeats):
        times["calibeval"] += [ours(case, threads)[0] for _ in range(3)]
        for peer in peers:
            run, definition = PEERS[peer]
            seconds, values = run(case)
            times.setdefault(peer, []).append(seconds)
            differences[peer] = _difference(values, ours(case, threads, definition)[1])
    base = median(times["calibeval"])
    return [
        Result(case.name, tool, median(seconds), median(seconds) / base, differences.get(tool, 0.0))
        for tool, seconds in times.items()
    ]


def _difference(theirs: Sequence[float], values: Sequence[float]) -> float:
    """Give the largest difference; both undefined (nan there or infinite here) is none, one undefined infinite."""
    pairs = np.array([theirs, values], float)
    undefined = ~np.isfinite(pairs)
    if (undefined[0] != undefined[1]).any():
        return float("inf")
    return float(np.abs(np.diff(pairs[:, ~undefined[0]], axis=0)).max(initial=0.0))


def table(results: Iterable[Result]) -> str:
    """Lay results out in markdown."""
    lines = ["| case | tool | median | x calibeval | largest difference |", "|---|---|---|---|---|"]
    for case, tool, seconds, ratio, difference in results:
        lines.append(f"| {case} | {tool} | {1000 * seconds:.1f} ms | {ratio:.1f} | {difference:.1e} |")
    return "\n".join(lines)


def peak_mib(tool: str, name: str) -> float:
    """Measure in a process of its own how far a tool raises the peak of memory above that of holding the case."""
    command = [sys.executable, "-m", "tests.benchmarks.surface", "--peak", tool, name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _print_peak(tool: str, name: str) -> None:
    case = many_classes() if name == "many" else organ_case(name)
    run = ours if tool == "calibeval" else PEERS[tool][0]
    plate = np.eye(8, dtype=np.uint8)[:, :, None] * np.ones(8, np.uint8)
    small = Case("small", plate, plate.copy(), (1, 1, 1), 2)
    run(small)  # imports are not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(case)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=list(GEOMETRY), choices=list(GEOMETRY))
    parser.add_argument("--adversarial", nargs="*", default=["acdc", "flare"], choices=list(GEOMETRY))
    parser.add_argument("--peers", nargs="*", default=["MONAI", "surface-distance"], choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("TOOL", "CASE"), help="print only the extra MiB of a run")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers about themselves
    if options.peak:
        _print_peak(*options.peak)
        return
    cases = [organ_case(name) for name in options.cases]
    results = [result for case in cases for result in compare(case, options.peers, options.repeats, options.threads)]
    for name in options.adversarial:
        for case in adversarial(organ_case(name)):
            results += compare(case, [peer for peer in options.peers if peer == "MONAI"], 3, options.threads)
    print(table(results))


if __name__ == "__main__":
    main()
