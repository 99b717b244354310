"""`calibeval score`: probability maps and label volumes in, one table of numbers per case out."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibeval.cli.console import INTERRUPTED
from calibeval.cli.options import DryRun, Quiet, Workers, takes_score_options

if TYPE_CHECKING:
    from calibeval.protocol import Protocol
    from calibeval.scoring.job import MethodScore
    from calibeval.scoring.plan import ScoreJob
    from calibeval.scoring.shards import ShardStore

Predictions = Annotated[
    Path | None,
    typer.Argument(metavar="PREDS", help="Folder of one method, or of one sub-folder a method; or one file."),
]
Labels = Annotated[
    Path | None,
    typer.Argument(metavar="LABELS", help="Folder of labels, or one file; none when each NPZ holds its label."),
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Table to write, or a folder. Default: results/METHOD.csv.", show_default=False),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


@takes_score_options
def score(
    predictions: Predictions = None,
    labels: Labels = None,
    *,
    out: Out = None,
    workers: Workers = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Score predictions against labels, case by case and class by class.

    Exit code 0: all cases scored; 2: nothing could be scored; 3: some cases failed or are missing (see the table);
    130: interrupted.
    """
    from calibeval.scoring.options import ScoreOptions
    from calibeval.scoring.plan import plan_job

    job = plan_job(predictions, labels, ScoreOptions(**choices))
    if dry_run:
        from calibeval.cli.dry_run import print_plan

        raise typer.Exit(print_plan(job))
    raise typer.Exit(_run(job, out, workers, resume=resume, as_json=json, quiet=quiet))


def _run(job: ScoreJob, out: Path | None, workers: int | None, *, resume: bool, as_json: bool, quiet: bool) -> int:
    from calibeval.cli.scoring import score_and_write
    from calibeval.files import check_writable
    from calibeval.scoring.job import side_files, table_path
    from calibeval.scoring.shards import ShardStore

    paths = {method: table_path(out, method, len(job.pairings)) for method in job.pairings}
    stores = {method: ShardStore(path) for method, path in paths.items()}
    check_writable([file for path in paths.values() for file in side_files(path)])
    if not quiet:
        for note in job.notes:
            print(f"calibeval: {note}", file=sys.stderr)
    if not resume:
        _drop_shards(stores, quiet=quiet)
    try:
        scores = score_and_write(job, paths, workers=workers, quiet=quiet, stores=stores)
    except KeyboardInterrupt:
        print("calibeval: interrupted. What is done is kept: the same command with --resume goes on.", file=sys.stderr)
        return INTERRUPTED
    scored = any(method.scored for method in scores)
    if as_json:
        _print_json(scores, paths, job.protocol)
    elif not quiet and scored:
        from calibeval.cli.score_table import print_scores

        print_scores(scores, paths)
    if not scored:
        print("calibeval: no case could be scored.", file=sys.stderr)
        return 2
    return 3 if any(method.errors for method in scores) else 0


def _drop_shards(stores: dict[str, ShardStore], *, quiet: bool) -> None:
    for method, store in stores.items():
        if store.exists():
            if not quiet:
                print(f"calibeval: starting {method} afresh; --resume would continue the last run.", file=sys.stderr)
            store.remove()


def _print_json(scores: list[MethodScore], paths: dict[str, Path], protocol: Protocol) -> None:
    from calibeval.metrics import cautions
    from calibeval.metrics.calibration_test import calibration_test
    from calibeval.summary import as_json, summarise

    said = cautions((row.metric for method in scores for row in method.rows), scores[0].signature)
    methods = [
        {
            "method": method.method,
            "table": str(paths[method.method]),
            "signature": method.signature,
            "metrics": as_json(summarise(method.rows, by_class=True)),
            "calibration_test": calibration_test(method.bins, protocol)._asdict(),
            "errors": method.errors,
            "notes": method.notes,
        }
        for method in scores
    ]
    print(dumps({"methods": methods, "cautions": said}, indent=2, allow_nan=False))
