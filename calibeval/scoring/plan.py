"""Planning a scoring run: which files belong together, and every choice that changes a number.

Nothing but names and headers is read before the first case is scored, with one exception: label maps that nothing
names are searched for their largest label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from calibeval.case_table import NONE, groups, read_cases, ungrouped_note
from calibeval.errors import InputError, UsageError
from calibeval.files import read_text
from calibeval.io.cases import occurring_values, open_reference
from calibeval.io.classes import ClassScheme, home_folders, name_values
from calibeval.io.manifest import read_manifest
from calibeval.io.pairing import (
    LABEL_FOLDERS,
    CasePaths,
    Pairing,
    case_names,
    empty_folders,
    find_methods,
    pair_files,
    with_maps,
)
from calibeval.io.raters import Rated, find_rated
from calibeval.io.read_options import ReadOptions
from calibeval.io.readings import settle
from calibeval.io.structures import name_parts
from calibeval.metrics import RATED, select_metrics
from calibeval.protocol import Protocol
from calibeval.scoring.annotated import read_annotated
from calibeval.scoring.options import ScoreOptions
from calibeval.signature import Signature
from calibeval.wording import some_of

CALIBRATOR_FILE = "calibrator.json"  # beside calibrated maps; holds the cases that the calibrator was fitted on


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
        masked: voxels outside the maps of `--mask` are ignored.
        rated: cases have labels of several raters.
        annotated: classes that were annotated, by case, where not all were.
        groups: which group a case belongs to; empty where each stands for itself.
        dataset: name in the table.
        notes: what the user should know before anything is read.
        shard: i and n where only the i-th of n parts of the cases is to be scored.
        command: that gives the same numbers, for the table's header.
    """

    pairings: dict[str, Pairing]
    scheme: ClassScheme
    protocol: Protocol
    metrics: tuple[str, ...]
    options: ReadOptions
    missing: str = "error"
    separate_masks: bool = False
    masked: bool = False
    rated: bool = False
    annotated: Mapping[str, frozenset[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    dataset: str = ""
    notes: tuple[str, ...] = ()
    command: str = ""
    shard: tuple[int, int] | None = None

    @property
    def signature(self) -> Signature:
        """Signature of the protocol together with raters, regions, ignored and renamed labels."""
        parts = {"view": "mask"} if self.masked else {}
        if self.rated:
            parts["raters"] = f"mean,{self.protocol.consensus}"
        return make_signature(self.protocol, self.scheme).extended(parts)


def make_signature(protocol: Protocol, scheme: ClassScheme) -> Signature:
    """Signature of a protocol together with regions, ignored and renamed labels."""
    return protocol.signature.extended(scheme.choices)


def plan_job(predictions: Path | None, labels: Path | None = None, options: ScoreOptions | None = None) -> ScoreJob:
    """Pair the files and gather every choice; reads no values.

    Args:
        predictions: folder of one method, or of one sub-folder a method, or one file; not needed with a manifest.
        labels: folder or file; None when each NPZ holds its label.
        options: None for the defaults.

    Raises:
        UsageError: nothing to score, or names that fit in more than one way.
    """
    options = options or ScoreOptions()
    rated, others = find_rated(labels, options.raters) if options.raters is not None else (None, [])
    pairings, scheme = _find_pairings(predictions, labels, options, rated)
    if options.mask is not None:
        pairings = {m: each._replace(cases=with_maps(each.cases, options.mask, "mask")) for m, each in pairings.items()}
    if options.images is not None:
        pairings = {m: _with_images(each, options.images) for m, each in pairings.items()}
    home = labels or predictions or options.manifest or Path()
    names = list(dict.fromkeys(case.case for pairing in pairings.values() for case in pairing.cases))
    table = read_cases(options.cases) if options.cases else None
    doubt = "" if options.group_by else ungrouped_note(names)
    return ScoreJob(
        pairings,
        scheme,
        options.numbers,
        _metrics(options),
        options.reading,
        options.missing,
        options.seg_dir is not None,
        options.mask is not None,
        rated is not None,
        read_annotated(table, names, scheme) if table else {},
        groups(names, options.group_by, table) if options.group_by not in (None, NONE) else {},
        options.dataset if options.dataset is not None else scheme.dataset or _dataset_name(home.resolve()),
        (*_notes(predictions, labels, pairings), *filter(None, (doubt, _not_fitted(others)))),
        options.command(predictions, labels),
    )


def _with_images(pairing: Pairing, images: Path) -> Pairing:
    found = pairing._replace(cases=with_maps(pairing.cases, images, "image"))
    if lacking := [case.case for case in found.cases if case.image is None]:
        raise UsageError(f"--images {images}: holds no image of {some_of(lacking)}. Add it there.")
    return found


def _metrics(options: ScoreOptions) -> tuple[str, ...]:
    chosen = select_metrics(options.metrics)
    if options.raters is None and set(chosen) & set(RATED):
        raise UsageError(f"{', '.join(set(chosen) & set(RATED))}: needs several raters; say with --raters who is who.")
    return chosen


def _not_fitted(labels: list[str]) -> str:
    return f"--raters fits no {some_of(labels)}: left out" if labels else ""


def _dataset_name(home: Path) -> str:
    """Name of the label folder, or of the data set folder around nnU-Net's and MSD's."""
    folder = home if home.is_dir() else home.parent
    return (folder.parent if folder.name in LABEL_FOLDERS else folder).name


def _notes(predictions: Path | None, labels: Path | None, pairings: dict[str, Pairing]) -> tuple[str, ...]:
    if predictions is None:
        return ()
    empty = [predictions / name for name in empty_folders(predictions, pairings)]
    notes = [f"{path} holds no prediction and is left out" for path in empty if not _same(path, labels)]
    folders = {case.reference for pairing in pairings.values() for case in pairing.cases if case.reference}
    if parts := [folder for folder in folders if folder.is_dir()]:
        notes.append(f"{min(parts)}: one file a structure; structures are the classes of a case, and no cases")
    notes += [_seen(pairing, home) for name, pairing in pairings.items() for home in (predictions, predictions / name)]
    return tuple(filter(None, notes))


def _seen(pairing: Pairing, home: Path) -> str:
    """How many of the cases the calibrator in a folder of predictions was fitted on; empty where there is none."""
    try:
        fitted = json.loads(read_text(home / CALIBRATOR_FILE))["cases"]
        seen = sum(case.case in fitted for case in pairing.cases)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if not seen:
        return ""
    return f"{home}: its calibrator was fitted on {seen} of these {len(pairing.cases)} cases, so they look too good"


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()


def _find_pairings(
    predictions: Path | None, labels: Path | None, options: ScoreOptions, rated: Rated | None
) -> tuple[dict[str, Pairing], ClassScheme]:
    """Methods with their cases, and the classes, whose names may stand in those of files."""
    pattern, manifest, seg_dir = options.pattern, options.manifest, options.seg_dir
    if manifest is not None:
        if any(given is not None for given in (pattern, seg_dir, predictions, rated)):
            others = "PREDS, --pattern, --raters or --seg-dir"
            raise UsageError(f"--manifest says which files belong together: no {others} beside it.")
        return read_manifest(manifest), options.scheme([manifest.parent])
    if predictions is None:
        raise UsageError("Give the folder of predictions, or --manifest.")
    known = options.scheme(home_folders(labels, predictions))
    methods = find_methods(predictions, case_names(labels, known.names) if rated is None else rated)
    if len(methods) > 1:  # the labels may lie among them
        methods = {method: folder for method, folder in methods.items() if not _same(folder, labels)}
    scheme = known if known.names else options.scheme(home_folders(labels, predictions, *methods.values()))
    names = (*scheme.names, *scheme.regions)
    pairings = {
        method: pair_files(folder, labels, pattern=pattern, segmentations=seg_dir, classes=names, rated=rated)
        for method, folder in methods.items()
    }
    return pairings, name_parts(scheme, pairings.values())


def settle_job(job: ScoreJob) -> ScoreJob:
    """Look at what names and headers leave open: what the values of files mean, and the classes that nothing names."""

    def settled(pairing: Pairing) -> Pairing:
        return pairing._replace(cases=settle(pairing.cases, job.scheme, job.options, open_reference))

    job = replace(job, pairings={method: settled(pairing) for method, pairing in job.pairings.items()})
    return replace(job, scheme=_complete_scheme(job))


def _complete_scheme(job: ScoreJob) -> ClassScheme:
    """Name the classes that nothing names: as many as the first readable prediction has planes.

    Label maps alone tell only after reading them all: a class may be missing in any case.
    """
    if job.scheme.names:
        return job.scheme
    values: set[int] = set()
    for paths in _readable(job):
        try:
            found = occurring_values(paths, job.scheme, job.options)
        except InputError:
            continue  # told again, with its case, when the case is scored
        if isinstance(found, int):
            return replace(job.scheme.with_classes(found), source="the first prediction that can be read")
        values |= found
    named = name_values(values, job.scheme) if values else job.scheme
    return replace(named, source="the labels that occur") if named.names else named


def _readable(job: ScoreJob) -> Iterable[CasePaths]:
    return (paths for pairing in job.pairings.values() for paths in pairing.cases if paths.prediction)
