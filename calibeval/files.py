"""Writing files whole or not at all, reading small CSVs, and telling whether two files are the same."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from calibeval.errors import UsageError

_TEMPORARY = ".calibeval-"  # not the file's own name, which may be as long as a name can be
_LONGEST_SUFFIX = 16


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, all or nothing; its folder is made when missing."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


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
    if not path.is_file():
        raise UsageError(f"{path}: " + ("is a folder, expected a CSV file." if path.is_dir() else "no such file."))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(file.readline(), delimiters), strict=True)
            file.seek(0)
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


def _delimiter(first_line: str, delimiters: str) -> str:
    return next((mark for mark in delimiters if mark in first_line), delimiters[0])


def _as_row(path: Path, number: int, columns: list[str], fields: list[str]) -> dict[str, str]:
    """A line by columns; empty fields at its end are a spreadsheet's padding."""
    if len(fields) < len(columns) or any(fields[len(columns) :]):
        raise UsageError(f"{path}: line {number} has {len(fields)} fields, expected {len(columns)}.")
    return dict(zip(columns, fields, strict=False))


def check_writable(paths: Iterable[Path]) -> None:
    """Refuse before the work what could not be written after it; makes the folders.

    Raises:
        UsageError: a folder that cannot be made or written to, or a file's name that is too long or a folder's.
    """
    for path in paths:
        place, kind = path.parent, "folder"
        try:
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
            place, kind = path, "file"
            if path.is_dir():  # fails for a name that is too long
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except OSError as error:
            reason = f"{place}: cannot be written to ({error.strerror})."
            raise UsageError(f"{reason} Choose another {kind} with --out.") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends; an error leaves what was there."""
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY, suffix=path.suffix[:_LONGEST_SUFFIX])
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
