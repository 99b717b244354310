"""Protocols: every choice that changes a number, under one name and one signature.

Two tools print different numbers for the same files mostly because they chose differently here: which voxels
count, which probability, how many bins, which Hausdorff percentile. A `Protocol` fixes all of it; its
`signature` stands beside each result, and tables with unequal signatures are never compared.

Sources: `paper` is "We Care Each Pixel: Calibrating on Medical Segmentation Model", `paper-text` the same taken
literally; `nacl` is its predecessor
"Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints" (arXiv:2401.14487) as its
authors' code computes it; `sdc-repo` is the released code of the first; `guo` is
"On Calibration of Modern Neural Networks" (arXiv:1706.04599).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from calibeval.errors import UsageError
from calibeval.signature import Signature

Domain = Literal["all", "foreground", "predicted-foreground"]
EmptyRule = Literal["nan", "worst", "nacl", "sdc-repo", "deepmind"]


class HD95Definition(NamedTuple):
    """How one tool understands "the 95% Hausdorff distance".

    Attributes:
        surface: `faces` (a voxel with a 6-neighbour outside, 4 in 2-D), `full` (26, 8 in 2-D), `corners` (2x2x2
            elements between voxels), or `voxels` (no surface: every voxel of the mask).
        pooled: one percentile over both directions together, instead of the larger of two.
        weighted: elements count by their area and the percentile is not interpolated.
        spacing: distances in mm; without it in voxels.
        agrees_with: the tools that compute this.
    """

    surface: Literal["faces", "full", "corners", "voxels"]
    pooled: bool
    weighted: bool
    spacing: bool
    agrees_with: str

    @property
    def unit(self) -> str:
        """Unit of the distances."""
        return "mm" if self.spacing else "voxel"


HD95_DEFINITIONS: dict[str, HD95Definition] = {
    "monai": HD95Definition("faces", pooled=False, weighted=False, spacing=True, agrees_with="MONAI, MetricsReloaded"),
    "medpy": HD95Definition("faces", pooled=True, weighted=False, spacing=True, agrees_with="medpy, panoptica"),
    "deepmind": HD95Definition("corners", pooled=False, weighted=True, spacing=True, agrees_with="surface-distance"),
    "sdc-repo": HD95Definition("full", pooled=True, weighted=False, spacing=False, agrees_with="the SDC authors' code"),
    "paper-text": HD95Definition("voxels", pooled=False, weighted=False, spacing=True, agrees_with="the paper's text"),
}

# What finds a lesion; T is a number below 1.
MATCHINGS: dict[str, str] = {
    "overlap": "every predicted lesion that shares a voxel; several are taken together, one may find several",
    "iou>T": "one to one, an IoU above T; the sum of IoU is largest",
    "centroid": "one to one, the centroid of the predicted lesion lies in it; the sum of IoU is largest",
    "brats26-gli": "one to one, a DSC of 1e-6 and more, the sum of DSC is largest; lesion_DSC is over what was found",
    "brats26-mets": "the same pairs; below 20 mm^3 none counts, a DSC below .1 finds none, and every false one counts",
}
MATCHING = r"overlap|centroid|brats26-gli|brats26-mets|iou>(0?\.\d+|0)"
CONNECTIVITIES = (6, 18, 26)
CONSENSUSES = ("majority", "staple")

EMPTY_RULES: dict[str, str] = {
    "nan": "an undefined value is left out of every mean, and the cases left out are counted",
    "worst": "one empty mask: overlap 0, distance the image's diagonal; both empty: a perfect score",
    "nacl": "empty reference: overlap 1, distance 0; a missed structure: overlap 0, distance undefined",
    "sdc-repo": "both empty: overlap 1, distance 0; one empty: overlap 0, distance infinite",
    "deepmind": "distances are infinite when any mask is empty, as surface-distance has it",
}


@dataclass(frozen=True)
class Protocol:
    """All choices behind a number; see the module's text and the README's table.

    Attributes:
        name: the named instance that this one started from.
        ece_confidence: `top` is (max_c p_c, [yhat = y]); `foreground` is (1 - p_0, [y > 0]).
        ece_domain: voxels that count for ECE: those of the reference's or the prediction's foreground, or all.
        ece_bins: number of equal bins for ECE.
        cece_classes: `all` classes, or only those `up-to-reference-maximum`, 0..max(y).
        cece_domain: voxels that count for CECE.
        cece_threshold: only voxels with p_c above it count; None counts all.
        cece_threshold_on: `voxels`, or `classes`: all voxels count, and a class only where its mean p_c is above it.
        cece_bins: number of equal bins for CECE and every per-class calibration number.
        pece_bins: number of equal bins for pECE.
        fp_weight: weight w of false positives in pECE.
        zero_in_first_bin: False drops voxels with p = 0 from the bins but not from N.
        union: overlap and distances of the foreground as one mask, instead of class by class.
        hd95: key of `HD95_DEFINITIONS`; it fixes HD, ASSD and NSD too, which share its distances.
        empty: key of `EMPTY_RULES`.
        nsd_tolerance_mm: NSD counts surface within this distance.
        boundary_mm: bECE counts voxels within this distance of the reference boundary.
        nll_clip: NLL takes -log(max(p, nll_clip)).
        gap_threshold: gap counts voxels with 1 - p_0 above it: selected by the prediction, never by the outcome.
        matching: which predicted lesion finds which, one of `metrics.lesions.MATCHINGS`.
        connectivity: of voxels in a lesion: 6, 18 or 26 (in 2-D 4 for 6, else 8).
        min_lesion_mm3: lesions of smaller volume count nowhere.
        consensus: of several raters: `majority` (the lower label where votes are equal) or `staple`.
        crop: calibration counts voxels in a box: `body` (of the image, in plane), `raters` (20 voxels around all that
            any of them drew), or empty for the whole image.
        levels: of the thresholded Dice.
        crps_limit: CRPS is integrated over so many standard deviations.
    """

    name: str
    ece_confidence: Literal["top", "foreground"] = "top"
    ece_domain: Domain = "foreground"
    ece_bins: int = 15
    cece_classes: Literal["all", "up-to-reference-maximum"] = "all"
    cece_domain: Domain = "all"
    cece_threshold: float | None = 1e-3
    cece_threshold_on: Literal["voxels", "classes"] = "voxels"
    cece_bins: int = 15
    pece_bins: int = 10
    fp_weight: float = 2.0
    zero_in_first_bin: bool = True
    union: bool = False
    hd95: str = "monai"
    empty: EmptyRule = "nan"
    nsd_tolerance_mm: float = 2.0
    boundary_mm: float = 2.0
    nll_clip: float = 1e-7
    gap_threshold: float = 1e-3
    matching: str = "iou>0.5"
    connectivity: int = 26
    min_lesion_mm3: float = 0.0
    consensus: Literal["majority", "staple"] = "majority"
    crop: Literal["", "body", "raters"] = ""
    levels: tuple[float, ...] = (0.1, 0.24, 0.38, 0.52, 0.66, 0.8)
    crps_limit: float = math.inf

    @property
    def smallest_mm3(self) -> float:
        """Volume from which on a lesion counts."""
        return max(self.min_lesion_mm3, 20.0 if self.matching == "brats26-mets" else 0.0)

    @property
    def signature(self) -> Signature:
        """One line that names every choice, for example beside a score or in a table's header."""
        value = "p" if self.cece_threshold_on == "voxels" else "mean-p"
        threshold = "" if self.cece_threshold is None else f",{value}>{self.cece_threshold:g}"
        parts = {
            "ECE": f"{self.ece_confidence},{self.ece_domain},{self.ece_bins}bins",
            "crop": self.crop or "none",
            "CECE": f"{self.cece_classes},{self.cece_domain}{threshold},{self.cece_bins}bins",
            "pECE": f"{self.pece_bins}bins,w{self.fp_weight:g}",
            "edges": f"right,float32,zero-{'first' if self.zero_in_first_bin else 'dropped'}",
            "masks": "union" if self.union else "classes",
            "HD95": self.hd95,
            "empty": self.empty,
            "NSD": f"{self.nsd_tolerance_mm:g}mm",
            "bECE": f"{self.boundary_mm:g}mm",
            "NLL": f"clip{self.nll_clip:g}",
            "gap": f"top,1-p0>{self.gap_threshold:g}",
            "lesions": f"{self.matching},{self.connectivity},{self.min_lesion_mm3:g}mm3",
            "levels": ",".join(f"{level:g}" for level in self.levels),
            "CRPS": "none" if math.isinf(self.crps_limit) else f"{self.crps_limit:g}sigma",
        }
        return Signature.of(self.name, parts)


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol("paper"),
    "paper-text": Protocol(
        "paper-text",
        ece_domain="predicted-foreground",
        cece_threshold_on="classes",
        zero_in_first_bin=False,
        hd95="paper-text",
    ),
    "nacl": Protocol(
        "nacl",
        cece_classes="up-to-reference-maximum",
        cece_domain="foreground",
        cece_threshold=None,
        hd95="medpy",
        empty="nacl",
    ),
    "sdc-repo": Protocol(
        "sdc-repo",
        ece_confidence="foreground",
        ece_domain="all",
        ece_bins=10,
        cece_bins=10,
        zero_in_first_bin=False,
        union=True,
        hd95="sdc-repo",
        empty="sdc-repo",
    ),
    "guo": Protocol("guo", ece_domain="all", cece_threshold=None),
    "curvas24": Protocol("curvas24", ece_domain="all", ece_bins=50, crps_limit=3.0),
    "curvas25": Protocol("curvas25", ece_domain="all", ece_bins=50, consensus="staple", crop="raters"),
}


