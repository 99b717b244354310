"""The registry of metrics: every number that calibeval can print, and what is known about it.

`METRICS` is the single source for the README's metric table, the directions that ranking and gates use, the units
in the results table and the worst values of the `worst` empty rule. Loading it loads no heavy library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from calibeval.errors import UsageError


class Metric(NamedTuple):
    """What is known about a metric.

    Attributes:
        name: as in the results table.
        long_name: as in a text.
        unit: of the value; empty for a ratio. Distances are in `mm` unless the HD95 definition counts voxels.
        low: smallest possible value.
        high: largest possible value.
        better: `higher`, `lower`, or `zero` when the best value is 0 and both signs are worse.
        needs: what it is computed from: `masks` (overlap), `surfaces` (distances) or `probabilities`.
        rows: classes for which a case has a row: `class` (each class by name), `mean`, `all`.
        pooled: whether a number over the pooled data set exists.
        formula: in plain text; see `definitions` in the README for the symbols.
        citation: DOI or arXiv number.
        undefined: when the value does not exist.
    """

    name: str
    long_name: str
    unit: str
    low: float
    high: float
    better: Literal["higher", "lower", "zero"]
    needs: Literal["masks", "surfaces", "probabilities"]
    rows: tuple[str, ...]
    pooled: bool
    formula: str
    citation: str
    undefined: str


_INF = float("inf")
_MASKS = ("class", "mean")
_BOTH_EMPTY = "both masks empty"
_ANY_EMPTY = "any mask empty"
_NO_VOXEL = "no voxel in the domain"
_DICE = "10.2307/1932409"
_HAUSDORFF = "10.1109/34.232073"
_ASSD = "10.1109/TMI.2009.2013851"
_NSD = "10.2196/26151"
_GUO = "arXiv:1706.04599"
_MCE = "10.1609/aaai.v29i1.9602"
_ACE = "arXiv:2403.06759"
_CECE = "arXiv:1910.12656"
_BRIER = "10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2"
_PAPER = "We Care Each Pixel: Calibrating on Medical Segmentation Model"

_ROWS = (
    Metric("DSC", "Dice similarity coefficient", "", 0, 1, "higher", "masks", _MASKS, True,
           "2 TP / (2 TP + FP + FN)", _DICE, _BOTH_EMPTY),
    Metric("IoU", "intersection over union", "", 0, 1, "higher", "masks", _MASKS, True,
           "TP / (TP + FP + FN)", "10.1111/j.1469-8137.1912.tb05611.x", _BOTH_EMPTY),
    Metric("precision", "precision", "", 0, 1, "higher", "masks", _MASKS, True,
           "TP / (TP + FP)", "10.1186/s12880-015-0068-x", "prediction empty"),
    Metric("recall", "recall", "", 0, 1, "higher", "masks", _MASKS, True,
           "TP / (TP + FN)", "10.1186/s12880-015-0068-x", "reference empty"),
    Metric("VD", "volume difference", "mL", -_INF, _INF, "zero", "masks", _MASKS, False,
           "V(prediction) - V(reference)", "10.1109/TMI.2009.2013851", "spacing unknown"),
    Metric("RVD", "relative volume difference", "", -1, _INF, "zero", "masks", _MASKS, True,
           "(V(prediction) - V(reference)) / V(reference)", "10.1109/TMI.2009.2013851", "reference empty"),
    Metric("HD95", "95% Hausdorff distance", "mm", 0, _INF, "lower", "surfaces", _MASKS, False,
           "95th percentile of the distances between surfaces", _HAUSDORFF, _ANY_EMPTY),
    Metric("HD", "Hausdorff distance", "mm", 0, _INF, "lower", "surfaces", _MASKS, False,
           "largest distance between surfaces", _HAUSDORFF, _ANY_EMPTY),
    Metric("ASSD", "average symmetric surface distance", "mm", 0, _INF, "lower", "surfaces", _MASKS, False,
           "mean distance over both surfaces together", _ASSD, _ANY_EMPTY),
    Metric("NSD", "normalised surface distance", "", 0, 1, "higher", "surfaces", _MASKS, False,
           "part of both surfaces within the tolerance of the other", _NSD, _BOTH_EMPTY),
    Metric("ECE", "expected calibration error", "", 0, 1, "lower", "probabilities", ("all",), True,
           "sum_b n_b/N |acc_b - conf_b|, top label", _GUO, _NO_VOXEL),
    Metric("CECE", "classwise expected calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "mean over classes of sum_b n_b/N |freq_b - p_b|", _CECE, _NO_VOXEL),
    Metric("pECE", "pixel-wise expected calibration error", "", 0, _INF, "lower", "probabilities", ("all",), True,
           "sum_b n_b/N |conf_b - acc_b + w FPconf_b|, foreground; not 0 for a calibrated model", _PAPER, _NO_VOXEL),
    Metric("ACE", "average calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "mean over non-empty bins of |acc_b - conf_b|", _ACE, _NO_VOXEL),
    Metric("MCE", "maximum calibration error", "", 0, 1, "lower", "probabilities", ("class", "all"), True,
           "max over non-empty bins of |acc_b - conf_b|", _MCE, _NO_VOXEL),
    Metric("gap", "signed calibration gap", "", -1, 1, "zero", "probabilities", ("class", "all"), True,
           "mean confidence - accuracy; above 0 is over-confident", _GUO, _NO_VOXEL),
    Metric("Brier", "Brier score", "", 0, 2, "lower", "probabilities", ("class", "all"), True,
           "mean over voxels of sum_c (p_c - [y = c])^2", _BRIER, _NO_VOXEL),
    Metric("NLL", "negative log-likelihood", "nat", 0, _INF, "lower", "probabilities", ("class", "all"), True,
           "mean over voxels of -log max(p_y, clip)", "10.1198/016214506000001437", _NO_VOXEL),
    Metric("bECE", "boundary expected calibration error", "", 0, 1, "lower", "probabilities", ("all",), True,
           "ECE over voxels near the reference boundary", _GUO, "no boundary in the reference"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}
CAUTIONS = {"pECE": "pECE is not 0 for a calibrated model: it charges false positives again."}
DEFAULT = ("DSC", "HD95", "ECE", "CECE", "pECE")  # the five of the paper


def cautions(names: Iterable[str]) -> list[str]:
    """What must be said wherever the numbers of these metrics are shown."""
    shown = set(names)
    return [text for name, text in CAUTIONS.items() if name in shown]


def select_metrics(names: str | Sequence[str]) -> tuple[str, ...]:
    """Read `default`, `all` and metric names (any case), parted by commas or as a list, in the registry's order.

    Raises:
        UsageError: an unknown name.
    """
    by_lower = {name.lower(): name for name in METRICS}
    chosen: set[str] = set()
    words = names.split(",") if isinstance(names, str) else names
    for word in filter(None, (word.strip() for word in words)):
        if word == "default":
            chosen |= set(DEFAULT)
        elif word == "all":
            chosen |= set(METRICS)
        elif word.lower() in by_lower:
            chosen.add(by_lower[word.lower()])
        else:
            raise UsageError(f"Unknown metric {word!r}. Known: default, all, {', '.join(METRICS)}.")
    if not chosen:
        raise UsageError(f"No metric chosen. Known: default, all, {', '.join(METRICS)}.")
    return tuple(name for name in METRICS if name in chosen)
