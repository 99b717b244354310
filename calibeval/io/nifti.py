"""NIfTI in one file or two, its forerunner Analyze, and FreeSurfer's MGZ: headers by nibabel, values by ourselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.array_file import ArrayFile, is_no
from calibeval.io.geometry import Geometry, make_geometry
from calibeval.io.gzipped import GZIP_MAGIC
from calibeval.io.stored import Bytes, gzip_file, open_stored

_MM = {"meter": 1e3, "micron": 1e-3}
_COMPRESSION = 1  # probabilities hardly shrink any further
_MGH_HEADER = 284  # bytes
_COMPRESSED = (".gz", ".mgz")
_PLAIN = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c", b"\0\0\0\x01")  # how headers begin


def open_nifti(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open NIfTI-1 or NIfTI-2, compressed or not."""
    suffix = path.name[path.name.lower().rindex(".nii") :]
    if suffix not in (suffix.lower(), suffix.upper()):  # nibabel looks for another file then
        raise InputError(path, f"its suffix {suffix} mixes upper and lower case.", f"Rename it to {suffix.lower()}.")
    image = _load(path)
    return _open(path, image, _nifti_geometry(path, image))


def open_pair(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open an image in two files, `.img` and `.hdr`: NIfTI, or Analyze, whose header tells lengths but no place."""
    image, header = _load(path), header_of(path)[0]
    if _is_nifti(image):
        return _open(path, image, _nifti_geometry(header, image))
    lengths = np.abs([*image.header.get_zooms()[:3], 1.0, 1.0][:3])
    return _open(path, image, make_geometry(np.diag([*lengths, 1.0]), image.shape, placed=False))


def open_mgz(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open FreeSurfer's MGZ or MGH; their affine is RAS+ in mm, and tags follow the values."""
    from nibabel.freesurfer.mghformat import MGHHeader

    _check_compression(path)
    with igzip.open(path) if path.name.lower().endswith(_COMPRESSED) else path.open("rb") as file:
        block = file.read(_MGH_HEADER)
    if len(block) < _MGH_HEADER:
        raise is_no(path, "MGH")
    header = MGHHeader(block.ljust(MGHHeader.template_dtype.itemsize, b"\0"))  # without the tags
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    stored = _bytes(path, header.get_data_offset(), shape, dtype)._replace(tail=True)
    geometry = make_geometry(np.array(header.get_affine(), np.float64), shape)
    return open_stored(path, stored, _reversed(shape), dtype, geometry=geometry)


def nifti_bytes(values: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    """A compressed NIfTI-1 file in mm; equal arrays give equal bytes.

    Args:
        values: slowest axis first, as arrays are here.
        affine: (4, 4) voxel index (x, y, z) to mm, RAS+.
    """
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image(values.T, affine, dtype=values.dtype)
    image.header.set_xyzt_units("mm")
    return igzip.compress(image.to_bytes(), _COMPRESSION, mtime=0)


def header_of(path: Path) -> tuple[Path, ...]:
    """The header beside an `.img`."""
    stem, suffix = path.name[: path.name.lower().rindex(".img")], path.name[path.name.lower().rindex(".img") :]
    upper = suffix[1].isupper()
    return (path.with_name(f"{stem}{'.HDR' if upper else '.hdr'}{suffix[4:]}"),)


def _load(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    _check_compression(path)
    try:
        image: Any = nibabel.load(path)
    except ImageFileError as error:
        raise is_no(path, "NIfTI" if ".nii" in path.name.lower() else path.suffix) from error
    if not isinstance(image, nibabel.AnalyzeImage | nibabel.Nifti1Pair):
        raise InputError(path, f"holds a {type(image).__name__}, not a volume.", "Save it as NIfTI-1 or NIfTI-2.")
    return image


def _check_compression(path: Path) -> None:
    """Say so where a file is compressed and its name says that it is not, or the other way round."""
    with path.open("rb") as file:
        start = file.read(4)
    says_so = path.name.lower().endswith(_COMPRESSED)
    if says_so and start in _PLAIN:
        raise BrokenFileError(path, "is not compressed, though its name says so.", "Compress or rename it.")
    if start.startswith(GZIP_MAGIC) and not says_so:
        raise BrokenFileError(path, "is compressed, and its name does not say so.", "Rename it to end in .gz.")


def _is_nifti(image: Any) -> bool:
    import nibabel

    return isinstance(image, nibabel.Nifti1Pair)


def _open(path: Path, image: Any, geometry: Geometry | None) -> ArrayFile:
    proxy: Any = image.dataobj
    stored = _bytes(path, proxy.offset, image.shape, proxy.dtype)
    slope, intercept = _number(proxy.slope, 1.0), _number(proxy.inter, 0.0)
    return open_stored(
        path, stored, _reversed(image.shape), proxy.dtype, geometry=geometry, slope=slope, intercept=intercept
    )


def _bytes(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Bytes:
    if not path.name.lower().endswith(_COMPRESSED):
        return Bytes(path, int(offset))
    return gzip_file(path, int(offset), math.prod(_reversed(shape)) * dtype.itemsize)


def _reversed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(n) for n in shape[::-1])


def _number(value: Any, default: float) -> float:
    return default if value is None or math.isnan(value) else float(value)


def _nifti_geometry(header_path: Path, image: Any) -> Geometry | None:
    """Place in mm by each form that the header has, the sform first; without one the voxels' size alone.

    Units that the format does not know count as mm.
    """
    header = image.header
    forms = [form for form in (header.get_sform(coded=True)[0], _qform(header)) if form is not None]
    first = np.array(forms[0] if forms else header.get_base_affine(), np.float64)
    if header["sform_code"] == 0:  # then lengths come from `pixdim`, where nibabel replaces zeros by 1
        first[:3, :3][:, _lengths(header_path, header) == 0] = 0
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = "mm"
    to_mm = np.diag([*[_MM.get(unit, 1.0)] * 3, 1.0])
    others = [to_mm @ form for form in forms[1:]]
    return make_geometry(to_mm @ first, image.shape, others, placed=bool(forms))


def _qform(header: Any) -> NDArray[np.float64] | None:
    """Affine of the qform; None without one, or where its numbers are no rotation and a sform stands beside it."""
    try:
        form: NDArray[np.float64] | None = header.get_qform(coded=True)[0]
    except ValueError:
        if header["sform_code"] == 0:
            raise
        return None
    return form


def _lengths(header_path: Path, header: Any) -> NDArray[np.float64]:
    from nibabel.openers import Opener

    with Opener(str(header_path)) as file:
        return np.asarray(type(header).from_fileobj(file, check=False)["pixdim"][1:4])
