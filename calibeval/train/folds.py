"""Which cases train, which choose the best epoch and which are held out. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from calibeval.case_table import CaseTable
from calibeval.case_table import groups as case_groups
from calibeval.errors import UsageError
from calibeval.wording import parse_part

_ORDER_SEED = 2024  # folds are the same for every loss and training seed


class Split(NamedTuple):
    """Names of the cases of each part."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def parse_fold(text: str) -> tuple[int, int]:
    """Read `i/K` with 1 <= i <= K and K >= 3: one fold is held out, one chooses the best epoch, the rest trains.

    Raises:
        UsageError: anything else.
    """
    return parse_part(text, "--fold", least=3)


def split_cases(cases: Sequence[str], fold: str, group_by: str, table: CaseTable | None = None) -> Split:
    """Split into K folds of whole groups: fold i tests, fold i + 1 (cyclic) validates, the rest trains.

    Groups are shuffled by a fixed seed and dealt out in turn, so the split depends on the case names alone.

    Args:
        cases: names.
        fold: `i/K`.
        group_by: `patient`, `none` or what else `case_table.groups` takes.
        table: of facts about the cases.

    Raises:
        UsageError: fewer groups than folds, so that a fold would be empty; or what `groups` refuses.
    """
    index, folds = parse_fold(fold)
    group_of = case_groups(cases, group_by, table)
    groups = sorted(set(group_of.values()))
    if len(groups) < folds:
        what = {"patient": "patients", "none": "cases"}.get(group_by, "groups")
        raise UsageError(
            f"--fold {fold} leaves a fold empty: {len(cases)} cases of {len(groups)} {what} for {folds} folds. "
            f"Take fewer folds, or --group-by none where the names mislead (group of {cases[0]!r}: "
            f"{group_of[cases[0]]!r})."
        )
    shuffled = np.random.default_rng(_ORDER_SEED).permutation(len(groups))
    fold_of = {groups[position]: rank % folds for rank, position in enumerate(shuffled)}

    def part(*wanted: int) -> tuple[str, ...]:
        return tuple(sorted(case for case in cases if fold_of[group_of[case]] in wanted))

    test, val = index - 1, index % folds
    return Split(part(*(each for each in range(folds) if each not in (test, val))), part(val), part(test))
