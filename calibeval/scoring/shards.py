"""Results of single cases on disk while a run lasts, so that a killed run loses at most the cases in flight.

Each finished case is one small file in `.NAME.partial/` beside the table, named after its case and written whole or
not at all. Its key tells the files and every choice behind it; a shard whose key differs is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from calibeval._version import __version__
from calibeval.bins import flatten, unflatten
from calibeval.files import atomic_path, inside
from calibeval.lesion_table import LesionRow
from calibeval.metrics.statistics import Statistics
from calibeval.table import Row


class CaseScore(NamedTuple):
    """Everything known of a scored case.

    Attributes:
        rows: of the table; method and data set are filled in later.
        bins: statistics of each problem by name; empty when the case failed.
        notes: how files were taken, for people.
        error: why the case failed; empty when it did not.
        lesions: one row each, where some metric is of lesions.
    """

    rows: tuple[Row, ...]
    bins: dict[str, Statistics]
    notes: tuple[str, ...] = ()
    error: str = ""
    lesions: tuple[LesionRow, ...] = ()


def make_key(files: list[Path], choices: Any) -> str:
    """Key of a case: its files by path, size and time of change, and every choice by its text."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]
    return hashlib.sha256(repr((__version__, stats, choices)).encode()).hexdigest()


class ShardStore:
    """The shards of one table."""

    def __init__(self, table: Path) -> None:
        own = f".{table.name.removesuffix('.csv')}.partial"
        self.folder = inside(table.parent, f"{own}/case.npz").parent  # no link to elsewhere

    def exists(self) -> bool:
        """Whether an earlier run was interrupted."""
        return self.folder.is_dir()

    def save(self, case: str, key: str, score: CaseScore) -> None:
        """Keep a finished case; if another run of the same table removes it, only `--resume` misses it."""
        arrays: dict[str, Any] = {
            "key": key,
            "rows": json.dumps([list(row) for row in score.rows]),
            "notes": json.dumps(score.notes),
            "lesions": json.dumps([list(row) for row in score.lesions]),
            "problems": json.dumps(list(score.bins)),
        }
        for index, statistics in enumerate(score.bins.values()):
            arrays |= {f"{index}/{name}": array for name, array in flatten(statistics).items()}
        with (
            contextlib.suppress(FileNotFoundError),
            atomic_path(self._path(case)) as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, **arrays)

    def load(self, case: str, key: str) -> CaseScore | None:
        """Give a case kept under this key; None when there is none, or a broken one."""
        try:
            with self._path(case).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if str(file["key"]) != key:
                    return None
                return _read({name: file[name] for name in file.files})
        except Exception:  # zipfile, zlib and numpy fail in many ways on damaged bytes
            return None

    def remove(self) -> None:
        """Forget all shards."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, case: str) -> Path:
        return self.folder / f"{hashlib.sha256(case.encode()).hexdigest()[:24]}.npz"


def _read(arrays: dict[str, Any]) -> CaseScore:
    bins = {}
    for index, name in enumerate(json.loads(str(arrays["problems"]))):
        prefix = f"{index}/"
        part = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        bins[name] = unflatten(part)
    rows = tuple(Row(*row) for row in json.loads(str(arrays["rows"])))
    lesions = tuple(LesionRow(*row) for row in json.loads(str(arrays["lesions"])))
    return CaseScore(rows, bins, tuple(json.loads(str(arrays["notes"]))), lesions=lesions)
