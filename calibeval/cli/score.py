"""`calibeval score`: probability maps and label volumes in, one table of numbers per case out."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from calibeval.cli.console import INTERRUPTED
from calibeval.errors import UsageError
from calibeval.protocol import make_protocol

if TYPE_CHECKING:
    from calibeval.scoring.job import MethodScore
    from calibeval.scoring.plan import ScoreJob
    from calibeval.scoring.shards import ShardStore

# Typer reads choices from literals; a test holds them against the registries.
ProtocolName = Literal["paper", "nacl", "sdc-repo", "guo"]
HD95Name = Literal["monai", "medpy", "deepmind", "sdc-repo"]
EmptyRuleName = Literal["nan", "worst", "nacl", "sdc-repo", "deepmind"]
MissingName = Literal["error", "worst", "skip"]
InputName = Literal["auto", "probabilities", "logits", "labels"]
MOST_ERRORS = 20  # printed for one method; the table holds all


def score(
    predictions: Annotated[
        Path | None,
        typer.Argument(metavar="PREDS", help="Folder of one method, or of one sub-folder a method; or one file."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="Folder of labels, or one file; none when each NPZ holds its label."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Table to write, or a folder. Default: results/METHOD.csv.", show_default=False)
    ] = None,
    protocol: Annotated[ProtocolName, typer.Option(help="Named set of choices; see the README.")] = "paper",
    metrics: Annotated[str, typer.Option(help="default (DSC, HD95, ECE, CECE, pECE), all, or names.")] = "default",
    bins: Annotated[int | None, typer.Option(help="Bins of ECE, CECE and pECE alike.")] = None,
    fp_weight: Annotated[float | None, typer.Option(help="Weight of false positives in pECE.")] = None,
    threshold: Annotated[float | None, typer.Option(help="CECE counts voxels with p above it.")] = None,
    hd95: Annotated[HD95Name | None, typer.Option(help="Definition of HD95 and of all distances.")] = None,
    empty: Annotated[EmptyRuleName | None, typer.Option(help="What a number becomes when a mask is empty.")] = None,
    nsd_tolerance: Annotated[float | None, typer.Option(help="Tolerance of NSD in mm.")] = None,
    boundary: Annotated[float | None, typer.Option(help="Width of the boundary for bECE in mm.")] = None,
    missing: Annotated[MissingName, typer.Option(help="What a missing prediction is.")] = "error",
    ignore_label: Annotated[int | None, typer.Option(help="Label value that counts nowhere.")] = None,
    regions: Annotated[str | None, typer.Option(help="Overlapping regions, as in 'WT=1,2,3;TC=2,3;ET=3'.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class names, background first; else from dataset.json.")] = None,
    label_map: Annotated[str | None, typer.Option("--map", help="Label values to rename, as in '4=3,255=1'.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Voxel size in mm, in the order of the label file's own axes, as in '1.5,1.5,8'.")
    ] = None,
    axes: Annotated[str | None, typer.Option(help="The predictions' own axes, as in czyx or xyzc.")] = None,
    scale: Annotated[float | None, typer.Option(help="Divide probabilities by this; uint8 is 255.")] = None,
    input_: Annotated[
        InputName, typer.Option("--input", help="What predictions hold; logits are never guessed.")
    ] = "auto",
    pattern: Annotated[str | None, typer.Option(help="How prediction names are built, as in '{case}_softmax'.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV of case, prediction, reference[, method, segmentation] instead of folders.")
    ] = None,
    seg_dir: Annotated[Path | None, typer.Option(help="Label maps to take overlap and distances from.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of the data set; else from dataset.json.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default by cores, memory and work.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what belongs together and how it is read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Score predictions against labels, case by case and class by class.

    Exit code 0: all cases scored; 2: nothing could be scored; 3: some cases failed or are missing (see the table);
    130: interrupted.
    """
    from calibeval.scoring.plan import plan_job

    job = plan_job(
        predictions,
        labels,
        protocol=make_protocol(
            protocol,
            bins=bins,
            fp_weight=fp_weight,
            cece_threshold=threshold,
            hd95=hd95,
            empty=empty,
            nsd_tolerance_mm=nsd_tolerance,
            boundary_mm=boundary,
        ),
        metrics=metrics,
        classes=classes,
        regions=regions,
        ignore_label=ignore_label,
        label_map=label_map,
        input=input_,
        axes=axes,
        scale=scale,
        spacing_mm=_parse_spacing(spacing),
        missing=missing,
        pattern=pattern,
        manifest=manifest,
        seg_dir=seg_dir,
        dataset=dataset,
    )
    if dry_run:
        from calibeval.cli.dry_run import print_plan

        raise typer.Exit(print_plan(job))
    raise typer.Exit(_run(job, out, _command(sys.argv[1:]), workers, resume=resume, as_json=as_json, quiet=quiet))


