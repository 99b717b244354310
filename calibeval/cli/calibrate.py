"""`calibeval calibrate fit|apply|evaluate`: mend a miscalibrated model without training it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from calibeval.cli.console import progress
from calibeval.cli.options import PartedCommand, PartedGroup, Quiet, takes_score_options
from calibeval.errors import CalibevalError, UsageError

if TYPE_CHECKING:
    from calibeval.calibrate.evaluate import Evaluation
    from calibeval.calibrate.sampling import Sample
    from calibeval.io.case_paths import CasePaths
    from calibeval.io.cases import Case
    from calibeval.scoring.job import MethodScore
    from calibeval.scoring.plan import ScoreJob

calibrate_app = typer.Typer(
    cls=PartedGroup, no_args_is_help=True, rich_markup_mode=None, help="Mend probabilities without training again."
)
Read = TypeVar("Read")
_METRICS = "DSC,ECE,CECE,Brier,NLL"
_ALL = "all"

Predictions = Annotated[Path, typer.Argument(metavar="PREDS", help="Probability maps of one method.")]
Labels = Annotated[Path | None, typer.Argument(metavar="LABELS", help="Their labels; none when NPZ hold their own.")]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="temperature, vector, dirichlet, beta or isotonic; or conformal, for masks with a promise."
    ),
]
Alpha = Annotated[float, typer.Option(help="conformal: largest share of a class that is missed, or wrongly found.")]
Methods = Annotated[
    str, typer.Option("--method", metavar="NAME", help="One of them, several parted by commas, or all.")
]
Domain = Annotated[str, typer.Option(help="Voxels that are fitted: all, foreground (1 - p0 > .001), or boundary.")]
Voxels = Annotated[int, typer.Option(min=100, help="Voxels drawn from each case.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draw, and of the folds.")]
Folds = Annotated[int, typer.Option(min=2, help="Folds of groups.")]
FileOut = Annotated[Path, typer.Option("-o", "--out", help="File to write.")]
FolderOut = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the new maps.")]
TablesOut = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="DIR", help="Also write score tables of before and after here.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@calibrate_app.command(cls=PartedCommand)
@takes_score_options
def fit(
    predictions: Predictions,
    labels: Labels = None,
    *,
    method: Method = "temperature",
    alpha: Alpha = 0.1,
    out: FileOut = Path("calibrator.json"),
    domain: Domain = "all",
    voxels: Voxels = 5000,
    seed: Seed = 20240917,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Fit a calibrator on held-out cases with labels."""
    from calibeval.calibrate.apply import hashes_of
    from calibeval.calibrate.calibrator import CONFORMAL, write_calibrator
    from calibeval.calibrate.fitting import fit_calibrator
    from calibeval.calibrate.methods import find_method
    from calibeval.files import check_writable

    if method != CONFORMAL:
        find_method(method)
    check_writable([out])
    job, paths = _plan(predictions, labels, choices)
    if method == CONFORMAL:
        raise typer.Exit(_fit_conformal(job, paths, alpha, out, quiet=quiet))
    samples, failed = _samples(job, paths, domain, voxels, seed, quiet=quiet)
    fitted = fit_calibrator(
        list(samples.values()),
        _groups(job, samples),
        method,
        _planes(job, samples),
        hashes_of(paths),
    )
    fitted = replace(fitted, fitted={"domain": domain, "voxels": voxels, "seed": seed, **fitted.fitted})
    write_calibrator(out, fitted)
    if not quiet:
        _print_fit(fitted, samples, out)
    raise typer.Exit(3 if failed else 0)


