"""Folds: patients stay together, every case is held out once, nothing leaks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.case_table import groups, patient_of
from calibeval.errors import UsageError
from calibeval.train.folds import Split, parse_fold, refuse_shared
from calibeval.train.folds import split_cases as split_groups

ACDC = [f"patient{number:03d}_frame{frame:02d}" for number in range(1, 21) for frame in (1, 9)]


def split_cases(cases, fold, group_by):
    return split_groups(groups(cases, group_by), fold, group_by)


@pytest.mark.parametrize("folds", [3, 5, 20])
def test_no_patient_is_in_two_parts(folds):
    for fold in range(1, folds + 1):
        split = split_cases(ACDC, f"{fold}/{folds}", "patient")
        patients = [{patient_of(case) for case in part} for part in split]
        assert all(patients) and sum(len(part) for part in patients) == 20
        assert len(set.union(*patients)) == 20
        assert sorted(case for part in split for case in part) == sorted(ACDC)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 200), min_size=3, max_size=40), st.integers(3, 8), st.sampled_from(["patient", "none"]))
def test_every_case_is_held_out_once_and_validates_once(numbers, folds, group_by):
    cases = [f"c{number}_frame{frame}" for number in numbers for frame in range(number % 3 + 1)]
    parts = len(numbers) if group_by == "patient" else len(cases)
    if parts < folds:
        with pytest.raises(UsageError, match="leaves a fold empty"):
            split_cases(cases, f"1/{folds}", group_by)
        return
    splits = [split_cases(cases, f"{fold}/{folds}", group_by) for fold in range(1, folds + 1)]
    assert sorted(case for split in splits for case in split.test) == sorted(cases)
    assert sorted(case for split in splits for case in split.val) == sorted(cases)
    assert all(set(split.train) | set(split.val) | set(split.test) == set(cases) for split in splits)


def test_the_order_of_the_names_does_not_matter():
    assert split_cases(ACDC, "2/5", "patient") == split_cases(ACDC[::-1], "2/5", "patient")


def test_without_groups_frames_of_a_patient_may_part():
    split = split_cases(ACDC, "1/5", "none")
    shared = {patient_of(case) for case in split.test} & {patient_of(case) for case in split.train}
    assert shared  # what grouping prevents


def test_an_empty_fold_names_the_numbers():
    with pytest.raises(UsageError, match="4 cases of 2 patients for 5 folds"):
        split_cases(["a_ED", "a_ES", "b_ED", "b_ES"], "1/5", "patient")


def test_a_patient_in_two_parts_of_a_data_set_is_refused():
    split = Split(("p1_ED", "p2_ED"), ("p3_ED",), ("p1_ES",))
    group_of = groups(["p1_ED", "p1_ES", "p2_ED", "p3_ED"], "patient")
    with pytest.raises(
        UsageError, match=r"p1 lie in train/ and in test/ \(p1_ED, p1_ES\).*--fold 1/5.*--group-by none"
    ):
        refuse_shared(split, group_of)
    refuse_shared(split._replace(test=()), group_of)
    refuse_shared(split, {case: case for case in group_of})


@pytest.mark.parametrize("text", ["", "1", "0/5", "6/5", "1/2", "a/b", "1/5/2"])
def test_bad_folds(text):
    with pytest.raises(UsageError, match="--fold"):
        parse_fold(text)
