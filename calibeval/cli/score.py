"""`calibeval score`: probability maps and label volumes in, one table of numbers per case out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from calibeval.cli.console import INTERRUPTED
from calibeval.cli.options import DryRun, Quiet, Scheduler, Workers, takes_score_options
from calibeval.cli.outputs import Output, files_of, output_of_name, output_of_path, outputs_of
from calibeval.errors import UsageError
from calibeval.wording import parse_part

if TYPE_CHECKING:
    from calibeval.cli.score_table import By
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
    list[Path] | None,
    typer.Option(
        "-o",
        "--out",
        help="Table to write (.csv), or a folder; default results/METHOD.csv. Besides, for one method: "
        f"{files_of('score')}. May be repeated.",
        show_default=False,
    ),
]
Format = Annotated[
    str,
    typer.Option("--format", metavar="NAME", help=f"Print {', '.join(outputs_of('score'))} in place of the summary."),
]
ByColumn = Annotated[
    str | None, typer.Option("--by", metavar="COLUMN", help="Numbers by a column of --cases too, as by scanner.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Shard = Annotated[
    str | None,
    typer.Option(metavar="i/n", help="Score the i-th of n parts of the cases; `calibeval merge` puts them together."),
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


@takes_score_options
def score(
    predictions: Predictions = None,
    labels: Labels = None,
    *,
    out: Out = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    shard: Shard = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    format_: Format = "",
    json: Json = False,
    by: ByColumn = None,
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
    if shard is not None:
        job = replace(job, shard=parse_part(shard, "--shard"))
    outputs = _outputs(out or [], "json" if json else format_, job)._replace(by=_by(by, choices["cases"], job))
    if dry_run:
        from calibeval.cli.dry_run import print_plan

        raise typer.Exit(print_plan(job))
    raise typer.Exit(_run(job, outputs, workers, scheduler, resume=resume, quiet=quiet))


class _Outputs(NamedTuple):
    """What is written and printed: each method's table, other files, a format in place of the summary, subgroups."""

    tables: dict[str, Path]
    files: dict[Path, Output]
    printed: Output | None
    by: By | None = None


def _by(column: str | None, cases: Path | None, job: ScoreJob) -> By | None:
    from calibeval.case_table import read_cases
    from calibeval.cli.score_table import By

    if column is None:
        return None
    if cases is None:
        raise UsageError(f"--by {column}: needs --cases FILE, a CSV with the columns case and {column}.")
    names = (case.case for pairing in job.pairings.values() for case in pairing.cases)
    return By(column, read_cases(cases).column(column, names))


def _outputs(paths: list[Path], format_: str, job: ScoreJob) -> _Outputs:
    """Tell tables and folders from other files.

    Raises:
        UsageError: two tables, a format that nobody knows, or one of a single method for several.
    """
    from calibeval.scoring.job import holds_tables, table_path

    tables = [path for path in paths if holds_tables(path)]
    if len(tables) > 1:
        raise UsageError(f"--out {tables[0]} and {tables[1]}: there is one table a method. Give one of them.")
    files = {path: output_of_path("score", path, _advice(path)) for path in paths if path not in tables}
    printed = output_of_name("score", format_) if format_ else None
    for output in filter(None, (printed, *files.values())):
        if output.takes_rows and len(job.pairings) > 1:
            raise UsageError(
                f"The format {output.name} holds one method, and there are {len(job.pairings)}. Score one."
            )
    out, part = tables[0] if tables else None, "" if job.shard is None else ".{}of{}".format(*job.shard)
    written = {method: table_path(out, f"{method}{part}", len(job.pairings)) for method in job.pairings}
    return _Outputs(written, files, printed)


def _advice(path: Path) -> str:
    if path.is_file():
        return " It is a file, expected a folder or the name of a .csv file."
    return " A folder of such a name must be there already."


def _run(
    job: ScoreJob, outputs: _Outputs, workers: int | None, scheduler: str | None, *, resume: bool, quiet: bool
) -> int:
    from calibeval.cli.scoring import score_and_write
    from calibeval.files import check_writable, write_text
    from calibeval.scoring.job import side_files
    from calibeval.scoring.shards import ShardStore

    paths = outputs.tables
    stores = {method: ShardStore(path) for method, path in paths.items()}
    check_writable([*outputs.files, *(file for path in paths.values() for file in side_files(path))])
    if not quiet:
        for note in job.notes:
            print(f"calibeval: {note}", file=sys.stderr)
    if not resume:
        _drop_shards(stores, quiet=quiet)
    try:
        scores = score_and_write(job, paths, workers=workers, scheduler=scheduler, quiet=quiet, stores=stores)
    except KeyboardInterrupt:
        print("calibeval: interrupted. What is done is kept: the same command with --resume goes on.", file=sys.stderr)
        return INTERRUPTED
    scored = any(method.scored for method in scores)
    for path, output in outputs.files.items() if scored else ():
        write_text(path, _text(output, scores, outputs, job))
    if outputs.printed and (scored or not outputs.printed.takes_rows):
        sys.stdout.write(_text(outputs.printed, scores, outputs, job))
    elif not quiet and scored:
        from calibeval.cli.score_table import print_scores

        print_scores(scores, paths, job.protocol, outputs.by)
    if not scored and any(method.rows for method in scores):
        print("calibeval: no case could be scored.", file=sys.stderr)
        return 2
    return 3 if any(method.errors for method in scores) else 0


def _drop_shards(stores: dict[str, ShardStore], *, quiet: bool) -> None:
    for method, store in stores.items():
        if store.exists():
            if not quiet:
                print(f"calibeval: starting {method} afresh; --resume would continue the last run.", file=sys.stderr)
            store.remove()


def _text(output: Output, scores: list[MethodScore], outputs: _Outputs, job: ScoreJob) -> str:
    if output.takes_rows:
        return output.writer("score")(scores[0].rows)
    return output.writer("score")((scores, outputs.tables, job.protocol, outputs.by))
