"""Signatures: the one line beside each number that names every choice behind it, and the one place that reads it.

`NAME|KEY:VALUE|KEY:VALUE...`, as in `paper|ECE:top,foreground,15bins|...|HD95:monai|empty:nan`. The name is a label of
the choices that follow and never compared. Two numbers may be compared when the choices that their metrics use are
equal. `PARTS` says which metrics use a part, so that a table with another HD95 can still be ranked by DSC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple


class Part(NamedTuple):
    """What is known about one part of a signature.

    Attributes:
        words: the choice, for people.
        metrics: that use it; empty for all. A metric that no part names uses every part.
        default: value that is not written, so that signatures from before the part was there stay equal; None when
            the part is always written.
        of_data: it says how the files of one data set are to be read, and may differ between data sets.
    """

    words: str
    metrics: tuple[str, ...] = ()
    default: str | None = None
    of_data: bool = False


_DISTANCES = ("HD95", "HD", "ASSD", "NSD")
_LESIONS = (
    "lesion_DSC", "lesion_F1", "lesion_recall", "lesion_precision", "lesion_FP", "PQ", "SQ", "RQ", "CC_DSC",
)  # fmt: skip
_MASKS = ("DSC", "IoU", "precision", "recall", "VD", "RVD", *_DISTANCES, *_LESIONS)
_BY_VOXEL = ("Brier", "NLL", "aECE", "smECE", "MCB")
_CLASSWISE = ("ACE", "MCE", "gap")  # of the top label as ECE, of each class as CECE

PARTS: dict[str, Part] = {
    "ECE": Part("confidence, voxels and bins of ECE", ("ECE", "bECE", *_CLASSWISE)),
    "crop": Part("box of calibration", ("ECE", "CECE", "pECE", "bECE", *_CLASSWISE, *_BY_VOXEL), default="none"),
    "CECE": Part("classes, voxels, threshold and bins of CECE", ("CECE", *_CLASSWISE)),
    "pECE": Part("bins and false-positive weight of pECE", ("pECE",)),
    "edges": Part("edges of the bins", ("ECE", "CECE", "pECE", "bECE", *_CLASSWISE)),
    "masks": Part("masks of overlap and distances", _MASKS),
    "HD95": Part("definition of distances", _DISTANCES),
    "empty": Part("empty rule", _MASKS),
    "NSD": Part("tolerance of NSD", ("NSD",)),
    "bECE": Part("boundary width of bECE", ("bECE",)),
    "NLL": Part("clipping of NLL", ("NLL",)),
    "gap": Part("voxels of gap", ("gap",), default="as-ECE"),
    "lesions": Part("matching, connectivity and minimal volume of lesions", _LESIONS, default="iou>0.5,26,0mm3"),
    "levels": Part("levels of tDSC", ("tDSC",), default="0.1,0.24,0.38,0.52,0.66,0.8"),
    "CRPS": Part("ends of the integral of CRPS", ("CRPS",), default="none"),
    "raters": Part("raters", default="one"),
    "regions": Part("regions", of_data=True, default="none"),
    "ignore": Part("ignored label", of_data=True, default="none"),
    "view": Part("field of view", of_data=True, default="none"),
    "map": Part("renamed labels", of_data=True, default="none"),
}
_KNOWN = {metric for part in PARTS.values() for metric in part.metrics} | {"cDSC", "cConf"}  # of the data's parts alone


class Signature(str):
    """A signature; as text it is the line that stands in tables, gates and side files."""

    @classmethod
    def of(cls, name: str, parts: Mapping[str, str]) -> Signature:
        """Write a signature; a part at its default is left out."""
        written = (f"{key}:{value}" for key, value in parts.items() if value != _default(key))
        return cls("|".join((name, *written)))

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read a line; parts that this version does not know are kept and compared as they are."""
        return cls(text.strip())

    @property
    def name(self) -> str:
        """Of the protocol."""
        return self.partition("|")[0]

    @cached_property
    def parts(self) -> dict[str, str]:
        """Values by key, in their order."""
        pairs = (part.partition(":") for part in self.split("|")[1:])
        return {key: value for key, _, value in pairs}

    def get(self, key: str) -> str:
        """A part's value, its default where it is not written; empty when there is neither."""
        return self._value(key) or ""

    def extended(self, parts: Mapping[str, str]) -> Signature:
        """The same with further parts."""
        return Signature.of(self.name, {**self.parts, **parts})

    def shared(self, other: Signature) -> Signature:
        """The parts that both have, under the name that both have."""
        name = self.name if self.name == other.name else ""
        return Signature.of(name, {key: value for key, value in self.parts.items() if other._value(key) == value})

    def differs(self, other: Signature, metrics: Iterable[str] | None = None, *, same_data: bool = True) -> str:
        """Say in words which choices differ; empty when numbers may be compared.

        Args:
            other: signature.
            metrics: that are compared; None compares every part.
            same_data: False passes over what says how the files of one data set are to be read.
        """
        if self == other:
            return ""
        if not self or not other:
            return "one was scored by a known protocol, the other has no signature"
        used = None if metrics is None else set(metrics)
        pairs = {key: (self._value(key), other._value(key)) for key in (*self.parts, *other.parts)}
        return "; ".join(
            f"{_words(key)}: {_shown(ours)} against {_shown(theirs)}"
            for key, (ours, theirs) in pairs.items()
            if ours != theirs and _counts(key, used, same_data=same_data)
        )

    def _value(self, key: str) -> str | None:
        return self.parts.get(key, _default(key))


def _default(key: str) -> str | None:
    return PARTS[key].default if key in PARTS else None


def _shown(value: str | None) -> str:
    return "none" if value is None else value or "given"


def _words(key: str) -> str:
    return PARTS[key].words if key in PARTS else key


def _counts(key: str, metrics: set[str] | None, *, same_data: bool) -> bool:
    """Whether a difference in this part forbids a comparison of these metrics."""
    part = PARTS.get(key, Part(key))
    if part.of_data and not same_data:
        return False
    return metrics is None or not part.metrics or not metrics <= _KNOWN or bool(metrics & set(part.metrics))
