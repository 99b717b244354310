"""Case by case: every value is a dot, and what is undefined is counted."""

import numpy as np
import pytest

from calibeval.errors import UsageError
from calibeval.table import Row, to_frame
from tests.plots.helpers import check_texts

pytest.importorskip("matplotlib")

from calibeval import plots
from calibeval.metrics.intervals import mean_interval
from calibeval.plots.case_strips import read_values
from calibeval.plots.style import figure_of


def frame(methods, cases, metrics=("DSC",), group=""):
    """Values i / cases of each method, a little apart."""
    names = [f"method {m} {'long name ' * (m % 5)}" for m in range(methods)]
    return to_frame(
        Row(name, "", f"case_{i}", "mean", metric, (i + 0.5) / cases / (1 + 0.1 * m), group=group and f"p{i // 2}")
        for m, name in enumerate(names)
        for i in range(cases)
        for metric in metrics
    )


@pytest.mark.parametrize(("methods", "cases", "size"), [(1, 1, "column"), (3, 12, "page"), (20, 40, "column")])
def test_every_value_is_a_dot_and_nothing_overlaps(methods, cases, size):
    axes = plots.cases_panels(frame(methods, cases, ("DSC", "HD95", "ECE")), ("DSC", "HD95"), size=size)
    assert len(axes) == 2
    assert sum(len(dots.get_offsets()) for dots in axes[0].collections) == methods * cases
    boxes = len(axes[0].patches)
    assert boxes == (methods if cases > 12 else 0), "no boxes over at most twelve dots"
    check_texts(figure_of(axes[0]))


def test_the_bar_is_the_interval_over_groups():
    ax = plots.cases(frame(1, 20, group="yes"))
    means = np.arange(1, 20, 2) / 20
    bars = [line.get_xdata() for line in ax.lines]
    assert any(len(x) == 2 and np.allclose(x, mean_interval(means)) for x in bars)


def test_the_worst_and_the_undefined_are_named():
    rows = [Row(m, "", f"c{i}", "all", "gap", value) for m in "ab" for i, value in enumerate((0.1, -0.3, float("nan")))]
    rows[0] = rows[0]._replace(value=float("inf"))
    texts = check_texts(figure_of(plots.cases(to_frame(rows), metric="gap")))
    assert "gap \u21920" in texts
    assert "3 values undefined; worst: c1, a" in texts


def test_it_draws_where_it_is_told():
    from matplotlib.figure import Figure

    given = Figure().subplots()
    assert plots.cases(frame(2, 5), given) is given


def test_refusals():
    with pytest.raises(UsageError, match=r"No value of ECE for the class 'all'. Metrics: DSC; classes: mean"):
        read_values(frame(1, 2), "ECE")
    with pytest.raises(UsageError, match="No value of"):
        plots.cases_panels(frame(1, 2, ("Brier",)))
