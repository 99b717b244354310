"""From a data set as it was downloaded to one nnU-Net folder, case by case.

The folder gets `imagesTr`, `labelsTr`, `imagesTs`, `labelsTs`, `dataset.json`, `cases.csv`, and `prepare.json`: what
was chosen, and of which files each case was made. A case that stands there with its files unchanged is left as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from calibeval.case_table import CASE, PATIENT
from calibeval.datasets.case import read_case, write_volume
from calibeval.datasets.grid import Fitted, Grid, fit, require_itk
from calibeval.datasets.listing import Listing, Source
from calibeval.datasets.table import DataSet, recognise
from calibeval.errors import InputError, UsageError
from calibeval.files import inside, write_text
from calibeval.wording import some_of

RECORD = "prepare.json"
_PARTS = ("row", "files", "voxels", "cut")  # of what is recorded of a case
_SUFFIX = ".nii.gz"


class Preparation(NamedTuple):
    """What is to be done.

    Attributes:
        kind: of data set.
        out: folder that it goes to.
        grid: voxels of the cases.
        listing: of the cases.
        record: of an earlier run: what each case that is done was made of.
        todo: cases that are not done.
        done: how many are.
        problems: cases that cannot be, and files that are missing.
    """

    kind: DataSet
    out: Path
    grid: Grid
    listing: Listing
    record: dict[str, Any]
    todo: tuple[Source, ...]
    done: int
    problems: tuple[InputError, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes 0, 1, ..."""
        return tuple(self.listing.labels)


class Outcome(NamedTuple):
    """What was done.

    Attributes:
        failures: cases that could not be prepared.
        record: what each case in the folder was made of, and lost.
    """

    failures: tuple[InputError, ...]
    record: dict[str, Any]

    @property
    def cut(self) -> tuple[Counter[str], Counter[str], dict[str, float]]:
        """Voxels by class, those that the crop cut off, and each case's share of its foreground where that is not 0."""
        before, lost, shares = Counter[str](), Counter[str](), {}
        for case, made in self.record.items():
            before.update(made["voxels"])
            lost.update(made["cut"])
            if made["cut"]:
                shares[case] = sum(made["cut"].values()) / sum(made["voxels"].values())
        return before, lost, shares


def plan_preparation(kind: DataSet, source: Path, out: Path, grid: Grid) -> Preparation:
    """List the cases and what of them is done; reads no voxels and writes nothing.

    Raises:
        UsageError: no such data set there, two files of one case, or a folder that holds something else.
        InputError: a list of the cases that cannot be used.
    """
    if not source.is_dir():
        raise UsageError(f"{source}: no such folder.")
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out}: lies in the data set's own folder. Choose another for what is prepared.")
    listing = kind.find_cases(source)
    if not listing.sources and not listing.problems:
        raise UsageError(
            f"{source}: holds no case of {kind.title}. Expected {kind.layout}. {recognise(source)}".rstrip()
        )
    for case, count in Counter(each.case for each in listing.sources).items():
        if count > 1:
            twice = [str(each.images[0].parent) for each in listing.sources if each.case == case]
            raise UsageError(f"{source}: holds the case {case} more than once ({some_of(twice)}). Keep one.")
    record = _read_record(out, _choices(kind, grid))
    missing = {path: InputError(path, "is missing.", "Download it again.") for path in _missing(listing)}
    whole = [each for each in listing.sources if missing.keys().isdisjoint(each.files)]
    todo = tuple(each for each in whole if not _is_done(each, out, record, len(listing.channels)))
    problems = (*listing.problems, *missing.values())
    return Preparation(kind, out, grid, listing, record, todo, len(whole) - len(todo), problems)


def prepare(plan: Preparation, progress: Callable[[str], None] = lambda _case: None) -> Outcome:
    """Write what is not done yet; a case that cannot be used costs itself alone.

    Args:
        plan: from `plan_preparation`.
        progress: called with each case's name.

    Raises:
        MissingExtraError: SimpleITK is not installed.
        OSError: what is written finds no room.
    """
    require_itk()
    failures, record = list(plan.problems), dict(plan.record)
    try:
        for source in plan.todo:
            try:
                record[source.case] = _prepare_case(source, plan)
                _write_record(plan, record)
            except InputError as error:
                failures.append(error)
            progress(source.case)
    finally:  # what is done can be used after an interruption, too
        if record:
            _write_descriptions(plan, record)
    return Outcome(tuple(failures), record)


