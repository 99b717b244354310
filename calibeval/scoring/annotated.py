"""Partly labelled data: classes that nobody annotated in a case have no numbers there.

The reference of such a case shows an organ that nobody drew as background, so a perfect prediction would get DSC 0.
Numbers of the annotated classes stay, and their mean. Numbers over all classes, and those of the background, would
count the organ as wrong: they are left out, and so is the case in pooled numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import groupby

from calibeval.case_table import CaseTable
from calibeval.errors import UsageError
from calibeval.io.classes import ClassScheme
from calibeval.metrics import METRICS
from calibeval.scoring.rows import MaskValue, mean_row
from calibeval.table import ALL, MEAN, NOT_ANNOTATED, Row

COLUMN = "annotated"


def read_annotated(table: CaseTable, cases: Iterable[str], scheme: ClassScheme) -> dict[str, frozenset[str]]:
    """Classes that were annotated, of the cases where not all were.

    Args:
        table: with the column `annotated`, class or region names parted by `;`; an empty field stands for all.
        cases: to look up.
        scheme: names that may stand there.

    Raises:
        UsageError: an unknown class, or a case that is not in the table.
    """
    if COLUMN not in table.columns:
        return {}
    known = tuple(scheme.regions) or scheme.names
    found = {}
    for case, text in table.column(COLUMN, cases).items():
        names = frozenset(name.strip() for name in text.split(";") if name.strip())
        if unknown := sorted(names - set(known)) if known else []:
            raise UsageError(
                f"{table.path}: {COLUMN} of {case} names {unknown[0]!r}, which is no class. Known: {', '.join(known)}; "
                "several are parted by semicolons."
            )
        if names and not set(known[0 if scheme.regions else 1 :]) <= names:
            found[case] = names
    return found


def annotated_rows(rows: Iterable[Row], annotated: frozenset[str]) -> list[Row]:
    """Take away what a partly annotated case cannot tell."""
    kept: list[Row] = []
    for name, group in groupby(rows, key=lambda row: row.metric):
        own = [row if row.class_name in annotated else _blank(row) for row in group if row.class_name != MEAN]
        kept += own
        if MEAN in METRICS[name].rows:
            values = [MaskValue(row.class_name, row.value, row.status, row.note) for row in own]
            kept.append(mean_row(own[0].case, METRICS[name], values, own[0].unit))
    return kept


def annotation_note(annotated: Mapping[str, frozenset[str]], case: str) -> tuple[str, ...]:
    """What is said of such a case."""
    if case not in annotated:
        return ()
    names = ", ".join(sorted(annotated[case]))
    return (f"annotated are only {names}: numbers over all classes and pooled ones leave the case out",)


def _blank(row: Row) -> Row:
    note = "not all classes are annotated" if row.class_name == ALL else ""
    return row._replace(value=math.nan, status=NOT_ANNOTATED, note=note, diagonal=math.nan)
