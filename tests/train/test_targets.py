"""Targets against brute force and scipy, their borders, ignored voxels and degenerate images."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from calibeval.errors import UsageError
from calibeval.train.loss_base import one_hot
from calibeval.train.targets import (
    BORDERS,
    KERNELS,
    MORPHS,
    NeighbourTarget,
    morph_reference,
    sdf_probability,
    signed_distance,
)

CLASSES = 4


def random_labels(shape, seed=0, classes=CLASSES):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, shape))


def blobs(shape, seed=0):
    """Labels with regions rather than noise."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, *(2,) * (len(shape) - 1)))
    return torch.from_numpy(np.digitize(field, np.quantile(field, (0.3, 0.5, 0.8))))


def squares_around(index, shape):
    return itertools.product(*((i - 1, i, i + 1) for i in index))


def neighbour_labels(label, index, border):
    """The nine (or 27) labels around a voxel; None where nothing lies there."""
    for at in squares_around(index, label.shape):
        if all(0 <= i < n for i, n in zip(at, label.shape, strict=True)):
            yield int(label[at])
        elif border == "background":
            yield 0
        elif border == "zero":
            yield None
        elif border == "replicate":
            yield int(label[tuple(min(max(i, 0), n - 1) for i, n in zip(at, label.shape, strict=True))])
        else:
            yield int(label[tuple(n - 1 - abs(n - 1 - abs(i)) for i, n in zip(at, label.shape, strict=True))])


def brute_force(label, kernel, border, ignore=-100):
    result = np.zeros((CLASSES, *label.shape))
    for index in np.ndindex(*label.shape):
        around = [each for each in neighbour_labels(label, index, border) if each != ignore]
        known = [each for each in around if each is not None]
        if not known:
            continue
        counts = np.bincount(known, minlength=CLASSES)
        if kernel == "mean":
            result[(slice(None), *index)] = counts / len(around)
        elif kernel == "mode":
            result[(slice(None), *index)] = (counts == counts.max()) / (counts == counts.max()).sum()
        else:
            place = {"min": 0, "max": -1, "median": (len(known) - 1) // 2}[kernel]
            chosen = sorted(known)[place]
            result[(chosen, *index)] = 1
    return result


@pytest.mark.parametrize("shape", [(2, 7, 5), (1, 4, 5, 3)])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel", ["mean", "min", "max", "median", "mode"])
def test_kernels_equal_brute_force(kernel, border, shape):
    labels = random_labels(shape)
    ours = NeighbourTarget(kernel, border=border)(labels, CLASSES)
    for image, label in zip(ours, labels, strict=True):
        np.testing.assert_allclose(image, brute_force(label.numpy(), kernel, border), atol=1e-6)


@pytest.mark.parametrize("kernel", ["mean", "min", "max", "median", "mode"])
def test_ignored_voxels_are_no_neighbours(kernel):
    labels = random_labels((1, 8, 7), seed=3)
    labels[0, 2:4, 1:6] = 255
    ours = NeighbourTarget(kernel)(labels, CLASSES, ignore_index=255)[0]
    known = labels[0].numpy() != 255
    np.testing.assert_allclose(
        ours.numpy()[:, known], brute_force(labels[0].numpy(), kernel, "replicate", 255)[:, known], atol=1e-6
    )


@pytest.mark.parametrize("sigma", [0.7, 2.0])
@pytest.mark.parametrize("shape", [(1, 9, 8), (1, 5, 6, 7)])
def test_gaussian_and_svls_weights(shape, sigma):
    labels = random_labels(shape, seed=1)
    masks = one_hot(labels, CLASSES, labels >= 0)[0].numpy()
    axis = np.exp(-0.5 * np.array([-1, 0, 1]) ** 2 / sigma**2)
    weights = axis[:, None] * axis if len(shape) == 3 else axis[:, None, None] * axis[:, None] * axis
    centre = (1,) * weights.ndim
    gaussian = weights / weights.sum()
    svls = weights.copy()
    svls[centre] = weights.sum() - 1  # the centre weighs as much as all neighbours together
    svls /= svls.sum()
    assert svls[centre] == pytest.approx(0.5)
    for kernel, expected in (("gaussian", gaussian), ("svls", svls)):
        ours = NeighbourTarget(kernel, sigma=sigma)(labels, CLASSES)[0]
        for mask, map_ in zip(masks, ours, strict=True):
            np.testing.assert_allclose(map_, ndimage.convolve(mask, expected, mode="nearest"), atol=1e-6)


def test_bilateral_follows_the_image():
    labels = torch.tensor([[[0, 0, 1, 1]] * 4])
    flat = NeighbourTarget("bilateral")(labels, 2, image=torch.zeros(1, 1, 4, 4))
    torch.testing.assert_close(flat, NeighbourTarget("mean")(labels, 2))
    edge = NeighbourTarget("bilateral")(labels, 2, image=100.0 * labels[:, None])
    torch.testing.assert_close(edge, one_hot(labels, 2, labels >= 0), atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="needs the image"):
        NeighbourTarget("bilateral")(labels, 2)


@pytest.mark.parametrize("morph", MORPHS)
@pytest.mark.parametrize("shape", [(2, 12, 11), (1, 6, 9, 8)])
def test_morphology_equals_scipy(morph, shape):
    labels = blobs(shape)
    known = torch.ones(shape, dtype=torch.bool)
    ours = MORPHS[morph](one_hot(labels, CLASSES, known), known)
    box = (3,) * (len(shape) - 1)

    def dilate(mask):
        return ndimage.grey_dilation(mask, box, mode="constant", cval=0)

    def erode(mask):
        return ndimage.grey_erosion(mask, box, mode="constant", cval=1)

    expected = {
        "none": lambda m: m,
        "internal_boundary": lambda m: m - erode(m),
        "external_boundary": lambda m: dilate(m) - m,
        "closing": lambda m: erode(dilate(m)),
        "opening": lambda m: dilate(erode(m)),
        "dilation": dilate,
        "erosion": erode,
        "gradient": lambda m: dilate(m) - erode(m),
    }[morph]
    for image, label in zip(ours.numpy(), labels.numpy(), strict=True):
        for index in range(CLASSES):
            np.testing.assert_array_equal(image[index], expected((label == index).astype(np.float32)))


def test_gradient_leaves_most_voxels_without_target():
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    labels[:, 10:30, 10:30] = 1
    target = NeighbourTarget(morph="gradient")(labels, 2)
    assert (target.sum(dim=1) == 0).float().mean() > 0.5
    assert target.sum(dim=1).max() <= 2 + 1e-6  # both classes' boundaries; never renormalised


def test_morph_reference_shares_overlaps_and_leaves_bare_voxels_empty():
    labels = torch.zeros(1, 5, 6, dtype=torch.long)
    labels[..., 3:] = 1
    dilated = morph_reference(labels, 2, "dilation")[0, :, 0]
    torch.testing.assert_close(dilated, torch.tensor([[1, 1, 0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5, 1, 1]]))
    eroded = morph_reference(labels, 2, "erosion")[0, :, 0]
    torch.testing.assert_close(eroded, torch.tensor([[1.0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]]))


@pytest.mark.parametrize("limit", [3, 10, 200])
@pytest.mark.parametrize("shape", [(2, 24, 19), (1, 9, 14, 11)])
def test_signed_distance_equals_scipy_within_the_limit(shape, limit):
    labels = blobs(shape, seed=5)
    ours = signed_distance(labels, CLASSES, limit).numpy()
    for image, label in zip(ours, labels.numpy(), strict=True):
        for index in range(CLASSES):
            mask = label == index
            exact = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
            expected = np.where(np.abs(exact) > limit, np.sign(exact) * np.inf, exact)
            np.testing.assert_allclose(image[index], expected, rtol=1e-6)


def test_signed_distance_of_absent_and_full_classes():
    distance = signed_distance(torch.ones(1, 6, 6, dtype=torch.long), 3)
    assert (distance[:, 1] == -torch.inf).all()
    assert (distance[:, [0, 2]] == torch.inf).all()
    torch.testing.assert_close(sdf_probability(distance)[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.0]), rtol=0, atol=0)


