"""Segments by name, as Slicer's `.seg.nrrd` and DICOM-SEG hold them, and the one label map that they make.

Slicer writes segments that do not overlap into one label map, and others into several, its layers. Here a file of
either kind is a label map, and refused where its segments overlap; `segment_masks` gives them one by one in Python.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.array_file import Array, ArrayFile, Segment, bad_header
from calibeval.io.nrrd import Header, open_nrrd, read_header

_MOST_VALUES = 65535


def nrrd_segments(path: Path) -> tuple[Segment, ...]:
    """Segments of a `.seg.nrrd`, in the order of their numbers; none where the header names none.

    Their values are those of the file where no two are equal, else 1, 2, ...

    Raises:
        BrokenFileError: a number that is none.
    """
    return _segments(read_header(path))


def open_seg_nrrd(path: Path, keys: tuple[str, ...]) -> ArrayFile:
    """Open a `.seg.nrrd` as a label map.

    Raises:
        InputError: at loading, where segments overlap.
    """
    file, segments = open_nrrd(path, keys), nrrd_segments(path)
    if not segments or not (file.vector and len(file.shape) == 4):
        return file
    if any(segment.layer >= file.shape[-1] for segment in segments):
        raise bad_header(path, f"it names a layer that is not among its {file.shape[-1]}")
    return replace(
        file,
        shape=file.shape[:-1],
        dtype=np.dtype(np.uint16),
        values=partial(_label_map, file, segments),
        part=None,
        stream=None,
        vector=False,
    )


def segment_masks(path: Path) -> dict[str, NDArray[np.bool_]]:
    """Each segment of a `.seg.nrrd` as a mask (z, y, x), by name.

    Raises:
        InputError: the file cannot be read.
    """
    layers = open_nrrd(path, ()).load()
    layers = layers[..., None] if layers.ndim == 3 else layers
    return {segment.name: layers[..., segment.layer] == segment.stored for segment in nrrd_segments(path)}


def _segments(header: Header) -> tuple[Segment, ...]:
    numbers = sorted({int(match[1]) for key in header.pairs if (match := re.fullmatch(r"Segment(\d{1,6})_\w+", key))})
    found = []
    for place, number in enumerate(numbers):
        name = header.pairs.get(f"Segment{number}_Name", f"Segment{number}")
        stored = _whole(header, f"Segment{number}_LabelValue", 1)  # files before these fields hold a layer a segment
        found.append(Segment(name, stored, _whole(header, f"Segment{number}_Layer", place), stored))
    if len({segment.value for segment in found}) < len(found):
        found = [segment._replace(value=value) for value, segment in enumerate(found, 1)]
    return tuple(found)


def _whole(header: Header, key: str, default: int) -> int:
    text = header.pairs.get(key, str(default))
    if not text.isdigit() or int(text) > _MOST_VALUES:
        raise bad_header(header.path, f"its '{key}' is {text[:40]!r}, expected a whole number")
    return int(text)


def _label_map(file: ArrayFile, segments: tuple[Segment, ...]) -> Array:
    """One label map of all layers."""
    layers = file.load()
    labels = np.zeros(layers.shape[:-1], np.uint16)
    for segment in segments:
        mask = layers[..., segment.layer] == segment.stored
        if (labels[mask] != 0).any():
            other = next(each.name for each in segments if each.value == labels[mask & (labels != 0)][0])
            raise InputError(
                file.path,
                f"its segments {other!r} and {segment.name!r} overlap, so that it is no label map.",
                "Export segments that do not overlap, or one file a segment.",
            )
        labels[mask] = segment.value
    return labels
