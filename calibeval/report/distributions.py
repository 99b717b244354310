"""A picture a metric: every case of every method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from calibeval.plots.case_strips import cases
from calibeval.plots.style import Look
from calibeval.report.collect import Entry
from calibeval.report.figures import svg_of, untitled
from calibeval.report.means import column_of
from calibeval.report.page import Figure
from calibeval.summary import SummaryRow
from calibeval.wording import number

if TYPE_CHECKING:
    import pandas as pd

_DRAWN = 6  # metrics
_AS_PICTURE = 1000  # dots, from which they are one picture rather than an element each


def distributions(
    entries: Sequence[Entry], means: Sequence[Mapping[str, SummaryRow]], look: Mapping[str, Look]
) -> Iterator[Figure]:
    """Pictures of the first metrics."""
    table = _table(entries)
    dots = sum(len(entry.groups) for entry in entries)
    for name in list(dict.fromkeys(name for entry in entries for name in entry.metrics))[:_DRAWN]:
        axes = cases(table, metric=name, methods=look)
        for collection in axes.collections:
            collection.set_rasterized(dots > _AS_PICTURE)
        words = "; ".join(text.get_text() for text in axes.texts)
        of = {entry.label: rows[name] for entry, rows in zip(entries, means, strict=True) if name in rows}
        told = "; ".join(f"{label} {number(row.mean) or 'undefined'}" for label, row in of.items())
        head = column_of(name, next(iter(of.values())).unit)
        title = " ".join(filter(None, (head.name, head.arrow, head.unit)))
        yield Figure(title, words, svg_of(untitled(axes), f"{name} of every case. Means: {told}"))


def _table(entries: Sequence[Entry]) -> pd.DataFrame:
    """The rows that stand for a whole case, under the names that the page gives the methods."""
    from calibeval.table import ALL, MEAN, to_frame

    return to_frame(
        row._replace(method=entry.label) for entry in entries for row in entry.rows if row.class_name in (MEAN, ALL)
    )
