"""Labels of several raters: whose file is which, by a pattern that the user gives and never by a guess."""

from __future__ import annotations

from pathlib import Path

from calibeval.errors import UsageError
from calibeval.io.arrays import stem_of
from calibeval.io.layouts import NO_ARRAY, list_files
from calibeval.io.naming import read_pattern
from calibeval.io.pairing import check_case_names
from calibeval.table import RATER_ROWS

Rated = dict[str, dict[str, Path | None]]
_EXAMPLE = "--raters '{rater}/{case}'"


def find_rated(labels: Path | None, pattern: str) -> tuple[Rated, list[str]]:
    """Find each case's labels by rater.

    Args:
        labels: folder.
        pattern: of the files' paths below it, without suffix, as in `{rater}/{case}` or `{case}_r{rater}`.

    Returns:
        Case to rater to file, both in the order of their names, None where a rater has no file of the case; and the
        files that the pattern does not fit.

    Raises:
        UsageError: no folder, fewer than two raters, one label twice, or a rater whose name the table uses itself.
    """
    expression = read_pattern(pattern, ("rater", "case"), option=_EXAMPLE)
    if labels is None or not labels.is_dir():
        raise UsageError(f"--raters {pattern!r}: needs the folder LABELS, with the labels of all raters below it.")
    found: Rated = {}
    others = []
    for path in list_files(labels):
        name = (path.relative_to(labels).parent / stem_of(path)).as_posix()
        match = expression.fullmatch(name)
        if match is None:
            others.append(name)
        elif twice := found.setdefault(match["case_"], {}).get(match["rater_"]):
            raise UsageError(f"{twice} and {path}: one rater's label of one case is there twice. Keep one.")
        else:
            found[match["case_"]][match["rater_"]] = path
    raters = sorted({rater for by_rater in found.values() for rater in by_rater})
    _check(raters, labels, pattern, others)
    check_case_names(list(found), str(labels))
    return {case: {rater: found[case].get(rater) for rater in raters} for case in sorted(found)}, others


def _check(raters: list[str], labels: Path, pattern: str, others: list[str]) -> None:
    if len(raters) < 2:
        what = f"the one rater {raters[0]!r}" if raters else f"no label {NO_ARRAY}"
        seen = f"; not fitted: {', '.join(others[:5])}" if others else ""
        raise UsageError(f"--raters {pattern!r}: found {what} in {labels}, expected two raters or more{seen}.")
    if reserved := sorted({rater.lower() for rater in raters} & set(RATER_ROWS)):
        raise UsageError(f"{labels}: a rater is named {reserved[0]!r}, which the table uses itself. Rename the files.")