def _parse_spacing(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        spacing = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--spacing {text!r}: expected numbers in mm parted by commas, as in 1.5,1.5,8.") from error
    if not all(0 < length < float("inf") for length in spacing):
        raise UsageError(f"--spacing {text!r}: every length must be above 0.")
    return spacing


def _command(arguments: list[str]) -> str:
    """The command line without what cannot change a number, so that equal results have equal headers."""
    kept, skip = [], False
    for argument in arguments:
        if argument in ("--workers", "--out"):
            skip = True
        elif skip:
            skip = False
        elif argument not in ("--resume", "--json", "--quiet") and not argument.startswith(("--workers=", "--out=")):
            kept.append(argument)
    return shlex.join(["calibeval", *kept])


def _run(
    job: ScoreJob, out: Path | None, command: str, workers: int | None, *, resume: bool, as_json: bool, quiet: bool
) -> int:
    from calibeval.scoring.job import table_path
    from calibeval.scoring.shards import ShardStore

    paths = {method: table_path(out, method, len(job.pairings)) for method in job.pairings}
    stores = {method: ShardStore(path) for method, path in paths.items()}
    _check_writable({path.parent for path in paths.values()})
    if not quiet:
        for note in job.notes:
            print(f"calibeval: {note}", file=sys.stderr)
    if not resume:
        _drop_shards(stores, quiet=quiet)
    try:
        scores = _score_methods(job, paths, stores, command, workers, quiet=quiet)
    except KeyboardInterrupt:
        print("calibeval: interrupted. What is done is kept: the same command with --resume goes on.", file=sys.stderr)
        return INTERRUPTED
    _print_problems(job, scores, quiet=quiet)
    scored = any(method.bins for method in scores)
    if as_json:
        _print_json(scores, paths)
    elif not quiet and scored:
        from calibeval.cli.score_table import print_scores

        print_scores(scores, paths)
    if not scored:
        print("calibeval: no case could be scored.", file=sys.stderr)
        return 2
    return 3 if any(method.errors for method in scores) else 0


def _score_methods(
    job: ScoreJob,
    paths: dict[str, Path],
    stores: dict[str, ShardStore],
    command: str,
    workers: int | None,
    *,
    quiet: bool,
) -> list[MethodScore]:
    """Score and write method by method; shards go when all is written, so that no method is done twice."""
    from calibeval.cli.console import prepare_kernels, progress
    from calibeval.scoring.job import run_job, write_method

    prepare_kernels(job, workers)
    total = sum(len(pairing.cases) for pairing in job.pairings.values())
    scores = []
    with progress("scoring", total, quiet=quiet) as advance:
        for method in run_job(job, workers=workers, stores=stores, progress=lambda case, _score: advance(case)):
            write_method(paths[method.method], method, job, command)
            scores.append(method)
    for store in stores.values():
        store.remove()
    return scores


def _check_writable(folders: set[Path]) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UsageError(
                f"{folder}: cannot be written to ({error.strerror}). Choose another folder with --out."
            ) from error


def _drop_shards(stores: dict[str, ShardStore], *, quiet: bool) -> None:
    for method, store in stores.items():
        if store.exists():
            if not quiet:
                print(f"calibeval: starting {method} afresh; --resume would continue the last run.", file=sys.stderr)
            store.remove()


def _print_problems(job: ScoreJob, scores: list[MethodScore], *, quiet: bool) -> None:
    """Errors and oddities on stderr."""
    for method in scores:
        listed = list(method.errors.items())
        for case, error in listed[:MOST_ERRORS]:
            print(f"calibeval: {method.method}/{case}: {error}", file=sys.stderr)
        if len(listed) > MOST_ERRORS:
            more = len(listed) - MOST_ERRORS
            print(f"calibeval: {method.method}: {more} more cases failed; see the table's notes.", file=sys.stderr)
        extra = job.pairings[method.method].extra
        if extra and not quiet:
            named = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
            print(f"calibeval: {method.method}: predictions without a label ({len(extra)}): {named}", file=sys.stderr)


def _print_json(scores: list[MethodScore], paths: dict[str, Path]) -> None:
    from calibeval.metrics import cautions
    from calibeval.summary import as_json, summarise

    said = cautions(row.metric for method in scores for row in method.rows)
    methods = [
        {
            "method": method.method,
            "table": str(paths[method.method]),
            "signature": method.signature,
            "metrics": as_json(summarise(method.rows, by_class=True)),
            "errors": method.errors,
            "notes": method.notes,
        }
        for method in scores
    ]
    print(json.dumps({"methods": methods, "cautions": said}, indent=2, allow_nan=False))
