"""The rules for prediction files: what each asks, and what happens when it does not hold. `integrity` applies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from calibeval.errors import UsageError


class Rule(NamedTuple):
    """One thing that must hold, and what happens when it does not."""

    severity: str
    text: str


RULES: dict[str, Rule] = {
    "missing": Rule("fail", "every expected case has a prediction"),
    "extra": Rule("warn", "every prediction belongs to an expected case"),
    "readable": Rule("fail", "files are whole"),
    "layout": Rule("fail", "shape, type, classes and labels are as expected"),
    "geometry": Rule("fail", "predictions lie where the image or label lies"),
    "finite": Rule("fail", "no probability is NaN or infinite"),
    "range": Rule("fail", "probabilities lie in [0, 1]"),
    "sum": Rule("fail", "probabilities sum to 1 over the classes"),
    "one_hot": Rule("fail", "probabilities are not all 0 or 1"),
    "truncated": Rule("fail", "foreground probabilities below 0.5 were not cut off"),
    "argmax": Rule("fail", "the label map beside the probabilities is their argmax"),
}
SEVERITIES = ("fail", "warn", "off")
# After breaking one of these a case is not asked the rules that follow.
BLOCKING = ("missing", "readable", "layout", "geometry", "range")


def check_severities(severities: Mapping[str, str], source: str = "") -> None:
    """Refuse a rule or a severity that there is not.

    Raises:
        UsageError: it is unknown.
    """
    for name, severity in severities.items():
        if name not in RULES or severity not in SEVERITIES:
            where = f"{source}: integrity" if source else "Integrity"
            raise UsageError(
                f"{where} rule {name} = {severity!r}: expected one of {', '.join(RULES)} to be fail, warn or off."
            )
