"""What the user says about the files; light, since the command line asks for it before any file is looked at."""

from __future__ import annotations

from typing import Literal, NamedTuple

from calibeval.errors import UsageError

InputKind = Literal["auto", "probabilities", "logits", "labels"]


class ReadOptions(NamedTuple):
    """What the user says about the files.

    Attributes:
        input: what predictions hold; `auto` tells labels from probabilities and never assumes logits.
        axes: the prediction's own axes, as in `czyx`.
        scale: divide probabilities by this; None takes the only scale that makes sense of the values.
        spacing_mm: in the order of the label file's own axes; None takes the header's.
    """

    input: InputKind = "auto"
    axes: str | None = None
    scale: float | None = None
    spacing_mm: tuple[float, ...] | None = None


def check_axes(axes: str) -> None:
    """Raise UsageError unless axes are named as `--axes` wants them."""
    if sorted(axes.lower()) not in (sorted("cxyz"), sorted("cxy"), sorted("xyz"), sorted("xy")):
        raise UsageError(f"--axes {axes!r}: expected an order of the letters c, x, y, z, for example czyx.")
