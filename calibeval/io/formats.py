"""The formats: a literal table of what is read, how, and what its files are like. Nobody else knows a suffix."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from calibeval.io import metaimage, nrrd
from calibeval.io.array_file import UNKNOWN, Format, Segment, reading
from calibeval.io.dicom import dicom_segments, open_dicom_seg
from calibeval.io.hdf5 import hdf5_keys, open_hdf5
from calibeval.io.nifti import header_of, open_mgz, open_nifti, open_pair
from calibeval.io.numpy_files import npz_keys, open_npy, open_npz
from calibeval.io.pixels import open_png, open_tiff
from calibeval.io.segments import nrrd_segments, open_seg_nrrd

FORMATS = (
    Format((".nii.gz", ".nii"), open_nifti, names_x_first=True, has_geometry=True),
    Format((".npz",), open_npz, keys=npz_keys, is_array=True),
    Format((".npy",), open_npy, is_array=True),
    Format((".mha", ".mhd"), metaimage.open_mha, parts=metaimage.values_of, names_x_first=True, has_geometry=True),
    Format((".nrrd", ".nhdr"), nrrd.open_nrrd, parts=nrrd.values_of, names_x_first=True, has_geometry=True),
    Format((".mgz", ".mgh"), open_mgz, names_x_first=True, has_geometry=True),
    Format((".img", ".img.gz"), open_pair, parts=header_of, names_x_first=True, has_geometry=True),
    Format((".seg.nrrd",), open_seg_nrrd, segments=nrrd_segments, names_x_first=True, has_geometry=True),
    Format((".dcm",), open_dicom_seg, segments=dicom_segments, has_geometry=True),
    Format((".h5", ".hdf5"), open_hdf5, keys=hdf5_keys, is_array=True),
    Format((".png",), open_png, planar=True),
    Format((".tif", ".tiff"), open_tiff),
)
_BY_SUFFIX = {suffix: row for row in FORMATS for suffix in row.suffixes}
SUFFIXES = tuple(_BY_SUFFIX)
FORMAT_NAMES = tuple(row.suffixes[0] for row in FORMATS)  # one a format, for messages


def suffix_of(path: Path) -> str:
    """The known suffix of a file name (`.nii.gz` before `.gz`), or an empty string."""
    name = path.name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def stem_of(path: Path) -> str:
    """File name without its known suffix; accents in one form, whichever the system that wrote the name uses."""
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(suffix_of(path))])


def format_of(path: Path) -> Format:
    """The format that a file's name says; `UNKNOWN`, which has no suffixes, where it says none."""
    return _BY_SUFFIX.get(suffix_of(path), UNKNOWN)


def array_keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays in a file that can hold several; none for one of a single array.

    Raises:
        InputError: the file is broken.
    """
    keys = format_of(path).keys
    if keys is None:
        return ()
    with reading(path):
        return keys(path)


def segments_of(path: Path) -> tuple[Segment, ...]:
    """The named segments of a file and their label values; none where its format or the file names none.

    Raises:
        InputError: the file is broken.
    """
    segments = format_of(path).segments
    if segments is None:
        return ()
    with reading(path):
        return segments(path)


def with_parts(path: Path) -> tuple[Path, ...]:
    """A file and those that it needs beside it, as the data of a header that stands alone."""
    return (path, *format_of(path).parts(path))
