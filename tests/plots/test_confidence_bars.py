"""What is said and what is right, side by side."""

import numpy as np
import pytest

from tests.plots.helpers import check_texts

pytest.importorskip("matplotlib")

from calibeval import plots
from calibeval.plots.binned import curve_of
from calibeval.plots.style import figure_of
from tests.plots.test_reliability_diagram import methods, table


@pytest.mark.parametrize(("number", "classes", "size"), [(1, 1, "page"), (3, 4, "page"), (20, 1, "column")])
def test_nothing_overlaps(number, classes, size):
    parts = ["all", "boundary", *(f"structure_of_a_body_{c}" for c in range(classes))]
    axes = plots.confidence_panels(methods(number, classes), parts, size=size)
    assert len(axes) == classes + 2
    check_texts(figure_of(axes[0]))


def test_the_dots_are_the_numbers():
    from matplotlib.figure import Figure

    given, found = Figure().subplots(), table(1)
    ax = plots.confidence({"m": found}, given)
    assert ax is given
    curve = curve_of(found)
    assert [np.asarray(line.get_xdata())[0] for line in ax.lines[1:]] == [curve.correct, curve.stated]
    assert len(plots.confidence({"m": found}).texts) == 1
