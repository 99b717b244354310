"""From long frames to one array of scores: metrics chosen, cases joined by name, every cell with its state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import TableError, UsageError
from calibeval.foreign import known_name
from calibeval.metrics import METRICS, PAPER, Better
from calibeval.ranges import in_range
from calibeval.ranking.inputs import Tables
from calibeval.table import ALL, MEAN

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
OK, UNDEFINED, FAILED, ABSENT = range(4)  # states of a cell
EMPTY_STATUSES = ("both_empty", "empty_reference", "empty_prediction")


class Unit(NamedTuple):
    """What is sampled independently of the others: a case, or a data set that a wide CSV holds one number of."""

    dataset: str
    case: str

    def __str__(self) -> str:
        return "/".join(filter(None, self)) or "data"


class Scores(NamedTuple):
    """Scores of k methods by m metrics on u units.

    Attributes:
        methods: names in the order of the input.
        metrics: names in the registry's order, unknown ones last.
        better: direction of each metric.
        units: in the order of the input.
        values: (u, m, k) in the metric's own unit; NaN where there is none.
        states: (u, m, k) of `OK`, `UNDEFINED` (no value by the empty rule), `FAILED`, `ABSENT` (no row).
        has_cases: False when the units are the data sets of wide CSVs.
        uneven: (u, m) whether the mean over classes leaves out a class for some methods only.
        notes: how values were taken.
        groups: (u,) which group a unit is a case of; empty where cases stand for themselves.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    better: tuple[Better, ...]
    units: tuple[Unit, ...]
    values: Array
    states: NDArray[np.int8]
    has_cases: bool
    uneven: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def choose_metrics(tables: Tables, text: str) -> tuple[str, ...]:
    """Read `--metrics`: names, `paper` (also `default`), `all`, or nothing.

    Nothing means every column of wide CSVs, and of score tables the paper's five as far as they are there (every
    metric if none is).

    Raises:
        UsageError: a metric that the tables do not hold.
    """
    held = _metrics_held(tables)
    default = tuple(name for name in PAPER if name in held) if tables.has_cases else ()
    words = [word.strip() for word in text.split(",") if word.strip()]
    chosen: set[str] = set() if words else set(default or held)
    for word in words:
        chosen |= {"all": set(held), "default": set(PAPER), "paper": set(PAPER)}.get(word, {known_name(word)})
    unknown = sorted(chosen - set(held))
    if unknown:
        raise UsageError(f"No input holds the metric {', '.join(unknown)}. Held: {', '.join(held)}.")
    return tuple(name for name in held if name in chosen)


def left_out_metrics(tables: Tables, chosen: Sequence[str], text: str) -> tuple[str, ...]:
    """A note on the metrics that nobody asked to leave out; none where `--metrics` says which."""
    left_out = [name for name in _metrics_held(tables) if name not in chosen]
    if text or not left_out:
        return ()
    return (f"Ranked by {', '.join(chosen)} alone; also held: {', '.join(left_out)} (--metrics all, or names).",)


def refuse_unheld(tables: Tables, names: Iterable[str], option: str) -> None:
    """Refuse an option that names a metric that is not there: most likely its name is mistyped.

    Raises:
        UsageError: a name that no table holds.
    """
    held = _metrics_held(tables)
    unheld = [name for name in names if known_name(name) not in held]
    if unheld:
        raise UsageError(f"{option} speaks of {', '.join(unheld)}, which no input holds. Held: {', '.join(held)}.")


def choose_directions(metrics: tuple[str, ...], given: Mapping[str, str]) -> tuple[Better, ...]:
    """Give each metric's direction, from the registry or from `--direction NAME=lower|higher|zero`.

    Raises:
        UsageError: a metric of unknown direction, or a direction that contradicts the registry.
    """
    named = {known_name(name): word.strip().lower() for name, word in given.items()}
    for name, word in named.items():
        if word not in ("higher", "lower", "zero"):
            raise UsageError(f"The direction of {name} must be higher, lower or zero, not {word!r}.")
        if name in METRICS and METRICS[name].better != word:
            raise UsageError(f"{name} is a known metric and {METRICS[name].better} is better; --direction says {word}.")
    unknown = [name for name in metrics if name not in METRICS and name not in named]
    if unknown:
        raise UsageError(
            f"Whether higher or lower {', '.join(unknown)} is better is not known: say --direction {unknown[0]}=lower "
            f"or --direction {unknown[0]}=higher, or leave it out by --metrics."
        )
    return tuple(cast(Better, METRICS[name].better if name in METRICS else named[name]) for name in metrics)


