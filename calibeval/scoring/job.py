"""Scoring a plan: run the cases, keep what is done, put tables together, write them.

`run_job` scores the cases in any order, in processes if wanted, and gives each method's results in the order of the
case names, so that the same bytes come out whatever the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from calibeval.bins import bins_path, pool, write_bins
from calibeval.engine import run_tasks
from calibeval.errors import CalibevalError, InputError, UsageError, describe
from calibeval.files import inside
from calibeval.io.array_file import check_memory
from calibeval.io.arrays import open_array, with_parts
from calibeval.io.cases import LABEL_KEYS, find_spacing, open_case, open_label
from calibeval.io.gzipped import use_cores
from calibeval.io.layout import squeezed
from calibeval.io.layouts import list_files
from calibeval.io.pairing import CasePaths
from calibeval.lesion_table import LesionRow, lesions_path, write_lesions
from calibeval.machine import available_cores, available_memory
from calibeval.metrics import METRICS, asked
from calibeval.metrics._kernels.startup import provide_kernel_cache
from calibeval.metrics.statistics import Statistics
from calibeval.scoring.annotated import annotation_note
from calibeval.scoring.plan import ScoreJob, settle_job
from calibeval.scoring.raters import score_opened
from calibeval.scoring.rows import image_diagonal, pooled_rows, unscored_rows
from calibeval.scoring.shards import CaseScore, ShardStore, make_key
from calibeval.signature import Signature
from calibeval.table import NOT_COMPUTED, Row, to_frame, write_table

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 4  # bytes a voxel that a case takes at least beside its label: argmax, masks, and what is made of them
_MANY_BYTES = 200 << 20  # of predictions, from which starting processes pays


@dataclass(frozen=True)
class MethodScore:
    """One method's results over a data set.

    Attributes:
        method: its name.
        rows: of all cases in the order of their names, then pooled.
        bins: case id to problem to statistics, of the cases that were scored.
        notes: case id to notes on how its files were taken.
        errors: case id to the reason why it failed or is missing.
        class_names: background first.
        signature: of the numbers.
        lesions: of all cases, where some metric is of lesions; else None.
        raters: further rows, of single raters, their consensus and the like; none with one reference.
    """

    method: str
    rows: tuple[Row, ...]
    bins: dict[str, dict[str, Statistics]]
    notes: dict[str, tuple[str, ...]]
    errors: dict[str, str]
    class_names: tuple[str, ...]
    signature: Signature
    lesions: tuple[LesionRow, ...] | None = None
    raters: tuple[Row, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether some case could be."""
        return bool(self.bins) or any(row.status not in ("missing", "failed") for row in self.rows)

    @property
    def groups(self) -> dict[str, str]:
        """Case to what it is sampled with; itself where no group is known."""
        return {row.case: row.group or row.case for row in self.rows}

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a frame with the columns of `calibeval.table.COLUMNS`."""
        return to_frame(self.rows)


class _Task(NamedTuple):
    """One case of a job, to be run anywhere."""

    paths: CasePaths
    job: ScoreJob
    threads: int


def run_job(
    job: ScoreJob,
    *,
    workers: int | None = 1,
    scheduler: str | None = None,
    stores: Mapping[str, ShardStore] | None = None,
    progress: Callable[[str, CaseScore], None] = lambda case, score: None,
) -> Iterator[MethodScore]:
    """Score all cases; yield each method once its last case is done.

    Args:
        job: what to do.
        workers: processes; None takes as many as cores, memory and work allow.
        scheduler: of dask.distributed, whose workers score in place of processes; see `calibeval.engine`.
        stores: where to keep finished cases, by method; what lies there under the right key is not done again.
        progress: called with each case's name and score, in the order of finishing.
    """
    provide_kernel_cache()  # here, so that workers share one
    job = settle_job(job)
    run = partial(_run_cases, job, workers=workers, scheduler=scheduler, progress=progress)
    for method, whole in job.pairings.items():
        pairing = whole if job.shard is None else whole._replace(cases=whole.cases[job.shard[0] - 1 :: job.shard[1]])
        store = (stores or {}).get(method)
        scores = dict(run(pairing.cases, store))
        yield collect(job, method, {case.case: scores[case.case] for case in pairing.cases})


def _run_cases(
    job: ScoreJob,
    cases: list[CasePaths],
    store: ShardStore | None,
    *,
    workers: int | None,
    scheduler: str | None,
    progress: Callable[[str, CaseScore], None],
) -> Iterator[tuple[str, CaseScore]]:
    keys = {paths.case: _key(job, paths) for paths in cases} if store else {}
    todo = []
    for paths in cases:
        kept = store.load(paths.case, keys[paths.case]) if store else None
        if kept is None:
            todo.append(paths)
        else:
            progress(paths.case, kept)
            yield paths.case, kept
    processes = choose_workers(todo, workers) if scheduler is None else 1
    threads = max(1, available_cores() // processes) if scheduler is None else 1
    alone = replace(job, pairings={}, groups={})  # what every process gets
    tasks = [_Task(paths, alone, threads) for paths in todo]
    for index, score in run_tasks(_score_task, tasks, processes, _died, scheduler=scheduler):
        case = todo[index].case
        if store and not score.error:
            store.save(case, keys[case], score)
        progress(case, score)
        yield case, score


def _key(job: ScoreJob, paths: CasePaths) -> str:
    return make_key(_files(paths), (paths, replace(job, pairings={}, groups={}, command="")))


def _files(paths: CasePaths) -> list[Path]:
    raters = (path for _, path in paths.raters)
    given = (*paths.prediction, paths.segmentation, paths.mask, paths.reference, paths.image, *raters)
    files = [path for path in given if path is not None]
    return [part for path in files for part in (list_files(path) if path.is_dir() else with_parts(path))]


def _score_task(task: _Task) -> CaseScore:
    """Score one case; whatever goes wrong becomes its rows."""
    paths, job, threads = task
    if not paths.prediction:
        return _missing(paths, job)
    provide_kernel_cache()
    use_cores(threads)
    try:
        before = make_key(_files(paths), ())
        case = open_case(paths, job.scheme, job.options, separate_masks=job.separate_masks, masked=job.masked)
        check_memory(paths.prediction[0], _LEAST * case.reference.size)
        score = score_opened(case, job, threads)
        if make_key(_files(paths), ()) != before:
            raise InputError(paths.prediction[0], "it or its label changed while they were read.", "Score them again.")
    except CalibevalError as error:
        return _failed(paths, job, str(error))
    except MemoryError:
        return _failed(paths, job, "not enough memory for this case. Try --workers 1 and --resume.")
    except Exception as error:
        return _failed(paths, job, describe(error))
    notes = [*case.notes, *score.notes, *_left_out(case.source is None, job.metrics), *_not_computed(score.rows)]
    return score._replace(notes=(*notes, *annotation_note(job.annotated, paths.case)))


def _died(task: _Task) -> CaseScore:
    return _failed(
        task.paths, task.job, "its process died twice, most likely for lack of memory. Try --workers 1 and --resume."
    )


def _failed(paths: CasePaths, job: ScoreJob, reason: str) -> CaseScore:
    rows = unscored_rows(paths.case, job.scheme, job.protocol, job.metrics, status="failed", note=reason)
    return CaseScore(tuple(rows), {}, error=reason)


def _missing(paths: CasePaths, job: ScoreJob) -> CaseScore:
    """Rows of a case without a prediction, by the rule for missing ones."""
    reason, diagonal = f"no prediction for {paths.reference} ({paths.why})", None
    if job.missing == "worst" and paths.reference is not None:
        try:
            file = open_label(paths.reference, job.scheme)
            spacing = find_spacing(file, None, paths, job.options)
        except InputError as error:
            return _failed(paths, job, str(error))
        diagonal = image_diagonal(squeezed(file.shape), spacing, job.protocol)
    rows = unscored_rows(
        paths.case, job.scheme, job.protocol, job.metrics, status="missing", note=reason, worst_diagonal=diagonal
    )
    advice = f"{reason}. Add it, or say --missing worst or --missing drop." if job.missing == "error" else ""
    return CaseScore(tuple(rows), {}, (reason,), advice)


def _left_out(only_labels: bool, metrics: tuple[str, ...]) -> list[str]:
    lost = [name for name in metrics if not METRICS[name].of_masks]
    return [f"{', '.join(lost)} left out: a label map holds no probabilities"] if only_labels and lost else []


def _not_computed(rows: Iterable[Row]) -> list[str]:
    """Why a scored case lacks a metric, for example for want of a spacing."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.status == NOT_COMPUTED:
            reasons.setdefault(row.note, {})[row.metric] = None
    return [f"{', '.join(metrics)} not computed: {reason}" for reason, metrics in reasons.items()]


