"""The side file of a results table: every case's statistics, for pooled numbers and reliability diagrams.

`NAME.bins.npz` holds, beside `NAME.csv`, one array for each field of `Statistics`, stacked over cases and problems
(regions; one nameless problem without them), the edges of the histograms, and the names. Of the fine histograms only
cells that hold a voxel are kept, one case after the other. Nothing in it is pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError
from calibeval.files import atomic_path, check_regular
from calibeval.metrics.cells import Cells
from calibeval.metrics.statistics import Edges, Histogram, Statistics
from calibeval.protocol import Protocol
from calibeval.signature import Signature
from calibeval.table import BINS_SUFFIX

_CELLS = ("cells_code", "cells_count", "cells_positive", "cells_total")
_SIZES = "cells_size"  # how many cells each case and problem has


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
        if name in _CELLS:
            arrays[name] = np.concatenate([part[name] for part in parts])
            continue
        stacked = np.stack([part[name] for part in parts])
        arrays[name] = stacked.reshape(len(cases), len(problems), *stacked.shape[1:])
    if parts:
        arrays[_SIZES] = np.reshape([part[_CELLS[0]].size for part in parts], (len(cases), len(problems)))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_bins(path: Path) -> BinTable:
    """Read a side file.

    Raises:
        TableError: missing, broken, or no side file of ours.
    """
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        edges = Edges(*(arrays[f"edges_{name}"] for name in Edges._fields))
        problems = [str(name) for name in arrays["problems"]]
        ends = np.cumsum(arrays.get(_SIZES, np.zeros((len(arrays["cases"]), len(problems)), int))).tolist()
        cases = {
            str(case): {
                name: unflatten(_entry(arrays, (i, j), ends, i * len(problems) + j)) for j, name in enumerate(problems)
            }
            for i, case in enumerate(arrays["cases"])
        }
        names = tuple(str(name) for name in arrays["class_names"])
        part = (str(arrays.get(name, "")) for name in ("shard", "method"))
        return BinTable(Signature.parse(str(arrays["signature"])), names, cases, edges, *part)
    except Exception as error:  # zipfile, zlib and numpy fail in many ways on damaged bytes
        raise TableError(f"{path}: is no side file of a results table, or a broken one ({error}).") from error


def flatten(statistics: Statistics) -> dict[str, NDArray[Any]]:
    """Arrays by name; a histogram gives two."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in Statistics.__dataclass_fields__:
        value = getattr(statistics, name)
        if isinstance(value, Cells):
            arrays |= dict(zip(_CELLS, (value.code, value.count, value.positive, value.total), strict=True))
        elif isinstance(value, Histogram):
            arrays[f"{name}_count"], arrays[f"{name}_total"] = value.count, value.total
        else:
            arrays[name] = value
    return arrays


def _entry(arrays: dict[str, NDArray[Any]], index: tuple[int, int], ends: list[int], place: int) -> dict[str, Any]:
    """The arrays of one case and problem; those of cells stand one after the other, all else is stacked."""
    own = slice(ends[place - 1] if place else 0, ends[place])
    stacked = {
        name for field in Statistics.__dataclass_fields__ for name in (field, f"{field}_count", f"{field}_total")
    }
    return {
        name: array[own] if name in _CELLS else array[index]
        for name, array in arrays.items()
        if name in stacked or name in _CELLS
    }


def unflatten(arrays: dict[str, NDArray[Any]]) -> Statistics:
    """Undo `flatten`; what 0.1 did not keep is of no voxel."""
    values: dict[str, Any] = {}
    for name in Statistics.__dataclass_fields__:
        if name == "cells":
            values[name] = Cells(*(arrays[key] for key in _CELLS)) if _CELLS[0] in arrays else Cells.none()
        elif name == "selected" and "selected_count" not in arrays:
            values[name] = Histogram(0 * arrays["boundary_count"], 0 * arrays["boundary_total"])
        elif f"{name}_count" in arrays:
            values[name] = Histogram(arrays[f"{name}_count"], arrays[f"{name}_total"])
        else:
            values[name] = arrays[name]
    return Statistics(**values)
