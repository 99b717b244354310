"""One cause, one message."""

from calibeval.cli.console import print_failures
from calibeval.errors import InputError
from calibeval.wording import group_alike


def test_messages_that_differ_in_case_file_and_numbers_are_one():
    messages = [(f"c{k}", f"l/c{k}.npy: label 255 ({60 + k} voxels) stands for no class.") for k in range(5)]
    many, one = group_alike([*messages, ("x", "l/x.npy: the file is cut off.")])
    assert many.cases == ["c0", "c1", "c2", "c3", "c4"]
    assert many.messages[0] == "l/c0.npy: label 255 (60 voxels) stands for no class."
    assert (one.cases, one.messages) == (["x"], ["l/x.npy: the file is cut off."])
    assert many.where == "5 cases (c0, c1, c2, ...)"
    assert one.where == "x"


def test_a_name_of_one_letter_is_no_part_of_a_word():
    (group,) = group_alike((case, f"no prediction for {case} (no prediction of this name)") for case in "ab")
    assert group.cases == ["a", "b"]


def test_a_common_failure_of_images_is_printed_once(capsys):
    print_failures(InputError(f"i/p{k}.nii.gz", "has 1 channels where 2 are expected.") for k in range(4))
    assert capsys.readouterr().err == (
        "calibeval: i/p0.nii.gz: has 1 channels where 2 are expected. "
        "(4 cases alike: p0.nii.gz, p1.nii.gz, p2.nii.gz, ...)\n"
    )
