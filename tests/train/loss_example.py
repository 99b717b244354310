"""Logits and labels that the tests of losses share."""

import math

import numpy as np
import torch

CLASSES = 4


def example(shape=(2, 12, 12), seed=0, dtype=torch.float64, size=2.0):
    """Logits and labels in which each image holds each class, in patches of 3 voxels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, CLASSES, (shape[0], *(math.ceil(n / 3) for n in shape[1:])))
    coarse.reshape(shape[0], -1)[:, :CLASSES] = np.arange(CLASSES)
    for axis in range(1, len(shape)):
        coarse = coarse.repeat(3, axis)
    labels = torch.from_numpy(np.ascontiguousarray(coarse[tuple(slice(n) for n in shape)]))
    logits = torch.from_numpy(random.normal(0, size, (shape[0], CLASSES, *shape[1:])))
    return logits.to(dtype), labels
