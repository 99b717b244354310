"""Reliability diagrams, a pane a class: of each method one, all to one scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calibeval.plots.binned import BOUNDARY, Curve, class_parts, curve_of, has_boundary
from calibeval.plots.reliability_diagram import name_of, reliability, scale_counts
from calibeval.plots.style import Look
from calibeval.report.collect import Entry
from calibeval.report.figures import on_page, svg_of, untitled
from calibeval.report.page import Figure, Gap, Pane
from calibeval.summary import summarise
from calibeval.table import ALL
from calibeval.wording import count_of, some_of

_PANELS = 60  # that one page draws
_HEAD = ("says", "is right in", "95% from", "to", "voxels")


def panes_of(entries: Sequence[Entry], look: Mapping[str, Look]) -> tuple[tuple[Pane, ...], tuple[Gap, ...]]:
    """The pictures, and why some are missing."""
    drawn = [entry for entry in entries if entry.bins is not None]
    gaps = [Gap(entry.label, entry.why) for entry in entries if entry.bins is None]
    if not drawn:
        return (), tuple(gaps)
    parts = _parts(drawn)
    kept = _worst(drawn, parts, max(1, _PANELS // len(drawn)))
    if left := [part for part in parts if part not in kept]:
        why = f"Only the classes with the largest gaps are drawn, without {count_of(len(left), 'other')}"
        gaps.append(Gap("", f"{why}: {some_of(left)}. They are had by calibeval plot reliability --class NAME."))
    if BOUNDARY not in kept:
        gaps.append(Gap("Near the boundary", "the side files hold no such voxels. Score with --metrics default,bECE."))
    return tuple(Pane(name_of(part), tuple(_figures(drawn, part, look))) for part in kept), tuple(gaps)


def _parts(entries: Sequence[Entry]) -> list[str]:
    tables = [entry.bins for entry in entries if entry.bins is not None]
    classes = dict.fromkeys(part for table in tables for part in class_parts(table))
    return [ALL, *classes, *[BOUNDARY] * any(map(has_boundary, tables))]


def _worst(entries: Sequence[Entry], parts: list[str], most: int) -> list[str]:
    """As many as there is room for, in their order: all together, and the classes with the largest gaps."""
    if len(parts) <= most:
        return parts
    gaps: dict[str, float] = {ALL: math.inf, BOUNDARY: 1.0}
    for entry in entries:
        for row in summarise((row for row in entry.rows if row.metric == "gap"), by_class=True):
            if not math.isnan(row.mean):
                gaps[row.class_name] = max(abs(row.mean), gaps.get(row.class_name, 0.0))
    first = sorted(parts, key=lambda part: -gaps.get(part, 0.0))[:most]
    return [part for part in parts if part in first]


def _figures(entries: Sequence[Entry], part: str, look: Mapping[str, Look]) -> Iterator[Figure]:
    curves = {
        entry.label: curve_of(entry.bins, part, entry.groups)
        for entry in entries
        if entry.bins is not None and part in (ALL, BOUNDARY, *class_parts(entry.bins))
    }
    most = max(curve.voxels.max(initial=1) for curve in curves.values())
    for label, curve in curves.items():
        words = f"{curve.verdict}: {curve.words}" if curve.words else ""
        axes: Any = untitled(reliability({label: curve}, part=part, methods=look))
        scale_counts(axes.child_axes[0], most)
        svg = svg_of(axes, f"Reliability diagram of {label}, {name_of(part)}. {words}")
        yield Figure(label, words, svg, (_HEAD, *_rows(curve)), on_page(look[label].colour))


def _rows(curve: Curve) -> Iterator[tuple[str, ...]]:
    """The curve's bins that hold voxels."""
    for says, right, low, high, voxels in zip(
        curve.says, curve.right, curve.low, curve.high, curve.voxels, strict=True
    ):
        if voxels:
            yield (*("" if math.isnan(value) else f"{value:.1%}" for value in (says, right, low, high)), f"{voxels:,}")
