"""Lesions on the page: its numbers are those of the table of lesions, and a missing one is a named gap."""

import numpy as np
import pytest

from calibeval import score_case
from calibeval.lesion_table import lesions_path, read_lesions, write_lesions
from calibeval.plots.froc_curves import froc_curves
from calibeval.report import build
from calibeval.table import write_table

pytest.importorskip("cc3d")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


@pytest.fixture
def table(tmp_path):
    """Six cases with one lesion found at p = .9, one missed, one of p = .6 that is none."""
    rows, lesions = [], []
    for i in range(6):
        label, p = np.zeros((4, 12, 12), int), np.full((4, 12, 12), 0.02)
        label[1:3, 1:5, 1:5] = label[0, 10, 10] = 1
        p[1:3, 1:5, 1 : 5 - i % 2], p[0, 8, 2] = 0.9, 0.6
        found = score_case(
            np.stack([1 - p, p]),
            label,
            spacing_mm=(5, 2, 2),
            metrics="DSC,gap,lesions",
            case=f"c{i}",
            classes=["bg", "ET"],
        )
        rows += [row._replace(method="m") for row in found.rows]
        lesions += found.lesions
    path = tmp_path / "m.csv"
    write_table(path, rows, signature=str(found.signature), command="calibeval score a b --metrics DSC,gap,lesions")
    write_lesions(lesions_path(path), lesions)
    return path


def test_what_is_found_stands_on_the_page(table):
    page = build([table])
    assert "finds 6 of 12 lesions (50%), 6 false in 6 cases; by volume &lt; 0.1 mL 0 of 6, 0.1 to 1 mL 6 of 6" in page
    assert "findings say 75.0%, are real in 50.0%" in page
    assert 'aria-label="FROC curves. m finds 6 of 12 lesions' in page
    assert '<a href="#lesions">Lesions</a>' in page


def test_a_missing_table_of_lesions_is_a_named_gap(table):
    lesions_path(table).unlink()
    page = build([table])
    assert "m.lesions.csv is missing. Put it beside the table, or score again." in page


def test_without_metrics_of_lesions_there_is_no_such_part(table):
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if "lesion" not in line or "about" in line]
    kept = [line for line in lines if not any(f",{name}," in line for name in ("PQ", "SQ", "RQ", "CC_DSC"))]
    rows = kept[1:]
    kept[1] = rows[0].replace('""rows"": 110', f'""rows"": {len(rows)}')
    path = table.with_name("n.csv")
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert "#lesions" not in build([path])


def test_the_curve_goes_through_the_counts(table):
    axes = froc_curves({"m": (read_lesions(lesions_path(table)), 6)})
    (line,) = axes.lines
    assert np.asarray(line.get_xdata()).tolist() == [0, 0, 1, 8]
    assert np.asarray(line.get_ydata()).tolist() == [0, 0.5, 0.5, 0.5]
