"""Decompression, by far the largest cost of scoring: gzip files and deflated NPZ members as byte streams.

Intel's ISA-L (package isal) decompresses faster than zlib, releases the GIL, and checks the checksum; its threaded
reader works one buffer ahead of whoever computes. rapidgzip (extra `fast`) decompresses one large file on several
cores; it is used where it is installed and `use_cores` has given it the cores. It holds several pieces of 4 MiB of the
compressed file, decompressed: about 0.3 GB for a file that hardly compresses, gigabytes for one that does, which is
therefore left to ISA-L.
"""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip, igzip_threaded, isal_zlib

_BUFFER = 1 << 20
_WORTH_A_THREAD = 2 << 20  # bytes of a file; a smaller one is read before a thread has started
_WORTH_CORES = 64 << 20
_HARDLY_COMPRESSED = 2.0  # at most so many bytes for each of the file
_cores = 1
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_MOST = 1032  # bytes that deflate can make of one
CORRUPT: tuple[type[Exception], ...] = (
    EOFError,
    zlib.error,
    cast("type[Exception]", isal_zlib.error),
    gzip.BadGzipFile,
    zipfile.BadZipFile,
)


def use_cores(cores: int) -> None:
    """Say how many cores one large file may be decompressed on, in this process."""
    global _cores  # noqa: PLW0603 (a limit of the process, as its number of cores is)
    _cores = cores


def open_gzip(path: Path, expected: int) -> BinaryIO:
    """Open a gzip file that should hold so many bytes; the checksum is checked. A large one is decompressed ahead."""
    size = path.stat().st_size
    if size < _WORTH_A_THREAD:
        return cast("BinaryIO", igzip.open(path, "rb"))
    worth_cores = size >= _WORTH_CORES and expected <= _HARDLY_COMPRESSED * size
    if worth_cores and _cores > 1 and find_spec("rapidgzip"):
        import rapidgzip

        return cast("BinaryIO", rapidgzip.open(str(path), parallelization=_cores))
    return cast("BinaryIO", igzip_threaded.open(path, "rb", threads=1, block_size=_BUFFER))


def open_deflated(path: Path, start: int, size: int, window: int, crc: int | None) -> BinaryIO:
    """Open a deflate stream of so many bytes inside a file; see `stored.deflated`."""
    return cast("BinaryIO", io.BufferedReader(_Deflated(path, start, size, window, crc), _BUFFER))


def open_bzip2(path: Path, start: int) -> BinaryIO:
    """Open a bzip2 stream that runs to the end of a file; each of its blocks has a checksum."""
    return cast("BinaryIO", _Bzip2(path, start))


class _Bzip2(bz2.BZ2File):
    """A bzip2 stream that closes its file."""

    def __init__(self, path: Path, start: int) -> None:
        self._source = path.open("rb")
        self._source.seek(start)
        super().__init__(self._source)

    def close(self) -> None:
        super().close()
        self._source.close()


class _Deflated(io.RawIOBase):
    """A deflate stream as a file, with the bytes that follow it; its checksum is checked at its end."""

    def __init__(self, path: Path, start: int, size: int, window: int, crc: int | None) -> None:
        self._file = path.open("rb")
        self._file.seek(start)
        self._left, self._window, self._expected_crc, self._crc = size, window, crc, 0
        self._decompressor = isal_zlib.decompressobj(window)
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._decompressor.eof:
            exhausted = not self._fetch()
            deflate = self._decompressor
            part = deflate.decompress(self._waiting, len(buffer))
            self._waiting = deflate.unused_data if deflate.eof else deflate.unconsumed_tail
            if part:
                return self._give(part, buffer)
            if exhausted:
                raise EOFError("the compressed data ends too early")
        if self._expected_crc not in (None, self._crc):
            raise zipfile.BadZipFile("the checksum is wrong")
        if self._fetch() and self._window > zlib.MAX_WBITS and self._waiting.startswith(GZIP_MAGIC):
            self._decompressor = isal_zlib.decompressobj(self._window)  # pigz and bgzip write several streams
            return self.readinto(buffer)
        rest, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(rest)] = rest
        return len(rest)

    def _fetch(self) -> bytes:
        """What waits, read on where nothing does."""
        if not self._waiting:
            self._waiting = self._file.read(min(_BUFFER, self._left))
            self._left -= len(self._waiting)
        return self._waiting

    def _give(self, part: bytes, buffer: memoryview) -> int:
        if self._expected_crc is not None:
            self._crc = isal_zlib.crc32(part, self._crc)
        buffer[: len(part)] = part
        return len(part)