def domain_of(signature: Signature, part: str) -> str:
    """Voxels that count for `ECE` or `CECE`, a `Domain`, by a signature; empty where it does not say."""
    choices = signature.get(part).split(",")
    return choices[1] if len(choices) > 1 else ""


def make_protocol(name: str | Protocol = "paper", *, bins: int | None = None, **changes: Any) -> Protocol:
    """Give a named protocol with some choices changed; a choice of None keeps the protocol's own.

    Args:
        name: key of `PROTOCOLS`, or an instance.
        bins: number of bins for ECE, CECE and pECE alike.
        **changes: attributes of `Protocol`. `hd95="deepmind"` brings its own empty rule unless `empty` is given.

    Raises:
        UsageError: an unknown name or a value out of range.
    """
    if isinstance(name, str) and name not in PROTOCOLS:
        raise UsageError(f"Unknown protocol {name!r}. Known: {', '.join(PROTOCOLS)}.")
    given = {key: value for key, value in changes.items() if value is not None}
    if given.get("hd95") == "deepmind":
        given.setdefault("empty", "deepmind")
    if bins is not None:
        given |= {"ece_bins": bins, "cece_bins": bins, "pece_bins": bins}
    protocol = replace(PROTOCOLS[name] if isinstance(name, str) else name, **given)
    _check(protocol)
    return protocol


