"""Every metric of the registry from its definition alone, on whole arrays: probabilities, labels, spacing, protocol.

Slow, and without a line in common with the package: masks are compared voxel by voxel, surfaces by brute force, bins
are lists of (p, target). Empty masks are left to tests of their own.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np

from calibeval.metrics import METRICS
from tests.oracles import calibration as plain
from tests.oracles import lesions, surface


class Scene:
    """One case: probabilities (C, *shape), labels and what follows from them."""

    def __init__(self, probabilities, labels, spacing_mm, protocol):
        self.p, self.y, self.spacing, self.protocol = probabilities, labels, spacing_mm, protocol
        self.classes = len(probabilities)
        self.yhat = np.argmax(probabilities, axis=0)

    def pairs(self):
        """Reference and prediction of each foreground class, or of their union."""
        if self.protocol.union:
            return {"foreground": (self.y > 0, self.yhat > 0)}
        return {str(c): (self.y == c, self.yhat == c) for c in range(1, self.classes)}

    def masks(self, metric):
        """A metric of each foreground class (or their union), and the mean."""
        values = {name: metric(*pair) for name, pair in self.pairs().items()}
        return {**values, "mean": math.fsum(values.values()) / len(values)}

    def distances(self, metric):
        """The same of both directed distances."""
        definition = self.protocol.hd95
        return self.masks(lambda r, m: metric(*surface.distances(r, m, self.spacing, definition)))

    def top(self):
        """Pairs (p, target) of the top label, and how many voxels count."""
        if self.protocol.ece_confidence == "foreground":
            return self.without_zeros(list(zip((1 - self.p[0]).ravel(), self.y.ravel() > 0, strict=True)))
        domains = {"all": self.y >= 0, "foreground": self.y > 0, "predicted-foreground": self.yhat > 0}
        return self.without_zeros(self.top_pairs(domains[self.protocol.ece_domain]))

    def top_pairs(self, inside):
        return [(self.p[(self.yhat[v], *v)], self.yhat[v] == self.y[v]) for v in zip(*np.nonzero(inside), strict=True)]

    def class_pairs(self, c):
        """Pairs (p_c, [y = c]) of the domain of CECE."""
        inside = self.y > 0 if self.protocol.cece_domain == "foreground" else self.y >= 0
        if self.protocol.cece_threshold is not None and self.protocol.cece_threshold_on == "voxels":
            inside = inside & (self.p[c] > self.protocol.cece_threshold)
        return list(zip(self.p[c][inside], self.y[inside] == c, strict=True))

    def without_zeros(self, pairs):
        kept = pairs if self.protocol.zero_in_first_bin else [pair for pair in pairs if pair[0] > 0]
        return kept, len(pairs)

    def class_set(self):
        last = self.y.max() if self.protocol.cece_classes == "up-to-reference-maximum" else self.classes - 1
        return range(last + 1)

    def by_class(self, function):
        return {
            str(c): function(*self.without_zeros(self.class_pairs(c)), self.protocol.cece_bins)
            for c in self.class_set()
        }

    def over_top(self, function):
        pairs, voxels = self.top()
        return function(pairs, voxels, self.protocol.ece_bins)

    def top_and_classes(self, function):
        return {**self.by_class(function), "all": self.over_top(function)}

    def near_boundary(self):
        """Voxels within a distance of one that has a neighbour of another label."""
        voxels = list(np.ndindex(self.y.shape))
        at = np.array(voxels) * self.spacing
        steps = [s for s in product((-1, 0, 1), repeat=self.y.ndim) if np.abs(s).sum() == 1]

        def differs(v, step):
            u = tuple(np.add(v, step))
            inside = all(0 <= i < n for i, n in zip(u, self.y.shape, strict=True))
            return inside and self.y[u] != self.y[v]

        edge = at[[any(differs(v, step) for step in steps) for v in voxels]]
        near = np.array([np.sqrt(((edge - a) ** 2).sum(axis=1)).min() <= self.protocol.boundary_mm for a in at])
        return near.reshape(self.y.shape)


def ece(pairs, voxels, bins):
    return plain.ece(pairs, bins, voxels)


def cece(scene):
    by_class = scene.by_class(ece)
    if scene.protocol.cece_threshold_on == "classes":
        by_class = {
            c: value if scene.p[int(c)].mean() > scene.protocol.cece_threshold else math.nan
            for c, value in by_class.items()
        }
    known = [value for value in by_class.values() if not math.isnan(value)]
    return {**by_class, "all": math.fsum(known) / len(known)}


def pece(scene):
    pairs = zip((1 - scene.p[0]).ravel(), scene.y.ravel() > 0, strict=True)
    kept, voxels = scene.without_zeros(list(pairs))
    return {"all": plain.pece(kept, scene.protocol.pece_bins, scene.protocol.fp_weight, voxels)}


def signed(pairs):
    return (math.fsum(p for p, _ in pairs) - sum(int(t) for _, t in pairs)) / len(pairs)


def gap(scene):
    """Of the top label where the prediction leaves room for foreground; of each class over the domain of CECE."""
    by_class = {str(c): signed(scene.class_pairs(c)) for c in scene.class_set()}
    return {**by_class, "all": signed(scene.top_pairs(1 - scene.p[0] > 1e-3))}


def brier(scene):
    by_class = {str(c): ((scene.p[c] - (scene.y == c)) ** 2).mean() for c in range(scene.classes)}
    return {**by_class, "all": math.fsum(by_class.values())}


def nll(scene):
    loss = -np.log(np.maximum(np.take_along_axis(scene.p, scene.y[None].astype(int), 0)[0], scene.protocol.nll_clip))
    return {**{str(c): loss[scene.y == c].mean() for c in range(scene.classes)}, "all": loss.mean()}


def hd95(protocol):
    pooled = protocol.hd95 in ("medpy", "sdc-repo")

    def metric(*directed):
        return np.percentile(np.concatenate(directed), 95) if pooled else max(np.percentile(d, 95) for d in directed)

    return metric


def of_lesions(name):
    return lambda s: s.masks(lambda r, m: lesions.numbers(r, m, s.spacing, s.protocol)[name])


def millilitres(scene):
    return scene.masks(lambda r, m: (int(m.sum()) - int(r.sum())) * math.prod(scene.spacing) / 1000)


def of_classes(scene, function, above=0.0, combine=np.mean):
    """A number of each class from its cells, and all classes together; only p above 1/960 or 0."""
    by_class = {}
    for c in range(scene.classes):
        inside = scene.p[c] > above
        by_class[str(c)] = function(cells(scene.p[c][inside], scene.y[inside] == c))
    return {**by_class, "all": combine(list(by_class.values()))}


def cells(p, y):
    """(voxels, mean p, positives) of each cell of 1/960, as tuples in the order of p."""
    found = {}
    for value, target in zip(p.tolist(), y.tolist(), strict=True):
        k = max(int(np.float32(value) > 0), math.ceil(np.float32(value) * 960 - 1e-4))
        found.setdefault(k, []).append((value, target))
    parts = (found[k] for k in sorted(found))
    return tuple((len(part), math.fsum(p for p, _ in part) / len(part), sum(t for _, t in part)) for part in parts)


def adaptive(of_class):
    """Fifteen bins of equal mass; a cell across the end of one is shared."""
    voxels = sum(n for n, _, _ in of_class)
    error, k, left = 0.0, 0, of_class[0][0]
    for _ in range(15):
        wanted, gap = voxels / 15, 0.0
        while wanted > 1e-9 and k < len(of_class):
            n, said, positive = of_class[k]
            taken = min(wanted, left)
            gap += taken * (positive / n - said)
            wanted, left = wanted - taken, left - taken
            if left < 1e-9:
                k += 1
                left = of_class[k][0] if k < len(of_class) else 0
        error += abs(gap)
    return error / voxels


@cache
def smooth(of_class):
    """The width at which the error smoothed by as much, with mirror images on both sides, equals the width."""
    n, said, positive = (np.array(column, float) for column in zip(*of_class, strict=True))
    centres = (np.arange(2000) + 0.5) / 2000
    images = np.concatenate([sign * said + shift for shift in (-4, -2, 0, 2, 4) for sign in (1, -1)])
    apart = (centres[:, None] - images) ** 2
    error = np.tile(positive - n * said, 10) / n.sum()

    def smoothed(width):
        kernel = np.exp(-apart / (2 * width**2)) / (width * math.sqrt(2 * math.pi))
        return np.abs(kernel @ error).mean()

    low, high = 0.001, 1.0
    while high - low > 1e-6:
        width = (low + high) / 2
        low, high = (width, high) if smoothed(width) > width else (low, width)
    return high


def miscalibration(of_class):
    """Brier score less that of the best non-decreasing refit, by pooling neighbours that decrease."""
    pools = []
    for n, _, positive in of_class:
        pools.append([n, positive, 1])
        while len(pools) > 1 and pools[-2][1] / pools[-2][0] >= pools[-1][1] / pools[-1][0]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    refit = [positive / n for n, positive, count in pools for _ in range(count)]

    def brier(of_cells):
        pairs = zip(of_class, of_cells, strict=True)
        return sum(t * (1 - q) ** 2 + (n - t) * q**2 for (n, _, t), q in pairs) / sum(n for n, _, _ in of_class)

    return brier([said for _, said, _ in of_class]) - brier(refit)


FORMULAS = {
    "DSC": lambda s: s.masks(lambda r, m: 2 * (r & m).sum() / (r.sum() + m.sum())),
    "IoU": lambda s: s.masks(lambda r, m: (r & m).sum() / (r | m).sum()),
    "precision": lambda s: s.masks(lambda r, m: r[m].mean()),
    "recall": lambda s: s.masks(lambda r, m: m[r].mean()),
    "VD": millilitres,
    "RVD": lambda s: s.masks(lambda r, m: (int(m.sum()) - int(r.sum())) / r.sum()),
    "HD95": lambda s: s.distances(hd95(s.protocol)),
    "HD": lambda s: s.distances(lambda a, b: max(a.max(), b.max())),
    "ASSD": lambda s: s.distances(lambda a, b: np.concatenate([a, b]).mean()),
    "NSD": lambda s: s.distances(lambda a, b: (np.concatenate([a, b]) <= s.protocol.nsd_tolerance_mm).mean()),
    **{name: of_lesions(name) for name in METRICS if METRICS[name].needs == "lesions"},
    "ECE": lambda s: {"all": s.over_top(ece)},
    "CECE": cece,
    "pECE": pece,
    "ACE": lambda s: s.top_and_classes(lambda pairs, _, bins: np.mean(plain.gaps(pairs, bins))),
    "MCE": lambda s: s.top_and_classes(lambda pairs, _, bins: max(plain.gaps(pairs, bins))),
    "gap": gap,
    "Brier": brier,
    "NLL": nll,
    "aECE": lambda s: of_classes(s, adaptive, 1 / 960),
    "smECE": lambda s: of_classes(s, smooth, 1 / 960),
    "MCB": lambda s: of_classes(s, miscalibration, -1, sum),
    "bECE": lambda s: {"all": plain.ece(s.top_pairs(s.near_boundary()), s.protocol.ece_bins)},
}
