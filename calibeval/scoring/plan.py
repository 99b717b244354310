"""Planning a scoring run: which files belong together, and every choice that changes a number.

Nothing but names and headers is read before the first case is scored, with one exception: label maps that nothing
names are searched for their largest label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from calibeval.errors import InputError, UsageError
from calibeval.io.cases import count_classes
from calibeval.io.classes import ClassScheme, make_scheme
from calibeval.io.layout import check_axes
from calibeval.io.manifest import read_manifest
from calibeval.io.pairing import LABEL_FOLDERS, CasePaths, Pairing, empty_folders, find_methods, pair_files
from calibeval.io.predictions import InputKind, ReadOptions
from calibeval.metrics import select_metrics
from calibeval.protocol import Protocol, make_protocol
from calibeval.signature import Signature

MissingRule = Literal["error", "worst", "skip"]


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
        notes: what the user should know before anything is read.
    """

    pairings: dict[str, Pairing]
    scheme: ClassScheme
    protocol: Protocol
    metrics: tuple[str, ...]
    options: ReadOptions
    missing: MissingRule = "error"
    separate_masks: bool = False
    dataset: str = ""
    notes: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """Signature of the protocol together with regions, ignored and renamed labels."""
        return make_signature(self.protocol, self.scheme)


def make_signature(protocol: Protocol, scheme: ClassScheme) -> Signature:
    """Signature of a protocol together with regions, ignored and renamed labels."""
    return protocol.signature.extended(scheme.choices)


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
    _check_options(axes, scale)
    pairings, folders = _find_pairings(predictions, labels, pattern, manifest, seg_dir)
    scheme = make_scheme(folders, classes=classes, regions=regions, ignore_label=ignore_label, label_map=label_map)
    home = labels or predictions or manifest or Path()
    return ScoreJob(
        pairings,
        scheme,
        make_protocol(protocol) if isinstance(protocol, str) else protocol,
        select_metrics(metrics),
        ReadOptions(input, axes, scale, spacing_mm),
        missing,
        seg_dir is not None,
        dataset if dataset is not None else scheme.dataset or _dataset_name(home.resolve()),
        _notes(predictions, labels, pairings),
    )


def _dataset_name(home: Path) -> str:
    """Name of the label folder, or of the data set folder around nnU-Net's and MSD's."""
    folder = home if home.is_dir() else home.parent
    return (folder.parent if folder.name in LABEL_FOLDERS else folder).name


def _check_options(axes: str | None, scale: float | None) -> None:
    if scale is not None and not 0 < scale < math.inf:
        raise UsageError(f"--scale {scale:g}: expected the value that stands for probability 1, above 0.")
    if axes is not None:
        check_axes(axes)


def _notes(predictions: Path | None, labels: Path | None, pairings: dict[str, Pairing]) -> tuple[str, ...]:
    if predictions is None:
        return ()
    empty = [predictions / name for name in empty_folders(predictions, pairings)]
    return tuple(f"{path} holds no prediction and is left out" for path in empty if not _same(path, labels))


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()


def _find_pairings(
    predictions: Path | None, labels: Path | None, pattern: str | None, manifest: Path | None, seg_dir: Path | None
) -> tuple[dict[str, Pairing], list[Path]]:
    """Methods with their cases, and the folders that may hold a dataset.json, nearest first."""
    if manifest is not None:
        if pattern is not None or seg_dir is not None or predictions is not None:
            raise UsageError("--manifest says which files belong together: no PREDS, --pattern or --seg-dir beside it.")
        return read_manifest(manifest), [manifest.parent]
    if predictions is None:
        raise UsageError("Give the folder of predictions, or --manifest.")
    methods = find_methods(predictions)
    if len(methods) > 1:  # the labels may lie among them
        methods = {method: folder for method, folder in methods.items() if not _same(folder, labels)}
    pairings = {
        method: pair_files(folder, labels, pattern=pattern, segmentations=seg_dir) for method, folder in methods.items()
    }
    homes = [path if path.is_dir() else path.parent for path in (labels, predictions) if path is not None]
    folders = [folder for home in homes for folder in (home, home.resolve().parent)]
    return pairings, [*folders, *methods.values()]


def complete_scheme(job: ScoreJob) -> ClassScheme:
    """Name the classes by number where nothing names them: as many as the first readable prediction has planes.

    Label maps alone tell only after reading them all: a class may be missing in any case.
    """
    if job.scheme.names:
        return job.scheme
    largest, source = 0, "the labels that occur"
    for paths in _readable(job):
        try:
            classes = count_classes(paths, job.scheme, job.options)
        except InputError:
            continue  # told again, with its case, when the case is scored
        largest = max(largest, classes.number)
        if classes.planes:
            source = "the first prediction that can be read"
            break
    return replace(job.scheme.with_classes(largest), source=source) if largest else job.scheme


def _readable(job: ScoreJob) -> Iterable[CasePaths]:
    return (paths for pairing in job.pairings.values() for paths in pairing.cases if paths.prediction)
