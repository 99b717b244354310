"""Lesions of a case: the masks that they are found in, and one row for each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibeval.io.cases import Case
from calibeval.lesion_table import LesionRow
from calibeval.metrics.lesions import LesionMatch, match_lesions
from calibeval.metrics.statistics import IGNORED
from calibeval.protocol import HD95_DEFINITIONS, Protocol
from calibeval.scoring.problems import FOREGROUND, WHOLE, Readout, foreground

Mask = NDArray[np.bool_]


def named_masks(case: Case, readout: Readout, protocol: Protocol) -> Iterator[tuple[str, Mask, Mask]]:
    """Every mask by name, of the reference and of the prediction, without ignored voxels."""
    if WHOLE not in readout.masks or protocol.union:
        for name, (reference, predicted) in readout.masks.items():
            yield name or FOREGROUND, foreground(reference, reference), foreground(predicted, reference)
        return
    reference, predicted = readout.masks[WHOLE]
    counts = reference != IGNORED
    for c, name in enumerate(case.scheme.names[1:], start=1):
        yield name, reference == c, (predicted == c) & counts


def match_masks(case: Case, readout: Readout, protocol: Protocol) -> dict[str, LesionMatch]:
    """The lesions of every mask, matched."""
    return {
        name: match_lesions(reference, predicted, protocol, spacing_mm=readout.spacing_mm)
        for name, reference, predicted in named_masks(case, readout, protocol)
    }


def lesion_rows(case: Case, readout: Readout, protocol: Protocol) -> Iterator[LesionRow]:
    """One row for each lesion of the reference that counts, and for each false positive."""
    for name, match in readout.lesions.items():
        confidence = readout.confidence.get(name, readout.confidence.get(WHOLE))
        hits, touched = set(match.hits), set(match.touched)
        for index in np.flatnonzero(match.counted).tolist():
            by = match.found[index] if index in touched else ()
            distances = _distances(match, index, by, readout, protocol) if by else {}
            yield LesionRow(
                case.name,
                name,
                f"r{index + 1}",
                int(match.reference.voxels[index]),
                _volume(match.reference.voxels[index], readout.spacing_mm),
                matched=int(index in hits),
                dsc=match.dsc[index] if by else math.nan,
                **distances,
                **_confidence(match, by, confidence),
            )
        for index in match.false:
            voxels = int(match.predicted.voxels[index])
            volume = _volume(voxels, readout.spacing_mm)
            told = _confidence(match, (index,), confidence)
            yield LesionRow(case.name, name, f"p{index + 1}", voxels, volume, matched=0, **told)


def _volume(voxels: int, spacing_mm: tuple[float, ...] | None) -> float:
    return math.nan if spacing_mm is None else float(voxels * math.prod(spacing_mm))


def _distances(
    match: LesionMatch, index: int, by: tuple[int, ...], readout: Readout, protocol: Protocol
) -> dict[str, float]:
    """HD95 and NSD of a found lesion, in the box that holds it and what found it."""
    from calibeval.metrics.surface import hd95, mask_surface_distances, nsd

    spacing = readout.spacing_mm
    if spacing is None and HD95_DEFINITIONS[protocol.hd95].spacing:
        return {}
    box = tuple(map(_span, match.reference.boxes[index], *(match.predicted.boxes[i] for i in by)))
    masks = match.reference.numbers[box] == index + 1, np.isin(match.predicted.numbers[box], [i + 1 for i in by])
    found = mask_surface_distances(*masks, spacing or (1.0,) * len(box), protocol.hd95)
    return {"hd95": hd95(found, protocol.hd95), "nsd": nsd(found, protocol.nsd_tolerance_mm)}


def _span(*spans: slice) -> slice:
    return slice(min(span.start for span in spans), max(span.stop for span in spans))


def _confidence(match: LesionMatch, by: tuple[int, ...], p: NDArray[np.float32] | None) -> dict[str, float]:
    """Mean and largest probability within predicted lesions."""
    if p is None or not by:
        return {}
    values = np.concatenate([_values(match, i, p) for i in by])
    return {"mean_confidence": float(values.mean(dtype=np.float64)), "max_confidence": float(values.max())}


def _values(match: LesionMatch, index: int, p: NDArray[np.float32]) -> NDArray[np.float32]:
    box, inside = match.predicted.places(index)
    values: NDArray[np.float32] = p[box][inside]
    return values
