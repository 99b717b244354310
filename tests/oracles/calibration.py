"""Every overlap and calibration metric again, from its definition, voxel by voxel in plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def bin_of(p, bins):
    """Bin of a probability: right-closed intervals, compared as float32; 0 is in the first."""
    key = np.float32(p)
    for b in range(bins):
        if key <= np.float32((b + 1) / bins):
            return b
    raise AssertionError(f"{p} lies above 1")


def collect(pairs, bins):
    """Per bin: list of (p, target)."""
    filled = [[] for _ in range(bins)]
    for p, target in pairs:
        filled[bin_of(p, bins)].append((float(p), int(target)))
    return filled


def ece(pairs, bins, voxels=None):
    pairs = list(pairs)
    n = len(pairs) if voxels is None else voxels
    if n == 0:
        return math.nan
    return sum(abs(math.fsum(t for _, t in b) - math.fsum(p for p, _ in b)) for b in collect(pairs, bins)) / n


def pece(pairs, bins, weight, voxels=None):
    pairs = list(pairs)
    n = len(pairs) if voxels is None else voxels
    if n == 0:
        return math.nan
    total = 0.0
    for members in collect(pairs, bins):
        if members:
            conf = math.fsum(p for p, _ in members) / len(members)
            acc = math.fsum(t for _, t in members) / len(members)
            false = [p for p, t in members if t == 0]
            fp_conf = math.fsum(false) / len(false) if false else 0.0
            total += len(members) / n * abs(conf - acc + weight * fp_conf)
    return total


def gaps(pairs, bins):
    return [abs(math.fsum(t for _, t in b) - math.fsum(p for p, _ in b)) / len(b) for b in collect(pairs, bins) if b]


def paper(probabilities, labels, ignored=255):
    """The paper's three numbers (and classwise terms) for flat arrays (C, N) and (N,)."""
    classes = len(probabilities)
    voxels = [i for i in range(labels.size) if labels[i] != ignored]
    best = [max((p, -c) for c, p in enumerate(column)) for column in probabilities.T]  # the first maximum wins
    predicted = [-minus for _, minus in best]
    top = [(probabilities[predicted[i], i], predicted[i] == labels[i]) for i in voxels if labels[i] > 0]
    cut = np.float32(1e-3)
    by_class = [
        ece([(probabilities[c, i], labels[i] == c) for i in voxels if np.float32(probabilities[c, i]) > cut], 15)
        for c in range(classes)
    ]
    present = [value for value in by_class if not math.isnan(value)]
    foreground = [(1.0 - float(probabilities[0, i]), labels[i] > 0) for i in voxels]
    return {
        "ECE": ece(top, 15),
        "CECE": math.fsum(present) / len(present) if present else math.nan,
        "CECE by class": by_class,
        "pECE": pece(foreground, 10, 2.0),
        "predicted": predicted,
        "top": top,
    }


def brier(probabilities, labels, ignored=255):
    voxels = [i for i in range(labels.size) if labels[i] != ignored]
    if not voxels:
        return math.nan
    return math.fsum(
        (float(probabilities[c, i]) - (labels[i] == c)) ** 2 for i in voxels for c in range(len(probabilities))
    ) / len(voxels)


def nll(probabilities, labels, clip, ignored=255):
    voxels = [i for i in range(labels.size) if labels[i] != ignored]
    if not voxels:
        return math.nan
    return math.fsum(-math.log(max(float(probabilities[labels[i], i]), clip)) for i in voxels) / len(voxels)


def dsc(reference, predicted, c):
    both = sum(int(r == c and p == c) for r, p in zip(reference, predicted, strict=True))
    total = sum(int(r == c) + int(p == c) for r, p in zip(reference, predicted, strict=True))
    return float(Fraction(2 * both, total)) if total else math.nan
