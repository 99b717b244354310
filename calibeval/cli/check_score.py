"""`calibeval check PREDS LABELS`: score first, with the options of a policy's `score` table, then the gates."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibeval.errors import UsageError
from calibeval.gates.policy import Policy
from calibeval.metrics import METRICS
from calibeval.protocol import Protocol, make_protocol

if TYPE_CHECKING:
    from calibeval.gates.scores import ScoreTable
    from calibeval.io.cases import ReadOptions
    from calibeval.io.classes import ClassScheme
    from calibeval.scoring.plan import ScoreJob

# Options of `calibeval score`, by their names without dashes: the keyword that they become, and their type.
_PROTOCOL_OPTIONS: dict[str, tuple[str, type]] = {
    "bins": ("bins", int),
    "fp_weight": ("fp_weight", float),
    "threshold": ("cece_threshold", float),
    "hd95": ("hd95", str),
    "empty": ("empty", str),
    "nsd_tolerance": ("nsd_tolerance_mm", float),
    "boundary": ("boundary_mm", float),
}
_SCHEME_OPTIONS: dict[str, tuple[str, type]] = {
    "classes": ("classes", str),
    "regions": ("regions", str),
    "ignore_label": ("ignore_label", int),
    "map": ("label_map", str),
}
_READ_OPTIONS: dict[str, tuple[str, type]] = {
    "input": ("input", str),
    "axes": ("axes", str),
    "scale": ("scale", float),
    "spacing": ("spacing_mm", list),
}
_JOB_OPTIONS: dict[str, tuple[str, type]] = {
    **_SCHEME_OPTIONS,
    **_READ_OPTIONS,
    "missing": ("missing", str),
    "pattern": ("pattern", str),
    "seg_dir": ("seg_dir", str),
    "dataset": ("dataset", str),
}
_OPTIONS = {**_PROTOCOL_OPTIONS, **_JOB_OPTIONS, "protocol": ("protocol", str), "metrics": ("metrics", str)}


def check_options(policy: Policy) -> None:
    """Refuse options that `calibeval score` does not have, also where nothing is to be scored this time.

    Raises:
        UsageError: an unknown option, or a value of the wrong kind.
    """
    for name, value in policy.score.items():
        if name not in _OPTIONS:
            raise UsageError(f"{policy.source}: unknown option {name!r} of score. Known: {', '.join(_OPTIONS)}.")
        kind = _OPTIONS[name][1]
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise UsageError(f"{policy.source}: score option {name} is {value!r}; expected {kind.__name__}.")


def plan_scoring(predictions: Path, labels: Path | None, policy: Policy, protocol: str | None) -> ScoreJob:
    """Plan the scoring of one method, of the metrics that the gates ask for.

    Raises:
        UsageError: several methods and none is named, or what `plan_job` refuses.
    """
    from calibeval.scoring.plan import plan_job

    choices = _take(policy, _JOB_OPTIONS)
    if "seg_dir" in choices:
        choices["seg_dir"] = Path(choices["seg_dir"])
    job = plan_job(predictions, labels, protocol=_protocol(policy, protocol), metrics=_metrics(policy), **choices)
    return replace(job, pairings=one_method(job.pairings, policy.method, predictions))


def score_for_gates(job: ScoreJob, *, workers: int | None, table: Path | None, command: str, quiet: bool) -> ScoreTable:
    """Score, say which cases failed and why, and keep the table if wanted.

    Raises:
        UsageError: no case could be scored.
    """
    from calibeval.cli.console import prepare_kernels, progress
    from calibeval.gates.scores import scores_of_rows
    from calibeval.scoring.job import run_job, write_method

    prepare_kernels(job, workers)
    total = sum(len(pairing.cases) for pairing in job.pairings.values())
    with progress("scoring", total, quiet=quiet) as advance:
        (scored,) = run_job(job, workers=workers, progress=lambda case, _score: advance(case))
    for case, error in scored.errors.items():
        print(f"calibeval: {scored.method}/{case}: {error}", file=sys.stderr)
    if not scored.bins:
        raise UsageError("No case could be scored, so no gate can be decided.")
    if table is not None:
        write_method(table, scored, job, command)
    return scores_of_rows(scored.method if table is None else str(table), scored.signature, scored.rows)


def reading_choices(policy: Policy, folders: list[Path]) -> tuple[ClassScheme, ReadOptions]:
    """How to read files for the integrity rules, by the same options."""
    from calibeval.io.cases import ReadOptions
    from calibeval.io.classes import make_scheme

    return make_scheme(folders, **_take(policy, _SCHEME_OPTIONS)), ReadOptions(**_take(policy, _READ_OPTIONS))


def one_method(pairings: Mapping[str, Any], method: str, predictions: Path) -> dict[str, Any]:
    """The pairing of one method, which must be named when there are several.

    Raises:
        UsageError: it is not named, or not there.
    """
    if not method and len(pairings) > 1:
        raise UsageError(f"{predictions} holds the methods {', '.join(pairings)}: name one with --method.")
    chosen = method or next(iter(pairings))
    if chosen not in pairings:
        raise UsageError(f"{predictions} holds no method {method!r}, only {', '.join(pairings)}.")
    return {chosen: pairings[chosen]}


def _take(policy: Policy, options: dict[str, tuple[str, type]]) -> dict[str, Any]:
    """The options of a kind that the policy gives, by keyword."""
    taken = {}
    for name, value in policy.score.items():
        if name in options:
            keyword, kind = options[name]
            taken[keyword] = tuple(value) if kind is list else value
    return taken


def _protocol(policy: Policy, named: str | None) -> Protocol:
    return make_protocol(named or str(policy.score.get("protocol", "paper")), **_take(policy, _PROTOCOL_OPTIONS))


def _metrics(policy: Policy) -> list[str]:
    """What the gates ask for, and what the policy adds; counts of empty masks need an overlap."""
    names = [*policy.metrics, *filter(None, str(policy.score.get("metrics", "")).split(","))]
    masks = any(name in METRICS and METRICS[name].of_masks for name in names)
    counts_empty = any("empty" in gate.aggregate for gate in policy.gates)
    return names if names and (masks or not counts_empty) else [*names, "DSC"]
