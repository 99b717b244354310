"""`calibeval check PREDS LABELS`: score first, with the options of a policy's `score` table, then the gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibeval.errors import UsageError
from calibeval.gates.policy import Policy
from calibeval.metrics import METRICS

if TYPE_CHECKING:
    from calibeval.gates.scores import ScoreTable
    from calibeval.scoring.plan import ScoreJob


def plan_scoring(predictions: Path, labels: Path | None, policy: Policy) -> ScoreJob:
    """Plan the scoring of one method, of the metrics that the gates ask for.

    Raises:
        UsageError: several methods and none is named, or what `plan_job` refuses.
    """
    from calibeval.scoring.plan import plan_job

    job = plan_job(predictions, labels, replace(policy.options, metrics=_metrics(policy)))
    return replace(job, pairings=one_method(job.pairings, policy.method, predictions))


def score_for_gates(job: ScoreJob, *, workers: int | None, table: Path | None, quiet: bool) -> ScoreTable:
    """Score, say which cases failed and why, and keep the table if wanted.

    Raises:
        UsageError: no case could be scored.
    """
    from calibeval.cli.scoring import score_and_write
    from calibeval.gates.scores import scores_of_rows

    tables = {} if table is None else dict.fromkeys(job.pairings, table)
    (scored,) = score_and_write(job, tables, workers=workers, quiet=quiet)
    if not scored.scored:
        raise UsageError("No case could be scored, so no gate can be decided.")
    name = scored.method if table is None else str(table)
    return scores_of_rows(name, scored.signature, scored.rows)._replace(command=job.command)


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


def _metrics(policy: Policy) -> list[str]:
    """What the gates ask for, and what the policy adds; counts of empty masks need an overlap."""
    names = [*policy.metrics, *filter(None, str(policy.score.get("metrics", "")).split(","))]
    masks = any(name in METRICS and METRICS[name].of_masks for name in names)
    counts_empty = any("empty" in gate.aggregate for gate in policy.gates)
    return names if names and (masks or not counts_empty) else [*names, "DSC"]
