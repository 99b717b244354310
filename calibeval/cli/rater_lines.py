"""What `calibeval score` says of several raters, in words and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from calibeval.agreement import Agreement, agreement
from calibeval.escape import finite
from calibeval.metrics import METRICS
from calibeval.wording import number

if TYPE_CHECKING:
    from calibeval.scoring.job import MethodScore

_SAID = ("DSC", "HD95")  # in words; of the others the table and --json tell


def rater_lines(method: MethodScore) -> Iterator[str]:
    """A sentence on the model beside the raters; none with one reference."""
    found = [each for each in _agreements(method) if each.metric in _SAID]
    if found:
        parts = (_text(verdict, list(alike)) for verdict, alike in groupby(found, lambda each: each.verdict))
        yield f"against the raters (and they among themselves): {'; '.join(parts)}"


def _text(verdict: str, found: list[Agreement]) -> str:
    text = ", ".join(f"{each.metric} {number(each.model)} ({number(each.raters)})" for each in found)
    return f"{text}: {verdict}" if verdict else text


def rater_json(method: MethodScore) -> list[dict[str, Any]] | None:
    """Every metric of masks, the model beside the raters; None with one reference."""
    if not method.raters:
        return None
    return [finite({**each._asdict(), "verdict": each.verdict}) for each in _agreements(method)]


def _agreements(method: MethodScore) -> list[Agreement]:
    names = dict.fromkeys(row.metric for row in method.raters if METRICS[row.metric].of_masks)
    found = (agreement(method.rows, method.raters, name) for name in names)
    return [each for each in found if each is not None]
