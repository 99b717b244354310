"""Partly labelled data and a field of view, with the numbers by hand."""

import math

import numpy as np
import pytest

from calibeval import score_folder
from calibeval.errors import UsageError
from calibeval.table import NOT_ANNOTATED

CLASSES = "background,RV,LV"


@pytest.fixture
def folders(tmp_path):
    """Case a as it is; in case b nobody drew the LV (class 2), which the model finds rightly."""
    truth = np.zeros((1, 4, 8), np.uint8)
    truth[0, 1:3, 1:3], truth[0, 1:3, 5:7] = 1, 2
    for case in "ab":
        label = np.where((truth == 2) & (case == "b"), 0, truth).astype(np.uint8)
        soft = np.stack([(truth == c) * 0.7 + 0.1 for c in range(3)]).astype(np.float32)
        for folder, array in (("preds", soft), ("labels", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            np.save(tmp_path / folder / f"{case}.npy", array)
    (tmp_path / "cases.csv").write_text("case,annotated\na,RV;LV\nb,RV\n", encoding="utf-8")
    return tmp_path


def scored(folder, **choices):
    (method,) = score_folder(
        folder / "preds", folder / "labels", classes=CLASSES, metrics="DSC,ECE,CECE", **choices
    ).methods
    return method, {(row.case, row.metric, row.class_name): row for row in method.rows}


def test_a_class_that_nobody_annotated_has_no_number(folders):
    _, rows = scored(folders)
    assert (rows["b", "DSC", "LV"].value, rows["b", "DSC", "mean"].value) == (0.0, 0.5)  # what it would be without
    method, rows = scored(folders, cases=folders / "cases.csv")
    assert rows["b", "DSC", "RV"].value == 1.0
    assert rows["b", "DSC", "mean"].value == 1.0
    assert rows["b", "DSC", "mean"].note == f"without LV ({NOT_ANNOTATED})"
    for key in (("DSC", "LV"), ("ECE", "all"), ("CECE", "all"), ("CECE", "LV"), ("CECE", "background")):
        assert math.isnan(rows["b", *key].value)
        assert rows["b", *key].status == NOT_ANNOTATED
    assert not math.isnan(rows["b", "CECE", "RV"].value)
    assert rows["a", "DSC", "LV"].value == 1.0
    for metric, name in (("DSC", "LV"), ("CECE", "LV"), ("ECE", "all")):
        assert rows["pooled", metric, name].value == rows["a", metric, name].value
    assert "annotated are only RV" in method.notes["b"][-1]
    assert set(method.bins) == {"a"}


def test_cases_without_a_column_or_an_entry_are_whole(folders):
    whole, _ = scored(folders)
    for text in ("case,centre\na,x\nb,y\n", "case,annotated\na,\nb,\n"):
        (folders / "cases.csv").write_text(text, encoding="utf-8")
        assert scored(folders, cases=folders / "cases.csv")[0].rows == whole.rows


def test_all_cases_may_be_partly_annotated(folders):
    (folders / "cases.csv").write_text("case,annotated\na,LV\nb,RV\n", encoding="utf-8")
    method, rows = scored(folders, cases=folders / "cases.csv")
    assert method.scored
    assert [rows[case, "DSC", "mean"].value for case in "ab"] == [1.0, 1.0]
    assert ("pooled", "DSC", "LV") not in rows


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("case,annotated\na,RV\nb,RX\n", "annotated of b names 'RX', which is no class. Known: background, RV, LV"),
        ("case,annotated\na,RV\n", "says nothing of 1 case: b"),
    ],
)
def test_what_cannot_be_annotated_is_named(folders, text, problem):
    (folders / "cases.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=problem):
        scored(folders, cases=folders / "cases.csv")


def test_voxels_outside_the_field_of_view_count_nowhere(folders):
    (folders / "masks").mkdir()
    inside = np.zeros((1, 4, 8), np.uint8)
    inside[..., :4] = 255  # the LV lies outside
    np.save(folders / "masks" / "a.npy", inside)
    np.save(folders / "masks" / "b.npy", inside)
    method, rows = scored(folders, mask=folders / "masks")
    plain, _ = scored(folders)
    assert rows["b", "DSC", "RV"].value == 1.0
    assert rows["b", "DSC", "LV"].status == "both_empty"
    assert method.notes["b"][-1] == "16 voxels ignored"
    assert method.signature.differs(plain.signature) == "field of view: mask against none"
    (folders / "masks" / "b.npy").unlink()
    method, rows = scored(folders, mask=folders / "masks")
    assert "has no mask in the folder --mask. Add it there." in method.errors["b"]
    assert rows["a", "DSC", "RV"].value == 1.0
    np.save(folders / "masks" / "b.npy", inside[..., :4])
    assert "its shape (1, 4, 4) differs" in scored(folders, mask=folders / "masks")[0].errors["b"]
