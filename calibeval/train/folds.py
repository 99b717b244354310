"""Which cases train, which choose the best epoch and which are held out. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from calibeval.errors import UsageError

# What follows a patient's id when several images are of one patient: frame, phase, visit, series ...
_WITHIN_PATIENT = re.compile(
    r"([_-](frame|fr|phase|ph|time|tp|t|ed|es|visit|v|ses|session|scan|run|acq|series|day|week|month|baseline|followup)"
    r"[_-]?\d*)+$",
    re.IGNORECASE,
)
_ORDER_SEED = 2024  # folds are the same for every loss and training seed


class Split(NamedTuple):
    """Names of the cases of each part."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def patient_of(case: str) -> str:
    """The patient's part of a case name: `patient001_frame01` and `patient001_ED` give `patient001`."""
    return _WITHIN_PATIENT.sub("", case) or case


def parse_fold(text: str) -> tuple[int, int]:
    """Read `i/K` with 1 <= i <= K and K >= 3.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match:
        raise UsageError(f"--fold expects i/K, for example 1/5, not {text!r}.")
    index, folds = int(match[1]), int(match[2])
    if folds < 3 or not 1 <= index <= folds:
        raise UsageError(
            f"--fold {text}: expected 1 <= i <= K and K of at least 3: one fold is held out, one chooses the best "
            f"epoch, the rest trains."
        )
    return index, folds


def split_cases(cases: Sequence[str], fold: str, group_by: str) -> Split:
    """Split into K folds of whole groups: fold i tests, fold i + 1 (cyclic) validates, the rest trains.

    Groups are shuffled by a fixed seed and dealt out in turn, so the split depends on the case names alone.

    Args:
        cases: names.
        fold: `i/K`.
        group_by: `patient` (see `patient_of`) or `none`.

    Raises:
        UsageError: fewer groups than folds, so that a fold would be empty.
    """
    index, folds = parse_fold(fold)
    group_of = {case: patient_of(case) if group_by == "patient" else case for case in cases}
    groups = sorted(set(group_of.values()))
    if len(groups) < folds:
        what = "patients" if group_by == "patient" else "cases"
        raise UsageError(
            f"--fold {fold} leaves a fold empty: {len(cases)} cases of {len(groups)} {what} for {folds} folds. "
            f"Take fewer folds, or --group-by none where the names mislead (patient of {cases[0]!r}: "
            f"{patient_of(cases[0])!r})."
        )
    shuffled = np.random.default_rng(_ORDER_SEED).permutation(len(groups))
    fold_of = {groups[position]: rank % folds for rank, position in enumerate(shuffled)}

    def part(*wanted: int) -> tuple[str, ...]:
        return tuple(sorted(case for case in cases if fold_of[group_of[case]] in wanted))

    test, val = index - 1, index % folds
    return Split(part(*(each for each in range(folds) if each not in (test, val))), part(val), part(test))
