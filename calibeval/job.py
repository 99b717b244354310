"""Scoring folders: plan what belongs together, run the cases, keep what is done, write tables.

`plan_job` pairs files and gathers every choice without reading a value; `run_job` scores the cases in any order, in
processes if wanted, and gives each method's results in the order of the case names, so that the same bytes come out
whatever the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from calibeval.bins import bins_path, pool, write_bins
from calibeval.errors import CalibevalError, InputError, UsageError
from calibeval.io.arrays import open_array
from calibeval.io.cases import LABEL_KEYS, count_classes, find_spacing, open_case
from calibeval.io.classes import ClassScheme, make_scheme
from calibeval.io.layout import squeezed
from calibeval.io.manifest import read_manifest
from calibeval.io.pairing import CasePaths, Pairing, find_methods, pair_files
from calibeval.io.predictions import InputKind, ReadOptions
from calibeval.metrics import METRICS, select_metrics
from calibeval.protocol import PROTOCOLS, Protocol
from calibeval.readout import read_case
from calibeval.rows import case_rows, image_diagonal, pooled_rows, unscored_rows
from calibeval.shards import CaseScore, ShardStore, make_key
from calibeval.statistics import Statistics
from calibeval.table import Row, to_frame, write_table
from calibeval.workers import available_cores, available_memory, run_tasks

if TYPE_CHECKING:
    import pandas as pd

MissingRule = Literal["error", "worst", "skip"]
_MANY_BYTES = 200 << 20  # of predictions, from which starting processes pays


@dataclass(frozen=True)
class ScoreJob:
    """Everything that will be done, spelled out: which files, and every choice.

    Attributes:
        pairings: method name to its cases.
        scheme: classes, with names as far as they are known before reading.
        protocol: every choice that changes a number.
        metrics: chosen ones, in the registry's order.
        options: how to read predictions.
        missing: what a missing prediction is.
        separate_masks: overlap and distances come from the label maps of `--seg-dir`.
        dataset: name in the table.
    """

    pairings: dict[str, Pairing]
    scheme: ClassScheme
    protocol: Protocol
    metrics: tuple[str, ...]
    options: ReadOptions
    missing: MissingRule = "error"
    separate_masks: bool = False
    dataset: str = ""

    @property
    def signature(self) -> str:
        """Signature of the protocol together with regions, ignored and renamed labels."""
        return make_signature(self.protocol, self.scheme)


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
    """

    method: str
    rows: tuple[Row, ...]
    bins: dict[str, dict[str, Statistics]]
    notes: dict[str, tuple[str, ...]]
    errors: dict[str, str]
    class_names: tuple[str, ...]
    signature: str

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a frame with the columns of `calibeval.table.COLUMNS`."""
        return to_frame(self.rows)


class _Task(NamedTuple):
    """One case of a job, to be run anywhere."""

    paths: CasePaths
    job: ScoreJob
    threads: int


def make_signature(protocol: Protocol, scheme: ClassScheme) -> str:
    """Signature of a protocol together with regions, ignored and renamed labels."""
    return "|".join(part for part in (protocol.signature, scheme.signature) if part)


def plan_job(
    predictions: Path | None,
    labels: Path | None = None,
    *,
    protocol: str | Protocol = "paper",
    metrics: str | Sequence[str] = "default",
    classes: str | None = None,
    regions: str | None = None,
    ignore_label: int | None = None,
    label_map: str | None = None,
    input: InputKind = "auto",
    axes: str | None = None,
    scale: float | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    missing: MissingRule = "error",
    pattern: str | None = None,
    manifest: Path | None = None,
    seg_dir: Path | None = None,
    dataset: str | None = None,
) -> ScoreJob:
    """Pair the files and gather every choice; reads no values.

    Args:
        predictions: folder of one method, or of one sub-folder a method, or one file; not needed with a manifest.
        labels: folder or file; None when each NPZ holds its label.
        protocol: name or instance.
        metrics: `default`, `all`, or names.
        classes: names, as in `background,RV,MYO,LV`; None looks for a dataset.json.
        regions: as in `WT=1,2,3;TC=2,3;ET=3`.
        ignore_label: label value that counts nowhere.
        label_map: label values to rename, as in `4=3`.
        input: what predictions hold.
        axes: the predictions' own axes, as in `czyx`.
        scale: divide probabilities by this.
        spacing_mm: in the order of the label file's own axes.
        missing: what a missing prediction is.
        pattern: how prediction names are built, as in `{case}_softmax`.
        manifest: CSV of case, prediction, reference, and if wanted method, segmentation.
        seg_dir: folder of label maps to take overlap and distances from.
        dataset: name in the table; None takes that of dataset.json, else the label folder's.

    Raises:
        UsageError: nothing to score, or names that fit in more than one way.
    """
    pairings, folders = _find_pairings(predictions, labels, pattern, manifest, seg_dir)
    scheme = make_scheme(folders, classes=classes, regions=regions, ignore_label=ignore_label, label_map=label_map)
    home = labels or predictions or manifest or Path()
    return ScoreJob(
        pairings,
        scheme,
        PROTOCOLS[protocol] if isinstance(protocol, str) else protocol,
        select_metrics(metrics),
        ReadOptions(input, axes, scale, spacing_mm),
        missing,
        seg_dir is not None,
        dataset if dataset is not None else scheme.dataset or home.resolve().name,
    )


def _find_pairings(
    predictions: Path | None, labels: Path | None, pattern: str | None, manifest: Path | None, seg_dir: Path | None
) -> tuple[dict[str, Pairing], list[Path]]:
    """Methods with their cases, and the folders that may hold a dataset.json, nearest first."""
    if manifest is not None:
        return read_manifest(manifest), [manifest.parent]
    if predictions is None:
        raise UsageError("Give the folder of predictions, or --manifest.")
    methods = find_methods(predictions)
    pairings = {
        method: pair_files(folder, labels, pattern=pattern, segmentations=seg_dir) for method, folder in methods.items()
    }
    homes = [path if path.is_dir() else path.parent for path in (labels, predictions) if path is not None]
    folders = [folder for home in homes for folder in (home, home.resolve().parent)]
    return pairings, [*folders, *methods.values()]


def run_job(
    job: ScoreJob,
    *,
    workers: int | None = 1,
    stores: dict[str, ShardStore] | None = None,
    progress: Callable[[str, CaseScore], None] = lambda case, score: None,
) -> Iterator[MethodScore]:
    """Score all cases; yield each method once its last case is done.

    Args:
        job: what to do.
        workers: processes; None takes as many as cores, memory and work allow.
        stores: where to keep finished cases, by method; what lies there under the right key is not done again.
        progress: called with each case's name and score, in the order of finishing.
    """
    job = replace(job, scheme=_complete_scheme(job))
    for method, pairing in job.pairings.items():
        store = (stores or {}).get(method)
        scores = dict(_run_cases(job, pairing.cases, workers, store, progress))
        yield _collect(job, method, {case.case: scores[case.case] for case in pairing.cases})


def _run_cases(
    job: ScoreJob,
    cases: list[CasePaths],
    workers: int | None,
    store: ShardStore | None,
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
    processes = choose_workers(todo, workers)
    tasks = [_Task(paths, job, max(1, available_cores() // processes)) for paths in todo]
    for index, score in run_tasks(_score_task, tasks, processes, _died):
        case = todo[index].case
        if store and not score.error:
            store.save(case, keys[case], score)
        progress(case, score)
        yield case, score


def _key(job: ScoreJob, paths: CasePaths) -> str:
    files = [path for path in (*paths.prediction, paths.segmentation, paths.reference) if path is not None]
    return make_key(files, (paths, replace(job, pairings={})))


def _score_task(task: _Task) -> CaseScore:
    """Score one case; whatever goes wrong becomes its rows."""
    paths, job, threads = task
    if not paths.prediction:
        return _missing(paths, job)
    try:
        case = open_case(paths, job.scheme, job.options, separate_masks=job.separate_masks)
        readout = read_case(case, job.protocol, job.metrics, threads)
        rows = case_rows(case, readout, job.protocol, job.metrics, threads)
    except CalibevalError as error:
        return _failed(paths, job, str(error))
    except MemoryError:
        return _failed(paths, job, "not enough memory for this case; try --workers 1")
    except Exception as error:
        return _failed(paths, job, f"unexpected {type(error).__name__}: {error}. This is a bug; please report it.")
    notes = [*case.notes, *readout.notes, *_left_out(case.source is None, job.metrics)]
    return CaseScore(tuple(rows), readout.bins, tuple(notes))


def _died(task: _Task) -> CaseScore:
    return _failed(task.paths, task.job, "its process died twice, most likely for lack of memory")


def _failed(paths: CasePaths, job: ScoreJob, reason: str) -> CaseScore:
    rows = unscored_rows(paths.case, job.scheme, job.protocol, job.metrics, status="failed", note=reason)
    return CaseScore(tuple(rows), {}, error=reason)


def _missing(paths: CasePaths, job: ScoreJob) -> CaseScore:
    """Rows of a case without a prediction, by the rule for missing ones."""
    reason, diagonal = f"no prediction for {paths.reference}", None
    if job.missing == "worst" and paths.reference is not None:
        try:
            file = open_array(paths.reference, LABEL_KEYS)
            spacing = find_spacing(file, None, paths, job.options)
        except InputError as error:
            return _failed(paths, job, str(error))
        diagonal = image_diagonal(squeezed(file.shape), spacing, job.protocol)
    rows = unscored_rows(
        paths.case, job.scheme, job.protocol, job.metrics, status="missing", note=reason, worst_diagonal=diagonal
    )
    advice = f"{reason}. Add it, or say --missing worst or --missing skip." if job.missing == "error" else ""
    return CaseScore(tuple(rows), {}, (reason,), advice)


def _left_out(only_labels: bool, metrics: tuple[str, ...]) -> list[str]:
    lost = [name for name in metrics if METRICS[name].needs == "probabilities"]
    return [f"{', '.join(lost)} left out: a label map holds no probabilities"] if only_labels and lost else []


def _collect(job: ScoreJob, method: str, scores: dict[str, CaseScore]) -> MethodScore:
    """Put a method's cases together, and add the pooled rows."""
    bins = {case: score.bins for case, score in scores.items() if score.bins}
    has_probabilities = any(part.has_probabilities for parts in bins.values() for part in parts.values())
    rows: list[Row] = [row for score in scores.values() for row in score.rows]
    if bins:
        rows += pooled_rows(pool(bins.values()), job.scheme, job.protocol, job.metrics)
        if not has_probabilities:  # then no case has these numbers, and failed ones lack none
            rows = [row for row in rows if METRICS[row.metric].needs != "probabilities"]
    return MethodScore(
        method,
        tuple(row._replace(method=method, dataset=job.dataset) for row in rows),
        bins,
        {case: score.notes for case, score in scores.items() if score.notes},
        {case: score.error for case, score in scores.items() if score.error},
        job.scheme.names,
        job.signature,
    )


