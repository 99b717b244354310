"""The case table: every case of every method, what failed first, then the worst."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from calibeval.escape import page
from calibeval.metrics import METRICS, badness
from calibeval.report.collect import Entry
from calibeval.report.means import ACROSS, column_of
from calibeval.report.page import CaseTable, Method
from calibeval.table import overall_class
from calibeval.wording import number

FIRST = 50  # rows that the page holds as a table
NO_CASES = CaseTable((), (), (), 0, "{}", "")
_UNSCORED = ("missing", "failed")


class _Case(NamedTuple):
    method: int
    case: str
    state: str
    values: tuple[float, ...]


def case_table(entries: Sequence[Entry], methods: Sequence[Method]) -> CaseTable:
    """All cases of all methods."""
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))[:ACROSS]
    by = "gap" if "gap" in metrics else metrics[0]
    rows = [case for i, entry in enumerate(entries) for case in _cases(i, entry, metrics)]
    rows.sort(key=lambda case: _order(case, metrics.index(by), by))
    units = {row.metric: row.unit for entry in entries for row in entry.rows}
    return CaseTable(
        tuple(column_of(name, units[name]) for name in metrics),
        tuple(methods),
        tuple((methods[row.method], row.case, row.state, tuple(map(number, row.values))) for row in rows[:FIRST]),
        len(rows),
        _json(rows, methods),
        f"what failed first, then by {'the size of the gap' if by == 'gap' else by}",
    )


def _cases(place: int, entry: Entry, metrics: Sequence[str]) -> list[_Case]:
    values: dict[str, dict[str, float]] = {}
    states: dict[str, dict[str, list[str]]] = {}
    for row in entry.rows:
        if row.class_name == overall_class(row.metric):
            values.setdefault(row.case, {})[row.metric] = row.value
        if row.status != "ok":
            named = states.setdefault(row.case, {}).setdefault(row.status, [])
            named += [row.class_name] * (row.class_name not in ("mean", "all", *named))
    return [
        _Case(place, case, _state(states.get(case, {})), tuple(found.get(name, math.nan) for name in metrics))
        for case, found in values.items()
    ]


def _state(found: dict[str, list[str]]) -> str:
    if unscored := [status for status in _UNSCORED if status in found]:
        return unscored[0]
    return "; ".join(f"{status.replace('_', ' ')}: {', '.join(names)}".rstrip(": ") for status, names in found.items())


def _order(case: _Case, place: int, metric: str) -> tuple[bool, float]:
    worst = badness(case.values[place], METRICS[metric].better)
    return case.state not in _UNSCORED, math.inf if math.isnan(worst) else -worst


def _json(rows: Sequence[_Case], methods: Sequence[Method]) -> str:
    """All rows as numbers of methods, cases and states, for the script; no text in it can end the script."""
    cases = {name: i for i, name in enumerate(dict.fromkeys(row.case for row in rows))}
    states = {name: i for i, name in enumerate(dict.fromkeys(row.state for row in rows))}
    content: dict[str, Any] = {
        "methods": [{"name": page(method.name), "colour": method.colour} for method in methods],
        "cases": list(map(page, cases)),
        "states": list(map(page, states)),
        "rows": [[row.method, cases[row.case], states[row.state], *map(number, row.values)] for row in rows],
    }
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
