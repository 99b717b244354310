"""Scoring: arrays with `score_case`, files with `score_folder`.

Both give rows of one table (`calibeval.table`) and the statistics behind them (`calibeval.statistics`). A case that
cannot be scored becomes rows with a status and a reason, and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from calibeval.errors import UsageError
from calibeval.io.cases import Case
from calibeval.io.classes import ClassScheme, index_labels
from calibeval.io.layout import squeezed
from calibeval.io.probabilities import array_source
from calibeval.job import MethodScore, make_signature, plan_job, run_job
from calibeval.metrics import select_metrics
from calibeval.protocol import PROTOCOLS, Protocol
from calibeval.readout import read_case
from calibeval.rows import case_rows
from calibeval.statistics import Statistics
from calibeval.table import Row, to_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ScoredCase:
    """What `score_case` gives.

    Attributes:
        rows: of the table.
        bins: statistics by problem; the name is empty, or a region's.
        signature: of the numbers.
    """

    rows: tuple[Row, ...]
    bins: dict[str, Statistics]
    signature: str

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a frame with the columns of `calibeval.table.COLUMNS`."""
        return to_frame(self.rows)


def score_case(
    probabilities: NDArray[Any] | None,
    reference: NDArray[Any],
    *,
    predicted: NDArray[Any] | None = None,
    spacing_mm: Sequence[float] | None = None,
    protocol: str | Protocol = "paper",
    metrics: str | Sequence[str] = "default",
    classes: Sequence[str] | None = None,
    ignore_label: int | None = None,
    regions: dict[str, Sequence[int]] | None = None,
    case: str = "case",
    threads: int = 1,
) -> ScoredCase:
    """Score one case in memory.

    Args:
        probabilities: (C, *spatial), background first, summing to 1; or one sigmoid map for each of `regions`; or
            None to score `predicted` alone.
        reference: (*spatial) class indices 0..C-1, 2-D or 3-D.
        predicted: (*spatial) label map to take overlap and distances from; None takes the argmax.
        spacing_mm: voxel size along the axes of `reference`; without it distances in mm fail.
        protocol: name or instance; see `calibeval.PROTOCOLS`.
        metrics: `default` (DSC, HD95, ECE, CECE, pECE), `all`, or names.
        classes: names; None gives `0`, `1`, ...
        ignore_label: value of `reference` that counts nowhere.
        regions: name to the class indices it unites.
        case: id in the table.
        threads: at most so many at a time; the numbers do not depend on it.

    Returns:
        Rows, statistics and signature. An empty class gives the values of the protocol's empty rule.

    Raises:
        CalibevalError: shapes, labels or probabilities that cannot be.

    Example:
        >>> reference = np.array([[0, 1], [0, 1]])
        >>> probabilities = np.array([[[0.9, 0.2], [0.6, 0.2]], [[0.1, 0.8], [0.4, 0.8]]])
        >>> score_case(probabilities, reference, spacing_mm=(1, 1)).table.query("metric == 'ECE'").value.item()
        0.2
    """
    scheme = ClassScheme(
        names=tuple(classes or ()),
        regions={name: tuple(members) for name, members in (regions or {}).items()},
        ignore=ignore_label,
        source="the arrays",
    )
    chosen = select_metrics(metrics)
    opened = _case_of_arrays(case, probabilities, reference, predicted, scheme)
    if spacing_mm is not None:
        lengths = tuple(float(length) for length in spacing_mm)
        if len(lengths) != reference.ndim:
            raise UsageError(f"spacing_mm {lengths} has not one value for each axis of the shape {reference.shape}.")
        kept = tuple(length for length, n in zip(lengths, reference.shape, strict=True) if n != 1)
        opened = replace(opened, spacing_mm=kept or lengths[-1:])
    settings = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    readout = read_case(opened, settings, chosen, threads)
    rows = case_rows(opened, readout, settings, chosen, threads)
    return ScoredCase(tuple(rows), readout.bins, make_signature(settings, scheme))


def _case_of_arrays(
    name: str,
    probabilities: NDArray[Any] | None,
    reference: NDArray[Any],
    predicted: NDArray[Any] | None,
    scheme: ClassScheme,
) -> Case:
    spatial = squeezed(reference.shape)
    if predicted is not None and predicted.shape != reference.shape:
        raise UsageError(f"predicted has the shape {predicted.shape}, reference {reference.shape}.")
    if probabilities is None and predicted is None:
        raise UsageError("Give probabilities, predicted, or both.")
    planes, sigmoid = None, False
    if probabilities is not None:
        if probabilities.shape[1:] != reference.shape:
            expected = ", ".join(map(str, reference.shape))
            raise UsageError(f"probabilities have the shape {probabilities.shape}; expected (C, {expected}).")
        planes = array_source(probabilities.reshape(len(probabilities), *spatial))
        sigmoid = len(probabilities) == len(scheme.regions) != len(scheme.names)
    classes = _count_classes(planes.classes if planes and not sigmoid else 0, scheme, reference, predicted)
    scheme = scheme.with_classes(classes)
    if planes and not sigmoid and planes.classes != len(scheme.names):
        raise UsageError(f"{planes.classes} probability maps, but {len(scheme.names)} class names.")
    labels = index_labels(reference, scheme, "reference").reshape(spatial)
    masks = None if predicted is None else index_labels(predicted, scheme, "predicted").reshape(spatial)
    return Case(name, scheme, labels, None, planes, sigmoid, masks)


def _count_classes(planes: int, scheme: ClassScheme, reference: NDArray[Any], predicted: NDArray[Any] | None) -> int:
    members = [max(region) for region in scheme.regions.values()]
    maps = [reference[reference != scheme.ignore]] + ([] if predicted is None else [predicted])
    return planes or 1 + max([*members, *(int(labels.max(initial=0)) for labels in maps)])


@dataclass(frozen=True)
class ScoredFolder:
    """What `score_folder` gives.

    Attributes:
        methods: each method's rows, statistics, notes and errors.
    """

    methods: tuple[MethodScore, ...]

    @property
    def table(self) -> pd.DataFrame:
        """All methods' rows as a frame with the columns of `calibeval.table.COLUMNS`."""
        return to_frame(row for method in self.methods for row in method.rows)

    @property
    def bins(self) -> dict[str, dict[str, dict[str, Statistics]]]:
        """Method to case to problem to statistics."""
        return {method.method: method.bins for method in self.methods}


def score_folder(
    predictions: Path | str, labels: Path | str | None = None, *, workers: int | None = 1, **choices: Any
) -> ScoredFolder:
    """Score files, as `calibeval score` does, without writing any.

    Args:
        predictions: folder of one method, or of one sub-folder a method, or one file.
        labels: folder or file; None when each NPZ holds its label.
        workers: processes; None takes as many as cores, memory and work allow. More than one needs the usual
            `if __name__ == "__main__":` in a script.
        **choices: as in `calibeval.job.plan_job`: protocol, metrics, classes, regions, ...

    Raises:
        UsageError: nothing to score, or names that fit in more than one way. A bad case never raises: see `errors`.
    """
    job = plan_job(Path(predictions), None if labels is None else Path(labels), **choices)
    return ScoredFolder(tuple(run_job(job, workers=workers)))
