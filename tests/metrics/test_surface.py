"""Surface distances: worked examples, brute force, the tools that define the names, and what must never change."""

import doctest
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from calibeval.errors import UsageError
from calibeval.metrics import surface
from calibeval.metrics._kernels import search
from calibeval.metrics._kernels.areas import corner_areas, corner_lengths
from calibeval.metrics.surface import assd, hausdorff, hd95, mask_surface_distances, nsd, surface_distances
from calibeval.protocol import HD95_DEFINITIONS
from tests.benchmarks.cases import adversarial, organ_case
from tests.kernels import examples, large
from tests.oracles import surface as brute

NAMES = list(HD95_DEFINITIONS)


def box(shape, *ranges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*limits) for limits in ranges)] = True
    return mask


def check_against_brute_force(reference, prediction, spacing_mm, definition):
    found = mask_surface_distances(reference, prediction, spacing_mm, definition)
    forth, back = brute.distances(reference, prediction, spacing_mm, definition)
    assert_allclose(found.reference_to_prediction, forth, rtol=0, atol=1e-6)
    assert_allclose(found.prediction_to_reference, back, rtol=0, atol=1e-6)
    return found


class TestByHand:
    def test_moved_square(self):
        """A 4x4 square has a ring of 12; moved by 2 columns of 1.5 mm, half of each ring lies on the other square."""
        reference, prediction = box((8, 10), (2, 6), (2, 6)), box((8, 10), (2, 6), (4, 8))
        found = mask_surface_distances(reference, prediction, (1.0, 1.5))
        # left column 4 x 3.0 mm; next column 2 x 1.5; then (3 and 4 are columns of the other's ring) the top and
        # bottom 2 x 0, 2 x 0 and the right column's inner voxels, 1 row from the other's top and bottom
        assert_allclose(sorted(found.reference_to_prediction), [0, 0, 0, 0, 1, 1, 1.5, 1.5, 3, 3, 3, 3])
        assert_allclose(found.prediction_to_reference.sum(), found.reference_to_prediction.sum())
        assert hausdorff(found) == 3.0
        assert hd95(found) == 3.0
        assert assd(found) == pytest.approx(17 / 12)
        assert nsd(found, 1.0) == pytest.approx(6 / 12)
        assert nsd(found, 1.5) == pytest.approx(8 / 12)

    def test_moved_cube(self):
        reference, prediction = box((9, 6, 6), (1, 4), (1, 4), (1, 4)), box((9, 6, 6), (3, 6), (1, 4), (1, 4))
        found = mask_surface_distances(reference, prediction, (2.0, 1.0, 1.0))
        # 26 of 27 voxels are surface; the slices are 2 x 2 mm away, 2 mm away and shared but for the cube's centre
        assert found.reference_to_prediction.size == 26
        assert_allclose(np.bincount(found.reference_to_prediction.astype(int)), [9, 0, 8, 0, 9])
        assert hausdorff(found) == hd95(found) == 4.0

    @pytest.mark.parametrize(("definition", "expected"), [("monai", 5.0), ("medpy", 5.0), ("sdc-repo", 2**0.5)])
    def test_two_voxels(self, definition, expected):
        reference, prediction = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
        reference[0, 0, 0] = prediction[0, 1, 1] = True
        found = mask_surface_distances(reference, prediction, (9.0, 3.0, 4.0), definition)
        assert hd95(found, definition) == hausdorff(found) == assd(found) == expected
        assert nsd(found, expected) == 1
        assert nsd(found, np.nextafter(expected, 0)) == 0

    def test_one_voxel_has_eight_corners(self):
        voxel = box((3, 3, 3), (1, 2), (1, 2), (1, 2))
        found = mask_surface_distances(voxel, voxel, (1.0, 1.0, 1.0), "deepmind")
        assert_array_equal(found.reference_to_prediction, np.zeros(8))
        assert_allclose(found.reference_areas, np.full(8, 3**0.5 / 8))

    def test_one_pixel_has_four_corners(self):
        pixel = box((3, 3), (1, 2), (1, 2))
        found = mask_surface_distances(pixel, pixel, (3.0, 4.0), "deepmind")
        assert_allclose(found.prediction_areas, np.full(4, 2.5))

    def test_corner_area_of_a_plane(self):
        """Half of the image: each corner of the cut, away from the image's edge, counts a voxel's face."""
        half = box((4, 6, 6), (0, 2), (0, 6), (0, 6))
        found = mask_surface_distances(half, half, (5.0, 2.0, 3.0), "deepmind")
        index = brute.elements(half, "corners")
        inner = (index[:, 0] == 2) & (index[:, 1:] > 0).all(axis=1) & (index[:, 1:] < 6).all(axis=1)
        assert inner.sum() == 25
        assert_allclose(found.reference_areas[inner], 6.0)

    def test_image_edge_is_surface(self):
        full = np.ones((5, 7), bool)
        assert mask_surface_distances(full, full, (1, 1)).reference_to_prediction.size == 2 * 7 + 2 * 3
        centre = box((5, 7), (2, 3), (3, 4))
        found = mask_surface_distances(full, centre, (1, 1))
        assert_array_equal(found.prediction_to_reference, [2.0])
        assert hausdorff(found) == 13**0.5

    def test_one_slice_is_not_planar(self):
        full = np.ones((1, 5, 7), bool)
        assert mask_surface_distances(full, full, (1, 1, 1)).reference_to_prediction.size == 35

    def test_percentiles(self):
        """Distances 0..20 one way and 0 the other: 95% is 19, or with both directions pooled less."""
        found = surface.SurfaceDistances(np.arange(21.0), np.zeros(21))
        assert hd95(found, "monai") == pytest.approx(19.0)
        assert hd95(found, "medpy") == pytest.approx(np.percentile(np.r_[np.arange(21), np.zeros(21)], 95))
        weighted = surface.SurfaceDistances(np.arange(4.0), np.zeros(1), np.array([90.0, 4, 5, 1]), np.ones(1))
        assert hd95(weighted, "deepmind") == 2.0
        assert assd(weighted) == pytest.approx((4 + 10 + 3) / 101)
        assert nsd(weighted, 1) == pytest.approx(95 / 101)


