"""Probabilities that were saved in another orientation than the label map beside them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval import score_case
from calibeval.io.orientation import Turn, agreement, find_turns
from tests.case_files import AFFINE, make_case, write_names, write_nifti, write_npz

TURNS = [
    Turn(axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)
]
SPACING = (8.0, 1.5, 1.25)


def lopsided(seed=0, shape=(6, 7, 8)):
    """A label map that no turn brings onto itself."""
    label = np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)
    label[tuple(slice(0, n // 2) for n in shape)] = 2
    return label


@given(st.sampled_from(TURNS), st.integers(0, 5))
@settings(max_examples=48, deadline=None)
def test_a_turn_can_be_undone(turn, seed):
    array = np.random.default_rng(seed).random((3, 4, 5))
    turned = turn.apply(array)
    np.testing.assert_array_equal(turn.undo(turned), array)
    assert turn.undo_lengths(turned.shape) == array.shape


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("shape", [(6, 7, 8), (7, 7, 7)])
def test_each_of_the_48_turns_is_found_alone(turn, shape):
    label = lopsided(shape=shape)
    assert find_turns(label, turn.apply(label)) == [turn]


def test_in_two_dimensions_there_are_eight():
    label = lopsided(shape=(6, 6))
    turns = [Turn(axes, flips) for axes in ((0, 1), (1, 0)) for flips in itertools.product((1, -1), repeat=2)]
    assert [find_turns(label, turn.apply(label)) for turn in turns] == [[turn] for turn in turns]


def test_agreement_is_that_of_the_foreground():
    a, b = np.zeros(100, np.uint8), np.zeros(100, np.uint8)
    assert agreement(a, b) == 1
    a[:10], b[5:10] = 1, 1
    assert agreement(a, b) == 0.5
    b[5:10] = 2
    assert agreement(a, b) == 0


@pytest.fixture
def turned_case(tmp_path):
    """Write probabilities that lie otherwise than the label map beside them; gives folders and what is right."""

    def write(turn=None, key="probabilities", shape=(6, 7, 8), beside=None):
        probabilities, label = make_case(seed=3, shape=shape)
        turn = turn or TURNS[0]
        preds, labels = tmp_path / "m", tmp_path / "labels"
        write_npz(preds / "c.npz", **{key: np.stack([turn.undo(plane) for plane in probabilities])})
        argmax = probabilities.argmax(axis=0).astype(np.uint8)
        write_nifti(preds / "c.nii.gz", argmax if beside is None else beside(argmax))
        write_nifti(labels / "c.nii.gz", label)
        write_names(labels)
        return preds, labels, score_case(probabilities, label, spacing_mm=SPACING, classes=("background", "RV", "LV"))

    return write


def numbers(frame):
    frame = frame[frame["case"] != "pooled"]
    return dict(zip(zip(frame["class"], frame["metric"], strict=True), frame["value"], strict=True))


@pytest.mark.parametrize("turn", TURNS[1::5], ids=str)
@pytest.mark.parametrize("key", ["probabilities", "x"])
def test_turned_probabilities_are_scored_as_if_they_were_not(turn, key, turned_case, scored):
    preds, labels, expected = turned_case(turn, key)
    assert numbers(scored(preds, labels)) == pytest.approx(numbers(expected.table.assign(case="c")), rel=1e-12)


def test_a_turn_is_noted(turned_case, cli):
    preds, labels, _ = turned_case(Turn((0, 2, 1), (1, -1, 1)))
    outcome = cli("score", preds, labels)
    assert "probabilities turned to fit the label map beside them (axes 0,-2,1)" in outcome.out


def test_post_processing_is_noted_and_turns_nothing(turned_case, cli):
    """Keeping the largest component takes parts away; that is no reason to doubt the axes."""

    def keep_most(argmax):
        argmax = argmax.copy()
        argmax[4:] = 0
        return argmax

    preds, labels, expected = turned_case(beside=keep_most)
    outcome = cli("score", preds, labels, "--json")
    assert outcome.code == 0
    frame = pd.read_csv("results/m.csv", comment="#")
    assert numbers(frame) == pytest.approx(numbers(expected.table.assign(case="c")), rel=1e-12)
    assert "the label map beside the probabilities differs from their argmax in" in outcome.out
    assert "--seg-dir" in outcome.out


def test_an_emptied_label_map_tells_nothing(turned_case, cli):
    preds, labels, _ = turned_case(beside=np.zeros_like)
    outcome = cli("score", preds, labels)
    assert outcome.code == 0
    assert "differs from their argmax" in outcome.out


def test_a_label_map_that_no_turn_mends_is_refused(turned_case, cli):
    """The label map of another case."""
    preds, labels, _ = turned_case(beside=lambda argmax: lopsided(9, argmax.shape))
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert f"m/c: {preds / 'c.npz'}: the argmax of the probabilities disagrees with the label map" in outcome.err
    assert f"{preds / 'c.nii.gz'}" in outcome.err
    assert "no turn or flip mends it" in outcome.err


def test_a_label_map_that_several_turns_would_mend_is_refused(tmp_path, cli):
    """A ball is itself under every turn; shifted, it tells of a flip but not of which axes were swapped."""
    label = np.zeros((8, 8, 8), np.uint8)
    label[1:4, 1:4, 1:4] = 1
    probabilities = np.stack([1 - 0.9 * label[::-1], 0.9 * label[::-1]]).astype(np.float32)
    write_npz(tmp_path / "m" / "c.npz", probabilities=probabilities)
    write_nifti(tmp_path / "m" / "c.nii.gz", label)
    write_nifti(tmp_path / "labels" / "c.nii.gz", label)
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert outcome.code == 2
    assert "6 turns would mend it" in outcome.err
    assert "--axes" in outcome.err


def test_a_wrong_shape_without_label_map_beside_it_is_refused(tmp_path, cli):
    probabilities, label = make_case(shape=(6, 7, 8))
    write_npz(tmp_path / "m" / "c.npz", probabilities=probabilities.transpose(0, 2, 1, 3))
    write_nifti(tmp_path / "labels" / "c.nii.gz", label)
    outcome = cli("score", tmp_path / "m", tmp_path / "labels")
    assert outcome.code == 2
    assert "its shape (3, 7, 6, 8) fits no layout of the label's shape (6, 7, 8)" in outcome.err


def test_a_cropped_npz_of_nnunet_v1_is_told_and_its_pickle_never_opened(turned_case, cli):
    preds, labels, _ = turned_case(key="softmax")
    probabilities, _ = make_case(seed=3, shape=(6, 7, 8))
    write_npz(preds / "c.npz", softmax=probabilities[:, 1:, 2:-1])
    (preds / "c.pkl").mkdir()  # opening it would be an error
    outcome = cli("score", preds, labels)
    assert outcome.code == 2
    assert f"{preds / 'c.npz'}: its shape (3, 5, 4, 8) fits no layout" in outcome.err
    assert "nnU-Net v1 saves probabilities of the cropped image" in outcome.err
    assert "calibeval never resamples" in outcome.err


def test_the_affine_of_a_turned_case_still_gives_the_spacing():
    assert Turn((2, 0, 1), (1, -1, 1)).undo_lengths((8.0, 1.5, 1.25)) == (1.5, 1.25, 8.0)
    assert AFFINE[2, 2] == 8