def collect(job: ScoreJob, method: str, scores: dict[str, CaseScore]) -> MethodScore:
    """Put a method's cases together, with pooled rows; of a shard, what all cases together tell is left to `merge`."""
    bins = {case: score.bins for case, score in scores.items() if score.bins}
    soft = {case for case in bins if any(_needs_probabilities(row) for row in scores[case].rows)}
    if soft and job.shard is None:
        scores = {
            case: _complain(case, score, job) if case in bins.keys() - soft else score for case, score in scores.items()
        }
    rows: list[Row] = [row for score in scores.values() for row in score.rows]
    if bins and job.shard is None:
        rows += pooled_rows(pool(bins.values()), job.scheme, job.protocol, job.metrics)
        if not soft:  # then no case has these numbers, and failed ones lack none
            rows = [row for row in rows if not _needs_probabilities(row)]
    rows = [row._replace(method=method, dataset=job.dataset, group=job.groups.get(row.case, "")) for row in rows]
    return MethodScore(
        method,
        tuple(row for row in rows if not row.rater),
        bins,
        {case: score.notes for case, score in scores.items() if score.notes},
        {case: score.error for case, score in scores.items() if score.error},
        job.scheme.names,
        job.signature,
        tuple(row for score in scores.values() for row in score.lesions) if asked(job.metrics, "lesions") else None,
        tuple(row for row in rows if row.rater),
    )


