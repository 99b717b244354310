"""Writing new probabilities in the form that the old ones came in: format, type, order of axes, header and names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from calibeval.calibrate.sources import temporary_array
from calibeval.errors import InputError
from calibeval.files import atomic_path
from calibeval.io.array_file import ArrayFile
from calibeval.io.geometry import place_itk
from calibeval.io.layout import Layout, squeezed
from calibeval.planes import CHUNK, PlaneSource

_TINY = 1e-300  # whose logarithm is far below that of any probability that is written
_COMPRESSION = 1  # of gzip, as `predict` writes: probabilities gain little from more


def write_maps(
    file: ArrayFile, layout: Layout, planes: PlaneSource, out: Path, *, classes: range, scale: float | None
) -> None:
    """Write the planes of some classes as a file like the one that they came from.

    Args:
        file: that they came from.
        layout: of its axes.
        planes: new probabilities, readable at random or in order.
        out: the file to write, all or nothing.
        classes: of the planes, those that the file holds, in its order.
        scale: stored integers were divided by it.

    Raises:
        InputError: a format that is read but not written.
    """
    write = _writer(file)
    stored = temporary_array(file.shape, file.dtype.newbyteorder("="))
    axes = stored.reshape(squeezed(file.shape)).transpose(layout.order)
    targets = axes if layout.classes else axes[None]
    for chunk in planes.chunks():
        if chunk.class_index in classes:
            values = _encode(chunk.values, file, scale)
            targets[classes.index(chunk.class_index)].flat[chunk.start : chunk.start + values.size] = values
    with atomic_path(out) as temporary:
        write(file, stored, temporary)


def write_labels(file: ArrayFile, labels: NDArray[np.uint8], values: Sequence[int], out: Path) -> None:
    """Write class indices as a label map like an old one.

    Args:
        file: the old one.
        labels: class indices, in its place and order.
        values: the label of each class; none where labels are indices.
        out: the file to write, all or nothing.

    Raises:
        InputError: a format that is read but not written.
    """
    write = _writer(file)
    stored = _encode(np.asarray(values)[labels] if values else labels, file, None)
    with atomic_path(out) as temporary:
        write(file, stored.reshape(file.shape), temporary)


def log_probabilities(q: NDArray[Any], _c: int, _start: int) -> NDArray[Any]:
    """Logits whose softmax are these probabilities."""
    return np.asarray(np.log(np.maximum(q, _TINY)))


def log_odds(q: NDArray[Any], _c: int, _start: int) -> NDArray[Any]:
    """Logits whose sigmoid are these probabilities."""
    return np.asarray(np.log(np.maximum(q, _TINY)) - np.log(np.maximum(1 - q, _TINY)))


def _encode(q: NDArray[Any], file: ArrayFile, scale: float | None) -> NDArray[Any]:
    """Stored values of probabilities."""
    values = q * scale if scale else (q - file.intercept) / file.slope if file.scaled else q
    return np.rint(values) if file.dtype.kind in "iu" else values


def _writer(file: ArrayFile) -> Callable[[ArrayFile, NDArray[Any], Path], None]:
    name = file.path.name.lower()
    for suffix, write in _WRITERS.items():
        if name.endswith(suffix):
            return write
    known = ", ".join(_WRITERS)
    raise InputError(file.path, "is of a format that is read but not written.", f"Convert it to one of {known}.")


def _write_nifti(file: ArrayFile, stored: NDArray[Any], out: Path) -> None:
    """The old header to the bit, then the new values in its byte order."""
    import nibabel
    from isal import igzip

    image: Any = nibabel.load(file.path)
    offset = int(image.dataobj.offset)
    compressed = file.path.name.lower().endswith(".gz")
    with igzip.open(file.path, "rb") if compressed else file.path.open("rb") as old:
        header = old.read(offset)
    flat = stored.reshape(-1)
    with out.open("wb") as plain, _gzipped(plain) if compressed else nullcontext(plain) as new:
        new.write(header)
        for start in range(0, flat.size, CHUNK):
            new.write(flat[start : start + CHUNK].astype(file.dtype).tobytes())


def _gzipped(plain: BinaryIO) -> Any:
    """A gzip stream without name and time, so that equal maps are equal bytes."""
    from isal import igzip

    return igzip.IGzipFile(filename="", mode="wb", compresslevel=_COMPRESSION, fileobj=plain, mtime=0)


def _write_npy(file: ArrayFile, stored: NDArray[Any], out: Path) -> None:
    with out.open("wb") as new:
        np.save(new, stored.astype(file.dtype))


def _write_npz(file: ArrayFile, stored: NDArray[Any], out: Path) -> None:
    """The new array among the old others, a label for example."""
    with np.load(file.path, allow_pickle=False) as old:
        arrays = {name: old[name] for name in old.files if name != file.member}
    with out.open("wb") as new:
        np.savez_compressed(new, **{**arrays, file.member: stored.astype(file.dtype)})


def _write_itk(file: ArrayFile, stored: NDArray[Any], out: Path) -> None:
    import SimpleITK as sitk  # noqa: N813 (its documented alias)

    image = sitk.GetImageFromArray(np.asarray(stored), isVector=file.vector)
    if file.geometry is not None:
        place_itk(image, file.geometry)
    sitk.WriteImage(image, str(out), useCompression=True)


_WRITERS: dict[str, Callable[[ArrayFile, NDArray[Any], Path], None]] = {
    ".nii": _write_nifti,
    ".nii.gz": _write_nifti,
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".mha": _write_itk,
    ".nrrd": _write_itk,
    ".png": _write_itk,
}


def copy_file(path: Path, out: Path) -> None:
    """Copy a file, all or nothing."""
    with atomic_path(out) as temporary:
        shutil.copyfile(path, temporary)
