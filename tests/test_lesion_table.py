"""The table of lesions: lossless, guarded, and told apart from results tables."""

import math
from pathlib import Path

import pytest

from calibeval.errors import TableError
from calibeval.lesion_table import COLUMNS, LesionRow, lesions_path, read_lesions, without_lesion_tables, write_lesions

ROWS = [
    LesionRow("=case,1", "ET", "r1", 7, 3.5, 1, 0.1 + 0.2, 1 / 3, 0.9, 0.75, 0.875),
    LesionRow("b", "a\"b;c", "p12", 1, math.nan),
]  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "m.lesions.csv"
    write_lesions(path, ROWS)
    read = read_lesions(path)
    assert read[0] == ROWS[0]
    assert read[1][:4] == ROWS[1][:4]
    assert all(math.isnan(value) for value in read[1][6:])
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith('"\'=case,1",ET,r1,7,3.5,1,0.30000000000000004,')


def test_an_empty_table_is_a_table(tmp_path):
    write_lesions(tmp_path / "m.lesions.csv", [])
    assert read_lesions(tmp_path / "m.lesions.csv") == []


def test_what_is_no_table_of_lesions_is_refused(tmp_path):
    path = tmp_path / "m.lesions.csv"
    path.write_text("case,class\na,b\n", encoding="utf-8")
    with pytest.raises(TableError, match="lacks the columns lesion, voxels"):
        read_lesions(path)
    path.write_text(f"{','.join(COLUMNS)}\na,b,r1,many,1,1,1,1,1,1,1\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"line 2: expected numbers from voxels on .*'many'"):
        read_lesions(path)


def test_results_tables_are_told_from_lesions():
    paths = [Path("r/a.csv"), Path("r/a.lesions.csv")]
    assert without_lesion_tables(paths) == paths[:1]
    assert lesions_path(paths[0]) == paths[1]
