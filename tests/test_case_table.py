"""The table of cases and the groups that observations are independent of."""

import re

import pytest

from calibeval.case_table import groups, patient_of, read_cases, repeated_patients
from calibeval.errors import UsageError


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("patient001_frame01", "patient001"),
        ("patient001_frame12", "patient001"),
        ("patient042_ED", "patient042"),
        ("patient042_ES", "patient042"),
        ("sub-03_ses-02", "sub-03"),
        ("sub-03_ses-02_run-1", "sub-03"),
        ("p7_visit2_scan1", "p7"),
        ("case-07-t1", "case-07"),
        ("hippocampus_001", "hippocampus_001"),
        ("BraTS19_2013_10_1", "BraTS19_2013_10_1"),
        ("prostate_00", "prostate_00"),
        ("phantom_012", "phantom_012"),
        ("_frame01", "_frame01"),
        ("patient00_slice003", "patient00"),
        ("patient006_01_10", "patient006"),
        ("patient001_frame01_slice_1", "patient001"),
        ("patient0001_2CH_ED", "patient0001"),
        ("case0005_slice012", "case0005"),
        ("volume_41_slice_97", "volume_41"),
        ("site_2_patient_3_ED", "site_2_patient_3"),
        ("P01_L", "P01"),
        ("P01_R", "P01"),
        ("Image_01L", "Image_01"),
        ("21_training", "21_training"),
        ("LIDC-IDRI-0001", "LIDC-IDRI-0001"),
        ("case_00_lesion", "case_00_lesion"),
    ],
)
def test_patient_of(case, patient):
    assert patient_of(case) == patient


def test_the_table_is_read_by_column(tmp_path):
    path = write(tmp_path, "case,patient,centre\na_1,A,x\na_2,A,\nb_1,B,y\n")
    table = read_cases(path)
    assert table.columns == ("patient", "centre")
    assert table.column("centre", ["b_1", "a_2"]) == {"b_1": "y", "a_2": ""}
    assert groups(["a_1", "a_2", "b_1"], "patient", table) == {"a_1": "A", "a_2": "A", "b_1": "B"}
    assert groups(["b_1", "a_1"], "centre", table) == {"b_1": "y", "a_1": "x"}


def test_a_spreadsheet_of_another_country_is_the_same_table(tmp_path):
    plain = read_cases(write(tmp_path, "case,patient\na,P\n"))
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbfcase;patient;;\r\n a ;P;;\r\n;;;\r\n")
    assert read_cases(path).rows == plain.rows == {"a": {"patient": "P"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("patient,centre\nA,x\n", "missing: case"),
        ("case,patient\n", "holds no case"),
        ("", "holds no case"),
        ("case,patient\na,A\nb,B\na,C\n", "line 4 names the case 'a' again"),
        ("case,patient\n,A\n", "line 2 names no case"),
        ("case,patient\na,A,x\n", "line 2 has 3 fields, expected 2"),
        ("case,patient\na\n", "line 2 has 1 fields, expected 2"),
        ("case,patient,patient\na,A,B\n", "names a column twice"),
        ('case,patient\n"a,A\n', "is no CSV in UTF-8"),
    ],
)
def test_a_broken_table_is_named(tmp_path, text, problem):
    with pytest.raises(UsageError, match=problem) as error:
        read_cases(write(tmp_path, text))
    assert "cases.csv" in str(error.value)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_cases(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="is a folder"):
        read_cases(tmp_path)


def test_a_case_or_a_column_that_the_table_lacks_is_named(tmp_path):
    table = read_cases(write(tmp_path, "case,patient\na,A\nb,\n"))
    with pytest.raises(UsageError, match=r"says nothing of 2 cases: c, d\. .* own cases are a, b"):
        groups(["a", "c", "d"], "patient", table)
    with pytest.raises(UsageError, match="no column 'centre', only case, patient"):
        table.column("centre", ["a"])
    with pytest.raises(UsageError, match="'patient' is empty for b"):
        groups(["a", "b"], "patient", table)


def test_none_leaves_every_case_alone():
    assert groups(["p1_L", "p1_R"], "none") == {"p1_L": "p1_L", "p1_R": "p1_R"}


def test_an_expression_takes_its_one_group():
    assert groups(["x1_a", "x1_b", "x2_a"], r"^(x\d)_") == {"x1_a": "x1", "x1_b": "x1", "x2_a": "x2"}


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("centre", "expected none, patient, a column of --cases FILE, or a regular expression with one group"),
        ("(x)(1)", "one group in parentheses"),
        ("(x", "neither a column of --cases FILE nor a regular expression"),
        (r"(x)1_", "does not match 1 case: x2_a"),
        (r"x\d(y?)", "does not match 3 cases"),
    ],
)
def test_an_expression_that_cannot_be_used_is_named(pattern, problem):
    with pytest.raises(UsageError, match=problem):
        groups(["x1_a", "x1_b", "x2_a"], pattern)


@pytest.mark.parametrize(
    "names",
    [
        ["img1_1", "img1_2", "img2_1"],
        ["BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000"],
        ["01_dr", "01_g", "02_dr", "02_g"],
        ["ct_slice_001", "ct_slice_002"],
    ],
)
def test_names_that_may_hide_a_patient_are_asked_about(names):
    with pytest.raises(UsageError, match=re.escape("--group-by")):
        groups(names, "patient")
    assert groups(names, "none") == {name: name for name in names}
    assert repeated_patients(names)


@pytest.mark.parametrize(
    "names",
    [
        ["hippocampus_001", "hippocampus_003"],
        ["BraTS2021_00001", "BraTS2021_00002"],
        ["BraTS19_2013_10_1", "BraTS19_2013_11_1", "BraTS19_TCIA01_131_1"],
        ["21_training", "22_training"],
        ["amos_0001"],
        [],
    ],
)
def test_plain_running_numbers_are_patients(names):
    assert groups(names, "patient") == {name: name for name in names}
    assert repeated_patients(names) == ""


def test_names_of_one_patient_are_told():
    found = repeated_patients(["patient1_ED", "patient1_ES", "patient2_ED"])
    assert found == "The 3 cases look like images of 2 patients (patient1_ED, patient1_ES)."


def write(folder, text):
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path
