"""Opening array files: what shape, what type, where, and how to get at the values.

Conventions: shapes and arrays are in the order of the bytes, slowest axis first. A NIfTI file of (x, y, z, C) is
therefore (C, z, y, x) here, like nnU-Net's NPZ: classes one after the other. Nothing pickled is ever loaded.

`READERS` maps suffixes to functions; a file opens without reading its values.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import InputError
from calibeval.io.geometry import Geometry, make_geometry
from calibeval.io.gzipped import CORRUPT, open_deflated, open_gzip

Array = NDArray[Any]


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file, not read yet.

    Attributes:
        path: the file.
        shape: slowest axis first.
        dtype: as stored.
        slope: of the header's scale; values are stored * slope + intercept.
        intercept: of the header's scale.
        geometry: None where the format has none.
        member: name of the array inside an NPZ.
        load: reads the whole stored array, or maps it into memory where the file allows.
        stream: opens the stored bytes for reading in order; None where `load` is the only way.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], Array]
    stream: Callable[[], BinaryIO] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    geometry: Geometry | None = None
    member: str = ""

    @property
    def scaled(self) -> bool:
        """Whether the header scales the stored values."""
        return (self.slope, self.intercept) != (1.0, 0.0)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what broken files raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(path, "no such file.") from error
    except CORRUPT as error:
        raise InputError(path, f"the file is truncated or corrupt ({error}).", "Write or copy it again.") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"cannot be read ({str(error).strip().splitlines()[-1] or error!r}).") from error


def suffix_of(path: Path) -> str:
    """The known suffix of a file name (`.nii.gz` before `.gz`), or an empty string."""
    name = path.name.lower()
    return next((suffix for suffix in READERS if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """File name without its known suffix."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def open_array(path: Path, keys: tuple[str, ...] = ()) -> ArrayFile:
    """Open a file by its suffix.

    Args:
        path: the file.
        keys: names to look for inside an NPZ, best first; an NPZ with a single array needs none.

    Raises:
        InputError: missing, a folder, of unknown suffix, broken, or without such an array.
    """
    if path.is_dir():
        raise InputError(path, "is a folder where a file is expected.")
    suffix = suffix_of(path)
    if not suffix:
        raise InputError(path, f"unknown suffix. Known: {' '.join(READERS)}.")
    with reading(path):
        return READERS[suffix](path, keys)


def _open_nifti(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nibabel.load(path)
    except ImageFileError as error:
        raise InputError(path, "is no NIfTI file, or a truncated one.", "Write or copy it again.") from error
    proxy = image.dataobj
    shape = tuple(int(n) for n in image.shape[::-1])
    affine = np.array(image.affine, np.float64)
    affine[:3] *= {"meter": 1e3, "micron": 1e-3}.get(image.header.get_xyzt_units()[0], 1.0)
    compressed = path.name.lower().endswith(".gz")
    dtype, offset = np.dtype(proxy.dtype), int(proxy.offset)

    def stream() -> BinaryIO:
        return open_at(path, offset, compressed=compressed)

    def load() -> Array:
        if compressed:
            return read_all(path, stream, shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape)

    slope = 1.0 if proxy.slope is None or math.isnan(proxy.slope) else float(proxy.slope)
    intercept = 0.0 if proxy.inter is None or math.isnan(proxy.inter) else float(proxy.inter)
    if not compressed and path.stat().st_size < offset + math.prod(shape) * dtype.itemsize:
        raise EOFError("shorter than its header says")
    return ArrayFile(
        path,
        shape,
        dtype,
        load,
        stream if compressed else None,
        slope,
        intercept,
        make_geometry(path, affine, min(len(shape), 3)),
    )


def _open_npy(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    with path.open("rb") as file:
        shape, fortran, dtype = _read_npy_header(file, path)
        offset = file.tell()
    _refuse_objects(path, dtype)

    def load() -> Array:
        return np.memmap(path, dtype, "r", offset, shape, order="F" if fortran else "C")

    return ArrayFile(path, shape, dtype, load)


def _open_npz(path: Path, keys: tuple[str, ...]) -> ArrayFile:
    with zipfile.ZipFile(path) as archive:
        names = {Path(info.filename).stem: info for info in archive.infolist() if info.filename.endswith(".npy")}
        key = next((key for key in keys if key in names), None)
        if key is None and len(names) == 1:
            key = next(iter(names))
        if key is None:
            raise InputError(
                path, f"holds the arrays {', '.join(names) or '(none)'}; expected one of {', '.join(keys)}."
            )
        info = names[key]
        with archive.open(info) as file:
            shape, fortran, dtype = _read_npy_header(file, path)
            header = file.tell()
    start = _member_start(path, info)
    _refuse_objects(path, dtype)
    stored = info.compress_type == zipfile.ZIP_STORED

    def stream() -> BinaryIO:
        file = open_deflated(path, start, info)
        skip(file, header)
        return file

    def load() -> Array:
        if stored:
            return np.memmap(path, dtype, "r", start + header, shape, order="F" if fortran else "C")
        values = read_all(path, stream, shape[::-1] if fortran else shape, dtype)
        return values.T if fortran else values

    return ArrayFile(path, shape, dtype, load, None if stored or fortran else stream, member=key)


def npz_keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an NPZ."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return tuple(Path(name).stem for name in archive.namelist() if name.endswith(".npy"))


def _read_npy_header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise InputError(path, f"NPY version {version} is unknown.", "Save it with numpy.save or numpy.savez.")


def _refuse_objects(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise InputError(
            path, "holds pickled Python objects, which are never loaded.", "Save a plain array of numbers."
        )


def _member_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Offset of a member's bytes: the local header's name and extra field have lengths of their own."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    return info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def _open_itk(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    import SimpleITK as sitk  # noqa: N813 (its documented alias)

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(path, "cannot be read: broken, or of another format than its suffix says.") from error
    channels = reader.GetNumberOfComponents()
    shape = (*reader.GetSize()[::-1], *([channels] if channels > 1 else []))

    def load() -> Array:
        try:
            return sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise InputError(path, "the file is truncated or corrupt.", "Write or copy it again.") from error

    dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1], _scalar_type(sitk, reader.GetPixelID()))).dtype
    dimensions = min(reader.GetDimension(), 3)
    has_geometry = suffix_of(path) not in _WITHOUT_GEOMETRY
    geometry = make_geometry(path, _itk_affine(reader, dimensions), dimensions) if has_geometry else None
    return ArrayFile(path, shape, dtype, load, geometry=geometry)


