"""Lesions on the page: what each method finds, and its free-response curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calibeval.errors import TableError
from calibeval.findings import lesion_words
from calibeval.lesion_table import LesionRow, lesions_path, read_lesions
from calibeval.metrics import asked
from calibeval.plots.froc_curves import froc_curves
from calibeval.plots.style import Look
from calibeval.report.collect import Entry
from calibeval.report.figures import svg_of
from calibeval.report.page import Figure, Gap, LesionsPart, Method


def lesions_part(
    entries: Sequence[Entry], methods: Sequence[Method], look: Mapping[str, Look]
) -> tuple[LesionsPart | None, tuple[Gap, ...]]:
    """Sentences and curves of the methods that have lesions, and why others have none."""
    held, said, gaps = {}, [], []
    for entry, method in zip(entries, methods, strict=True):
        if not asked(entry.metrics, "lesions"):
            continue
        try:
            rows = _rows(entry)
        except TableError as error:
            gaps.append(Gap(method.name, str(error)))
            continue
        held[entry.label] = (rows, len(entry.groups))
        said.append((method, tuple(lesion_words(rows, len(entry.groups), entry.groups))))
    if not said:
        return None, tuple(gaps)
    words = "; ".join(f"{method.name} {texts[0]}" for method, texts in said)
    figure = Figure("Found against invented", "", svg_of(froc_curves(held, methods=look), f"FROC curves. {words}"))
    return LesionsPart(figure, tuple(said)), tuple(gaps)


def _rows(entry: Entry) -> list[LesionRow]:
    path = lesions_path(entry.source.path)
    if not path.is_file():
        raise TableError(f"{path} is missing. Put it beside the table, or score again.")
    return read_lesions(path)
