"""NIfTI through nibabel; MHA, MHD, NRRD and PNG through SimpleITK. Both libraries load on first use."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.array_file import AGAIN, Array, ArrayFile, map_values, read_all, skip
from calibeval.io.geometry import Geometry, make_geometry
from calibeval.io.gzipped import open_gzip

_MM = {"meter": 1e3, "micron": 1e-3}


def open_nifti(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open a NIfTI file, compressed or not."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    suffix = path.name[path.name.lower().rindex(".nii") :]
    if suffix not in (suffix.lower(), suffix.upper()):  # nibabel looks for another file then
        raise InputError(path, f"its suffix {suffix} mixes upper and lower case.", f"Rename it to {suffix.lower()}.")
    try:
        image: Any = nibabel.load(path)
    except ImageFileError as error:
        raise BrokenFileError(path, "is no NIfTI file, or a truncated or corrupt one.", AGAIN) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise InputError(path, f"holds a {type(image).__name__}, not a volume.", "Save it as NIfTI-1 or NIfTI-2.")
    proxy: Any = image.dataobj
    shape = tuple(int(n) for n in image.shape[::-1])
    dtype, offset = np.dtype(proxy.dtype), int(proxy.offset)
    compressed = path.name.lower().endswith(".gz")

    def stream() -> BinaryIO:
        file = open_gzip(path, offset + math.prod(shape) * dtype.itemsize)
        skip(file, offset)
        return file

    def load() -> Array:
        return read_all(path, stream, shape, dtype) if compressed else map_values(path, dtype, offset, shape)

    return ArrayFile(
        path,
        shape,
        dtype,
        load,
        stream if compressed else None,
        slope=_number(proxy.slope, 1.0),
        intercept=_number(proxy.inter, 0.0),
        geometry=_nifti_geometry(path, image),
    )


def _number(value: Any, default: float) -> float:
    return default if value is None or math.isnan(value) else float(value)


def _nifti_geometry(path: Path, image: Any) -> Geometry | None:
    """Place in mm by each form that the header has, the sform first; without one the voxels' size alone.

    Units that the format does not know count as mm.
    """
    header = image.header
    forms = [form for form in (header.get_sform(coded=True)[0], _qform(header)) if form is not None]
    first = np.array(forms[0] if forms else header.get_base_affine(), np.float64)
    if header["sform_code"] == 0:  # then lengths come from `pixdim`, where nibabel replaces zeros by 1
        first[:3, :3][:, _lengths(path, header) == 0] = 0
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


def _lengths(path: Path, header: Any) -> NDArray[np.float64]:
    from nibabel.openers import Opener

    with Opener(str(path)) as file:
        return np.asarray(type(header).from_fileobj(file, check=False)["pixdim"][1:4])


def open_itk(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open an image that SimpleITK reads; the channels of a vector image are the fastest axis."""
    import SimpleITK as sitk  # noqa: N813 (its documented alias)

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise BrokenFileError(path, "cannot be read: broken, or of another format than its suffix says.") from error
    if (kind := sitk.GetPixelIDValueAsString(reader.GetPixelID())).startswith("complex"):
        raise InputError(path, f"holds values of the type {kind}, expected plain numbers.")
    channels = reader.GetNumberOfComponents()
    shape = (*reader.GetSize()[::-1], *([channels] if channels > 1 else []))

    def load() -> Array:
        try:
            return sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise BrokenFileError(path, "the file is truncated or corrupt.", AGAIN) from error

    dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1], _scalar_type(sitk, reader.GetPixelID()))).dtype
    geometry = make_geometry(_itk_affine(reader), reader.GetSize())
    return ArrayFile(path, shape, dtype, load, geometry=geometry, vector=channels > 1)


def open_png(path: Path, keys: tuple[str, ...]) -> ArrayFile:
    """Open a PNG, whose header tells no place."""
    return replace(open_itk(path, keys), geometry=None)


def _scalar_type(sitk: Any, pixel: int) -> int:
    """Pixel type of one component of a vector image."""
    scalars = {
        sitk.sitkVectorUInt8: sitk.sitkUInt8,
        sitk.sitkVectorInt8: sitk.sitkInt8,
        sitk.sitkVectorUInt16: sitk.sitkUInt16,
        sitk.sitkVectorInt16: sitk.sitkInt16,
        sitk.sitkVectorUInt32: sitk.sitkUInt32,
        sitk.sitkVectorInt32: sitk.sitkInt32,
        sitk.sitkVectorUInt64: sitk.sitkUInt64,
        sitk.sitkVectorInt64: sitk.sitkInt64,
        sitk.sitkVectorFloat32: sitk.sitkFloat32,
        sitk.sitkVectorFloat64: sitk.sitkFloat64,
    }
    return int(scalars.get(pixel, pixel))


def _itk_affine(reader: Any) -> NDArray[np.float64]:
    """Affine in RAS+: ITK's x and y grow to the left and to the back."""
    n = reader.GetDimension()
    spatial = min(n, 3)
    direction = np.array(reader.GetDirection()).reshape(n, n)
    affine = np.eye(4)
    affine[:spatial, :spatial] = (direction * np.array(reader.GetSpacing()))[:spatial, :spatial]
    affine[:spatial, 3] = reader.GetOrigin()[:spatial]
    affine[:2] *= -1
    return affine
