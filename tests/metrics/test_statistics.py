"""One pass over planes: histograms, confusion matrix, argmax, checks; against plain loops and by hand."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibeval.errors import ProbabilityError
from calibeval.metrics.accumulate import Accumulator
from calibeval.metrics.statistics import cell_edges, compare_labels, empty_statistics
from calibeval.planes import CHUNK, PlaneChunk
from calibeval.protocol import PROTOCOLS, make_protocol
from tests.kernels import examples, large

PAPER = PROTOCOLS["paper"]


def accumulate(probabilities, reference, protocol=PAPER, *, threads=1, **options):
    planes = np.ascontiguousarray(probabilities)
    accumulator = Accumulator(reference, len(planes), protocol, planes.dtype, **options)
    statistics = accumulator.take(lambda c, start: planes[c, start : start + CHUNK], threads)
    return statistics, accumulator.predicted


def stream(probabilities, reference, protocol=PAPER, **options):
    accumulator = Accumulator(reference, len(probabilities), protocol, probabilities.dtype, **options)
    for c, plane in enumerate(probabilities):
        for start in range(0, plane.size, CHUNK):
            accumulator.add(PlaneChunk(c, start, np.ascontiguousarray(plane[start : start + CHUNK])))
    return accumulator.finish()


def as_arrays(statistics):
    """All arrays of some statistics, in one list."""
    parts = []
    for name in statistics.__dataclass_fields__:
        value = getattr(statistics, name)
        parts += [value.count, value.total] if hasattr(value, "count") else [value]
    return parts


def assert_identical(a, b):
    for left, right in zip(as_arrays(a), as_arrays(b), strict=True):
        np.testing.assert_array_equal(left, right, strict=True)


def softmax_maps(random, classes, voxels, dtype=np.float32, sharpness=3.0):
    z = random.standard_normal((classes, voxels)) * sharpness
    e = np.exp(z - z.max(axis=0))
    return (e / e.sum(axis=0)).astype(dtype)


def plain_histogram(values, targets, edges):
    """Count and sum by target and cell, one voxel after the other."""
    count, total = np.zeros((2, edges.size), np.int64), np.zeros((2, edges.size))
    for value, target in zip(values, targets, strict=True):
        cell = int(np.searchsorted(edges, np.float32(value)))
        count[int(target), cell] += 1
        total[int(target), cell] += float(value)
    return count, total


def test_edges_are_float32_and_hold_the_threshold():
    assert cell_edges(4).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert cell_edges(2, 0.1).tolist() == [0, np.float32(0.1), 0.5, 1]
    assert cell_edges(10, 0.2).size == 11  # the threshold is an edge already


def test_hand_computed_case():
    p = np.array([[0.9, 0.6, 0.2, 0.0], [0.1, 0.4, 0.8, 1.0]])
    y = np.array([0, 1, 1, 1], np.uint8)
    statistics, predicted = accumulate(p, y, make_protocol("guo", bins=2))
    assert predicted.tolist() == [0, 0, 1, 1]
    assert statistics.confusion.tolist() == [[1, 0], [1, 2]]
    # top label: .9 right, .6 wrong, .8 right, 1 right; all in the cell (.5, 1]
    assert statistics.top.count.tolist() == [[0, 0, 1], [0, 0, 3]]
    np.testing.assert_allclose(statistics.top.total, [[0, 0, 0.6], [0, 0, 2.7]])
    # class 1: .1 (y=0), .4, .8, 1 (y=1)
    assert statistics.classes.count[1].tolist() == [[0, 1, 0], [0, 1, 2]]
    # class 0: p = 0 stands in a cell of its own
    assert statistics.classes.count[0].tolist() == [[1, 1, 1], [0, 0, 1]]
    # foreground: 1 - p_0 = .1, .4, .8, 1
    np.testing.assert_allclose(statistics.foreground.total, [[0, 0.1, 0], [0, 0.4, 1.8]])


@pytest.mark.parametrize("value", [0.2, np.float32(0.2), 51 / 255])
def test_equal_decimals_fall_on_the_same_side_of_an_edge(value):
    p = np.array([[1 - float(value)], [float(value)]])
    statistics, _ = accumulate(p, np.zeros(1, np.uint8), make_protocol("guo", bins=5))
    assert statistics.classes.count[1].sum(axis=0).tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@large
def test_every_value_near_every_edge_finds_its_cell(dtype):
    for bins in (1, 2, 3, 7, 10, 15, 100, 1000):
        edges = cell_edges(bins)
        key = np.concatenate([edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1))])
        values = np.clip(np.unique(key), 0, 1).astype(dtype)
        p = np.stack([1 - values.astype(np.float64), values.astype(np.float64)]).astype(dtype)
        statistics, _ = accumulate(p, np.zeros(values.size, np.uint8), make_protocol("guo", bins=bins))
        count, total = plain_histogram(p[1], np.zeros(values.size), edges)
        np.testing.assert_array_equal(statistics.classes.count[1], count)
        np.testing.assert_allclose(statistics.classes.total[1], total, rtol=1e-12, atol=1e-12)


@example(  # thousands of values around 1e-8
    seed=3264, classes=5, voxels=3837, dtype=np.float32, name="paper", kind="sharp", ignore=False
)
@settings(max_examples=examples(40), deadline=None)
@example(  # the rests of the cell next to 0, lost where the compiler reorders
    seed=0, classes=4, voxels=2898, dtype=np.float64, name="paper", kind="sharp", ignore=False
)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(2, 6),
    voxels=st.one_of(st.integers(1, 700), st.integers(1000, 4000)),
    dtype=st.sampled_from([np.float32, np.float64]),
    name=st.sampled_from(sorted(PROTOCOLS)),
    kind=st.sampled_from(["soft", "sharp", "hard", "grid"]),
    ignore=st.booleans(),
)
def test_histograms_equal_plain_loops(seed, classes, voxels, dtype, name, kind, ignore):
    random = np.random.default_rng(seed)
    p = softmax_maps(random, classes, voxels, dtype, {"soft": 0.5, "sharp": 8.0}.get(kind, 2.0))
    if kind == "hard":
        p = np.eye(classes, dtype=dtype)[random.integers(0, classes, voxels)].T.copy()
    if kind == "grid":  # many values exactly on edges
        steps = random.integers(0, 16, voxels)
        p = np.zeros((classes, voxels), dtype)
        p[0], p[1] = steps / 15, 1 - steps / 15
    y = np.repeat(random.integers(0, classes, -(-voxels // 7)), 7)[:voxels].astype(np.uint8)
    if ignore:
        y[random.random(voxels) < 0.3] = 255
    protocol = PROTOCOLS[name]
    statistics, predicted = accumulate(p, y, protocol)
    np.testing.assert_array_equal(predicted, p.argmax(axis=0))
    counted = y != 255
    predicted_foreground = counted & (predicted > 0)
    domain = {"all": counted, "foreground": counted & (y > 0), "predicted-foreground": predicted_foreground}
    edges = cell_edges(protocol.cece_bins, protocol.cece_threshold)
    for c in range(classes):
        inside = domain[protocol.cece_domain]
        check(statistics.classes.of(c), p[c][inside], y[inside] == c, edges)
    inside = domain[protocol.ece_domain]
    check(statistics.top, p.max(axis=0)[inside], (predicted == y)[inside], cell_edges(protocol.ece_bins))
    rest = 1 - p[0].astype(np.float64)
    check(statistics.foreground, rest[counted], y[counted] > 0, cell_edges(protocol.pece_bins))
    expected = np.zeros((classes, classes), np.int64)
    np.add.at(expected, (y[counted], predicted[counted]), 1)
    np.testing.assert_array_equal(statistics.confusion, expected)


def check(histogram, values, targets, edges):
    count, total = plain_histogram(values, targets, edges)
    np.testing.assert_array_equal(histogram.count, count)
    np.testing.assert_allclose(histogram.total, total, rtol=1e-12, atol=1e-12)


@settings(max_examples=examples(20), deadline=None)
@given(hnp.arrays(np.uint8, st.integers(1, 600), elements=st.integers(0, 4)), st.randoms(use_true_random=False))
def test_label_maps_alone_give_the_confusion_matrix(reference, random):
    predicted = reference.copy()
    for i in range(0, reference.size, 3):
        predicted[i] = random.randint(0, 4)
    reference[: reference.size // 5] = 255
    confusion = compare_labels(reference, predicted, 5, PAPER).confusion
    for row in range(5):
        for column in range(5):
            assert confusion[row, column] == np.count_nonzero((reference == row) & (predicted == column))


def test_many_labels_in_one_block():
    reference = np.arange(254, dtype=np.uint8)
    confusion = compare_labels(reference, reference[::-1].copy(), 254, PAPER).confusion
    np.testing.assert_array_equal(confusion, np.eye(254, dtype=np.int64)[::-1])


@pytest.mark.parametrize("sharpness", [0.5, 30.0])
@large
def test_bits_do_not_depend_on_threads_or_on_the_order_of_reading(sharpness):
    random = np.random.default_rng(5)
    voxels = 2 * CHUNK + 12345
    p = softmax_maps(random, 3, voxels, sharpness=sharpness)
    y = np.repeat(random.integers(0, 3, voxels // 100 + 1), 100)[:voxels].astype(np.uint8)
    options = {"proper": True, "boundary": np.where(np.arange(voxels) % 3 == 0, y, 255).astype(np.uint8)}
    one, predicted = accumulate(p, y, **options)
    two, again = accumulate(p, y, threads=3, **options)
    assert_identical(one, two)
    assert_identical(one, stream(p, y, **options))
    np.testing.assert_array_equal(predicted, again)


def test_decided_blocks_count_as_any_other():
    """Blocks in which one class is sure everywhere take a short way; a tie and a near tie do not."""
    p = np.tile(np.array([[0.95], [0.05]], np.float32), 600)
    p[:, 300] = 0.5
    p[:, 301] = 0.49999997, 0.5
    y = np.zeros(600, np.uint8)
    y[10], y[580] = 1, 255
    statistics, predicted = accumulate(p, y, PROTOCOLS["guo"])
    assert predicted.nonzero()[0].tolist() == [301]  # the first maximum wins a tie
    assert statistics.top.count.sum() == 599
    assert statistics.top.count[0].sum() == 2
    assert statistics.top.count[1].sum() == 597


@large
def test_forty_million_voxels_do_not_saturate():
    voxels = 40_000_000
    high = np.float32(0.99)
    reference = np.zeros(voxels, np.uint8)
    reference[::2] = 1
    plane = np.full(CHUNK, high), np.full(CHUNK, 1 - high)
    accumulator = Accumulator(reference, 2, PROTOCOLS["guo"], np.dtype(np.float32))
    statistics = accumulator.take(lambda c, start: plane[1 - c][: voxels - start])
    n, right = statistics.top.count.sum(), statistics.top.count[1].sum()
    assert (n, right) == (voxels, voxels // 2)
    assert abs(statistics.top.total.sum() / n - right / n - (float(high) - 0.5)) < 1e-9


def test_statistics_add_up():
    random = np.random.default_rng(0)
    p = softmax_maps(random, 3, 512, np.float64)
    y = random.integers(0, 3, 512).astype(np.uint8)
    whole, _ = accumulate(p, y, proper=True)
    first, _ = accumulate(p[:, :256], y[:256], proper=True)
    second, _ = accumulate(p[:, 256:], y[256:], proper=True)
    for joined, expected in zip(as_arrays(first + second), as_arrays(whole), strict=True):
        np.testing.assert_allclose(joined, expected, rtol=1e-12)
    assert_identical(whole + empty_statistics(3, PAPER), whole)
    assert whole.has_probabilities
    assert not compare_labels(y, y, 3, PAPER).has_probabilities


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (-np.inf, "not finite"),
        (-0.01, "outside"),
        (1.01, "outside"),
        (7.3, "outside"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_probability_is_refused(bad, words, dtype):
    p = np.full((2, 1000), 0.5, dtype)
    p[1, 777] = bad
    with pytest.raises(ProbabilityError, match=words):
        accumulate(p, np.zeros(1000, np.uint8))


def test_overshoot_by_rounding_is_clipped():
    p = np.array([[1 + 1e-6, -1e-7, -0.0], [-1e-6, 1 + 1e-7, 1.0]])
    statistics, _ = accumulate(p, np.array([0, 1, 1], np.uint8))
    assert statistics.classes.total.max() == pytest.approx(2, abs=1e-9)
    assert statistics.foreground.total.min() >= 0
    assert statistics.foreground.total.sum() == 2


@pytest.mark.parametrize(
    "column",
    [(0.4, 0.4, 0.4), (0.2, 0.2, 0.2), (0.0, 0.0, 0.0), (1.0, 1.0, 0.0)],
)
def test_sums_other_than_one_are_refused_even_at_one_voxel(column):
    p = np.tile(np.array([[0.8], [0.1], [0.1]], np.float32), 5000)
    p[:, 4321] = column
    with pytest.raises(ProbabilityError, match="sum"):
        accumulate(p, np.zeros(5000, np.uint8))


def test_sum_tolerance_lets_coarse_types_pass():
    p = np.tile(np.array([[0.8], [0.1], [0.098]], np.float32), 500)
    with pytest.raises(ProbabilityError):
        accumulate(p, np.zeros(500, np.uint8))
    accumulate(p, np.zeros(500, np.uint8), sum_tolerance=0.01)


def test_read_only_memory_maps_are_taken(tmp_path):
    random = np.random.default_rng(1)
    p = softmax_maps(random, 3, 3000)
    np.save(tmp_path / "p.npy", p)
    y = random.integers(0, 3, 3000).astype(np.uint8)
    y.setflags(write=False)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    accumulator = Accumulator(y, 3, PAPER, np.dtype(np.float32))
    assert_identical(accumulator.take(lambda c, start: mapped[c, start : start + CHUNK]), accumulate(p, y)[0])
