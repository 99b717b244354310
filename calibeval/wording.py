"""Words that the messages of several parts share."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