def _check(protocol: Protocol) -> None:
    if protocol.hd95 not in HD95_DEFINITIONS:
        raise UsageError(f"Unknown HD95 definition {protocol.hd95!r}. Known: {', '.join(HD95_DEFINITIONS)}.")
    if protocol.empty not in EMPTY_RULES:
        raise UsageError(f"Unknown empty rule {protocol.empty!r}. Known: {', '.join(EMPTY_RULES)}.")
    for bins in (protocol.ece_bins, protocol.cece_bins, protocol.pece_bins):
        if not 1 <= bins <= 1000:
            raise UsageError(f"The number of bins must lie between 1 and 1000, not {bins}.")
    if protocol.cece_threshold is not None and not 0 <= protocol.cece_threshold < 1:
        raise UsageError(f"The CECE threshold must lie in [0, 1), not {protocol.cece_threshold:g}.")
    if protocol.connectivity not in CONNECTIVITIES:
        raise UsageError(f"The connectivity of lesions is one of 6, 18 and 26, not {protocol.connectivity}.")
    if not protocol.levels or not all(0 <= level < 1 for level in protocol.levels):
        raise UsageError(f"The levels of tDSC must lie in [0, 1), not {protocol.levels}.")
    if protocol.consensus not in CONSENSUSES:
        raise UsageError(f"Unknown consensus {protocol.consensus!r}. Known: {', '.join(CONSENSUSES)}.")
    if not re.fullmatch(MATCHING, protocol.matching):
        raise UsageError(f"Unknown matching {protocol.matching!r}. Known: {', '.join(MATCHINGS)}, as in 'iou>0.5'.")
    if not 0 <= protocol.gap_threshold < 1:
        raise UsageError(f"The threshold of gap must lie in [0, 1), not {protocol.gap_threshold:g}.")
    positive = {
        "false-positive weight": protocol.fp_weight,
        "NSD tolerance": protocol.nsd_tolerance_mm,
        "boundary width": protocol.boundary_mm,
        "minimal volume of a lesion": protocol.min_lesion_mm3,
    }
    for what, value in positive.items():
        if not 0 <= value < float("inf"):
            raise UsageError(f"The {what} must be zero or more, not {value:g}.")
