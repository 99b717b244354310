"""What a run leaves behind: configuration, splits, environment with data hashes, metrics.csv and curves.png."""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from calibeval._version import __version__
from calibeval.errors import InputError, MissingExtraError, UsageError
from calibeval.files import file_hash, read_text
from calibeval.io.arrays import with_parts
from calibeval.machine import library_versions
from calibeval.train.cases import DataSet
from calibeval.train.checkpoint import write_bytes
from calibeval.train.config import TrainConfig, config_to_dict
from calibeval.train.folds import Split
from calibeval.wording import count_of, some_of

Row = Mapping[str, float]


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, all or nothing."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_origin(config: TrainConfig, data: DataSet, split: Split) -> None:
    """Write `config.json`, `splits.json`, `environment.json` and `data.json` (SHA-256 of each file read)."""
    out = Path(config.out)
    write_json(out / "config.json", config_to_dict(config))
    write_json(out / "splits.json", split._asdict())
    write_json(out / "environment.json", _environment())
    write_json(out / "data.json", _hashes(data))


def renew_records(config: TrainConfig, history: Sequence[Row]) -> None:
    """Write what a resumed run was told anew, and what the last one may not have come to write."""
    write_json(Path(config.out) / "config.json", config_to_dict(config))
    if history:
        write_metrics(Path(config.out) / "metrics.csv", history)


def write_metrics(path: Path, history: Sequence[Row]) -> None:
    """Write one line an epoch, in shortest form that reads back to the same number.

    An undefined value is an empty field, as is what an earlier version did not measure.
    """
    columns = list(history[-1])
    values = ([row.get(name, math.nan) for name in columns] for row in history)
    lines = [",".join(columns), *(",".join("" if math.isnan(each) else repr(each) for each in row) for row in values)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def plot_curves(path: Path, history: Sequence[Row]) -> bool:
    """Draw the loss, its terms and the validation DSC over epochs; without matplotlib draw nothing and give False."""
    from calibeval.plots.curves import training_curves
    from calibeval.plots.style import save

    try:
        save(training_curves(history)[0], path)
    except MissingExtraError:
        return False
    return True


def refuse_taken(out: Path) -> None:
    """Refuse a folder that already holds a run.

    Raises:
        UsageError: it does.
    """
    if (out / "last.pt").exists():
        raise UsageError(
            f"{out} already holds a run. Go on with it: calibeval train --resume {shlex.quote(str(out))}; or choose "
            f"another --out."
        )


def read_split(out: Path) -> Split:
    """The split that a run began with; it stays, whatever rule on names a later version has.

    Raises:
        InputError: the file is missing or is none.
    """
    path = out / "splits.json"
    try:
        return Split(*(tuple(names) for names in json.loads(read_text(path)).values()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(path, f"cannot be read as the split of a run: {error}.") from error


def refuse_changed(out: Path, data: DataSet) -> None:
    """Refuse to go on when files are no longer those of `data.json`.

    Raises:
        UsageError: they are not.
        InputError: the record is missing or damaged.
    """
    path = out / "data.json"
    try:
        before = dict(json.loads(read_text(path)))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, f"cannot be read as the record of a run's files: {error}.") from error
    now = _hashes(data)
    if changed := [name for name in sorted(before) if now.get(name) != before[name]]:
        raise UsageError(
            f"The data set has changed since the run in {out} began: {some_of(changed)} in {data.root} "
            f"({count_of(len(changed), 'file')}). Restore what was there, or begin a new run."
        )


def _hashes(data: DataSet) -> dict[str, str]:
    """SHA-256 of each file that is read, by its path inside the data set."""
    files = {file for case in data.cases.values() for file in (*case.images, case.label) if file}
    declared = data.root / "dataset.json"
    files |= {declared} if declared.is_file() else set()
    parts = {part for file in files for part in with_parts(file) if part.is_file()}
    return {part.relative_to(data.root).as_posix(): file_hash(part) for part in sorted(parts)}


def _environment() -> dict[str, Any]:
    return {
        "calibeval": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **library_versions(("torch", "monai", "numpy", "scipy", "nibabel", "nnunetv2")),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "command": shlex.join(sys.argv),
    }
