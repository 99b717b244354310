"""Every error that calibeval raises on purpose.

    CalibevalError             exit code 2 when it reaches the command line
    ├── UsageError             options or arguments that contradict each other or the data
    ├── InputError             one file that cannot be used: costs its case, never the others
    │   ├── BrokenFileError    damaged, cut off, or not of the format that its name says
    │   └── GeometryError      prediction and reference do not lie in the same place
    ├── ProbabilityError       values that are no probabilities; the reader of a file makes an InputError of it
    ├── TableError             a results table that cannot be read or compared
    └── MissingExtraError      an optional dependency is not installed

A message is for a person: what file, what was expected, what was found, what to do.
"""

from __future__ import annotations

import traceback
from pathlib import Path


class CalibevalError(Exception):
    """Base class; the command line prints its text and exits with 2."""


class UsageError(CalibevalError):
    """Options or arguments that contradict each other or the data."""


class InputError(CalibevalError):
    """A file that cannot be used.

    Args:
        path: the file.
        problem: what was expected and what was found.
        advice: what the user can do about it; may be empty.
    """

    def __init__(self, path: Path | str, problem: str, advice: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        self.advice = advice
        super().__init__(f"{path}: {problem}" + (f" {advice}" if advice else ""))

    def __reduce__(self) -> tuple[type[InputError], tuple[Path, str, str]]:
        """Cross a process boundary whole: exceptions are pickled by their constructor's arguments."""
        return type(self), (self.path, self.problem, self.advice)


class BrokenFileError(InputError):
    """A file that is damaged, cut off, or not of the format that its name says; one that is whole may still not fit."""


class GeometryError(InputError):
    """Prediction and reference do not lie in the same place."""


class ProbabilityError(CalibevalError):
    """Values that are no probabilities: not finite, out of [0, 1], or not summing to 1 over the classes."""


class TableError(CalibevalError):
    """A results table that cannot be read, or cannot be compared with another."""


class MissingExtraError(CalibevalError):
    """An optional dependency is not installed; the text holds the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Install it with: pip install 'calibeval[{extra}]'")


def describe(error: Exception) -> str:
    """Say what happened in one line for people, whatever was raised.

    What we raise on purpose, and the system's own errors, speak for themselves; anything else is a fault of ours.
    """
    if isinstance(error, CalibevalError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory. Close other programs, or take fewer --workers."
    if isinstance(error, OSError):
        return (f"{error.filename}: " if error.filename else "") + f"{error.strerror or error}."
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    return f"unexpected {type(error).__name__}: {error}. This is a bug; please report it.{place}"