class TestDisagreements:
    def test_five_names_give_five_numbers(self):
        """A block, and the same with a small bulge on one side; TestPeers says who computes which.

        Of the whole mask's 1083 voxels, 1008 are 0 away, and 15 each 1, 2, ..., 5: the 95th percentile is 2.
        """
        reference = box((12, 24, 24), (2, 9), (2, 14), (2, 14))
        prediction = reference | box((12, 24, 24), (3, 6), (4, 9), (14, 19))
        found = [hd95(mask_surface_distances(reference, prediction, (3.0, 1.0, 1.0), name), name) for name in NAMES]
        assert NAMES == ["monai", "medpy", "deepmind", "sdc-repo", "paper-text"]
        assert found == pytest.approx([3.0, 1.352, 4.0, 1.0, 2.0], abs=1e-3)

    def test_missed_organ(self):
        """Never 0, as some tools say: undefined here, and the distances are infinite."""
        organ, nothing = box((6, 6, 6), (1, 4), (1, 4), (1, 4)), np.zeros((6, 6, 6), bool)
        for name in NAMES:
            for reference, prediction in ((organ, nothing), (nothing, organ)):
                found = mask_surface_distances(reference, prediction, (1, 1, 1), name)
                assert np.isinf(found.reference_to_prediction).all()
                assert np.isinf(found.prediction_to_reference).all()
                assert found.reference_to_prediction.size + found.prediction_to_reference.size > 0
                assert np.isnan([hd95(found, name), hausdorff(found), assd(found)]).all()
                assert nsd(found, 1e9) == 0
            found = mask_surface_distances(nothing, nothing, (1, 1, 1), name)
            assert np.isnan([hd95(found, name), hausdorff(found), assd(found), nsd(found, 1)]).all()

    def test_assd_is_not_the_mean_of_two_means(self):
        reference, prediction = box((12, 12), (1, 11), (1, 11)), box((12, 12), (5, 6), (5, 6))
        found = mask_surface_distances(reference, prediction, (1, 1))
        means = found.reference_to_prediction.mean(), found.prediction_to_reference.mean()
        assert means == pytest.approx((5.203, 4.0), abs=1e-3)
        assert assd(found) == pytest.approx((36 * means[0] + 1 * means[1]) / 37)
        assert np.mean(means) - assd(found) == pytest.approx(-0.569, abs=1e-3)


