"""Every loss against its formula in plain numpy, voxel by voxel, in float64, with ignored voxels and absent classes."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.special import log_softmax, logsumexp

from calibeval.train.losses import LOSSES, build_loss
from tests.train.loss_example import CLASSES

IGNORED = 255


def case(shape, trial):
    """Logits and labels: all classes, one absent, or some voxels ignored."""
    random = np.random.default_rng(trial)
    labels = random.integers(0, CLASSES, (shape[0], *(-(-n // 3) for n in shape[1:])))
    for axis, n in enumerate(shape[1:], 1):
        labels = labels.repeat(3, axis).take(range(n), axis)
    if trial == 1:
        labels[labels == 2] = 1
    if trial == 2:
        labels[random.random(shape) < 0.15] = IGNORED
    return random.normal(0, 6, (shape[0], CLASSES, *shape[1:])), labels


class Formulas:
    """The losses in their published setting; arrays have the classes first, and known voxels flattened behind."""

    def __init__(self, logits, labels):
        self.labels, self.known = labels, labels != IGNORED
        self.maps = np.stack([(labels == c) & self.known for c in range(CLASSES)]).astype(float)
        self.all_p = np.exp(log_softmax(np.moveaxis(logits, 1, 0), axis=0))
        self.z, self.log_p = (self.flat(np.moveaxis(each, 1, 0)) for each in (logits, log_softmax(logits, axis=1)))
        self.p, self.y = np.exp(self.log_p), self.flat(self.maps)
        self.log_p_y = (self.y * self.log_p).sum(0)
        self.ce = -self.log_p_y.mean()

    def flat(self, maps):
        return maps[:, self.known]

    def around(self, border, weigh=lambda offset: 1.0):
        """Weighted share of each class among the neighbours; a weight of 0 leaves a neighbour out."""
        shares = np.zeros_like(self.maps)
        for image, *index in zip(*np.nonzero(self.known), strict=True):
            total = 0.0
            for offset in itertools.product((-1, 0, 1), repeat=len(index)):
                at, weight = np.add(index, offset), weigh(offset)
                size = self.labels.shape[1:]
                if border == "replicate":
                    at = np.clip(at, 0, np.subtract(size, 1))
                outside = (at < 0).any() or (at >= size).any()
                if not outside and not self.known[(image, *at)]:
                    continue
                total += weight
                found = [0.0] * CLASSES if outside else self.maps[(slice(None), image, *at)]
                shares[(slice(None), image, *index)] += weight * np.array(found)
                shares[(0, image, *index)] += weight * (outside and border == "background")
            shares[(slice(None), image, *index)] /= total or 1
        return self.flat(shares)

    def distance(self):
        distances = np.empty_like(self.maps)
        for index in np.ndindex(*self.maps.shape[:2]):
            inside, outside = self.maps[index] > 0, self.known[index[1]] & (self.maps[index] == 0)
            far = np.full(inside.shape, np.inf)
            to_class = distance_transform_edt(~inside) if inside.any() else far
            to_others = distance_transform_edt(~outside) if outside.any() else far
            distances[index] = np.where(inside, -to_others, to_class)
        return self.flat(distances)

    def dice(self, first, axes):
        p, y = np.where(self.known, self.all_p, 0)[first:], self.maps[first:]
        return ((2 * (p * y).sum(axes) + 1e-5) / (p.sum(axes) + y.sum(axes) + 1e-5)).mean()

    def ace(self, shares, least):
        """Mean over images and classes of the mean over bins; `shares` gives (bin, weight) pairs of one p."""
        total = []
        for c, image in itertools.product(range(CLASSES), range(len(self.labels))):
            bins = np.zeros((20, 3))
            for p, y in zip(
                self.all_p[c, image][self.known[image]], self.maps[c, image][self.known[image]], strict=True
            ):
                for index, weight in shares(p):
                    bins[index] += weight, weight * p, weight * y
            full = bins[bins[:, 0] >= least]
            total.append(np.mean(np.abs(full[:, 1] - full[:, 2]) / full[:, 0]) if self.maps[c, image].any() else 0.0)
        return np.mean(total)

    def focal(self):
        return (-((1 - np.exp(self.log_p_y)) ** 3) * self.log_p_y).mean()

    def cross(self, target):
        return -(target * self.log_p).sum(0).mean()

    def svls(self):
        neighbours = self.around("replicate", lambda o: any(o) * np.exp(-np.dot(o, o) / 2 / 2.0**2))
        return self.cross(0.5 * self.y + 0.5 * neighbours)

    def sdc_l2(self):
        near = 0.1 * ((self.p - self.around("replicate")) ** 2).mean()
        return self.ce + near + 0.4 * ((self.p - 1 / (1 + np.exp(self.distance()))) ** 2).mean()

    def sdc(self, on="probabilities"):
        near = 0.1 * np.abs(self.p - self.around("replicate")).mean()
        if on == "probabilities":
            return self.ce + near + 0.2 * np.abs(self.p - 1 / (1 + np.exp(self.distance()))).mean()
        rest = np.stack([logsumexp(np.delete(self.z, c, axis=0), axis=0) for c in range(CLASSES)])
        return self.ce + near + 0.1 * np.abs(rest - self.z - self.distance().clip(-10, 10)).mean()


def hard_share(p):
    """The bin whose right edge is the first at or above p."""
    return [(max(0, math.ceil(p * 20) - 1), 1)]


def soft_shares(p):
    """The two nearest bin centres, each by how near it is; one bin beyond the outermost centres."""
    centres = (np.arange(20) + 0.5) / 20
    return [(k, weight) for k, c in enumerate(np.clip(p, 0.025, 0.975) - centres) if (weight := 1 - 20 * abs(c)) > 0]


def axes_of(formulas, start):
    return tuple(range(start, formulas.maps.ndim))


FORMULAS = {
    "dicece": lambda f: f.ce + 1 - f.dice(0, axes_of(f, 2)),
    "dicece:nnunet": lambda f: f.ce + 1 - f.dice(1, axes_of(f, 1)),
    "fl": lambda f: f.focal(),
    "ecp": lambda f: f.ce + 0.1 * (f.p * f.log_p).sum(0).mean(),
    "ecp:marginloss": lambda f: f.ce + 0.1 * (f.p * f.log_p).mean(),
    "ls": lambda f: f.cross(0.9 * f.y + 0.1 / CLASSES),
    "ls:complement": lambda f: f.cross(0.9 * f.y + 0.1 / (CLASSES - 1) * (1 - f.y)),
    "svls": lambda f: f.svls(),
    "mbls": lambda f: f.ce + 0.1 * np.maximum(f.z.max(0) - f.z - 10, 0).mean(),
    "nacl": lambda f: f.ce + 0.1 * np.abs(f.around("background") - f.z).mean(),
    "nacl:prob": lambda f: f.ce + 0.1 * np.abs(f.around("background") - f.p).mean(),
    "nacl:l2": lambda f: f.ce + 0.1 * ((f.around("background") - f.z) ** 2).mean(),
    "nacl:monai": lambda f: f.ce + 0.1 * np.abs(f.around("zero") - f.z).mean(),
    "fcl": lambda f: f.focal() + 0.1 * ((f.p - f.y) ** 2).sum(0).mean(),
    "fcl:sdc_repo": lambda f: f.focal() + 0.1 * ((f.p - f.y) ** 2).mean(),
    "sdc": lambda f: f.sdc(),
    "hard_l1ace": lambda f: (
        f.ce + 1 - f.dice(0, axes_of(f, 2)) + f.ace(lambda p: [(max(0, math.ceil(p * 20) - 1), 1)], 1)
    ),
    "soft_l1ace": lambda f: f.ce + 1 - f.dice(0, axes_of(f, 2)) + f.ace(soft_shares, 0.01),
    "sdc:logit": lambda f: f.sdc("logits"),
    "sdc:l2": lambda f: f.sdc_l2(),
}


@pytest.mark.parametrize("trial", range(3))
@pytest.mark.parametrize("shape", [(2, 8, 7), (1, 4, 5, 6)])
def test_losses_equal_their_formulas(shape, trial):
    logits, labels = case(shape, trial)
    formulas = Formulas(logits, labels)
    for spec, formula in FORMULAS.items():
        ours = build_loss(spec, ignore_index=IGNORED)(torch.from_numpy(logits), torch.from_numpy(labels)).item()
        assert ours == pytest.approx(formula(formulas), rel=1e-6), spec


def test_no_default_is_left_out():
    """Variants of released code are held by `test_released`, one-hot kernels by `test_targets`."""
    assert set(LOSSES) <= set(FORMULAS)
