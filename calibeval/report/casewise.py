"""The case table: every case of every method, what failed first, then the worst."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from calibeval.escape import page
from calibeval.metrics import METRICS, badness
from calibeval.report.collect import Entry
from calibeval.report.means import ACROSS, column_of
from calibeval.report.page import CaseTable, Method
from calibeval.table import ALL, MEAN, overall_class
from calibeval.wording import number

FIRST = 50  # rows that the page holds as a table
_GAP = "gap"
_UNSCORED = ("missing", "failed")


class CaseNumbers(NamedTuple):
    """A case of a method.

    Attributes:
        method: its number.
        case: name.
        state: what is not well with it; empty for nothing.
        values: by metric; NaN where it has none.
    """

    method: int
    case: str
    state: str
    values: dict[str, float]


def worst_first(entries: Sequence[Entry]) -> tuple[list[CaseNumbers], str]:
    """All cases of all methods, what failed first, then by the gap, else by the first metric; and by which."""
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))[:ACROSS]
    by = _GAP if _GAP in metrics else metrics[0]
    rows = [case for place, entry in enumerate(entries) for case in _cases(place, entry, metrics)]
    return sorted(rows, key=lambda case: _order(case, by)), by


def _cases(place: int, entry: Entry, metrics: Sequence[str]) -> Iterator[CaseNumbers]:
    values: dict[str, dict[str, float]] = {}
    states: dict[str, dict[str, list[str]]] = {}
    for row in entry.rows:
        if row.class_name == overall_class(row.metric):
            values.setdefault(row.case, {})[row.metric] = row.value
        if row.status != "ok":
            named = states.setdefault(row.case, {}).setdefault(row.status, [])
            named += [row.class_name] * (row.class_name not in (MEAN, ALL, *named))
    for case, found in values.items():
        held = {name: found.get(name, math.nan) for name in metrics}
        yield CaseNumbers(place, case, _state(states.get(case, {})), held)


def _state(found: dict[str, list[str]]) -> str:
    if unscored := [status for status in _UNSCORED if status in found]:
        return unscored[0]
    return "; ".join(f"{status.replace('_', ' ')}: {', '.join(names)}".rstrip(": ") for status, names in found.items())


def _order(case: CaseNumbers, metric: str) -> tuple[bool, float]:
    worst = badness(case.values[metric], METRICS[metric].better)
    return case.state not in _UNSCORED, math.inf if math.isnan(worst) else -worst


def worst_of_each(rows: Iterable[CaseNumbers], number: int) -> list[CaseNumbers]:
    """The first few cases of each method that were scored; by method."""
    found: dict[int, list[CaseNumbers]] = {}
    for row in rows:
        own = found.setdefault(row.method, [])
        if row.state not in _UNSCORED and len(own) < number:
            own.append(row)
    return [row for method in sorted(found) for row in found[method]]


def case_table(rows: Sequence[CaseNumbers], by: str, units: dict[str, str], methods: Sequence[Method]) -> CaseTable:
    """The table of what `worst_first` gave; `units` by metric."""
    shown = (
        (methods[row.method], row.case, row.state, tuple(map(number, row.values.values()))) for row in rows[:FIRST]
    )
    return CaseTable(
        tuple(column_of(name, units[name]) for name in (rows[0].values if rows else ())),
        tuple(methods),
        tuple(shown),
        len(rows),
        _json(rows, methods),
        f"what failed first, then by {'the size of the gap' if by == _GAP else by}",
    )


def _json(rows: Sequence[CaseNumbers], methods: Sequence[Method]) -> str:
    """All rows, with numbers of methods, cases and states, for the script; no text in it can end the script."""
    cases = {name: i for i, name in enumerate(dict.fromkeys(row.case for row in rows))}
    states = {name: i for i, name in enumerate(dict.fromkeys(row.state for row in rows))}
    content: dict[str, Any] = {
        "methods": [{"name": page(method.name), "colour": method.colour} for method in methods],
        "cases": list(map(page, cases)),
        "states": list(map(page, states)),
        "rows": [[row.method, cases[row.case], states[row.state], *map(number, row.values.values())] for row in rows],
    }
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