def labels_of(mask):
    return mask.astype(np.uint8)


class TestLabelMaps:
    def test_classes_are_independent(self):
        random = np.random.default_rng(3)
        reference, prediction = random.integers(0, 5, (2, 5, 9, 70), np.uint8)
        reference[0, 0, :9] = prediction[2, 2, :9] = 255
        for name in NAMES:
            found = surface_distances(reference, prediction, (3, 1, 2), (2.0, 1.0, 0.7), name)
            assert list(found) == [3, 1, 2]
            for label, distances in found.items():
                alone = mask_surface_distances(reference == label, prediction == label, (2.0, 1.0, 0.7), name)
                for ours, theirs in zip(vars(distances).values(), vars(alone).values(), strict=True):
                    assert_array_equal(ours, theirs)

    def test_ignored_voxels_belong_to_no_class(self):
        reference = labels_of(box((5, 5), (0, 5), (0, 5)))
        reference[2, 2] = 255
        found = surface_distances(reference, reference, [1], (1, 1))[1]
        assert found.reference_to_prediction.size == 16 + 4
        with pytest.raises(UsageError, match="between 1 and 254, not 255"):
            surface_distances(reference, reference, [255], (1, 1))

    def test_absent_class(self):
        empty = np.zeros((3, 4), np.uint8)
        found = surface_distances(empty, empty, [7], (1, 1))[7]
        assert found.reference_to_prediction.size == found.prediction_to_reference.size == 0

    def test_arrays_of_any_layout(self):
        random = np.random.default_rng(4)
        reference, prediction = random.integers(0, 3, (2, 6, 7, 8), np.uint8)
        expected = surface_distances(reference, prediction, [1, 2], (3, 2, 1))
        reference.flags.writeable = False
        for ours in (reference, np.asfortranarray(reference), np.repeat(reference, 2, axis=2)[:, :, ::2]):
            found = surface_distances(ours, prediction, [1, 2], (3, 2, 1))
            for label in (1, 2):
                assert_array_equal(found[label].reference_to_prediction, expected[label].reference_to_prediction)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"prediction": np.zeros((3, 5), np.uint8)}, r"shape \(3, 4\), the prediction \(3, 5\)"),
            ({"prediction": np.zeros((3, 4), np.int64)}, "prediction must be a label map of dtype uint8, not int64"),
            ({"spacing_mm": (1, 1, 1)}, "2 positive numbers"),
            ({"spacing_mm": (1, 0)}, "2 positive numbers"),
            ({"spacing_mm": (1, float("nan"))}, "2 positive numbers"),
            ({"labels": [1, 0]}, "between 1 and 254, not 0"),
            ({"definition": "mine"}, "Unknown HD95 definition 'mine'. Known: monai"),
        ],
    )
    def test_usage_errors(self, changes, message):
        arguments = {
            "reference": np.zeros((3, 4), np.uint8),
            "prediction": np.zeros((3, 4), np.uint8),
            "labels": [1],
            "spacing_mm": (1.0, 1.0),
        }
        with pytest.raises(UsageError, match=message):
            surface_distances(**(arguments | changes))

    def test_more_usage_errors(self):
        with pytest.raises(UsageError, match="2-D or 3-D image with voxels"):
            surface_distances(np.zeros(3, np.uint8), np.zeros(3, np.uint8), [1], (1,))
        with pytest.raises(UsageError, match="2-D or 3-D image with voxels"):
            surface_distances(np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8), [1], (1, 1))
        with pytest.raises(UsageError, match="reference mask must be of dtype bool"):
            mask_surface_distances(np.zeros((2, 2)), np.zeros((2, 2), bool), (1, 1))  # type: ignore[arg-type]
        voxel = box((3, 3), (1, 2), (1, 2))
        for made, asked in (("monai", "deepmind"), ("deepmind", "monai")):
            with pytest.raises(UsageError, match=f"HD95 as '{asked}' has it needs distances computed with that"):
                hd95(mask_surface_distances(voxel, voxel, (1, 1), made), asked)


