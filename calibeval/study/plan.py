"""A study as a TOML file describes it: which data sets, backbones, methods, folds and seeds make which tables.

    out = "studies/mine"            # folder of runs, tables and figures
    [train]                         # settings that all runs share: those of `calibeval train`, and its presets
    epochs = 100
    [data]                          # name = folder, or a table of `folder` and settings of this data set
    ACDC = "ACDC"
    [[grid]]                        # a table of its own; `[grid]` where there is one
    table = "table1"
    methods = ["dicece", { name = "NACL", loss = "nacl:min", morph = ["none", "closing"] }]
    backbones = ["unet"]
    folds = 5                       # or ["1/5", "2/5"]
    seeds = [0]

A list in a method's settings makes a method of each value. `methods` above all tables are those of grids without their
own. Runs that several grids ask for are made once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from calibeval.errors import InputError, UsageError
from calibeval.files import read_text
from calibeval.train.config import TrainConfig, config_to_dict, make_config, parse_size, read_config
from calibeval.wording import some_of

PRESETS = Path(__file__).parent / "presets"
SAMPLE = "sample_data"  # of the working folder; where it is not, it is made in that of the study
_LISTS: dict[str, Any] = {"methods": [], "backbones": ["unet"], "folds": 5, "seeds": [0]}  # of a grid, if not given
_FREE = ("out", "device", "workers")  # may differ from what a run was begun with
_SETTINGS = {field.name for field in fields(TrainConfig)} - {"data", "out", "loss", "settings", "fold", "seed"}


class Method(NamedTuple):
    """A loss with its settings, under the name that tables show."""

    name: str
    loss: str
    settings: Mapping[str, Any]


class Run(NamedTuple):
    """One run of `calibeval train`, and its place in the study."""

    data: str
    backbone: str
    method: str
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Of the run."""
        return Path(self.config.out)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.data} {self.backbone} {self.method} fold {self.config.fold} seed {self.config.seed}"

    @property
    def state(self) -> str:
        """`done`, `failed`, `begun` or `new`, by what lies in the folder."""
        files = {"done": "score.csv", "failed": "failed.txt", "begun": "last.pt"}
        return next((state for state, file in files.items() if (self.folder / file).is_file()), "new")


class Grid(NamedTuple):
    """The runs of one table: a method each row, and each backbone with data sets side by side."""

    table: str
    methods: tuple[Method, ...]
    data: tuple[str, ...]
    backbones: tuple[str, ...]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Study:
    """What a study is to do.

    Attributes:
        out: folder of runs, tables and figures.
        threads: of each run; it may decide the last bits of its numbers, so that it does not follow from the machine.
        grids: what goes into which table.
        about: what the file says of itself, in the comment at its top.
    """

    out: Path
    threads: int
    grids: tuple[Grid, ...]
    about: str = ""

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, each once, in the order of the file."""
        return tuple({run.folder: run for grid in self.grids for run in grid.runs}.values())


def read_study(path: Path, data: Mapping[str, str], out: Path | None = None) -> Study:
    """Read a study.

    Args:
        path: of the TOML file.
        data: name to folder, for data sets that lie elsewhere than the file says.
        out: instead of the file's.

    Raises:
        UsageError: the file cannot be read or asks for what there is not; or runs of other settings lie in `out`.
    """
    try:
        text = read_text(path)
        content = tomllib.loads(text)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file. Presets: {', '.join(preset_names())} (--preset).") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as TOML in UTF-8: {error}.") from error
    _refuse_unknown(path, "the file", content, {"out", "threads", "train", "data", "methods", "grid"})
    content["out"] = str(out or content.get("out", f"studies/{path.stem}"))
    grids = content.get("grid", [])
    try:
        content["data"] = _places(content.get("data", {}), data, Path(content["out"]))
        made = [_make_grid(path, content, grid) for grid in ([grids] if isinstance(grids, dict) else grids)]
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: a value of a kind that was not expected: {error}.") from error
    if not made:
        raise UsageError(f"{path}: no [grid] with methods, so that there is nothing to do.")
    about = " ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))
    study = Study(Path(content["out"]), int(content.get("threads", 1)), tuple(made), about)
    _refuse_ambiguous(path, study)
    for run in study.runs:
        _refuse_other_settings(run)
    return study


def preset_names() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def slug(text: str) -> str:
    """A name as a part of a path."""
    return re.sub(r"[^\w.=-]+", "-", text).strip("-.") or "_"


def _make_grid(path: Path, content: Mapping[str, Any], grid: Mapping[str, Any]) -> Grid:
    table = str(grid.get("table", "table"))
    _refuse_unknown(path, f"grid {table!r}", grid, {"table", "methods", "data", "backbones", "folds", "seeds"})
    listed = {name: _listed(path, name, grid.get(name, content.get(name, default))) for name, default in _LISTS.items()}
    data = tuple(_listed(path, "data", grid.get("data", list(content["data"]))))
    methods = tuple(method for entry in listed["methods"] for method in _methods(path, entry))
    if unknown := [name for name in data if name not in content["data"]]:
        raise UsageError(f"{path}: grid {table!r}: [data] has no {unknown[0]!r} ({some_of(content['data'])}).")
    if not (methods and data):
        raise UsageError(f"{path}: grid {table!r} needs methods and a data set.")
    backbones, folds, seeds = tuple(listed["backbones"]), listed["folds"], listed["seeds"]
    places = product(data, backbones, methods)
    runs = (_make_run(path, content, place, fold, seed) for place in places for fold, seed in product(folds, seeds))
    return Grid(table, methods, data, backbones, tuple(runs))


def _listed(path: Path, name: str, value: Any) -> list[Any]:
    """A list; of folds also their number."""
    if name == "folds" and isinstance(value, int):
        return [f"{i + 1}/{value}" for i in range(value)]
    if not isinstance(value, list):
        raise UsageError(f"{path}: {name} is a list in brackets, as in {name} = [{value!r}], not {value!r}.")
    return value


def _methods(path: Path, entry: str | Mapping[str, Any]) -> Iterator[Method]:
    """One method, or one for each value of settings that are lists."""
    given = {"loss": entry} if isinstance(entry, str) else dict(entry)
    if not isinstance(given.get("loss"), str):
        raise UsageError(f"{path}: a method is a loss or a table with one, as in {{ loss = 'sdc' }}, not {entry!r}.")
    loss, name = given.pop("loss"), given.pop("name", None)
    choices = [value if isinstance(value, list) else [value] for value in given.values()]
    for values in product(*choices):
        settings = dict(zip(given, values, strict=True))
        told = [key for key in given if isinstance(given[key], list) or name is None]
        words = [str(settings[key]) if key == "morph" else f"{key}={settings[key]}" for key in told]
        settings = {key: value for key, value in settings.items() if (key, value) != ("morph", "none")}
        yield Method(" ".join([name or loss, *(word for word in words if word != "none")]), loss, settings)


def _places(data: Mapping[str, Any], given: Mapping[str, str], out: Path) -> dict[str, dict[str, Any]]:
    """Each data set's folder and settings; folders given on the command line win."""
    tables = {name: {"folder": value} if isinstance(value, str) else dict(value) for name, value in data.items()}
    tables |= {name: {**tables.get(name, {}), "folder": folder} for name, folder in given.items()}
    for table in tables.values():
        if table.get("folder") == SAMPLE and not (Path(SAMPLE) / "dataset.json").is_file():
            table["folder"] = str(out / SAMPLE)
    return tables


