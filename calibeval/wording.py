"""Words that several parts share, in messages and in options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from calibeval.errors import UsageError

MISSING_RULES = ("error", "worst", "drop")  # what a case becomes that a method has no prediction of


def count_of(number: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number(value: float) -> str:
    """A metric's value for reading; empty where it is undefined."""
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def some_of(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and dots when there are more."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


class Alike(NamedTuple):
    """Messages of one cause.

    Attributes:
        cases: that have it.
        messages: of each.
    """

    cases: list[str]
    messages: list[str]

    @property
    def where(self) -> str:
        """One case by its name, several by their number and the first names."""
        n = len(self.cases)
        return self.cases[0] if n == 1 else f"{count_of(n, 'case')} ({some_of(self.cases)})"


def group_alike(messages: Iterable[tuple[str, str]]) -> list[Alike]:
    """Put (case, message) pairs together where only the case, its files or numbers differ, in order of appearance."""
    groups: dict[str, Alike] = {}
    for case, message in messages:
        group = groups.setdefault(_cause(message, case), Alike([], []))
        group.cases.append(case)
        group.messages.append(message)
    return list(groups.values())


def _cause(message: str, case: str) -> str:
    """A message without what differs from case to case."""
    bare = re.sub(rf"(?<!\w){re.escape(case)}(?!\w)", "", message)
    return re.sub(r"\d+", "#", re.sub(r"\S*/\S*", "FILE", bare))


def missing_rule(word: str) -> str:
    """One of `MISSING_RULES`; `skip` is what 0.1's `score` called `drop`."""
    return "drop" if word == "skip" else word


def parse_size(text: str, option: str) -> int:
    """Read bytes as in `500M`, `4G`, `1.5 GiB` or `1000000`; a letter counts in powers of 1024.

    Raises:
        UsageError: anything else, and none at all.
    """
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*(?:([KMGT])(?:i?B)?|B)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * 1024 ** " KMGT".index((match[2] or " ").upper())) if match else 0
    if not size:
        raise UsageError(f"{option} expects a size, for example 500M or 4G, not {text!r}.")
    return size


def parse_part(text: str, option: str, least: int = 1) -> tuple[int, int]:
    """Read `i/n`, the i-th of n parts, as folds and shards are given.

    Args:
        text: with 1 <= i <= n.
        option: for messages.
        least: smallest n.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if not match:
        raise UsageError(f"{option} expects i/n, for example 1/5, not {text!r}.")
    index, number = int(match[1]), int(match[2])
    if number < least or not 1 <= index <= number:
        raise UsageError(f"{option} {text}: expected 1 <= i <= n, and n of at least {least}.")
    return index, number
