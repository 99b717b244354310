"""The side file of a results table: every case's statistics, for pooled numbers and reliability diagrams.

`NAME.bins.npz` holds, beside `NAME.csv`, one array for each field of `Statistics`, stacked over cases and problems
(regions; one nameless problem without them), the edges of the histograms, and the names. Nothing in it is pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError
from calibeval.files import atomic_path
from calibeval.metrics.statistics import Edges, Histogram, Statistics
from calibeval.protocol import Protocol
from calibeval.signature import Signature
from calibeval.table import BINS_SUFFIX


@dataclass(frozen=True)
class BinTable:
    """Statistics of the scored cases of one method.

    Attributes:
        signature: of the protocol.
        class_names: background first.
        cases: case id to problem name to statistics.
        edges: of the histograms.
        shard: `i/n` where this is a part of a run; else empty.
        method: of a part; else empty.
    """

    signature: Signature
    class_names: tuple[str, ...]
    cases: dict[str, dict[str, Statistics]]
    edges: Edges
    shard: str = ""
    method: str = ""

    def pooled(self) -> dict[str, Statistics]:
        """Statistics of all cases together, by problem; empty without cases."""
        return pool(self.cases.values())


def pool(cases: Any) -> dict[str, Statistics]:
    """Add up statistics by problem."""
    total: dict[str, Statistics] = {}
    for case in cases:
        for problem, statistics in case.items():
            total[problem] = total[problem] + statistics if problem in total else statistics
    return total


def bins_path(table: Path) -> Path:
    """Side file of a table."""
    return table.with_name((table.stem if table.suffix.lower() == ".csv" else table.name) + BINS_SUFFIX)


def write_bins(path: Path, cases: dict[str, dict[str, Statistics]], protocol: Protocol, **header: Any) -> None:
    """Write statistics, all or nothing.

    Args:
        path: the side file.
        cases: case id to problem name to statistics; all with the same problems.
        protocol: gives the edges.
        **header: `signature` and `class_names`, and further arrays of numbers or text.
    """
    problems = list(next(iter(cases.values()), {}))
    arrays: dict[str, Any] = {
        "cases": np.array(list(cases), dtype=str),
        "problems": np.array(problems, dtype=str),
        **{f"edges_{name}": edges for name, edges in Edges.of(protocol)._asdict().items()},
        **{name: np.array(value) for name, value in header.items()},
    }
    parts = [flatten(statistics) for case in cases.values() for statistics in case.values()]
    for name in parts[0] if parts else ():
        stacked = np.stack([part[name] for part in parts])
        arrays[name] = stacked.reshape(len(cases), len(problems), *stacked.shape[1:])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_bins(path: Path) -> BinTable:
    """Read a side file.

    Raises:
        TableError: missing, broken, or no side file of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        edges = Edges(*(arrays[f"edges_{name}"] for name in Edges._fields))
        problems = [str(name) for name in arrays["problems"]]
        cases = {
            str(case): {name: unflatten(arrays, (i, j)) for j, name in enumerate(problems)}
            for i, case in enumerate(arrays["cases"])
        }
        names = tuple(str(name) for name in arrays["class_names"])
        part = (str(arrays.get(name, "")) for name in ("shard", "method"))
        return BinTable(Signature.parse(str(arrays["signature"])), names, cases, edges, *part)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise TableError(f"{path}: is no side file of a results table, or a broken one ({error}).") from error


def flatten(statistics: Statistics) -> dict[str, NDArray[Any]]:
    """Arrays by name; a histogram gives two."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in Statistics.__dataclass_fields__:
        value = getattr(statistics, name)
        if isinstance(value, Histogram):
            arrays[f"{name}_count"], arrays[f"{name}_total"] = value.count, value.total
        else:
            arrays[name] = value
    return arrays


def unflatten(arrays: dict[str, NDArray[Any]], index: tuple[int, ...] = ()) -> Statistics:
    """Undo `flatten`, taking one entry of stacked arrays; what 0.1 did not keep is of no voxel."""
    fields: dict[str, Any] = {}
    for name in Statistics.__dataclass_fields__:
        if name == "selected" and "selected_count" not in arrays:
            fields[name] = Histogram(0 * arrays["boundary_count"][index], 0 * arrays["boundary_total"][index])
        elif f"{name}_count" in arrays:
            fields[name] = Histogram(arrays[f"{name}_count"][index], arrays[f"{name}_total"][index])
        else:
            fields[name] = arrays[name][index]
    return Statistics(**fields)
