"""What stored values mean: labels or probabilities, and by what they are divided; one rule for all formats.

Integers are no full scale by themselves: networks write masks of 0 and 1, atlases per cent, others grey levels that
stand for labels. The only reading that makes sense of the values of a whole folder is taken, and said in a note; where
two fit, or none, the case is refused with the option that decides. Headers settle most folders: values are looked at
where they leave it open, and then of few files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.array_file import ArrayFile
from calibeval.io.case_paths import CasePaths, Reading, Readings
from calibeval.io.classes import ClassScheme, different_values, read_values
from calibeval.io.maps import Maps, open_maps
from calibeval.io.read_options import ReadOptions
from calibeval.metrics.statistics import MAX_CLASSES
from calibeval.planes import CHUNK

_LOOKS = 3  # files whose values are looked at
_TRIES = 12  # files that are opened to find them
_ROUND = (100.0, 200.0, 255.0, 1000.0, 10000.0)  # what stands for 1, beside the largest value of the type
_FEW_LABELS = 16  # different values, or the largest, that are labels where nothing names the classes
_ROUNDING = 1e-3  # of labels stored as floats
_OVERSHOOT = 1e-5  # of probabilities beyond [0, 1]


@dataclass(frozen=True)
class _Look:
    """What was seen of some files: extremes, sums over the maps, different values of label-like maps and of labels."""

    low: float
    high: float
    sums: tuple[float, float]
    values: frozenset[int] | None  # None where some are no integers
    reference: frozenset[int]

    def __or__(self, other: _Look) -> _Look:
        return _Look(
            min(self.low, other.low),
            max(self.high, other.high),
            (min(self.sums[0], other.sums[0]), max(self.sums[1], other.sums[1])),
            None if self.values is None or other.values is None else self.values | other.values,
            self.reference | other.reference,
        )


def settle(
    cases: list[CasePaths],
    scheme: ClassScheme,
    options: ReadOptions,
    open_reference: Callable[[CasePaths, ClassScheme], ArrayFile],
) -> list[CasePaths]:
    """Find out how the files of a folder are to be read, and write it to its cases.

    Args:
        cases: of one method.
        scheme: of the labels.
        options: what the user says comes first.
        open_reference: gives the label, or another file of the same shape.
    """
    looks: dict[str, list[_Look]] = {}
    kinds: dict[str, Maps] = {}
    tried = 0
    for paths in _spread([paths for paths in cases if paths.prediction]):
        if tried == _TRIES or any(len(found) == _LOOKS for found in looks.values()):
            break
        tried += 1
        try:
            reference = open_reference(paths, scheme)
            maps = open_maps(paths, reference, scheme, options.axes)
            if _said(maps, scheme, options) is not None:
                continue
            look = _look(maps, reference)
        except InputError:
            continue  # told with its case when that is scored
        kinds.setdefault(_kind(maps), maps)
        if look.high > 0 or _kind(maps) not in looks:  # an empty map tells nothing
            looks.setdefault(_kind(maps), []).append(look)
    readings = tuple((kind, _decide(kinds[kind], _united(found), scheme, options)) for kind, found in looks.items())
    return [paths._replace(readings=readings) for paths in cases]


def find_reading(
    maps: Maps, known: Readings, reference: ArrayFile, scheme: ClassScheme, options: ReadOptions
) -> Reading:
    """How the maps of a case are to be read: as the user says, as their folder is, else as they look themselves."""
    said = _said(maps, scheme, options)
    if said is not None:
        return said
    settled = dict(known).get(_kind(maps))
    return settled or _decide(maps, _look(maps, reference), scheme, options)


def _said(maps: Maps, scheme: ClassScheme, options: ReadOptions) -> Reading | None:
    """The reading that options and headers leave no choice of; None where values must tell."""
    if options.input == "labels":
        if not maps.planes:
            return Reading(labels=True)
        problem = f"holds {maps.planes} maps, not labels."
        return Reading(problem=problem, advice="Leave out --input labels, or save the argmax.")
    if options.scale is not None:
        return Reading(scale=options.scale if options.scale != 1 else None, note=_note(options.scale))
    if options.input == "logits" or (maps.planes and not maps.integers):
        return Reading()
    several = len(scheme.names) > 2 and len(scheme.regions) != 1
    if not maps.planes and options.input == "auto" and (maps.dtype.kind == "b" or (several and maps.integers)):
        return Reading(labels=True)
    return None


def _note(scale: float) -> str:
    return f"read as value/{scale:g}" if scale != 1 else ""


def _kind(maps: Maps) -> str:
    """What files have in common that are read alike."""
    return f"{'maps' if maps.planes else 'one map'} {maps.dtype}{'' if maps.integers else ' scaled'}"


def _spread(cases: list[CasePaths]) -> list[CasePaths]:
    """All cases: first, last and middle one, then the others."""
    n = len(cases)
    chosen = list(dict.fromkeys([*range(n)[:1], *range(n)[-1:], *range(n)[n // 2 : n // 2 + 1], *range(n)]))
    return [cases[index] for index in chosen]


def _look(maps: Maps, reference: ArrayFile) -> _Look:
    if maps.planes:
        return _look_at_planes(maps)
    values = read_values(maps.files[0])
    low, high = float(values.min()), float(values.max())
    different = different_values(values) if _are_whole(values) else None
    return _Look(low, high, (low, high), different, _labels_of(reference))


def _labels_of(reference: ArrayFile) -> frozenset[int]:
    """Label values of a reference; none where it is an image, which stands in for it."""
    values = read_values(reference) if reference.shape == reference.spatial else np.zeros(1)
    found = different_values(values) if _are_whole(values) else frozenset()
    return found if len(found) <= MAX_CLASSES else frozenset()


def _are_whole(values: NDArray[Any]) -> bool:
    if values.dtype.kind in "iub":
        return True
    with np.errstate(invalid="ignore"):
        return bool((np.abs(values - np.rint(values)) <= _ROUNDING).all())


def _look_at_planes(maps: Maps) -> _Look:
    source = maps.source(None)
    sums, low, high = np.zeros(source.voxels), math.inf, -math.inf
    for chunk in source.chunks():
        sums[chunk.start : chunk.start + CHUNK] += chunk.values
        low, high = min(low, float(chunk.values.min())), max(high, float(chunk.values.max()))
    return _Look(low, high, (float(sums.min()), float(sums.max())), None, frozenset())


def _united(looks: Iterable[_Look]) -> _Look:
    first, *others = looks
    for look in others:
        first |= look
    return first


def _decide(maps: Maps, look: _Look, scheme: ClassScheme, options: ReadOptions) -> Reading:
    if maps.planes:
        return _decide_planes(maps, look, scheme)
    return _decide_single(maps, look, scheme, forced=options.input == "probabilities")


def _decide_planes(maps: Maps, look: _Look, scheme: ClassScheme) -> Reading:
    """By the sum over all classes; where some class is not there, by the largest value."""
    planes, full = maps.planes, float(np.iinfo(maps.dtype).max)
    if planes > 1 and planes in (len(scheme.names) or planes, len(scheme.regions) or planes):
        scales = [scale for scale in sorted({1.0, *_ROUND, full}) if _sum_to(scale, look, planes)]
        if not scales and look.sums[0] == look.sums[1] > 1:
            scales = [look.sums[0]]
        if len(scales) == 1:
            return _scaled(scales[0])
    return _by_largest(maps, look, _scales(look.high, maps.dtype))


def _sum_to(scale: float, look: _Look, planes: int) -> bool:
    """Whether all voxels sum to a scale; integers may each have been rounded, or cut, by one."""
    slack = planes if planes < scale / 10 else 0
    return scale - slack <= look.sums[0] and look.sums[1] <= scale + slack


def _decide_single(maps: Maps, look: _Look, scheme: ClassScheme, *, forced: bool) -> Reading:
    """One map of the label's shape: a label map, or the foreground's probability where there is one class beside it."""
    known = len(scheme.names)
    meant = frozenset(scheme.values or range(known)) | scheme.mapping.keys() | ({scheme.ignore} - {None})
    reference = look.reference - ({scheme.ignore} - {None})
    labels = meant if known else look.reference | frozenset(range(_FEW_LABELS))
    if look.values is not None and look.values <= labels and not forced:
        return Reading(labels=True)
    one_class = known == 2 or len(scheme.regions) == 1 or (not known and len(reference) <= 2)
    scales = _scales(look.high, maps.dtype) if look.low >= -_OVERSHOOT and (one_class or forced) else []
    fractions = look.values is None
    if fractions and look.low >= -_OVERSHOOT and look.high <= 1 + _OVERSHOOT:
        return Reading()
    few = look.values is not None and len(look.values) <= _FEW_LABELS
    if not forced and (
        (few and (not scales or not reference <= {0, 1})) or (not one_class) or (fractions and not scales)
    ):
        return Reading(labels=True)  # which says what is wrong with them, if anything is
    return _by_largest(maps, look, scales)


def _scales(high: float, dtype: np.dtype[Any]) -> list[float]:
    """What may stand for 1: a round number that occurs, or a type's largest value where some voxel is above half."""
    if high <= 1 + _OVERSHOOT:
        return [1.0]
    percent = {100.0} if 99 <= high <= 100 * (1 + _OVERSHOOT) else set()
    occurs = {scale for scale in _ROUND if abs(high - scale) <= _OVERSHOOT * scale}
    full = {255.0, float(np.iinfo(dtype).max)} if dtype.kind == "u" else set()
    return sorted(percent | occurs | {scale for scale in full if scale / 2 < high <= scale})


def _scaled(scale: float) -> Reading:
    return Reading(scale=scale if scale != 1 else None, note=_note(scale) or "read as masks of 0 and 1")


def _by_largest(maps: Maps, look: _Look, scales: list[float]) -> Reading:
    if len(scales) == 1 and look.low >= -_OVERSHOOT:
        return _scaled(scales[0])
    what = f"holds {maps.dtype} values from {look.low:g} to {look.high:g}"
    if scales:
        options = " or ".join(f"--scale {scale:g}" for scale in scales)
        return Reading(
            problem=f"{what}, where more than one number may stand for probability 1.", advice=f"Say {options}."
        )
    return Reading(
        problem=f"{what}, which are neither labels that the reference has nor probabilities of a known scale.",
        advice="Give --scale, the value that stands for 1, or --input labels and --map.",
    )
