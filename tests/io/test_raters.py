"""Whose label is which, by the user's pattern alone."""

import pytest

from calibeval.errors import UsageError
from calibeval.io.raters import find_rated


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_raters_by_folder_and_by_name(tmp_path):
    folder = touch(tmp_path / "f", "dr_a/c_1.nii.gz", "dr_a/c_2.nii.gz", "dr_b/c_1.nii.gz", "all.nii.gz")
    found, others = find_rated(folder, "{rater}/{case}")
    assert found == {
        "c_1": {"dr_a": folder / "dr_a/c_1.nii.gz", "dr_b": folder / "dr_b/c_1.nii.gz"},
        "c_2": {"dr_a": folder / "dr_a/c_2.nii.gz", "dr_b": None},
    }
    assert others == ["all"]
    found, _ = find_rated(touch(tmp_path / "n", "c_1_r1.nii.gz", "c_1_r2.nii.gz"), "{case}_r{rater}")
    assert {case: list(by_rater) for case, by_rater in found.items()} == {"c_1": ["1", "2"]}
    found, _ = find_rated(touch(tmp_path / "c", "x/r1.nii.gz", "x/r2.nii.gz"), "{case}/{rater}")
    assert list(found) == ["x"]


@pytest.mark.parametrize(
    ("names", "pattern", "message"),
    [
        (["a/c.nii.gz"], "{rater}/{case}", "found the one rater 'a' in .*, expected two raters or more"),
        (["a/c.nii.gz", "b/c.nii.gz"], "{case}_r{rater}", "found no label .*not fitted: a/c, b/c"),
        (["a/c.nii.gz", "a/c.npy", "b/c.npy"], "{rater}/{case}", "is there twice. Keep one"),
        (["Among/c.npy", "b/c.npy"], "{rater}/{case}", "a rater is named 'among', which the table uses itself"),
        (["a/pooled.npy", "b/pooled.npy"], "{rater}/{case}", "a case is named 'pooled'"),
        (["a/c.npy", "b/c.npy"], "{case}", r"--raters '{case}': expected {rater} and {case} in it once, as in"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, names, pattern, message):
    with pytest.raises(UsageError, match=message):
        find_rated(touch(tmp_path, *names), pattern)


def test_raters_need_a_folder(tmp_path):
    for labels in (None, tmp_path / "none.nii.gz"):
        with pytest.raises(UsageError, match="needs the folder LABELS"):
            find_rated(labels, "{rater}/{case}")
