"""The registry of metrics: every number that calibeval can print, and all that other modules may ask of it.

`METRICS` is the single source for the documentation's metric table, the directions that ranking and gates use, the
units in the results table and the values of the empty rules. A metric's function stands with the others of its kind
(`overlap`, `surface`, `calibration`), held to its row by `join`. Loading the registry loads no heavy library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from calibeval.errors import UsageError
from calibeval.protocol import HD95_DEFINITIONS, Protocol, domain_of
from calibeval.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Needs = Literal["masks", "surfaces", "lesions", "raters", "probabilities"]
Better = Literal["higher", "lower", "zero"]
Function = TypeVar("Function")
Numbers = TypeVar("Numbers", float, "NDArray[np.float64]")


class Metric(NamedTuple):
    """What is known about a metric.

    Attributes:
        name: as in the results table.
        long_name: as in a text.
        unit: of the value; empty for a ratio. Distances are in `mm` unless the HD95 definition counts voxels.
        low: smallest possible value.
        high: largest possible value.
        better: `higher`, `lower`, or `zero` when the best value is 0 and both signs are worse.
        needs: what it is computed from: `masks` (overlap), `surfaces` (distances), `lesions` (components; the extra of
            that name), `raters` (probabilities against several at once) or `probabilities`.
        rows: classes for which a case has a row: `class` (each class by name), `mean`, `all`.
        pooled: whether a number over the pooled data set exists.
        formula: in plain text; the documentation's page on metrics has the symbols.
        citation: DOI or arXiv number.
        undefined: when the value does not exist.
        also_needs: a `volume` of voxels (spacing in 3-D), the `boundary` band of the reference (spacing), the sums of
            `proper` scores, or fine histograms (`cells`); each is made only when some metric asks for it.
        worst: gives the worst value under a protocol, where that is not the end of the range.
        siblings: other ways to measure the same thing; a ranking tries them in its place.
        zero_if_calibrated: whether a calibrated model gets 0 over many voxels: `yes`, `no`, or where the protocol's
            domain of `ECE` or `CECE` is all voxels, so that nothing is selected by the outcome.
        caution: what must be said wherever its numbers are shown and are not 0 for a calibrated model.
    """

    name: str
    long_name: str
    unit: str
    low: float
    high: float
    better: Better
    needs: Needs
    rows: tuple[str, ...]
    pooled: bool
    formula: str
    citation: str
    undefined: str
    also_needs: Literal["", "volume", "boundary", "proper", "cells"] = ""
    worst: Callable[[Protocol], float] | None = None
    siblings: tuple[str, ...] = ()
    zero_if_calibrated: Literal["yes", "no", "ECE", "CECE"] = "no"
    caution: str = ""

    @property
    def of_masks(self) -> bool:
        """Whether it compares masks, which can be empty; else it judges probabilities."""
        return self.needs not in ("raters", "probabilities")

    @property
    def follows_empty_rule(self) -> bool:
        """Whether an empty rule may give it a value; a difference of volumes has its own or none, a count always."""
        return self.of_masks and self.better != "zero" and self.undefined != _NEVER

    @property
    def is_distance(self) -> bool:
        """Whether it is a length, which has no end but the image's diagonal."""
        return self.needs == "surfaces" and self.high == math.inf

    def unit_under(self, protocol: Protocol) -> str:
        """Unit of its values under a protocol."""
        return HD95_DEFINITIONS[protocol.hd95].unit if self.is_distance else self.unit

    def is_undefined(self, status: str) -> bool:
        """Whether its formula gives no value for masks of this status."""
        return status in _UNDEFINED.get(self.undefined, ())

    def worst_value(self, protocol: Protocol, diagonal: float) -> float:
        """What a missing prediction is worth at worst, distances being this diagonal; NaN where there is no worst."""
        if self.is_distance:
            return diagonal
        if self.better == "zero":
            return math.nan
        if self.worst is not None:
            return self.worst(protocol)
        return float(self.low if self.better == "higher" else self.high)

    def is_zero_if_calibrated(self, signature: Signature) -> bool:
        """Whether a calibrated model gets 0 over many voxels under the choices of a signature."""
        by_prediction = ("all", "predicted-foreground")  # the outcome selects no voxel
        return self.zero_if_calibrated == "yes" or domain_of(signature, self.zero_if_calibrated) in by_prediction

    def needs_caution(self, signature: Signature) -> bool:
        """Whether its numbers are not to be shown without its caution."""
        misleads = self.zero_if_calibrated == "no" or domain_of(signature, self.zero_if_calibrated) == "foreground"
        return misleads and bool(self.caution)