def make_scores(tables: Tables, metrics: tuple[str, ...], better: tuple[Better, ...]) -> Scores:
    """Join the rows of the chosen metrics by method, data set and case.

    Raises:
        TableError: a value that a metric cannot have, such as a -1 that stands for no number.
    """
    import pandas as pd

    frame = tables.frame
    method, methods = pd.factorize(frame["method"])
    unit, units = pd.factorize(pd.MultiIndex.from_frame(frame[["dataset", "case"]]))
    column = frame["metric"].map({name: number for number, name in enumerate(metrics)}).fillna(-1).astype(int)
    bad = frame["status"].isin(("missing", "failed")).to_numpy()
    wanted = (column >= 0).to_numpy() & _class_wanted(tables)
    where = (unit[wanted], column.to_numpy()[wanted], method[wanted])
    shape = (len(units), len(metrics), len(methods))
    values, states = np.full(shape, np.nan), np.full(shape, ABSENT, dtype=np.int8)
    held, notes = in_range(frame[wanted])
    values[where] = held["value"].to_numpy(dtype=np.float64)
    states[where] = np.where(np.isnan(values[where]), UNDEFINED if tables.has_cases else ABSENT, OK)
    states[where] = np.where(bad[wanted], FAILED, states[where])
    failed = np.zeros((shape[0], shape[2]), dtype=bool)
    failed[unit[bad], method[bad]] = True
    states[(states == ABSENT) & failed[:, None, :]] = FAILED  # a failed case need not have a row for each metric
    names = tuple(Unit(str(dataset), str(case)) for dataset, case in units)
    uneven = _uneven(frame, (unit, column.to_numpy(), method), states)
    groups = tuple(frame["group"].iloc[np.unique(unit, return_index=True)[1]]) if tables.grouped else ()
    return Scores(tuple(methods), metrics, better, names, values, states, tables.has_cases, uneven, notes, groups)


def _metrics_held(tables: Tables) -> list[str]:
    held = [name for name in tables.frame["metric"].unique() if name]
    return [name for name in METRICS if name in held] + [name for name in held if name not in METRICS]


def _class_wanted(tables: Tables) -> NDArray[np.bool_]:
    """Rows of the one number that stands for a case: the mean over foreground classes, or that over all classes."""
    frame = tables.frame
    if not tables.has_cases:
        return np.ones(len(frame), dtype=bool)
    row_of = {name: MEAN if MEAN in metric.rows else ALL for name, metric in METRICS.items()}
    for name in set(frame["metric"].unique()) - set(METRICS):
        row_of[name] = _row_of_unknown(frame, name)
    return (frame["class"] == frame["metric"].map(row_of)).to_numpy()


def _uneven(
    frame: pd.DataFrame, where: tuple[NDArray[Any], ...], states: NDArray[np.int8]
) -> NDArray[np.bool_]:  # fmt: skip
    """Cells in which the methods' means are over different classes, since some have a class without value."""
    u, m, k = states.shape
    masks = frame["metric"].isin([name for name, metric in METRICS.items() if MEAN in metric.rows])
    undefined = masks & frame["value"].isna() & frame["status"].isin(EMPTY_STATUSES) & (frame["class"] != MEAN)
    rows = undefined.to_numpy() & (where[1] >= 0)
    left_out: dict[tuple[int, int], dict[int, set[str]]] = {}
    for unit, metric, method, name in zip(*(index[rows] for index in where), frame["class"][rows], strict=True):
        left_out.setdefault((unit, metric), {}).setdefault(method, set()).add(name)
    uneven = np.zeros((u, m), dtype=bool)
    for cell, by_method in left_out.items():
        sets = [by_method.get(method, set()) for method in range(k) if states[*cell, method] == OK]
        uneven[cell] = any(one != sets[0] for one in sets)
    return uneven


def _row_of_unknown(frame: pd.DataFrame, metric: str) -> str:
    classes = set(frame.loc[frame["metric"] == metric, "class"])
    for name in (MEAN, ALL):
        if name in classes:
            return name
    if metric:
        raise TableError(f"The metric {metric!r} has no row of class '{MEAN}' or '{ALL}', so no number for a case.")
    return ALL