def degenerate(shape):
    checkers = np.indices(shape).sum(axis=0) % 2 == 0
    single = np.zeros(shape, bool)
    single[tuple(count // 2 for count in shape)] = True
    corner = np.zeros(shape, bool)
    corner[(0,) * len(shape)] = True
    far = corner.copy()
    far[(-1,) * len(shape)] = True
    return {
        "empty": np.zeros(shape, bool),
        "full": np.ones(shape, bool),
        "checkers": checkers,
        "others": ~checkers,
        "single": single,
        "far": far,
    }


def scattered(random, shape, count):
    """A mask of so many boxes of up to five voxels along each axis."""
    mask = np.zeros(shape, bool)
    for _ in range(count):
        start = [random.integers(0, size) for size in shape]
        mask[tuple(slice(first, first + random.integers(1, 6)) for first in start)] = True
    return mask


WAYS = {"blocks": 1e15, "transform": 0.0, "blocks given up": 0.4}  # what a transform is said to cost


@pytest.fixture(params=WAYS)
def far_way(request):
    """Let no query be near, and the far ones be searched for in one way, whatever their number."""
    found = set()
    expected = {"blocks": {True}, "transform": set(), "blocks given up": {False}}[request.param]
    search_blocks = search._search_blocks

    def recorded(*rest):
        found.add(search_blocks(*rest))
        return True in found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_transform_cost", lambda *_: WAYS[request.param])
        patch.setattr(search, "_search_blocks", recorded)
        for name, value in {"_SMALL_COST": 0.1, "_BLOCKS_COST": 0, "_NEAR_ROWS": 1, "_CELL": 3.0}.items():
            patch.setattr(search, name, value)
        yield found, expected
    assert found <= expected


class TestBruteForce:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("shape", [(1, 1), (4, 1), (5, 66), (1, 1, 1), (1, 4, 5), (4, 1, 3), (3, 4, 65)])
    def test_degenerate_masks(self, shape, name):
        masks = degenerate(shape)
        spacing_mm = (2.5, 1.0, 0.7)[-len(shape) :]
        for reference in masks.values():
            for prediction in masks.values():
                check_against_brute_force(reference, prediction, spacing_mm, name)

    @settings(max_examples=examples(100), deadline=None)
    @given(data=st.data())
    def test_random_masks(self, data):
        axis = st.integers(1, 6)
        shape = (*data.draw(st.lists(axis, min_size=1, max_size=2)), data.draw(st.integers(1, 140)))
        spacing_mm = tuple(data.draw(st.sampled_from([0.3, 0.78, 1.0, 1.5, 5.0, 11.0])) for _ in shape)
        random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        reference, prediction = (
            random.random(shape) < data.draw(st.sampled_from([0.01, 0.1, 0.5, 0.95])) for _ in range(2)
        )
        check_against_brute_force(reference, prediction, spacing_mm, data.draw(st.sampled_from(NAMES)))

    @pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (4.0, 0.9, 0.7), (0.5, 1.5, 3.0)])
    def test_far_queries(self, spacing_mm):
        """Elements too far for the search among near rows, before, between and after near ones, across words."""
        random = np.random.default_rng(5)
        reference, prediction = np.zeros((2, 40, 90, 260), bool)
        for mask, count in ((reference, 60), (prediction, 12)):
            mask[tuple(random.integers(0, size, count) for size in mask.shape)] = True
        prediction[20, 40, 60:130] = True
        reference[21, 40, 100:200] = True
        found = check_against_brute_force(reference, prediction, spacing_mm, "monai")
        assert found.reference_to_prediction.max() > 40

    @settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_every_way_to_far_targets(self, far_way, data):
        """Blobs and single voxels, in images of many cells and of one, with spacing that squares exactly or not."""
        shape = tuple(data.draw(st.integers(1, count)) for count in (7, 12, 100))[-data.draw(st.sampled_from([2, 3])) :]
        spacing_mm = tuple(data.draw(st.sampled_from([0.3, 0.78, 1.0, 1.5, 5.0])) for _ in shape)
        random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        reference, prediction = (scattered(random, shape, data.draw(st.integers(0, 9))) for _ in range(2))
        name = data.draw(st.sampled_from(NAMES))
        found = mask_surface_distances(reference, prediction, spacing_mm, name)
        forth, back = brute.distances(reference, prediction, spacing_mm, name)
        assert_allclose(found.reference_to_prediction, forth, rtol=1e-12, atol=1e-12)
        assert_allclose(found.prediction_to_reference, back, rtol=1e-12, atol=1e-12)

    def test_the_ways_give_the_same_bits(self, far_way):
        """Squares of multiples of 0.25 are exact, so nothing may differ from brute force at all."""
        random = np.random.default_rng(8)
        reference, prediction = (scattered(random, (20, 30, 70), count) for count in (2, 25))
        found = mask_surface_distances(reference, prediction, (1.25, 0.75, 0.5))
        taken, expected = far_way
        assert taken == expected
        forth, back = brute.distances(reference, prediction, (1.25, 0.75, 0.5), "monai")
        assert_array_equal(found.reference_to_prediction, forth)
        assert_array_equal(found.prediction_to_reference, back)

    def test_long_runs_of_far_queries(self):
        """Whole rows and columns far from a small target, with a near stretch at the end."""
        reference, prediction = np.zeros((2, 6, 70, 330), bool)
        reference[:, :, ::7] = True
        reference[2, 60, 300:] = True
        prediction[2, 62:66, 310:312] = True
        check_against_brute_force(reference, prediction, (3.0, 1.0, 1.0), "monai")

    @pytest.mark.parametrize("name", ["monai", "sdc-repo"])
    @large
    def test_benchmark_cases_against_distance_maps(self, name):
        """The adversarial masks of the benchmark, whole."""
        for case in adversarial(organ_case("acdc")):
            reference, prediction = case.reference == 1, case.prediction == 1
            found = mask_surface_distances(reference, prediction, case.spacing_mm, name)
            forth, back = brute.distances_by_map(reference, prediction, case.spacing_mm, name)
            assert_allclose(found.reference_to_prediction, forth, rtol=0, atol=1e-6)
            assert_allclose(found.prediction_to_reference, back, rtol=0, atol=1e-6)

    def test_single_far_pair_at_every_word_boundary(self):
        for x in (0, 31, 32, 63, 64, 95, 127, 128, 199):
            for other in (0, 63, 64, 127, 128, 199):
                reference, prediction = np.zeros((2, 3, 200), bool)
                reference[0, x], prediction[2, other] = True, True
                found = mask_surface_distances(reference, prediction, (2.0, 0.5))
                assert hausdorff(found) == pytest.approx(np.hypot(4.0, 0.5 * (x - other)), abs=1e-12)