def _missing(listing: Listing) -> list[Path]:
    return [path for source in listing.sources for path in source.files if not path.is_file()]


def _choices(kind: DataSet, grid: Grid) -> dict[str, Any]:
    return {"data_set": kind.name, "spacing": list(grid.spacing), "size": list(grid.size), "around": grid.around}


def _read_record(out: Path, choices: dict[str, Any]) -> dict[str, Any]:
    """What an earlier run did; refuses a folder that was made otherwise."""
    path = out / RECORD
    if not path.is_file():
        if any(out.glob("images*")) or any(out.glob("labels*")):
            raise UsageError(f"{out}: holds a data set that `prepare` did not write. Choose another folder.")
        return {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        made = dict(held["choices"])
        cases = {case: {part: dict(row[part]) for part in _PARTS} for case, row in held["cases"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}). Remove {out}, or choose another folder.") from error
    if made != choices:
        changed = [name for name, value in choices.items() if made.get(name) != value]
        differ = ", ".join(f"{name}: {made.get(name) or 'as it is'}" for name in changed)
        raise UsageError(f"{out}: was prepared otherwise ({differ}). Choose another folder, or remove it.")
    return cases


def _outputs(source: Source, out: Path, channels: int) -> tuple[list[Path], Path]:
    """Files of a case's channels, and of its label."""
    part = "Ts" if source.test else "Tr"
    images = [inside(out, f"images{part}/{source.case}_{channel:04d}{_SUFFIX}") for channel in range(channels)]
    return images, inside(out, f"labels{part}/{source.case}{_SUFFIX}")


def _seen(source: Source) -> dict[str, list[int]]:
    """By which a changed file is told: its length and the time of its last change."""
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in source.files}


def _is_done(source: Source, out: Path, record: dict[str, Any], channels: int) -> bool:
    images, label = _outputs(source, out, channels)
    there = all(path.is_file() for path in (*images, *([label] if source.label else [])))
    return there and source.case in record and record[source.case]["files"] == _seen(source)


def _row(source: Source) -> dict[str, str]:
    return {PATIENT: source.patient, "part": "test" if source.test else "train", **source.facts}


def _prepare_case(source: Source, plan: Preparation) -> dict[str, Any]:
    """Write one case, and give what is recorded of it."""
    seen, (images, label) = _seen(source), read_case(source, plan.listing)
    try:
        fitted = fit(images, label, plan.grid, len(plan.classes))
    except RuntimeError as error:  # of SimpleITK
        raise InputError(source.images[0], f"cannot be brought to the grid ({str(error)[-200:]}).") from error
    image_paths, label_path = _outputs(source, plan.out, len(plan.listing.channels))
    if fitted.label is not None:  # first, so that no image stands without its label
        write_volume(label_path, fitted.label)
    for path, image in zip(image_paths, fitted.images, strict=True):
        write_volume(path, image)
    return {"row": _row(source), "files": seen, **_losses(fitted, plan.classes)}


def _losses(fitted: Fitted, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Voxels of each foreground class, and how many of them the crop cut off."""
    counts = list(zip(classes, fitted.before, fitted.after, strict=True))[1:] if fitted.label is not None else []
    cut = {name: before - after for name, before, after in counts if after < before}
    return {"voxels": {name: before for name, before, _ in counts}, "cut": cut}


def _write_record(plan: Preparation, record: dict[str, Any]) -> None:
    held = {"choices": _choices(plan.kind, plan.grid), "cases": record}
    write_text(plan.out / RECORD, json.dumps(held, indent=1) + "\n")


def _write_descriptions(plan: Preparation, record: dict[str, Any]) -> None:
    """Write the record, `dataset.json` as nnU-Net's version 2 reads it, and `cases.csv`."""
    import pandas as pd

    index = {name: number for number, name in enumerate(plan.classes)}
    regions = {name: [index[member] for member in members] for name, members in plan.kind.regions.items()}
    description = {
        "name": plan.listing.name or plan.kind.title,
        "channel_names": {str(number): name for number, name in enumerate(plan.listing.channels)},
        "labels": index,
        **({"regions": regions} if regions else {}),
        "numTraining": sum(made["row"]["part"] == "train" for made in record.values()),
        "file_ending": _SUFFIX,
    }
    _write_record(plan, record)
    write_text(plan.out / "dataset.json", json.dumps(description, indent=2) + "\n")
    rows = [{CASE: case, **made["row"]} for case, made in sorted(record.items())]
    write_text(plan.out / "cases.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