@calibrate_app.command("apply", cls=PartedCommand)
@takes_score_options
def apply_(
    calibrator: Annotated[Path, typer.Argument(metavar="CALIBRATOR", help="calibrator.json of `calibrate fit`.")],
    predictions: Predictions,
    *,
    out: FolderOut = Path("calibrated"),
    resume: Annotated[bool, typer.Option("--resume", help="Leave cases alone that are in DIR.")] = False,
    also_fitted: Annotated[
        bool, typer.Option("--also-fitted", help="Calibrate cases that it was fitted on, too.")
    ] = False,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Write calibrated maps in the form that the old ones came in, case by case."""
    from calibeval.calibrate.apply import apply_calibrator
    from calibeval.calibrate.calibrator import read_calibrator
    from calibeval.io.pairing import pair_images
    from calibeval.scoring.options import ScoreOptions

    found, options = read_calibrator(calibrator), ScoreOptions(**choices)
    paths = pair_images(predictions).cases
    home = predictions if predictions.is_dir() else predictions.parent
    scheme = options.scheme([home, home.resolve().parent])
    with progress("calibrating", len(paths), quiet=quiet) as advance:
        applied = apply_calibrator(
            found, paths, home, out,
            scheme=scheme, options=options.reading, resume=resume, also_fitted=also_fitted, progress=advance,
        )  # fmt: skip
    for case, error in applied.errors.items():
        print(f"calibeval: {case}: {error}", file=sys.stderr)
    if not quiet:
        print(out)
    if not applied.written and not applied.kept:
        raise UsageError("No case could be calibrated.")
    raise typer.Exit(3 if applied.errors else 0)


@calibrate_app.command(cls=PartedCommand)
@takes_score_options
def evaluate(
    predictions: Predictions,
    labels: Labels = None,
    *,
    method: Methods = "temperature",
    folds: Folds = 5,
    out: TablesOut = None,
    domain: Domain = "all",
    voxels: Voxels = 5000,
    seed: Seed = 20240917,
    json: Json = False,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Say what calibration would do on unseen cases: fitted on the other folds, before and after, paired by case."""
    from calibeval.calibrate.evaluate import cross_fit
    from calibeval.calibrate.methods import METHODS, find_method

    methods = list(METHODS) if method == _ALL else [name.strip() for name in method.split(",")]
    for name in methods:
        find_method(name)
    choices["metrics"] = _METRICS if choices["metrics"] == "default" else choices["metrics"]
    job, paths = _plan(predictions, labels, choices)
    samples, failed = _samples(job, paths, domain, voxels, seed, quiet=quiet)
    by_case = {each.case: each for each in paths}
    with progress("evaluating", len(samples), quiet=quiet) as advance:
        before, found = cross_fit(
            job, lambda case: _open(job, by_case[case]), samples, _groups(job, samples),
            methods=methods, folds=folds, progress=advance,
        )  # fmt: skip
    if out is not None:
        _write_tables(out, job, before, found)
    if json:
        _print_json(found)
    elif not quiet:
        _print_changes(found)
    raise typer.Exit(3 if failed else 0)


def _plan(predictions: Path, labels: Path | None, choices: dict[str, Any]) -> tuple[ScoreJob, list[CasePaths]]:
    from calibeval.cli.check_score import one_method
    from calibeval.scoring.options import ScoreOptions
    from calibeval.scoring.plan import plan_job, settle_job

    job = plan_job(predictions, labels, ScoreOptions(**choices))
    job = settle_job(replace(job, pairings=one_method(job.pairings, "", predictions)))
    (pairing,) = job.pairings.values()
    return job, pairing.cases


def _open(job: ScoreJob, paths: CasePaths) -> Case:
    from calibeval.io.cases import open_case

    return open_case(paths, job.scheme, job.options)


def _samples(
    job: ScoreJob, paths: list[CasePaths], domain: str, voxels: int, seed: int, *, quiet: bool
) -> tuple[dict[str, Sample], int]:
    """A sample of each case, and how many cases failed; what is wrong with a case is said and costs it alone."""
    from calibeval.calibrate.sampling import check_domain, sample_case

    chosen = check_domain(domain)
    return _each_case(paths, lambda each: sample_case(_open(job, each), chosen, voxels, seed), quiet=quiet)


def _each_case(
    paths: list[CasePaths], read: Callable[[CasePaths], Read], *, quiet: bool
) -> tuple[dict[str, Read], int]:
    found, failed = {}, 0
    with progress("reading", len(paths), quiet=quiet) as advance:
        for each in paths:
            try:
                found[each.case] = read(each)
            except CalibevalError as error:
                failed += 1
                print(f"calibeval: {each.case}: {error}", file=sys.stderr)
            advance(each.case)
    if not found:
        raise UsageError("No case could be read, so there is nothing to fit on.")
    return found, failed


def _fit_conformal(job: ScoreJob, paths: list[CasePaths], alpha: float, out: Path, *, quiet: bool) -> int:
    """Fit thresholds, and give the exit code."""
    from calibeval.calibrate.apply import hashes_of
    from calibeval.calibrate.calibrator import CONFORMAL, Calibrator, write_calibrator
    from calibeval.calibrate.conformal import count_case, thresholds

    counted, failed = _each_case(paths, lambda each: count_case(_open(job, each)), quiet=quiet)
    names = next(iter(counted.values()))[0]
    belongs = _groups(job, counted)
    levels: dict[str, Any] = dict(thresholds({case: of for case, (_, of) in counted.items()}, belongs, names, alpha))
    hashes = {case: value for case, value in hashes_of(paths).items() if case in counted}
    fitted = {"alpha": alpha, "groups": len(set(belongs.values()))}
    write_calibrator(out, Calibrator(CONFORMAL, job.scheme.names, levels, 1e-7, hashes, fitted))
    if not quiet:
        for name, level in levels.items():
            print(f"{name}: outer mask p > {level['outer']:g}, inner mask p > {level['inner']:g}")
        print(f"on new cases like these, on average, at most {alpha:g} of a class is missed by the outer mask, and at")
        print(f"most {alpha:g} of the inner mask is wrong ({fitted['groups']} groups)")
        print(f"wrote {out}")
    return 3 if failed else 0


def _groups(job: ScoreJob, samples: Mapping[str, Any]) -> dict[str, str]:
    """Who weighs the same, and stays in one fold."""
    for note in job.notes:
        print(f"calibeval: {note}", file=sys.stderr)
    return {case: job.groups.get(case, case) for case in samples}


def _planes(job: ScoreJob, samples: dict[str, Sample]) -> tuple[str, ...]:
    problems = tuple(next(iter(samples.values())).p)
    return job.scheme.names if problems == ("",) else problems


def _print_fit(fitted: Any, samples: dict[str, Sample], out: Path) -> None:
    from calibeval.calibrate.methods import METHODS

    method = METHODS[fitted.method]
    print(f"{method.long_name}: {method.formula}")
    for problem, parameters in fitted.parameters.items():
        likelihood, spread = fitted.fitted["likelihood"][problem], fitted.fitted["spread"][problem]
        name = f"{problem}: " if problem else ""
        if "temperature" in parameters:
            print(f"{name}T = {parameters['temperature']:.4g}")
        print(f"{name}NLL {likelihood['before']:.4f} -> {likelihood['after']:.4f} on the voxels that were fitted")
        if spread is not None:
            print(f"{name}drawing other voxels would change a parameter by {spread:.2g} (standard deviation)")
    hard = sum(sample.hard for sample in samples.values()) / len(samples)
    if hard:
        print(f"{hard:.1%} of the probabilities are exactly 0 or 1, taken for {fitted.clip:.2g} away from it")
    if not method.keeps_argmax:
        print("the predicted class may change; `calibrate evaluate` counts how often")
    print(f"wrote {out}: fitted on {len(samples)} cases of {fitted.fitted['groups']} groups; score others with it")


def _write_tables(out: Path, job: ScoreJob, before: MethodScore, found: list[Evaluation]) -> None:
    from calibeval.scoring.job import write_method

    (name,) = job.pairings
    for label, score in ((name, before), *((f"{name}+{each.method}", each.score) for each in found)):
        rows = tuple(row._replace(method=label) for row in score.rows)
        write_method(out / f"{label}.csv", replace(score, method=label, rows=rows), job)


def _print_json(found: list[Evaluation]) -> None:
    from calibeval.escape import finite

    content = [
        {
            "method": each.method,
            "changed_voxels": each.changed,
            "parameters": [calibrator.parameters for calibrator in each.calibrators],
            "metrics": [{key: finite(value) for key, value in change._asdict().items()} for change in each.changes],
        }
        for each in found
    ]
    print(dumps({"methods": content}, indent=2, allow_nan=False))


def _print_changes(found: list[Evaluation]) -> None:
    from math import isnan

    from rich.table import Table

    from calibeval.cli.console import make_console
    from calibeval.summary import direction

    console = make_console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("method", "metric", "before", "after", "change", "95% interval", "n"):
        table.add_column(title, justify="left" if title in ("method", "metric") else "right", no_wrap=True)
    for each in found:
        for i, change in enumerate(each.changes):
            interval = "-" if isnan(change.low) else f"{change.low:+.4f} to {change.high:+.4f}"
            numbers = (f"{change.before:.4f}", f"{change.after:.4f}", f"{change.difference:+.4f}", interval)
            table.add_row(
                each.method if i == 0 else "", f"{change.metric} {direction(change.metric)}", *numbers, str(change.n)
            )
        table.add_section()
    console.print(table)
    for each in found:
        console.print(f"{each.method}: the predicted class changed in {each.changed} voxels", style="dim")
        if each.method == "temperature":
            steps = [part["temperature"] for fold in each.calibrators for part in fold.parameters.values()]
            console.print(f"temperature: T from {min(steps):.3g} to {max(steps):.3g} over the folds", style="dim")
