"""`score_case` and `score_folder`: arrays in, the same rows as from files out."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import calibeval
from calibeval import make_protocol, score, score_case, score_folder
from calibeval.errors import CalibevalError, InputError, UsageError
from calibeval.metrics import METRICS, select_metrics
from calibeval.table import COLUMNS, STATUSES
from tests.case_files import NAMES, SPACING, make_case, values_of, write_folders

P, Y = make_case()


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(score).failed == 0
    assert doctest.testmod(score).attempted > 0


def test_the_package_gives_what_it_promises():
    assert set(calibeval.__all__) <= set(dir(calibeval))
    for name in calibeval.__all__:
        assert getattr(calibeval, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'scoer'"):
        _ = calibeval.scoer


def test_a_scored_case_has_a_table_bins_and_a_signature():
    found = score_case(P, Y, classes=NAMES, spacing_mm=SPACING, case="x")
    assert isinstance(found.table, pd.DataFrame)
    assert tuple(found.table.columns)[: len(COLUMNS)] == COLUMNS
    assert set(found.table["case"]) == {"x"}
    assert set(found.table["status"]) <= set(STATUSES)
    assert found.signature == calibeval.PROTOCOLS["paper"].signature
    assert found.bins[""].confusion.sum() == Y.size


def test_a_folder_gives_the_rows_of_its_cases(tmp_path):
    preds, labels = write_folders(tmp_path)
    found = score_folder(str(preds), str(labels), metrics="all")
    assert [method.method for method in found.methods] == ["m"]
    table = found.table
    for index, case in enumerate("abc"):
        alone = score_case(*make_case(index), classes=NAMES, spacing_mm=SPACING, case=case, metrics="all")
        assert values_of(table[table["case"] == case]) == pytest.approx(values_of(alone.table), rel=1e-12, nan_ok=True)
        np.testing.assert_array_equal(found.bins["m"][case][""].confusion, alone.bins[""].confusion)
    assert not (tmp_path / "results").exists()


def test_a_folder_with_nothing_to_score_is_an_error_and_a_bad_case_is_not(tmp_path):
    preds, labels = write_folders(tmp_path)
    (preds / "a.nii.gz").write_bytes(b"broken")
    (method,) = score_folder(preds, labels).methods
    assert set(method.errors) == {"a"}
    assert set(method.table[method.table["case"] == "a"]["status"]) == {"failed"}
    with pytest.raises(UsageError):
        score_folder(tmp_path / "none", labels)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_number(threads):
    planes, label = make_case(shape=(20, 130, 140))
    alone = score_case(planes, label, metrics="all", spacing_mm=SPACING)
    assert repr(score_case(planes, label, metrics="all", spacing_mm=SPACING, threads=threads).rows) == repr(alone.rows)


@pytest.mark.parametrize("kind", ["lists", "float64", "float16", "fortran", "read-only", "int64 labels", "bool labels"])
def test_arrays_of_any_kind_give_the_same_numbers(kind):
    planes, label = (
        (np.stack([1 - P[1], P[1]]), (Y == 1).astype(int)) if kind == "bool labels" else (P.copy(), Y.copy())
    )
    expected = values_of(score_case(planes, label, spacing_mm=SPACING, metrics="all").table)
    planes, label = {
        "lists": (planes.tolist(), label.tolist()),
        "float64": (planes.astype(float), label),
        "float16": (planes.astype(np.float16), label),
        "fortran": (np.asfortranarray(planes), np.asfortranarray(label)),
        "read-only": (planes, label),
        "int64 labels": (planes, label.astype(np.int64)),
        "bool labels": (planes, label.astype(bool)),
    }[kind]
    if kind == "read-only":
        planes.flags.writeable = label.flags.writeable = False
    found = values_of(score_case(planes, label, spacing_mm=SPACING, metrics="all").table)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15, nan_ok=True)


def test_torch_tensors_are_arrays_too():
    torch = pytest.importorskip("torch")
    found = score_case(torch.from_numpy(P.copy()), torch.from_numpy(Y.copy()), spacing_mm=SPACING)
    assert values_of(found.table) == values_of(score_case(P, Y, spacing_mm=SPACING).table)


def test_tensors_on_a_graph_and_half_floats_are_arrays_too():
    torch = pytest.importorskip("torch")
    expected = values_of(score_case(P, Y, spacing_mm=SPACING).table)
    maps = torch.from_numpy(P.copy())
    assert values_of(score_case(maps.requires_grad_(), Y, spacing_mm=SPACING).table) == expected
    exact = maps.detach().bfloat16()  # multiples of 1/64 fit
    assert values_of(score_case(exact, torch.from_numpy(Y.copy()), spacing_mm=SPACING).table) == expected


def test_bfloat16_may_miss_the_sum_by_its_rounding():
    torch = pytest.importorskip("torch")
    maps = torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]]).bfloat16()  # .8984, .1001: the sum is .9985
    rows = score_case(maps, [[0, 1]], metrics="DSC").rows
    assert [row.value for row in rows if row.class_name == "1"] == [1]


@pytest.mark.parametrize("hiding", ["reference", "predicted", "probabilities"])
def test_voxels_that_a_mask_hides_are_ignored(hiding):
    """As if they had an ignore label; what lies beneath the mask never counts, though it be no label at all."""
    mask = np.zeros(Y.shape, bool)
    mask[:2] = True
    one_class = np.stack([mask, np.zeros_like(mask), np.zeros_like(mask)])
    given = {
        "reference": (P, np.ma.array(np.where(mask, 77, Y), mask=mask), P.argmax(axis=0)),
        "predicted": (P, Y, np.ma.array(np.where(mask, 77, P.argmax(axis=0)), mask=mask)),
        "probabilities": (np.ma.array(np.where(mask, np.nan, P), mask=one_class | mask), Y, P.argmax(axis=0)),
    }[hiding]
    settings = {"spacing_mm": SPACING, "metrics": "DSC,HD95,ECE,CECE,Brier"}
    expected = score_case(P, np.where(mask, 9, Y), predicted=P.argmax(axis=0), ignore_label=9, **settings).rows
    assert repr(score_case(given[0], given[1], predicted=given[2], **settings).rows) == repr(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[[0.5, 0.5]], [[0.5]]], [[0, 1]]), "probabilities cannot be made an array"),
        ((None, [["a", "b"]]), "reference holds values of the type"),
        ((None, object()), "reference holds values of the type object"),
    ],
)
def test_what_is_no_array_is_refused_in_our_words(arguments, message):
    with pytest.raises(UsageError, match=message):
        score_case(*arguments, predicted=[[0, 1]])


def test_a_spacing_that_is_one_number_is_refused():
    with pytest.raises(UsageError, match=r"spacing_mm 1\.0: expected one length"):
        score_case(P, Y, spacing_mm=1.0)


def test_two_dimensions_with_and_without_a_third_of_one():
    flat = score_case(P[:, 0], Y[0], spacing_mm=SPACING[1:], metrics="all")
    for axis in (0, 1, 2):
        spacing = list(SPACING[1:])
        spacing.insert(axis, 99.0)
        planes, label = np.expand_dims(P[:, 0], axis + 1), np.expand_dims(Y[0], axis)
        found = score_case(planes, label, spacing_mm=spacing, metrics="all")
        assert repr(found.rows) == repr(flat.rows)


def test_without_spacing_distances_and_volumes_fail_and_the_rest_does_not():
    rows = score_case(P, Y, metrics="all,lesions").rows
    lacking = {row.metric for row in rows if row.status == "not_computed"}
    assert lacking == {"VD", "HD95", "HD", "ASSD", "NSD", "bECE", "CC_DSC"}
    assert all(math.isnan(row.value) and "--spacing" in row.note for row in rows if row.status == "not_computed")
    assert {row.metric for row in rows} == set(select_metrics("all,lesions"))
    rows = score_case(P, Y, metrics="lesions", protocol=make_protocol(min_lesion_mm3=3)).rows
    assert {row.status for row in rows} == {"not_computed"}


def test_distances_in_voxels_need_no_spacing():
    rows = score_case(P, Y, metrics="HD95", protocol="sdc-repo").rows
    assert {(row.status, row.unit) for row in rows} == {("ok", "voxel")}


def test_label_maps_alone():
    rows = score_case(None, Y, predicted=P.argmax(axis=0), spacing_mm=SPACING).rows
    assert {row.metric for row in rows} == {"DSC", "HD95"}


def test_masks_of_their_own_beside_probabilities():
    other = np.roll(P.argmax(axis=0), 1, axis=2)
    both = values_of(score_case(P, Y, predicted=other, spacing_mm=SPACING).table)
    soft, hard = score_case(P, Y, spacing_mm=SPACING), score_case(None, Y, predicted=other, spacing_mm=SPACING)
    assert both == values_of(soft.table) | values_of(hard.table)


def test_regions_and_ignore():
    label = Y.astype(int)
    label[0] = -1
    maps = np.stack([P[1] + P[2], P[2]]).astype(float)
    found = score_case(maps, label, regions={"WT": [1, 2], "ET": [2]}, ignore_label=-1, metrics="DSC,ECE")
    assert found.signature.endswith("|regions:WT=1+2;ET=2|ignore:-1")
    assert set(found.bins) == {"WT", "ET"}
    assert found.bins["WT"].confusion.sum() == Y[1:].size
    names = {row.class_name for row in found.rows}
    assert names == {"WT", "ET", "mean", "all"}


def test_names_default_to_numbers():
    assert {row.class_name for row in score_case(P, Y).rows} == {"0", "1", "2", "mean", "all"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probabilities": P[:, :, :, :-1]}, r"probabilities have the shape \(3, 4, 5, 5\); expected \(C, 4, 5, 6\)"),
        ({"probabilities": P[0]}, r"expected \(C, 4, 5, 6\)"),
        ({"probabilities": None}, "Give probabilities, predicted, or both"),
        ({"predicted": Y[0]}, r"predicted has the shape \(5, 6\), reference \(4, 5, 6\)"),
        ({"predicted": Y + 7}, "predicted: label 7"),
        ({"reference": Y + 7}, "reference: label 7"),
        ({"reference": Y + 0.5}, "reference: expected a label map of integers"),
        ({"reference": np.where(Y == 0, 255, Y)}, "label 255 .* --ignore-label|ignore"),
        ({"probabilities": 2 * P}, "probabilities: class . holds the value .*, which lies outside"),
        ({"probabilities": P - 1e-3}, "probabilities: "),
        ({"probabilities": np.where(P > 0.9, np.nan, P)}, "which is not finite"),
        ({"probabilities": 0.9 * P}, "do not sum to 1|not to 1"),
        ({"probabilities": P.astype(complex)}, "numbers"),
        ({"probabilities": P.astype(str)}, "numbers"),
        ({"reference": Y.astype(complex)}, "numbers"),
        ({"classes": ("a", "b")}, "3 probability maps, but 2 class names"),
        ({"classes": ("a", "a", "b")}, "different"),
        ({"classes": ("a", "b", "mean")}, "'mean' is reserved"),
        ({"metrics": "dise"}, "Unknown metric 'dise'"),
        ({"protocol": "papr"}, "Unknown protocol 'papr'"),
        ({"spacing_mm": (1, 1)}, r"spacing_mm \(1.0, 1.0\) has not one value for each axis"),
        ({"spacing_mm": (1, 0, 1)}, "spacing_mm .* above 0"),
        ({"spacing_mm": (1, math.nan, 1)}, "spacing_mm .* above 0"),
        ({"regions": {"a": (1, 9)}}, "The region 'a' unites"),
        ({"regions": {"a": ()}}, "The region 'a' unites"),
        ({"regions": {"a": (0, 1)}}, "The region 'a' unites"),
        ({"reference": np.zeros((0, 3)), "probabilities": np.zeros((2, 0, 3))}, "expected voxels"),
        ({"reference": np.zeros((2, 3, 4, 5), int), "probabilities": np.full((2, 2, 3, 4, 5), 0.5)}, "2 or 3 axes"),
        ({"probabilities": np.full((300, 2, 2), 1 / 300), "reference": np.zeros((2, 2), int)}, "at most 254"),
    ],
    ids=str,
)
def test_arrays_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(CalibevalError, match=message):
        score_case(**({"probabilities": P, "reference": Y} | arguments))


def test_a_prediction_that_decides_nothing_is_refused():
    predicted = Y.astype(int)
    predicted[0, 0, 0] = 255
    with pytest.raises(InputError, match="predicted: predicts the ignored label 255 at 1 voxels"):
        score_case(None, Y, predicted=predicted, ignore_label=255)
    ignored = Y.astype(int)
    ignored[0, 0, 0] = 255
    rows = score_case(None, ignored, predicted=predicted, ignore_label=255, metrics="DSC").rows
    assert all(row.value == 1 for row in rows)


@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from(["paper", "nacl", "sdc-repo", "guo"]))
@settings(max_examples=25, deadline=None)
def test_every_value_lies_in_its_range(seed, classes, protocol):
    planes, label = make_case(seed, shape=(3, 4, 5), classes=classes)
    for row in score_case(planes, label, metrics="all,lesions", protocol=protocol, spacing_mm=SPACING).rows:
        metric = METRICS[row.metric]
        assert math.isnan(row.value) or metric.low - 1e-12 <= row.value <= metric.high + 1e-12
        assert (row.status == "ok") != math.isnan(row.value) or row.status.startswith(("empty", "both"))


@given(st.integers(0, 10_000), st.permutations(range(3)))
@settings(max_examples=15, deadline=None)
def test_turning_a_case_changes_no_number(seed, axes):
    planes, label = make_case(seed)
    turned = planes.transpose(0, *(axis + 1 for axis in axes))[:, ::-1]
    spacing = [SPACING[axis] for axis in axes]
    expected = values_of(score_case(planes, label, metrics="all", spacing_mm=SPACING).table)
    found = values_of(score_case(turned, label.transpose(axes)[::-1], metrics="all", spacing_mm=spacing).table)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
