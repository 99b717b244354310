"""Reliability diagrams of 1 to 20 methods and 1 to 117 classes: nothing overlaps, nothing is lost."""

import re
from typing import Any

import numpy as np
import pytest

from calibeval.bins import BinTable
from calibeval.metrics.statistics import Edges, Histogram, empty_statistics
from calibeval.protocol import make_protocol
from tests.plots.helpers import check_texts

pytest.importorskip("matplotlib")

from calibeval import plots
from calibeval.plots.style import WIDTHS, figure_of

PAPER = make_protocol()


def table(classes, seed=0, cases=6):
    """A method with random statistics."""
    generator = np.random.default_rng(seed)
    empty = empty_statistics(classes + 1, PAPER)

    def fill(histogram):
        count = generator.integers(1, 10_000, histogram.count.shape)
        return Histogram(count, count * np.linspace(0.01, 0.99, count.shape[-1]))

    def case():
        names = ("selected", "boundary", "classes")
        return type(empty)(**vars(empty) | {name: fill(getattr(empty, name)) for name in names})

    names = ("background", *(f"structure_of_a_body_{c}" for c in range(classes)))
    return BinTable(PAPER.signature, names, {f"c{i}": {"": case()} for i in range(cases)}, Edges.of(PAPER))


def methods(number, classes=1):
    return {f"W{i} a method with {'and some more ' * (i % 4)}": table(classes, i) for i in range(number)}


FEW = [(1, 1, "column"), (20, 1, "column"), (1, 25, "page")]
MORE = [
    (3, 2, "page"),
    (2, 30, "page"),
    (1, 1, "page"),
    (1, 4, "column"),
    (1, 4, "page"),
    (3, 2, "column"),
    (20, 1, "page"),
    (2, 30, "column"),
]


@pytest.mark.parametrize(
    ("number", "classes", "size"), [*FEW, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE)]
)
def test_panels_do_not_overlap(number, classes, size):
    parts = ["all", "boundary"] if number < 20 else ["all"]
    parts += [f"structure_of_a_body_{c}" for c in range(classes)] if classes > 1 else []
    axes = plots.reliability_panels(methods(number, classes), parts, size=size)
    assert len(axes) in (number * len(parts), len(parts))
    assert figure_of(axes[0]).get_figwidth() == WIDTHS[size]
    check_texts(figure_of(axes[0]))


@pytest.mark.slow
def test_117_classes():
    axes = plots.reliability_panels(methods(3, 117), [f"structure_of_a_body_{c}" for c in range(117)])
    assert len(axes) == 117
    check_texts(figure_of(axes[0]))


@pytest.mark.parametrize("number", [1, 20])
def test_one_diagram_names_every_method(number):
    ax = plots.reliability(methods(number))
    texts = " ".join(check_texts(figure_of(ax)))
    assert all(re.search(rf"W{i}\b", texts) for i in range(number))
    assert ("confident" in texts) or ("told" in texts) or ("keeps" in texts)


def test_it_draws_where_it_is_told_and_shows_the_numbers():
    from matplotlib.figure import Figure

    from calibeval.plots.binned import curve_of

    given = Figure().subplots()
    found = table(2)
    ax = plots.reliability({"m": found}, given, part="structure_of_a_body_1")
    assert ax is given
    curve = curve_of(found, "structure_of_a_body_1")
    assert any(np.array_equal(line.get_ydata(), curve.right) for line in ax.lines)
    bars: Any = ax.child_axes[0].containers[0]
    assert bars.datavalues.tolist() == curve.voxels.tolist()


def test_hostile_names_are_drawn(tmp_path):
    names = ["<b>$x^2$</b> & \x1b[31m", "\u202eevil", "x" * 300, "\u9aa8\u76c6", "line\nbreak"]
    axes = plots.reliability_panels({name: table(1) for name in names})
    texts = check_texts(figure_of(axes[0]))
    assert not any(mark in text for text in texts for mark in "\x1b\u202e")
    plots.save(axes[0], tmp_path / "x.svg")