def _make_run(path: Path, content: Mapping[str, Any], place: tuple[str, str, Method], fold: str, seed: int) -> Run:
    data, backbone, method = place
    shared = {**content.get("train", {}), **content["data"][data]}
    folder, preset = shared.pop("folder", ""), shared.pop("preset", "")
    _refuse_unknown(path, "[train] and [data]", shared, _SETTINGS)
    shared = {name: tuple(value) if isinstance(value, list) else value for name, value in shared.items()}
    if "size" in shared:
        shared["size"] = parse_size(str(shared["size"]), shared.get("dim", 2))
    folders = map(slug, (data, backbone, method.name, f"f{fold.replace('/', 'of')}-s{seed}"))
    chosen = {
        **shared, "data": str(folder), "backbone": backbone, "loss": method.loss, "settings": dict(method.settings),
        "fold": fold, "seed": seed, "out": str(Path(content["out"], "runs", *folders)),
    }  # fmt: skip
    return Run(data, backbone, method.name, make_config(preset, **chosen))


def _refuse_unknown(path: Path, where: str, found: Iterable[str], known: set[str]) -> None:
    if unknown := sorted(set(found) - known):
        raise UsageError(f"{path}: {where} has no {some_of(unknown)}. Known: {', '.join(sorted(known))}.")


def _refuse_ambiguous(path: Path, study: Study) -> None:
    """Refuse one name for two methods: their runs would lie in one folder."""
    seen: dict[str, Method] = {}
    for method in (method for grid in study.grids for method in grid.methods):
        if seen.setdefault(slug(method.name), method) != method:
            raise UsageError(f"{path}: two methods are called {method.name!r}. Give each its own name = '...'.")


def _refuse_other_settings(run: Run) -> None:
    """Refuse to take a run of other settings for this one."""
    try:
        before = config_to_dict(read_config(run.folder / "config.json"))
    except InputError:
        return  # not begun, or stopped before anything could be kept
    now = config_to_dict(run.config)
    if changed := [key for key in now if key not in _FREE and now[key] != before[key]]:
        was = ", ".join(f"{key} {before[key]!r}, now {now[key]!r}" for key in changed)
        raise UsageError(f"{run.folder} was run with other settings ({was}). Choose another --out, or remove it.")
