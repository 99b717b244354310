"""Figures made of characters: what a terminal shows where no file is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from calibeval.metrics.intervals import group_means
from calibeval.plots.binned import Curve
from calibeval.plots.style import label

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 34  # characters of a small reliability diagram
_ROWS, _COLUMNS, _APART = 9, 27, 2
_NAME = 24


def curve_lines(name: str, curve: Curve) -> list[str]:
    """A small reliability diagram: `o` the curve, `.` the diagonal; each line `BLOCK` characters wide."""
    grid = np.full((_ROWS, _COLUMNS), " ")
    x = np.linspace(0, 1, _COLUMNS)
    grid[_row(x), np.arange(_COLUMNS)] = "."
    known = np.flatnonzero(curve.seen)
    if known.size:
        says = curve.says[known]
        seen = (x >= says[0] - 0.5 / _COLUMNS) & (x <= says[-1] + 0.5 / _COLUMNS)
        grid[_row(np.interp(x[seen], says, curve.right[known])), np.flatnonzero(seen)] = "o"
    edges = {0: "  1 |", _ROWS // 2: "0.5 |", _ROWS - 1: "  0 |"}
    lines = [label(name, BLOCK), label(curve.verdict, BLOCK)]
    lines += [edges.get(row, "    |") + "".join(cells) for row, cells in enumerate(grid)]
    half = (_COLUMNS - 5) // 2
    lines += ["    +" + "-" * _COLUMNS, f"     0{' ' * half}0.5{' ' * half}1", curve.words]
    return [f"{line:{BLOCK}}" for line in lines]


def _row(share: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.rint((1 - np.clip(share, 0, 1)) * (_ROWS - 1)).astype(np.intp)


def curves_text(curves: Mapping[str, Curve], width: int) -> Iterator[str]:
    """Small diagrams side by side, as many as a width holds."""
    blocks = [curve_lines(name, curve) for name, curve in curves.items()]
    across = max(1, (width + _APART) // (BLOCK + _APART))
    for start in range(0, len(blocks), across):
        for parts in zip(*blocks[start : start + across], strict=True):
            yield (" " * _APART).join(parts).rstrip()
        yield ""
    if blocks:
        yield "o: how often it is right over what it says; below the dots it is over-confident."


def strips_text(title: str, values: pd.DataFrame, width: int) -> Iterator[str]:
    """A line a method: `.` a case, `o` several, `|` their mean."""
    finite = values.where(np.isfinite(values))
    low, high = float(finite.min().min()), float(finite.max().max())
    room = width - _NAME - 2
    yield title
    for name in values.columns:
        own = finite[name].dropna()
        cells = [" "] * room
        places = [round((value - low) / ((high - low) or 1) * (room - 1)) for value in own]
        for place in places:
            cells[place] = "." if cells[place] == " " else "o"
        if places:
            mean = float(group_means(own.to_numpy(), list(own.index.get_level_values("group"))).mean())
            cells[round((mean - low) / ((high - low) or 1) * (room - 1))] = "|"
        yield f"{label(str(name), _NAME):{_NAME}}  {''.join(cells)}".rstrip()
    left = f"{low:.4g}"
    yield " " * (_NAME + 2) + left + f"{high:.4g}".rjust(room - len(left))


def confidence_text(title: str, curves: Mapping[str, Curve]) -> Iterator[str]:
    """A line a method: what it says, how often it is right, and the verdict."""
    yield title
    for name, curve in curves.items():
        yield f"{label(name, _NAME):{_NAME}}  {curve.verdict:15}  {curve.words}"