_INF = float("inf")
_MASKS = ("class", "mean")
_BOTH_EMPTY = "both masks empty"
_ANY_EMPTY = "any mask empty"
_NO_PREDICTION = "prediction empty"
_NO_REFERENCE = "reference empty"
_NO_VOXEL = "no voxel in the domain"
_NEVER = "never"
_DICE = "10.2307/1932409"
_HAUSDORFF = "10.1109/34.232073"
_ASSD = "10.1109/TMI.2009.2013851"
_NSD = "10.2196/26151"
_GUO = "arXiv:1706.04599"
_MCE = "10.1609/aaai.v29i1.9602"
_ACE = "arXiv:2403.06759"
_CECE = "arXiv:1910.12656"
_BRIER = "10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
_PQ = "arXiv:1801.00868"
_LESIONS = "arXiv:2305.08992"
_CURVAS = "arXiv:2505.08685"
_PAPER = "We Care Each Pixel: Calibrating on Medical Segmentation Model"
_BY_OUTCOME = "{names}: over reference-foreground voxels, which the outcome selects, a calibrated model does not get 0."

# Statuses of two masks for which a formula is 0/0 or a distance to nowhere.
_UNDEFINED = {
    _BOTH_EMPTY: ("both_empty",),
    _ANY_EMPTY: ("both_empty", "empty_prediction", "empty_reference"),
    _NO_PREDICTION: ("both_empty", "empty_prediction"),
    _NO_REFERENCE: ("both_empty", "empty_reference"),
}

