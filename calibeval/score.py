"""Scoring: arrays with `score_case`, files with `score_folder`.

Both give rows of one table (`calibeval.table`) and the statistics behind them (`calibeval.metrics.statistics`). A case
that cannot be scored becomes rows with a status and a reason, and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from calibeval.io.classes import ClassScheme
from calibeval.io.in_memory import case_of_arrays
from calibeval.io.remote import local_path
from calibeval.lesion_table import LesionRow
from calibeval.metrics import select_metrics
from calibeval.metrics.statistics import Statistics
from calibeval.protocol import Protocol, make_protocol
from calibeval.scoring.job import MethodScore, run_job
from calibeval.scoring.lesions import lesion_rows
from calibeval.scoring.options import ScoreOptions
from calibeval.scoring.plan import make_signature, plan_job
from calibeval.scoring.readout import read_case
from calibeval.scoring.rows import case_rows
from calibeval.signature import Signature
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
        lesions: one row each, where some metric is of lesions.
    """

    rows: tuple[Row, ...]
    bins: dict[str, Statistics]
    signature: Signature
    lesions: tuple[LesionRow, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a frame with the columns of `calibeval.table.COLUMNS`."""
        return to_frame(self.rows)


def score_case(
    probabilities: ArrayLike | None,
    reference: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
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
        probabilities: (C, *spatial), C >= 2, background first, summing to 1; or one sigmoid map for each of
            `regions`; or None to score `predicted` alone.
        reference: (*spatial) class indices 0..C-1, 2-D or 3-D.
        predicted: (*spatial) label map to take overlap and distances from; None takes the argmax.
        spacing_mm: voxel size along the axes of `reference`; without it distances in mm fail.
        protocol: name or instance; see `calibeval.PROTOCOLS`.
        metrics: `default` (the five of the paper, gap, Brier, NLL), `paper` (the five), `all`, `lesions`, or names.
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
        >>> import numpy as np
        >>> reference = np.array([[0, 1], [0, 1]])
        >>> probabilities = np.array([[[0.9, 0.2], [0.6, 0.2]], [[0.1, 0.8], [0.4, 0.8]]])
        >>> table = score_case(probabilities, reference, spacing_mm=(1, 1)).table
        >>> round(table.query("metric == 'ECE'").value.item(), 6)
        0.2
    """
    scheme = ClassScheme(
        names=tuple(classes or ()),
        regions={name: tuple(members) for name, members in (regions or {}).items()},
        ignore=ignore_label,
        source="the arrays",
    )
    chosen = select_metrics(metrics)
    settings = make_protocol(protocol) if isinstance(protocol, str) else protocol
    opened = case_of_arrays(case, scheme, probabilities, reference, predicted=predicted, spacing_mm=spacing_mm)
    readout = read_case(opened, settings, chosen, threads)
    rows = case_rows(opened, readout, settings, chosen, threads)
    lesions = tuple(lesion_rows(opened, readout, settings))
    return ScoredCase(tuple(rows), readout.bins, make_signature(settings, scheme), lesions)


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
    predictions: Path | str,
    labels: Path | str | None = None,
    *,
    workers: int | None = 1,
    scheduler: str | None = None,
    **choices: Any,
) -> ScoredFolder:
    """Score files, as `calibeval score` does, without writing any.

    Args:
        predictions: folder of one method, or of one sub-folder a method, or one file; or the URL of one.
        labels: folder, file or URL; None when each NPZ holds its label.
        workers: processes; None takes as many as cores, memory and work allow. More than one needs the usual
            `if __name__ == "__main__":` in a script.
        scheduler: address of a dask scheduler, whose workers score in place of processes.
        **choices: as in `calibeval.scoring.options.ScoreOptions`: protocol, metrics, classes, regions, ...

    Raises:
        UsageError: nothing to score, or names that fit in more than one way. A bad case never raises: see `errors`.
    """
    places = (local_path(Path(predictions)), None if labels is None else local_path(Path(labels)))
    job = plan_job(*places, ScoreOptions(**choices))
    return ScoredFolder(tuple(run_job(job, workers=workers, scheduler=scheduler)))