def _scalar_type(sitk: Any, pixel: int) -> Any:
    """Pixel type of one component of a vector image."""
    name = sitk.GetPixelIDValueAsString(pixel)
    if not name.startswith("vector of "):
        return pixel
    scalars = [sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt16, sitk.sitkUInt32, sitk.sitkInt32]
    scalars += [sitk.sitkFloat32, sitk.sitkFloat64]
    return next(s for s in scalars if sitk.GetPixelIDValueAsString(s) == name.removeprefix("vector of "))


def _itk_affine(reader: Any, dimensions: int) -> NDArray[np.float64]:
    """Affine in RAS+: ITK's x and y grow to the left and to the back."""
    n = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(n, n)
    affine = np.eye(4)
    affine[:dimensions, :dimensions] = (direction * np.array(reader.GetSpacing()))[:dimensions, :dimensions]
    affine[:dimensions, 3] = reader.GetOrigin()[:dimensions]
    affine[:2] *= -1
    return affine


def open_at(path: Path, offset: int, *, compressed: bool) -> BinaryIO:
    """Open a file's bytes, decompressed, from an offset on."""
    file = open_gzip(path) if compressed else path.open("rb")
    skip(file, offset)
    return file


def skip(file: BinaryIO, size: int) -> None:
    """Read and forget."""
    while size > 0:
        part = file.read(min(size, 1 << 20))
        if not part:
            raise EOFError("shorter than its header says")
        size -= len(part)


def read_all(path: Path, stream: Callable[[], BinaryIO], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Read a whole stream into a new array."""
    values = np.empty(math.prod(shape), dtype)
    with reading(path), stream() as file:
        fill(file, values.view(np.uint8).data)
    return values.reshape(shape)


def fill(file: BinaryIO, buffer: memoryview) -> None:
    """Fill a buffer; a short file is an EOFError."""
    filled = 0
    while filled < len(buffer):
        size = file.readinto(buffer[filled:])  # type: ignore[attr-defined]
        if not size:
            raise EOFError("shorter than its header says")
        filled += size


_WITHOUT_GEOMETRY = (".png",)

READERS: dict[str, Callable[[Path, tuple[str, ...]], ArrayFile]] = {
    ".nii.gz": _open_nifti,
    ".nii": _open_nifti,
    ".npz": _open_npz,
    ".npy": _open_npy,
    ".mha": _open_itk,
    ".mhd": _open_itk,
    ".nrrd": _open_itk,
    ".png": _open_itk,
}