_ROWS = (
    Metric("DSC", "Dice similarity coefficient", "", 0, 1, "higher", "masks", _MASKS, True,
           "2 TP / (2 TP + FP + FN)", _DICE, _BOTH_EMPTY,
           siblings=("IoU", "NSD")),
    Metric("IoU", "intersection over union", "", 0, 1, "higher", "masks", _MASKS, True,
           "TP / (TP + FP + FN)", "10.1111/j.1469-8137.1912.tb05611.x", _BOTH_EMPTY,
           siblings=("DSC", "NSD")),
    Metric("precision", "precision", "", 0, 1, "higher", "masks", _MASKS, True,
           "TP / (TP + FP)", "10.1186/s12880-015-0068-x", _NO_PREDICTION),
    Metric("recall", "recall", "", 0, 1, "higher", "masks", _MASKS, True,
           "TP / (TP + FN)", "10.1186/s12880-015-0068-x", _NO_REFERENCE),
    Metric("VD", "volume difference", "mL", -_INF, _INF, "zero", "masks", _MASKS, False,
           "V(prediction) - V(reference)", "10.1109/TMI.2009.2013851", "spacing unknown",
           also_needs="volume"),
    Metric("RVD", "relative volume difference", "", -1, _INF, "zero", "masks", _MASKS, True,
           "(V(prediction) - V(reference)) / V(reference)", "10.1109/TMI.2009.2013851", _NO_REFERENCE),
    Metric("HD95", "95% Hausdorff distance", "mm", 0, _INF, "lower", "surfaces", _MASKS, False,
           "95th percentile of the distances between surfaces", _HAUSDORFF, _ANY_EMPTY,
           siblings=("HD", "ASSD")),
    Metric("HD", "Hausdorff distance", "mm", 0, _INF, "lower", "surfaces", _MASKS, False,
           "largest distance between surfaces", _HAUSDORFF, _ANY_EMPTY,
           siblings=("HD95", "ASSD")),
    Metric("ASSD", "average symmetric surface distance", "mm", 0, _INF, "lower", "surfaces", _MASKS, False,
           "mean distance over both surfaces together", _ASSD, _ANY_EMPTY,
           siblings=("HD95", "HD")),
    Metric("NSD", "normalised surface distance", "", 0, 1, "higher", "surfaces", _MASKS, False,
           "part of both surfaces within the tolerance of the other", _NSD, _BOTH_EMPTY),
    Metric("lesion_DSC", "lesion-wise Dice", "", 0, 1, "higher", "lesions", _MASKS, False,
           "mean of DSC over lesions, 0 for a missed one and for a false positive", _LESIONS, _BOTH_EMPTY,
           siblings=("lesion_F1", "PQ")),
    Metric("lesion_F1", "F1 of lesions", "", 0, 1, "higher", "lesions", _MASKS, False,
           "2 TP / (2 TP + FP + FN), of lesions", _LESIONS, _BOTH_EMPTY,
           siblings=("lesion_DSC", "PQ")),
    Metric("lesion_recall", "recall of lesions", "", 0, 1, "higher", "lesions", _MASKS, False,
           "TP / (TP + FN), of lesions", _LESIONS, _NO_REFERENCE),
    Metric("lesion_precision", "precision of lesions", "", 0, 1, "higher", "lesions", _MASKS, False,
           "TP / (TP + FP), of lesions", _LESIONS, _NO_PREDICTION),
    Metric("lesion_FP", "false-positive lesions", "", 0, _INF, "lower", "lesions", _MASKS, False,
           "predicted lesions that find nothing", _LESIONS, _NEVER),
    Metric("PQ", "panoptic quality", "", 0, 1, "higher", "lesions", _MASKS, False,
           "sum of the IoU of found lesions / (TP + FP/2 + FN/2)", _PQ, _BOTH_EMPTY,
           siblings=("lesion_DSC", "lesion_F1")),
    Metric("SQ", "segmentation quality", "", 0, 1, "higher", "lesions", _MASKS, False,
           "mean IoU of found lesions; 0 where none was", _PQ, _BOTH_EMPTY),
    Metric("RQ", "recognition quality", "", 0, 1, "higher", "lesions", _MASKS, False,
           "TP / (TP + FP/2 + FN/2), of lesions", _PQ, _BOTH_EMPTY),
    Metric("CC_DSC", "Dice by connected component", "", 0, 1, "higher", "lesions", _MASKS, False,
           "mean of DSC within the Voronoi cells of the reference's lesions", "arXiv:2410.18684", _NO_REFERENCE),
    Metric("CRPS", "ranked probability score of volumes", "mL", 0, _INF, "lower", "raters", _MASKS, False,
           "integral of (Phi((v - mu)/sigma) - [v >= sum p])^2 over v; mu, sigma of the raters' volumes",
           "10.1198/016214506000001437", "spacing unknown",
           worst=lambda protocol: math.nan),
    Metric("tDSC", "thresholded Dice", "", 0, 1, "higher", "raters", _MASKS, False,
           "mean over levels t of the DSC of p > t and share of raters > t", _CURVAS, _NEVER),
    Metric("cDSC", "consensus Dice", "", 0, 1, "higher", "raters", _MASKS, False,
           "DSC where all raters say a class or none does", _CURVAS, _BOTH_EMPTY),
    Metric("cConf", "consensus confidence", "", 0, 1, "higher", "raters", _MASKS, False,
           "(mean p where all raters say a class + 1 - mean p where none does) / 2", _CURVAS, "raters never agree"),
    Metric("ECE", "expected calibration error", "", 0, 1, "lower", "probabilities", ("all",), True,
           "sum_b n_b/N |acc_b - conf_b|, top label", _GUO, _NO_VOXEL,
           siblings=("ACE", "MCE", "bECE"), zero_if_calibrated="ECE", caution=_BY_OUTCOME),
    Metric("CECE", "classwise expected calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "mean over classes of sum_b n_b/N |freq_b - p_b|", _CECE, _NO_VOXEL,
           zero_if_calibrated="CECE", caution=_BY_OUTCOME),
    Metric("pECE", "pixel-wise expected calibration error", "", 0, _INF, "lower", "probabilities", ("all",), True,
           "sum_b n_b/N |conf_b - acc_b + w FPconf_b|, foreground; not 0 for a calibrated model", _PAPER, _NO_VOXEL,
           worst=lambda protocol: 1 + protocol.fp_weight,  # one bin of background voxels that all say p = 1
           caution="pECE is not 0 for a calibrated model: it charges false positives again."),
    Metric("ACE", "average calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "mean over non-empty bins of |acc_b - conf_b|", _ACE, _NO_VOXEL,
           siblings=("ECE", "MCE"), zero_if_calibrated="ECE", caution=_BY_OUTCOME),
    Metric("MCE", "maximum calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "max over non-empty bins of |acc_b - conf_b|", _MCE, _NO_VOXEL,
           zero_if_calibrated="ECE", caution=_BY_OUTCOME),
    Metric("gap", "signed calibration gap", "", -1, 1, "zero", "probabilities", ("class", "all"), True,
           "mean of max_c p_c - [yhat = y] over voxels with 1 - p_0 > .001; above 0 is over-confident", _GUO, _NO_VOXEL,
           zero_if_calibrated="yes"),
    Metric("Brier", "Brier score", "", 0, 2, "lower", "probabilities", ("class", "all"), True,
           "mean over voxels of sum_c (p_c - [y = c])^2", _BRIER, _NO_VOXEL,
           also_needs="proper"),
    Metric("NLL", "negative log-likelihood", "nat", 0, _INF, "lower", "probabilities", ("class", "all"), True,
           "mean over voxels of -log max(p_y, clip)", "10.1198/016214506000001437", _NO_VOXEL,
           also_needs="proper", worst=lambda protocol: -math.log(protocol.nll_clip)),
    Metric("bECE", "boundary expected calibration error", "", 0, 1, "lower", "probabilities", ("all",), True,
           "ECE over voxels near the reference boundary", _GUO, "no boundary in the reference",
           also_needs="boundary",
           caution="bECE: near the reference's boundary, which the outcome draws, a calibrated model does not get 0."),
    Metric("aECE", "adaptive calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "mean over classes of sum_b n_b/N |freq_b - p_b|, 15 bins of equal n_b; p_c > 1/960", "arXiv:1904.01685",
           _NO_VOXEL, also_needs="cells", zero_if_calibrated="yes"),
    Metric("smECE", "smooth calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "mean over classes of the s at which the mean of |K_s * (y - p)| is s; p_c > 1/960", "arXiv:2309.12236",
           _NO_VOXEL, also_needs="cells", zero_if_calibrated="yes"),
    Metric("MCB", "miscalibration part of the Brier score", "", 0, 2, "lower", "probabilities", ("class", "all"), True,
           "sum over classes of Brier(p) - Brier(isotonic refit of p)", "10.1073/pnas.2016191118", _NO_VOXEL,
           also_needs="cells", zero_if_calibrated="yes"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}
CAUTIONS = {metric.name: metric.caution.format(names=metric.name) for metric in _ROWS if metric.caution}
PAPER = ("DSC", "HD95", "ECE", "CECE", "pECE")  # the five of the paper
DEFAULT = (*PAPER, "gap", "Brier", "NLL")  # and what is 0 for a calibrated model, or best for the true probabilities
LESIONS = tuple(name for name, metric in METRICS.items() if metric.needs == "lesions")
RATED = tuple(name for name, metric in METRICS.items() if metric.needs == "raters")
_SETS = {
    "default": DEFAULT,
    "paper": PAPER,
    "all": tuple(
        name for name in METRICS if name not in (*LESIONS, *RATED)
    ),  # what the core installation computes of one reference
    "lesions": LESIONS,
    "raters": RATED,
}


def badness(values: Numbers, better: Better) -> Numbers:
    """Numbers turned so that more is worse; where nearer 0 is better, their distance from 0."""
    if better == "zero":
        return abs(values)
    return -values if better == "higher" else values


def join(needs: Needs, functions: dict[str, Function]) -> dict[str, Function]:
    """Hold the functions of one kind of metrics to their rows: the same functions, in the registry's order.

    Args:
        needs: the kind.
        functions: by the metric's name.

    Raises:
        LookupError: a row without a function, or a function without a row.
    """
    names = [name for name, metric in METRICS.items() if metric.needs == needs]
    if alone := sorted(set(names) ^ set(functions)):
        raise LookupError(f"of {needs}: {', '.join(alone)} stands in the registry or has a function, but not both")
    return {name: functions[name] for name in names}


def asked(metrics: Iterable[str], what: str) -> bool:
    """Whether some of these metrics needs this, as its kind (`needs`) or too (`also_needs`)."""
    return any(what in (METRICS[name].needs, METRICS[name].also_needs) for name in metrics)


def cautions(names: Iterable[str], signature: str) -> list[str]:
    """What must be said wherever the numbers of these metrics, scored under a signature, are shown."""
    shown, choices = set(names), Signature.parse(signature)
    said: dict[str, list[str]] = {}
    for name, metric in METRICS.items():
        if name in shown and metric.needs_caution(choices):
            said.setdefault(metric.caution, []).append(name)
    return [text.format(names=", ".join(group)) for text, group in said.items()]


def select_metrics(names: str | Sequence[str]) -> tuple[str, ...]:
    """Read names of sets and metrics (any case), parted by commas or as a list; give them in the registry's order.

    The sets are `default`, `paper`, `all` (all but those of lesions and raters), `lesions` and `raters`.

    Raises:
        UsageError: an unknown name.
    """
    by_lower = {name.lower(): name for name in METRICS}
    chosen: set[str] = set()
    words = names.split(",") if isinstance(names, str) else names
    for word in filter(None, (word.strip() for word in words)):
        if word in _SETS:
            chosen |= set(_SETS[word])
        elif word.lower() in by_lower:
            chosen.add(by_lower[word.lower()])
        else:
            raise UsageError(f"Unknown metric {word!r}. Known: {', '.join((*_SETS, *METRICS))}.")
    if not chosen:
        raise UsageError(f"No metric chosen. Known: {', '.join((*_SETS, *METRICS))}.")
    return tuple(name for name in METRICS if name in chosen)
