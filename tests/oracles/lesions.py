"""Lesions from their definitions alone: flood fill, every one-to-one matching tried, distances by brute force."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np


def components(mask, connectivity):
    """Sets of voxels that are joined, in the order of their first voxels."""
    reach = {6: 1, 18: 2, 26: 3}[connectivity] if mask.ndim == 3 else {6: 1}.get(connectivity, 2)
    steps = [s for s in product((-1, 0, 1), repeat=mask.ndim) if 0 < np.abs(s).sum() <= reach]
    left, found = {tuple(v) for v in np.argwhere(mask).tolist()}, []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        lesion, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            for there in (tuple(np.add(here, step).tolist()) for step in steps):
                if there in left:
                    left.remove(there)
                    lesion.add(there)
                    waiting.append(there)
        found.append(lesion)
    return found


def dsc(a, b):
    return 2 * len(a & b) / (len(a) + len(b))


def iou(a, b):
    return len(a & b) / len(a | b)


def best_pairs(references, predictions, weight):
    """Reference to prediction, so that the sum of weights is largest; pairs of no weight are none."""
    k = max(len(references), len(predictions))
    best, chosen = -1.0, {}
    for order in permutations(range(k), len(references)):
        pairs = {
            r: p for r, p in enumerate(order) if p < len(predictions) and weight(references[r], predictions[p]) > 0
        }
        total = math.fsum(weight(references[r], predictions[p]) for r, p in pairs.items())
        if total > best + 1e-12:
            best, chosen = total, pairs
    return chosen


def holds_centre(a, b):
    return tuple(math.floor(sum(axis) / len(b) + 0.5) for axis in zip(*b, strict=True)) in a


def match(reference, predicted, matching, connectivity, smallest):
    """Found lesions with what found them, missed ones, false positives: sets of voxels."""
    references, predictions = components(reference, connectivity), components(predicted, connectivity)
    if matching == "overlap":
        found = {
            r: set().union(*(b for b in predictions if a & b))
            for r, a in enumerate(references)
            if any(a & b for b in predictions)
        }
        used = [b for b in predictions if any(a & b for a in references)]
    else:
        weight = {
            "centroid": lambda a, b: iou(a, b) * holds_centre(a, b),
            "brats26-gli": lambda a, b: dsc(a, b) * (dsc(a, b) >= 1e-6),
            "brats26-mets": lambda a, b: dsc(a, b) * (dsc(a, b) >= 1e-6),
        }.get(matching) or (lambda a, b: iou(a, b) * (iou(a, b) > float(matching[4:])))
        pairs = best_pairs(references, predictions, weight)
        found, used = {r: predictions[p] for r, p in pairs.items()}, [predictions[p] for p in pairs.values()]
    mets = matching == "brats26-mets"
    counts = [r for r, a in enumerate(references) if len(a) >= smallest]
    hit = [(references[r], found[r]) for r in counts if r in found]
    false = [b for b in predictions if b not in used and (mets or len(b) >= smallest)]
    return hit, len(counts), len(false)


def numbers(reference, predicted, spacing, protocol):
    """All metrics of lesions of one mask."""
    mets = protocol.matching == "brats26-mets"
    smallest = max(protocol.min_lesion_mm3, 20 if mets else 0) / math.prod(spacing)
    hit, wanted, false = match(reference, predicted, protocol.matching, protocol.connectivity, smallest)
    good = [(a, b) for a, b in hit if not mets or dsc(a, b) >= 0.1]
    tp, missed = len(good), wanted - len(good)

    def ratio(top, bottom):
        return top / bottom if bottom else math.nan

    f1, quality = ratio(2 * tp, 2 * tp + false + missed), math.fsum(iou(a, b) for a, b in good) / max(tp, 1)
    fits = [dsc(a, b) for a, b in hit]
    lesion_dsc = ratio(math.fsum(fits), wanted + false)
    if protocol.matching == "brats26-gli":
        lesion_dsc = math.fsum(fits) / len(fits) if fits else 0.0 if wanted + false else math.nan
    if mets and not wanted:
        lesion_dsc = math.nan
    return {
        "lesion_DSC": lesion_dsc,
        "lesion_F1": f1,
        "lesion_recall": ratio(tp, tp + missed),
        "lesion_precision": ratio(tp, tp + false),
        "lesion_FP": false,
        "PQ": f1 * quality,
        "SQ": quality if wanted + false + len(hit) else math.nan,
        "RQ": f1,
        "CC_DSC": cells(reference, predicted, spacing, protocol.connectivity, smallest),
    }


def cells(reference, predicted, spacing, connectivity, smallest):
    """Mean Dice within the cells of the lesions, each voxel given to the nearest, the first of two as near."""
    lesions = components(reference, connectivity)
    owned = [set() for _ in lesions]
    for v in map(tuple, np.argwhere(predicted).tolist()):
        away = [min(round(math.dist(np.multiply(u, spacing), np.multiply(v, spacing)), 9) for u in a) for a in lesions]
        if away:
            owned[away.index(min(away))].add(v)
    values = [dsc(a, b) for a, b in zip(lesions, owned, strict=True) if len(a) >= smallest]
    return math.fsum(values) / len(values) if values else math.nan
