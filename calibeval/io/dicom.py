"""DICOM segmentation objects through highdicom (extra `dicom`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from calibeval.errors import InputError, MissingExtraError
from calibeval.io.array_file import Array, ArrayFile, Segment, check_memory, is_no
from calibeval.io.geometry import make_geometry

_FRACTIONS = "fractions of 8 bits: fine for ECE, too coarse for NLL, which counts a probability of 0 as certain"
_PREAMBLE = 128


def open_dicom_seg(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open a DICOM-SEG: of binary segments a label map of their numbers, of fractional ones a map a segment."""
    segmentation = _read(path)
    place = segmentation.get_volume_geometry()
    if place is None:
        raise InputError(path, "its frames are no regular volume.", "Export it on the grid of one series.")
    shape = tuple(int(n) for n in place.spatial_shape)
    affine = np.array(place.affine, np.float64)[:, [2, 1, 0, 3]]  # of (column, row, slice)
    affine[:2] *= -1  # LPS+ to RAS+
    geometry = make_geometry(affine, shape[::-1])
    segments = dicom_segments(path)
    if str(segmentation.segmentation_type.value) == "FRACTIONAL":
        shape = (*shape, len(segments))

        def load() -> Array:
            check_memory(path, 4 * math.prod(shape))
            return np.asarray(_read(path).get_volume(rescale_fractional=False, dtype=np.uint8).array)

        slope = 1 / float(segmentation.MaximumFractionalValue)
        facts: dict[str, Any] = {"slope": slope, "geometry": geometry, "vector": True, "notes": (_FRACTIONS,)}
        return ArrayFile(path, shape, np.dtype(np.uint8), load, **facts)

    def load_labels() -> Array:
        check_memory(path, 4 * math.prod(shape) * len(segments))
        try:
            return np.asarray(_read(path).get_volume(combine_segments=True, dtype=np.uint16).array)
        except RuntimeError as error:
            raise InputError(path, f"is no label map ({error})", "Export segments that do not overlap.") from error

    return ArrayFile(path, shape, np.dtype(np.uint16), load_labels, geometry=geometry)


def dicom_segments(path: Path) -> tuple[Segment, ...]:
    """Segments of a DICOM-SEG: label and number."""
    segmentation = _read(path)
    numbers = [int(number) for number in segmentation.segment_numbers]
    names = [str(segmentation.get_segment_description(number).segment_label) for number in numbers]
    return tuple(
        Segment(name, number, layer, 1) for layer, (name, number) in enumerate(zip(names, numbers, strict=True))
    )


def _read(path: Path) -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise MissingExtraError("highdicom", "dicom") from error
    with path.open("rb") as file:
        if file.read(_PREAMBLE + 4)[_PREAMBLE:] != b"DICM":
            raise is_no(path, "DICOM")
        file.seek(0)
        return highdicom.seg.segread(file)
