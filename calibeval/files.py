"""Writing files whole or not at all, in their folder and by one run at a time; reading small ones.

A file that is being written is a hidden one whose name tells the process; what a killed one left is swept by the next
that writes into the folder. Before it works a command claims the files that it will write, by an empty file in the
folder for temporary ones: a second run on this machine that wants the same file is told.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import platform
import stat
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from calibeval.errors import UsageError

_TEMPORARY = ".calibeval-"  # not the file's own name, which may be as long as a name can be
_LONGEST_SUFFIX = 16
_CLAIM = "calibeval-claim-"
_OLD = 24 * 3600  # seconds, from which on a file of a process that cannot be seen is a leftover
_claims: dict[Path, Path] = {}  # of this process: file to the hidden one that says so


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, all or nothing; its folder is made when missing, halves of characters are named."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_csv(
    path: Path, needed: Sequence[str], delimiters: str = ",;\t"
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a small CSV in UTF-8 that a person wrote.

    Args:
        path: of the file.
        needed: columns that it must have.
        delimiters: what may part the fields; the first of them that is in the first line does.

    Returns:
        Its columns, and each row as a dict with the number of its line.

    Raises:
        UsageError: no such file, no such table, or a line of another length.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, expected a CSV file.")
    if not path.exists():
        raise UsageError(f"{path}: no such file.")
    try:
        text = read_text(path)
        reader = csv.reader(io.StringIO(text), delimiter=_delimiter(text, delimiters), strict=True)
        lines = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is no CSV in UTF-8 ({error}).") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(lines) < 2:
        raise UsageError(f"{path}: holds no case. Expected the columns {','.join(needed)} and a line for each case.")
    columns = ",".join(lines[0][1]).rstrip(",").split(",")
    if missing := [name for name in needed if name not in columns]:
        raise UsageError(
            f"{path}: expected a first line with the columns {', '.join(needed)}, parted by commas; missing: "
            f"{', '.join(missing)}."
        )
    if len(set(columns)) < len(columns):
        raise UsageError(f"{path}: names a column twice: {', '.join(columns)}.")
    return columns, [(number, _as_row(path, number, columns, fields)) for number, fields in lines[1:]]


def _delimiter(text: str, delimiters: str) -> str:
    first_line = text.partition("\n")[0]
    return next((mark for mark in delimiters if mark in first_line), delimiters[0])


def _as_row(path: Path, number: int, columns: list[str], fields: list[str]) -> dict[str, str]:
    """A line by columns; empty fields at its end are a spreadsheet's padding."""
    if len(fields) < len(columns) or any(fields[len(columns) :]):
        raise UsageError(f"{path}: line {number} has {len(fields)} fields, expected {len(columns)}.")
    return dict(zip(columns, fields, strict=False))


def check_regular(path: Path) -> None:
    """Refuse what is neither file nor folder: a pipe would be waited for, and a device may never end.

    Raises:
        OSError: it is, or is not there; its text says so.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, expected a file", str(path))


def read_text(path: Path) -> str:
    """A small text file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: it cannot be read, or is none; see `check_regular`.
        UnicodeDecodeError: it is no text.
    """
    check_regular(path)
    return path.read_text(encoding="utf-8-sig")


def inside(folder: Path, name: str | Path) -> Path:
    """A path in a folder, for names that come from files.

    Raises:
        UsageError: it would lie elsewhere, by `..`, a name from the root, or a link in the folder that leads out.
    """
    path = folder / name
    if path.name in ("", "..") or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{path}: lies outside of {folder}. Rename {str(name)!r}, or remove the link that leads there."
        )
    return path


def check_writable(paths: Iterable[Path]) -> None:
    """Refuse before the work what could not be written after it, and claim it; makes the folders.

    Raises:
        UsageError: a folder that cannot be made or written to, a file's name that is too long or a folder's, a pipe or
            a device, or a file that another run is about to write.
    """
    for path in paths:
        place, kind = path.parent, "folder"
        try:
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
            place, kind = path, "file"
            _check_target(path)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _claim(path)
        except OSError as error:
            reason = f"{place}: cannot be written to ({error.strerror})."
            raise UsageError(f"{reason} Choose another {kind} with --out.") from error


def _check_target(path: Path) -> None:
    """Refuse to replace a pipe or a device, as in `--out /dev/null`; fails for a name that is too long."""
    with suppress(FileNotFoundError):
        check_regular(path)


def _claim(path: Path) -> None:
    """Say that this process will write a file; of two of this machine that say so, the later is told."""
    target = path.parent.resolve() / path.name
    if target in _claims:
        return
    folder = Path(tempfile.gettempdir())
    _sweep(folder, _CLAIM)
    start = f"{_CLAIM}{zlib.crc32(os.fsencode(target)):08x}-"
    handle, name = tempfile.mkstemp(dir=folder, prefix=f"{start}{_process()}-")
    os.close(handle)
    own = _claims[target] = Path(name)
    others = [other for other in folder.glob(f"{start}*") if other != own and _lives(other, start)]
    if first := [other for other in others if _age(other) <= _age(own)]:
        release_claims()
        pid = _process_of(first[0], start)[1]
        raise UsageError(f"{path}: process {pid} is about to write it as well. Wait for it, or choose another --out.")


def release_claims() -> None:
    """Let others write what this process has claimed; called at the end of a command."""
    while _claims:
        _claims.popitem()[1].unlink(missing_ok=True)


def _age(path: Path) -> int:
    """Order of claims; of two within one tick of the file system's clock each counts as later, and both are told."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # given up meanwhile
        return time.time_ns()


def _sweep(folder: Path, start: str) -> None:
    """Remove what killed processes left in a folder."""
    for path in folder.glob(f"{start}*"):
        if not _lives(path, start):
            with suppress(OSError):
                path.unlink()


def _lives(path: Path, start: str) -> bool:
    """Whether the process lives that made a file of such a name; of one on another machine, its age tells."""
    node, pid, born = _process_of(path, start)
    if node == _process().partition("-")[0]:
        return _born(pid) == born
    try:
        return time.time() - path.stat().st_mtime < _OLD
    except FileNotFoundError:
        return False


def _process_of(path: Path, start: str) -> tuple[str, str, str]:
    """Machine, number and birth of the process that made a file, as `_process` gives them; else empty."""
    parts = path.name.removeprefix(start).split("-")[-4:]
    return (parts[0], parts[1], parts[2]) if len(parts) == 4 else ("", "", "")


def _process() -> str:
    """This process, for the names of hidden files: its machine, number, and birth, since numbers are used again."""
    return f"{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}-{_born(str(os.getpid()))}"


def _born(pid: str) -> str:
    """When a process of this machine began; empty where there is none, and `0` where the system does not tell."""
    try:
        fields = Path("/proc", pid, "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        if os.name == "posix":  # elsewhere this would end the process
            os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return ""
    except PermissionError:
        pass
    return "0"


@cache
def _swept(folder: Path) -> None:
    """Sweep a folder that this process writes into, once."""
    _sweep(folder, _TEMPORARY)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends; an error leaves what was there."""
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_target(path)
        _swept(path.parent.resolve())
        prefix = f"{_TEMPORARY}{_process()}-"
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix[:_LONGEST_SUFFIX])
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let system errors name the file that was wanted, not a temporary one, or none (as where there is no room)."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(_TEMPORARY):
            error.filename = str(path)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
