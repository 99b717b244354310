"""Files behind URLs that fsspec knows (extra `remote`): `s3://`, `gs://`, `https://`, `zip://inside::archive.zip`, ...

What a URL names is copied into a folder of copies, under the names that it has there, and read as files are. Readers go
over a file up to three times, and maps are far larger than what is kept of them; so nothing is streamed. A copy is kept
and taken again while size, time or checksum say that it is the same; so `--resume` works, and a second run copies
nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from calibeval.errors import CalibevalError, InputError, MissingExtraError, UsageError
from calibeval.files import inside, read_text, write_text

CACHE = "CALIBEVAL_CACHE"  # environment: folder of the copies
_SCHEME = re.compile(r"(^|::)([A-Za-z][A-Za-z0-9+.-]+):/+")  # pathlib joins slashes; one letter is a drive
_TOLD = ("size", "file_size", "ETag", "etag", "LastModified", "mtime", "md5Hash", "CRC")  # of a file's state
_given: dict[Path, str] = {}  # copies to their URLs
_BATCH = 32  # files that are copied at once


def url_of(path: Path) -> str | None:
    """The URL that a path stands for, where it is one; None for a path on this machine."""
    text = path.as_posix()
    if not _SCHEME.match(text) or path.exists():
        return None
    return _SCHEME.sub(r"\1\2://", text)


def as_given(path: Path) -> str:
    """A path as its user wrote it: of a copy, the URL."""
    return _given.get(path, str(path))


def local_path(path: Path) -> Path:
    """The path itself, or of a URL that of its copy on this machine.

    With a table its statistics are copied, with a folder the `dataset.json` beside it.

    Raises:
        UsageError: nothing there, no access, no room, or a URL of no known kind.
        MissingExtraError: fsspec or the package for this kind of URL.
    """
    url = url_of(path)
    if url is None:
        return path
    with _reading(url):
        import fsspec

        system, root = fsspec.url_to_fs(url)
        origin = hashlib.sha256(url.replace(root, "", 1).encode()).hexdigest()[:8]
        home = inside(_cache(), f"{url.partition(':')[0]}-{origin}")
        if "::" in url:
            home = inside(
                home, PurePosixPath(url.rpartition("::")[2]).stem
            )  # of the archive, which names what it holds
        name = root.strip("/")
        _copy(system, _wanted(system, root), home)
        found: Path = home / name
    _given[found] = url
    return found


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        package = re.search(r"[Ii]nstall (\w+)", str(error))
        raise MissingExtraError(package[1] if package else error.name or "fsspec", "remote") from error
    except CalibevalError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"{url}: no such file or folder.") from error
    except Exception as error:  # each kind of server has errors of its own
        raise UsageError(f"{url}: cannot be read ({str(error) or type(error).__name__}).") from error


def _cache() -> Path:
    """Folder of copies: of the environment, else the user's; where there is neither, one that nobody finds again."""
    with suppress(RuntimeError, OSError):
        base = os.environ.get(CACHE) or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calibeval"
        Path(base).mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(base).resolve()
    return Path(tempfile.mkdtemp(prefix="calibeval-"))


def _wanted(system: Any, root: str) -> dict[str, dict[str, Any]]:
    """Files by their path on the server, and what is told of each."""
    from calibeval.bins import bins_path

    parent = root.rstrip("/").rpartition("/")[0]
    if _is_folder(system, root):
        found: dict[str, dict[str, Any]] = system.find(root, detail=True)
        if not found:
            raise FileNotFoundError(root)
        beside = f"{parent}/dataset.json".lstrip("/")
    else:
        found = {root: system.info(root)}
        beside = f"{parent}/{bins_path(Path(PurePosixPath(root).name)).name}" if root.lower().endswith(".csv") else ""
    if beside:
        with suppress(Exception):  # servers say no in many ways; it is not asked for
            found[beside] = system.info(beside)
    return found


def _is_folder(system: Any, root: str) -> bool:
    """Whether a URL is a folder; pages of a web server are none by themselves."""
    if "http" in system.protocol:
        return not PurePosixPath(root).suffix
    return bool(system.isdir(root))


def _copy(system: Any, found: dict[str, dict[str, Any]], home: Path) -> None:
    """Copy what is not here yet or has changed, whole or not at all."""
    states = {name: [str(told.get(key, "")) for key in _TOLD] for name, told in found.items()}
    index = home / ".copies.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = dict(json.loads(read_text(index)))
    targets = {name: inside(home, name.strip("/")) for name in found}
    missing = [
        name
        for name, to in targets.items()
        if not (to.is_file() and any(states[name]) and known.get(name) == states[name])
    ]
    home.mkdir(parents=True, exist_ok=True)
    need = sum(int(found[name].get("size") or 0) for name in missing)
    if need > (free := shutil.disk_usage(home).free):
        problem = f"copies take {need / 2**30:.1f} GiB, where {free / 2**30:.1f} GiB are free."
        raise InputError(home, problem, f"Set {CACHE} to a folder with more room.")
    for start in range(0, len(missing), _BATCH):
        names = missing[start : start + _BATCH]
        with tempfile.TemporaryDirectory(dir=home, prefix=".calibeval-") as folder:
            parts = [str(Path(folder, str(number))) for number in range(len(names))]
            system.get(names, parts)
            for name, part in zip(names, parts, strict=True):
                targets[name].parent.mkdir(parents=True, exist_ok=True)
                Path(part).replace(targets[name])
        known |= {name: states[name] for name in names}
        write_text(index, json.dumps(known))
