"""The one table of facts about cases: `--cases FILE` and `--group-by`, the same for every command.

The file is a CSV with the column `case` and any others (`patient`, `centre`, `annotated`, ...), a line for each case;
it may hold more cases than are asked for. Images of one patient are no independent observations, so cases are put into
groups: by a column, by a pattern on names, or by the one rule on names that is `patient_of`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from calibeval.errors import UsageError
from calibeval.files import read_csv
from calibeval.wording import count_of, some_of

CASE = "case"
PATIENT = "patient"
NONE = "none"

# What follows a patient's id where several images are of one patient: frame, slice, visit, side ...
_NUMBERED = (
    "slice|sl|s|z|frame|fr|phase|ph|time|tp|t|ed|es|visit|v|ses|session|scan|run|acq|series|day|week|month|view|tile"
)
_PLAIN = "ed|es|baseline|followup|pre|post|l|r|left|right|lh|rh|od|os"
_PART = rf"(?:[_-](?:(?:{_NUMBERED})[_-]?\d+|{_PLAIN})(?=[_-]|$))"
_WITHIN_PATIENT = re.compile(rf"(?:{_PART}+|(?<=\d)[lr])$", re.IGNORECASE)
# A word for a patient and a number: whatever follows is within the patient; `case` and the like only before parts.
_PATIENT = re.compile(
    r"(?:.*?[_-])?(?:(?:patient|pat|subject|subj|sub)[_-]?\d+|sub-[a-z0-9]+)(?=[_-]|$)", re.IGNORECASE
)
_VOLUME = re.compile(rf"((?:.*?[_-])?(?:case|volume|vol|pt|p)[_-]?\d+)(?:{_PART}|[_-]\d+)+$", re.IGNORECASE)
_RUNNING = re.compile(r"(.*\d.*)[_-][^_-]+")  # something with a number, and one more word or number


class CaseTable(NamedTuple):
    """Facts about cases.

    Attributes:
        path: of the file, for messages.
        columns: their names, without `case`.
        rows: case to column to text; empty where the file says nothing.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def column(self, name: str, cases: Iterable[str]) -> dict[str, str]:
        """Give a column's text for each of the cases.

        Raises:
            UsageError: there is no such column, or a case is not in the table.
        """
        if name not in self.columns:
            raise UsageError(f"{self.path}: has no column {name!r}, only {', '.join((CASE, *self.columns))}.")
        wanted = list(dict.fromkeys(cases))
        if absent := [case for case in wanted if case not in self.rows]:
            raise UsageError(
                f"{self.path}: says nothing of {count_of(len(absent), 'case')}: {some_of(absent)}. Add a line for "
                f"each; the table's own cases are {some_of(self.rows)}."
            )
        return {case: self.rows[case][name] for case in wanted}


def read_cases(path: Path) -> CaseTable:
    """Read a table of cases.

    Raises:
        UsageError: no such file, no such table, or a case twice.
    """
    columns, lines = read_csv(path, (CASE,))
    rows: dict[str, dict[str, str]] = {}
    for number, row in lines:
        case = row.pop(CASE)
        if not case or case in rows:
            raise UsageError(f"{path}: line {number} names " + (f"the case {case!r} again." if case else "no case."))
        rows[case] = row
    return CaseTable(path, tuple(name for name in columns if name != CASE), rows)


def groups(cases: Iterable[str], group_by: str, table: CaseTable | None = None) -> dict[str, str]:
    """Put cases into groups, of which observations are independent.

    Args:
        cases: names.
        group_by: `none`: each case by itself; `patient`: the table's column of that name, else the rule on names; any
            other column of the table; or a regular expression whose one group in parentheses is the name's part.
        table: from `read_cases`.

    Returns:
        Case to name of its group, in the order of the cases.

    Raises:
        UsageError: neither a column nor such an expression, or a case that it does not match; or names that may hide a
            patient, where nothing tells.
    """
    names = list(dict.fromkeys(cases))
    if group_by == NONE:
        return {case: case for case in names}
    if table is not None and group_by in table.columns:
        found = table.column(group_by, names)
        if blank := [case for case, group in found.items() if not group]:
            raise UsageError(f"{table.path}: the column {group_by!r} is empty for {some_of(blank)}.")
        return found
    if group_by == PATIENT:
        if doubt := _doubt(names):
            raise UsageError(f"{doubt} {_SAY_WHICH}")
        return {case: patient_of(case) for case in names}
    return _by_pattern(names, group_by, table)


def patient_of(case: str) -> str:
    """The patient's part of a case name: `patient1_frame01`, `patient1_ED` and `patient1_01_10` give `patient1`.

    A name without such a part is a patient by itself.
    """
    if named := _PATIENT.match(case):
        return named[0]
    if volume := _VOLUME.fullmatch(case):
        return volume[1]
    return _WITHIN_PATIENT.sub("", case) or case


def repeated_patients(cases: Iterable[str]) -> str:
    """Why these cases may not be independent, in a sentence for people; empty where the names give no sign of it."""
    names = list(dict.fromkeys(cases))
    if doubt := _doubt(names):
        return doubt
    patients = _members(names, patient_of)
    shared = [found for found in patients.values() if len(found) > 1]
    if not shared:
        return ""
    return f"The {len(names)} cases look like images of {count_of(len(patients), 'patient')} ({some_of(shared[0])})."


def ungrouped_note(cases: Iterable[str]) -> str:
    """What is to be said where cases that may not be independent are counted one by one; empty without a sign of it."""
    doubt = repeated_patients(cases)
    advice = "Each counts as independent: say --group-by patient when scoring, or none where that is so."
    return f"{doubt} {advice}" if doubt else ""


_SAY_WHICH = (
    "Say which with --group-by none (each image is a patient of its own), with an expression such as --group-by "
    "'^(.+)[_-][^_-]+$' (all but the last part of the name), or with --cases FILE (columns case,patient)."
)


def _doubt(names: list[str]) -> str:
    """What the names leave open: a beginning that some but not all share, or parts of nobody."""
    patients = _members(names, patient_of)
    if len(names) > 1 and len(patients) == 1 and not re.search(r"\d", next(iter(patients))):
        return f"All names begin alike, so they do not tell patients apart: {some_of(names)}."
    stems = _members(patients, lambda patient: match[1] if (match := _RUNNING.fullmatch(patient)) else patient)
    shared = [found for found in stems.values() if len(found) > 1]
    if len(stems) > 1 and shared:
        return f"Names may hide several images of one patient: {some_of(shared[0])}."
    return ""


def _members(names: Iterable[str], part: Callable[[str], str]) -> dict[str, list[str]]:
    """Names by a part of them."""
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[part(name)].append(name)
    return members


def _by_pattern(names: list[str], pattern: str, table: CaseTable | None) -> dict[str, str]:
    what = f"--group-by {pattern!r}"
    columns = f"a column of {table.path} ({', '.join(table.columns)})" if table else "a column of --cases FILE"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{what}: is neither {columns} nor a regular expression ({error}).") from error
    if expression.groups != 1:
        raise UsageError(
            f"{what}: expected none, patient, {columns}, or a regular expression with one group in parentheses, as in "
            f"'^(.+)_slice'."
        )
    found = {case: match[1] for case in names if (match := expression.search(case)) and match[1]}
    if missed := [case for case in names if case not in found]:
        raise UsageError(f"{what}: does not match {count_of(len(missed), 'case')}: {some_of(missed)}.")
    return found
