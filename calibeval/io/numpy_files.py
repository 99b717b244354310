"""NPY files and the arrays inside NPZ files. Nothing pickled is ever loaded."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.array_file import AGAIN, ArrayFile, choose_key
from calibeval.io.stored import Bytes, deflated, open_stored


def open_npy(path: Path, _keys: tuple[str, ...]) -> ArrayFile:
    """Open an NPY file."""
    with path.open("rb") as file:
        shape, fortran, dtype = _read_npy_header(file, path)
        offset = file.tell()
    return open_stored(path, Bytes(path, offset), shape, dtype, fortran=fortran)


def open_npz(path: Path, keys: tuple[str, ...]) -> ArrayFile:
    """Open the array of an NPZ that is named first in `keys`, or its only one."""
    with zipfile.ZipFile(path) as archive:
        info = _find_member(path, archive, keys)
        with archive.open(info) as file:
            shape, fortran, dtype = _read_npy_header(file, path)
            header = file.tell()
    start = _member_start(path, info)
    if info.compress_type == zipfile.ZIP_STORED:
        _check_length(path, info, header + math.prod(shape) * dtype.itemsize)
        stored = Bytes(path, start + header, check=lambda: _check_stored(path, start, info))
    else:
        stored = deflated(path, start, info.compress_size, -zlib.MAX_WBITS, skip=header, crc=info.CRC)
    return open_stored(path, stored, shape, dtype, fortran=fortran, member=Path(info.filename).stem)


def npz_keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an NPZ."""
    with zipfile.ZipFile(path) as archive:
        return tuple(Path(name).stem for name in archive.namelist() if name.endswith(".npy"))


def _find_member(path: Path, archive: zipfile.ZipFile, keys: tuple[str, ...]) -> zipfile.ZipInfo:
    names = {Path(info.filename).stem: info for info in archive.infolist() if info.filename.endswith(".npy")}
    info = names[choose_key(path, names, keys)]
    if info.flag_bits & 1:
        raise InputError(path, "is encrypted.", "Save it again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            path, f"its compression (ZIP method {info.compress_type}) is unknown.", "Use numpy.savez_compressed."
        )
    return info


def _read_npy_header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise InputError(path, f"NPY version {version} is unknown.", "Save it with numpy.save or numpy.savez.")
    if dtype.hasobject:
        raise InputError(
            path, "holds pickled Python objects, which are never loaded.", "Save a plain array of numbers."
        )
    return shape, fortran, dtype


def _member_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Offset of a member's bytes: the local header's name and extra field have lengths of their own."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    return info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def _check_length(path: Path, info: zipfile.ZipInfo, declared: int) -> None:
    if info.file_size != declared:
        problem = f"its array {info.filename} takes {info.file_size} bytes, where its header declares {declared}."
        raise BrokenFileError(path, problem, AGAIN)


def _check_stored(path: Path, start: int, info: zipfile.ZipInfo) -> None:
    """Check the checksum of an uncompressed member; reading it later comes from the system's cache."""
    crc, left = 0, info.file_size
    with path.open("rb") as file:
        file.seek(start)
        while left and (part := file.read(min(left, 1 << 20))):
            crc, left = isal_zlib.crc32(part, crc), left - len(part)
    if left or crc != info.CRC:
        raise zipfile.BadZipFile("the checksum is wrong")