@pytest.mark.parametrize("limit", [1e3, 1e10, math.inf])
def test_a_limit_beyond_the_image_costs_and_changes_nothing(limit):
    labels = blobs((1, 9, 12), seed=5)
    labels[labels == 3] = 0
    distance = signed_distance(labels, CLASSES, limit)
    torch.testing.assert_close(distance, signed_distance(labels, CLASSES, 20), rtol=0, atol=0)
    assert (distance[:, 3] == torch.inf).all()


def test_signed_distance_by_hand():
    labels = torch.tensor([[[0, 0, 1, 1, 1]] * 3])
    torch.testing.assert_close(signed_distance(labels, 2)[0, 1, 0], torch.tensor([2.0, 1, -1, -2, -3]))


def test_ignored_voxels_are_neither_inside_nor_outside():
    labels = torch.tensor([[[0, 255, 1, 1]] * 2])
    torch.testing.assert_close(
        signed_distance(labels, 2, ignore_index=255)[0, 1, 0][[0, 2, 3]], torch.tensor([2.0, -2, -3])
    )


@settings(max_examples=50, deadline=None)
@given(st.floats(-30, 30), st.floats(0, 5), st.floats(-1, 1), st.floats(0.1, 4))
def test_sdf_probability_obeys_the_papers_bound(distance, delta, part, kappa):
    """Lemma 2: |s - s*| <= delta gives |p - p*| <= kappa delta / 4."""
    s = torch.tensor([distance, distance + part * delta], dtype=torch.float64)
    p = sdf_probability(s, kappa)
    assert abs(p[0] - p[1]) <= kappa * delta / 4 + 1e-12


@pytest.mark.parametrize("setting", [{"kernel": "box"}, {"morph": "closed"}, {"border": "wrap"}])
def test_unknown_settings_name_the_known_ones(setting):
    with pytest.raises(UsageError, match=r"Unknown .* Known: "):
        NeighbourTarget(**setting)


def test_every_kernel_is_a_distribution_away_from_constant_borders():
    labels, image = random_labels((1, 6, 7), seed=9), torch.rand(1, 1, 6, 7)
    for kernel in KERNELS:
        target = NeighbourTarget(kernel)(labels, CLASSES, image=image)
        torch.testing.assert_close(target.sum(dim=1), torch.ones(1, 6, 7))
