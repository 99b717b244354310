"""Which cases train, which choose the best epoch and which are held out. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from calibeval.errors import UsageError
from calibeval.wording import count_of, parse_part, some_of

_ORDER_SEED = 2024  # folds are the same for every loss and training seed


class Split(NamedTuple):
    """Names of the cases of each part."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def refuse_shared(split: Split, group_of: Mapping[str, str]) -> None:
    """Refuse a data set's own split that has one patient in two parts: its held-out numbers would be too good.

    Raises:
        UsageError: naming the patient, its cases and the parts.
    """
    parts = {part: {group_of[case] for case in cases} for part, cases in split._asdict().items()}
    for one, other in combinations(parts, 2):
        if shared := sorted(parts[one] & parts[other]):
            cases = sorted(case for case in (*split.train, *split.val, *split.test) if group_of[case] == shared[0])
            raise UsageError(
                f"{some_of(shared)} lie in {one}/ and in {other}/ ({some_of(cases)}). Move the cases of a patient "
                f"into one part, or split anew with --fold 1/5; or --group-by none where the names mislead."
            )


def parse_fold(text: str) -> tuple[int, int]:
    """Read `i/K` with 1 <= i <= K and K >= 3: one fold is held out, one chooses the best epoch, the rest trains.

    Raises:
        UsageError: anything else.
    """
    return parse_part(text, "--fold", least=3)


def split_cases(group_of: Mapping[str, str], fold: str, noun: str = "group") -> Split:
    """Split into K folds of whole groups: fold i tests, fold i + 1 (cyclic) validates, the rest trains.

    Groups are shuffled by a fixed seed and dealt out in turn, so the split depends on the names alone.

    Args:
        group_of: each case's group, from `case_table.groups`.
        fold: `i/K`.
        noun: what a group is, for messages.

    Raises:
        UsageError: fewer groups than folds, so that a fold would be empty.
    """
    index, folds = parse_fold(fold)
    groups = sorted(set(group_of.values()))
    if len(groups) < folds:
        case = next(iter(group_of))
        raise UsageError(
            f"--fold {fold} leaves a fold empty: {count_of(len(group_of), 'case')} of {count_of(len(groups), noun)} "
            f"for {folds} folds. Take fewer folds, or --group-by none where the names mislead (group of {case!r}: "
            f"{group_of[case]!r})."
        )
    shuffled = np.random.default_rng(_ORDER_SEED).permutation(len(groups))
    fold_of = {groups[position]: rank % folds for rank, position in enumerate(shuffled)}

    def part(*wanted: int) -> tuple[str, ...]:
        return tuple(sorted(case for case, group in group_of.items() if fold_of[group] in wanted))

    test, val = index - 1, index % folds
    return Split(part(*(each for each in range(folds) if each not in (test, val))), part(val), part(test))