def _needs_probabilities(row: Row) -> bool:
    return not METRICS[row.metric].of_masks


def _complain(case: str, score: CaseScore, job: ScoreJob) -> CaseScore:
    """Give a label map among probability maps the rows that it lacks, so that no mean forgets the case."""
    lost = [name for name in job.metrics if not METRICS[name].of_masks]
    reason = "its prediction was taken for a label map, those of other cases hold probabilities"
    rows = unscored_rows(case, job.scheme, job.protocol, lost, status="failed", note=reason)
    return score._replace(rows=(*score.rows, *rows), error=f"{reason}. If it holds some too: --input probabilities.")


def side_files(path: Path) -> tuple[Path, ...]:
    """All files of a table: itself, its statistics and its lesions."""
    return path, bins_path(path), lesions_path(path)


def write_method(path: Path, score: MethodScore, job: ScoreJob) -> None:
    """Write a method's table and, beside it, its statistics; each file whole or not at all."""
    header: dict[str, Any] = {"signature": score.signature, "class_names": score.class_names}
    if job.shard is not None:
        header |= {"shard": "{}/{}".format(*job.shard), "method": score.method}
    write_bins(bins_path(path), score.bins, job.protocol, **header)
    if score.lesions is None:  # those of an earlier run would be taken for this one's
        lesions_path(path).unlink(missing_ok=True)
    else:
        write_lesions(lesions_path(path), score.lesions)
    write_table(path, (*score.rows, *score.raters), signature=score.signature, command=job.command)


def choose_workers(cases: list[CasePaths], workers: int | None) -> int:
    """Processes for these cases: the user's number, else by cores, by memory, and one where there is little to do."""
    if workers is not None:
        return max(1, min(workers, len(cases)))
    sizes = [sum(path.stat().st_size for path in paths.prediction if path.exists()) for paths in cases]
    if sum(sizes) < _MANY_BYTES:
        return 1
    by_memory = int(available_memory() / max(_memory(paths) for paths in cases))
    return max(1, min(available_cores(), len(cases), by_memory))


def _memory(paths: CasePaths) -> float:
    """Bytes that a case may take at most: about 20 a voxel beside a fixed part."""
    try:
        voxels = math.prod(open_array(paths.reference or paths.prediction[0], LABEL_KEYS).shape)
    except (CalibevalError, OSError):
        voxels = 0
    return 300e6 + 20 * voxels


def holds_tables(out: Path) -> bool:
    """Whether a path given to `--out` is a table or a folder of tables, not a file of another format."""
    if out.is_dir() or out.suffix.lower() == ".csv":
        return True
    return not out.suffix[1:].isalpha()  # `runs.v2` is a folder, `runs.xlsx` a file


def table_path(out: Path | None, method: str, methods: int) -> Path:
    """Where a method's table goes: `results/METHOD.csv`, or as `--out` says.

    Raises:
        UsageError: one file for several methods, or a method whose name leads out of the folder.
    """
    if out is None:
        return inside(Path("results"), f"{method}.csv")
    is_table = out.suffix.lower() == ".csv"
    if out.is_file() and not is_table:
        raise UsageError(f"--out {out} is a file, expected a folder or the name of a .csv file.")
    if not is_table or out.is_dir():
        return inside(out, f"{method}.csv")
    if methods > 1:
        raise UsageError(f"--out {out} is one file, but there are {methods} methods. Give a folder.")
    return out