def write_method(path: Path, score: MethodScore, job: ScoreJob, command: str) -> None:
    """Write a method's table and, beside it, its statistics; each file whole or not at all."""
    write_bins(bins_path(path), score.bins, job.protocol, signature=score.signature, class_names=score.class_names)
    write_table(path, score.rows, signature=score.signature, command=command)


def _complete_scheme(job: ScoreJob) -> ClassScheme:
    """Name the classes by number where nothing names them: as many as the first readable prediction has planes.

    Label maps alone tell only after reading them all: a class may be missing in any case.
    """
    if job.scheme.names:
        return job.scheme
    largest = 1
    for paths in _readable(job):
        try:
            classes = count_classes(paths, job.scheme, job.options)
        except InputError:
            continue  # told again, with its case, when the case is scored
        largest = max(largest, classes.number)
        if classes.planes:
            break
    return job.scheme.with_classes(largest)


def _readable(job: ScoreJob) -> Iterable[CasePaths]:
    return (paths for pairing in job.pairings.values() for paths in pairing.cases if paths.prediction)


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


def table_path(out: Path | None, method: str, methods: int) -> Path:
    """Where a method's table goes: `results/METHOD.csv`, or as `--out` says.

    Raises:
        UsageError: one file for several methods.
    """
    if out is None:
        return Path("results") / f"{method}.csv"
    if out.suffix != ".csv" or out.is_dir():
        return out / f"{method}.csv"
    if methods > 1:
        raise UsageError(f"--out {out} is one file, but there are {methods} methods. Give a folder.")
    return out