def blob_pair(seed, shape):
    """Two smooth masks that overlap."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    field = gaussian_filter(random.normal(size=shape), 3)
    return field > field.std() * 0.5, field + 0.3 * gaussian_filter(random.normal(size=shape), 2) > field.std() * 0.6


PAIRS = [
    pytest.param(seed, shape, spacing_mm, id=f"{len(shape)}d-{seed}")
    for seed, shape, spacing_mm in [
        (1, (12, 30, 40), (3.0, 1.2, 0.8)),
        (2, (1, 30, 40), (3.0, 1.0, 1.0)),
        (3, (20, 20, 70), (1.0, 1.0, 1.0)),
        (4, (50, 60), (1.0, 0.6)),
        (5, (64, 64), (1.0, 1.0)),
    ]
]


@pytest.fixture(scope="module")
def monai():
    torch = pytest.importorskip("torch")

    def compute(function, *masks, **settings):
        batches = [torch.from_numpy(mask)[None, None] for mask in masks]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MONAI about itself
            metrics = pytest.importorskip("monai.metrics")
            return float(getattr(metrics, function)(*batches, include_background=True, **settings))

    return compute


def revived_surface_distance(patch):
    """The surface-distance package as published, with the names that numpy 2 and scipy took away."""
    from scipy import ndimage

    patch.setattr(np, "Inf", np.inf, raising=False)
    for namespace in ("filters", "morphology"):
        patch.setattr(ndimage, namespace, ndimage, raising=False)
    return pytest.importorskip("surface_distance")


@pytest.fixture
def deepmind(monkeypatch):
    return revived_surface_distance(monkeypatch)


@large
class TestPeers:
    @pytest.mark.parametrize(("seed", "shape", "spacing_mm"), PAIRS)
    def test_monai(self, monai, seed, shape, spacing_mm):
        reference, prediction = blob_pair(seed, shape)
        found = mask_surface_distances(reference, prediction, spacing_mm)
        masks = (prediction, reference)
        spacing = {"spacing": spacing_mm}
        # MONAI's distances are float32, and so is the rank at which it interpolates: n 2^-24 of the step between two
        # distances may be lost, see test_monai_interpolates_in_float32.
        lost = 2.0**-24 * max(found.reference_to_prediction.size, found.prediction_to_reference.size)
        expected = monai("compute_hausdorff_distance", *masks, percentile=95, **spacing)
        assert hd95(found) == pytest.approx(expected, rel=1e-6, abs=max(1e-6, lost))
        assert hausdorff(found) == pytest.approx(monai("compute_hausdorff_distance", *masks, **spacing), 1e-6)
        expected = monai("compute_average_surface_distance", *masks, symmetric=True, **spacing)
        assert assd(found) == pytest.approx(expected, 1e-6)
        expected = monai("compute_surface_dice", *masks, class_thresholds=[1.1], **spacing)
        assert nsd(found, 1.1) == pytest.approx(expected, 1e-6)

    def test_monai_interpolates_in_float32(self, monai):
        reference, prediction = blob_pair(3, (20, 20, 70))
        found = mask_surface_distances(reference, prediction, (1, 1, 1))
        expected = max(
            np.percentile(values, 95) for values in brute.distances(reference, prediction, (1, 1, 1), "monai")
        )
        assert hd95(found) == pytest.approx(expected, abs=1e-12)
        theirs = monai("compute_hausdorff_distance", prediction, reference, percentile=95, spacing=(1, 1, 1))
        assert expected - theirs == pytest.approx(7e-5, abs=1e-5)

    @pytest.mark.parametrize(("seed", "shape", "spacing_mm"), PAIRS)
    def test_medpy(self, seed, shape, spacing_mm):
        medpy = pytest.importorskip("medpy.metric.binary")
        reference, prediction = blob_pair(seed, shape)
        found = mask_surface_distances(reference, prediction, spacing_mm, "medpy")
        assert hd95(found, "medpy") == pytest.approx(medpy.hd95(prediction, reference, spacing_mm), abs=1e-6)
        assert hausdorff(found) == pytest.approx(medpy.hd(prediction, reference, spacing_mm), abs=1e-6)
        assert assd(found) == pytest.approx(medpy.assd(prediction, reference, spacing_mm), abs=1e-6)

    @pytest.mark.parametrize(("seed", "shape", "spacing_mm"), PAIRS)
    def test_surface_distance(self, deepmind, seed, shape, spacing_mm):
        reference, prediction = blob_pair(seed, shape)
        found = mask_surface_distances(reference, prediction, spacing_mm, "deepmind")
        theirs = deepmind.compute_surface_distances(reference, prediction, spacing_mm)
        assert_allclose(np.sort(found.reference_to_prediction), theirs["distances_gt_to_pred"], atol=1e-6)
        assert_allclose(np.sort(found.prediction_to_reference), theirs["distances_pred_to_gt"], atol=1e-6)
        assert hd95(found, "deepmind") == pytest.approx(deepmind.compute_robust_hausdorff(theirs, 95), abs=1e-6)
        assert nsd(found, 1.1) == pytest.approx(deepmind.compute_surface_dice_at_tolerance(theirs, 1.1), abs=1e-9)
        areas = [theirs["surfel_areas_gt"].sum(), theirs["surfel_areas_pred"].sum()]
        assert [found.reference_areas.sum(), found.prediction_areas.sum()] == pytest.approx(areas, rel=1e-12)
        means = deepmind.compute_average_surface_distance(theirs)
        assert assd(found) == pytest.approx(np.average(means, weights=areas), abs=1e-9)

    @settings(max_examples=examples(60), deadline=None)
    @given(seed=st.integers(0, 2**32), planar=st.booleans(), rate=st.sampled_from([0.05, 0.3, 0.7]))
    def test_surface_distance_hd95_of_noise(self, seed, planar, rate):
        random = np.random.default_rng(seed)
        shape = (6, 9) if planar else (4, 5, 6)
        reference, prediction = random.random((2, *shape)) < rate
        spacing_mm = tuple(random.choice([0.5, 1.0, 1.3], len(shape)))
        with pytest.MonkeyPatch.context() as patch:
            package = revived_surface_distance(patch)
            theirs = package.compute_surface_distances(reference, prediction, spacing_mm)
            expected = package.compute_robust_hausdorff(theirs, 95)
        ours = hd95(mask_surface_distances(reference, prediction, spacing_mm, "deepmind"), "deepmind")
        assert ours == pytest.approx(expected, abs=1e-6) if np.isfinite(expected) else np.isnan(ours)

    @pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.5, 1.5, 3.0), (5.0, 0.78, 0.7)])
    def test_area_tables(self, deepmind, spacing_mm):
        from surface_distance import lookup_tables

        weights = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL.ravel()
        areas = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
        lengths = lookup_tables.create_table_neighbour_code_to_contour_length(spacing_mm[1:])
        flat = lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL.ravel()
        for code in range(256):
            bits = [code >> bit & 1 for bit in range(8)]
            assert corner_areas(spacing_mm)[code] == pytest.approx(areas[np.dot(weights, bits)], rel=1e-13)
            assert corner_lengths(spacing_mm[1:])[code & 15 | code % 16 * 16] == lengths[np.dot(flat, bits[:4])]


@large
def test_threads_change_no_bit():
    random = np.random.default_rng(6)
    from scipy.ndimage import zoom

    reference, prediction = (
        zoom(random.integers(0, 4, (5, 12, 12), np.uint8), (8, 16, 16), order=0)[:, :, :190] for _ in range(2)
    )
    prediction[0, 0, 0] = 3
    assert reference.size > 1 << 20
    for name in NAMES:
        alone = surface_distances(reference, prediction, range(1, 4), (2.0, 1.0, 0.9), name)
        for threads in (2, 5):
            found = surface_distances(reference, prediction, range(1, 4), (2.0, 1.0, 0.9), name, threads=threads)
            for label in found:
                for ours, theirs in zip(vars(found[label]).values(), vars(alone[label]).values(), strict=True):
                    assert (ours is None) == (theirs is None)
                    assert ours is None or ours.tobytes() == theirs.tobytes()


@large
def test_memory_stays_far_below_a_distance_map():
    reference = labels_of(box((128, 256, 256), (40, 60), (50, 90), (60, 100)))
    prediction = labels_of(box((128, 256, 256), (41, 62), (50, 92), (58, 100)))
    prediction[-1, -1, -1] = 1
    surface_distances(reference, prediction, [1], (1, 1, 1))
    tracemalloc.start()
    surface_distances(reference, prediction, [1], (1, 1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * reference.size  # one float64 distance map takes 8 bytes a voxel


def test_module_is_light_and_its_example_true():
    code = "import sys, calibeval.metrics.surface; sys.exit('numba' in sys.modules or 'scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert doctest.testmod(surface).failed == 0
