"""Which cases of score tables are no independent observations: by the tables' column `group`, or as an option says."""

from __future__ import annotations

from pathlib import Path

from calibeval.case_table import NONE, groups, read_cases, ungrouped_note
from calibeval.errors import TableError, UsageError
from calibeval.ranking.inputs import Tables


def settle_groups(tables: Tables, group_by: str | None, cases: Path | None) -> tuple[Tables, tuple[str, ...]]:
    """Give every row of score tables its group.

    Args:
        tables: as read.
        group_by: as for `case_table.groups`; None takes what the tables say.
        cases: the table of cases for it.

    Returns:
        The tables, grouped if some case belongs to a group, and a warning where cases look like images of patients
        and nothing groups them. A case of no group is a group by itself.

    Raises:
        UsageError: options that say nothing here.
        TableError: a case that two tables put into different groups.
    """
    if cases is not None and group_by in (None, NONE):
        raise UsageError("--cases holds groups of cases: say which column with --group-by.")
    if not tables.has_cases:
        if group_by:
            raise UsageError("--group-by needs score tables: a wide CSV holds no cases.")
        return tables, ()
    if group_by == NONE:
        return tables, ()
    if group_by is None:
        return _as_written(tables)
    names = list(tables.frame["case"].unique())
    found = groups(names, group_by, read_cases(cases) if cases else None)
    return _grouped(tables, [found[case] for case in tables.frame["case"]]), ()


def _as_written(tables: Tables) -> tuple[Tables, tuple[str, ...]]:
    """By the tables' own column; a table without it takes the groups of the others."""
    frame = tables.frame
    known: dict[tuple[str, str], str] = {}
    for dataset, case, group in frame[["dataset", "case", "group"]].drop_duplicates().itertuples(index=False):
        if group and known.setdefault((dataset, case), group) != group:
            raise TableError(
                f"The tables put the case {case!r} into different groups: {known[dataset, case]!r} and {group!r}. "
                "Score all with the same --group-by, or give it here."
            )
    if not known:
        doubt = ungrouped_note(frame["case"].unique())
        return tables, (doubt,) if doubt else ()
    keys = zip(frame["dataset"], frame["case"], strict=True)
    return _grouped(tables, [known.get(key, key[1]) for key in keys]), ()


def _grouped(tables: Tables, group: list[str]) -> Tables:
    return tables._replace(frame=tables.frame.assign(group=group), grouped=True)
