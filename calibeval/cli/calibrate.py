"""`calibeval calibrate fit|apply|evaluate`: mend a miscalibrated model without training it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from calibeval.cli.calibrate_print import print_changes, print_fit, print_json, print_thresholds
from calibeval.cli.console import progress
from calibeval.cli.options import PartedCommand, PartedGroup, Quiet, takes_score_options
from calibeval.errors import UsageError, describe

if TYPE_CHECKING:
    from calibeval.calibrate.calibrator import Calibrator
    from calibeval.calibrate.ensemble import Ensemble as Ensemble_
    from calibeval.calibrate.evaluate import Evaluation
    from calibeval.calibrate.sampling import Draw, Sample
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
Ensemble = Annotated[
    list[Path] | None,
    typer.Option(
        "--ensemble",
        metavar="DIR",
        help="Maps of another model of an ensemble, of the same names; may be given again. Their mean is calibrated.",
    ),
]
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
    ensemble: Ensemble = None,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Fit a calibrator on held-out cases with labels."""
    from calibeval.calibrate.calibrator import CONFORMAL, write_calibrator
    from calibeval.calibrate.fitting import fit_calibrator, plane_names, spread
    from calibeval.calibrate.methods import check_methods
    from calibeval.calibrate.sampling import Draw, check_domain
    from calibeval.files import check_writable

    check_methods([method] if method != CONFORMAL else [])
    draw = Draw(check_domain(domain), voxels, seed)
    check_writable([out])
    cases = _plan(predictions, labels, ensemble, choices)
    if method == CONFORMAL:
        raise typer.Exit(_fit_conformal(cases, alpha, out, quiet=quiet))
    samples, failed = _samples(cases, draw, quiet=quiet)
    drawn, belongs = list(samples.values()), _groups(cases.job, samples)
    fitted = fit_calibrator(drawn, belongs, method, plane_names(drawn, cases.job.scheme.names), cases.hashes())
    record = {**draw._asdict(), "members": 1 + len(ensemble or ()), "spread": spread(drawn, belongs, fitted)}
    fitted = replace(fitted, fitted={**record, **fitted.fitted})
    write_calibrator(out, fitted)
    if not quiet:
        print_fit(fitted, samples, out)
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
    ensemble: Ensemble = None,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Write calibrated maps in the form that the old ones came in, case by case."""
    from calibeval.calibrate.applying import apply_calibrator
    from calibeval.calibrate.calibrator import read_calibrator
    from calibeval.calibrate.ensemble import Ensemble
    from calibeval.io.pairing import pair_images
    from calibeval.scoring.options import ScoreOptions

    if unused := [name for name in ("manifest", "pattern", "seg_dir", "mask") if choices[name] is not None]:
        raise UsageError(
            f"--{unused[0].replace('_', '-')}: `apply` needs no labels and takes the maps as they are named."
        )
    found, options = read_calibrator(calibrator), ScoreOptions(**choices)
    models = Ensemble.of(predictions, ensemble)
    _note_members(found, models)
    paths = pair_images(predictions).cases
    scheme = options.scheme([models.home, models.home.resolve().parent])
    with progress("calibrating", len(paths), quiet=quiet) as advance:
        applied = apply_calibrator(
            found, paths, models, out,
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
    ensemble: Ensemble = None,
    json: Json = False,
    quiet: Quiet = False,
    **choices: Any,
) -> None:
    """Say what calibration would do on unseen cases: fitted on the other folds, before and after, paired by case."""
    from calibeval.calibrate.evaluate import cross_fit
    from calibeval.calibrate.methods import METHODS, check_methods
    from calibeval.calibrate.sampling import Draw, check_domain
    from calibeval.files import check_writable

    methods = list(METHODS) if method == _ALL else list(dict.fromkeys(name.strip() for name in method.split(",")))
    check_methods(methods)
    draw = Draw(check_domain(domain), voxels, seed)
    choices["metrics"] = _METRICS if choices["metrics"] == "default" else choices["metrics"]
    if out is not None:
        check_writable([out / "tables"])  # whose names the data give
    cases = _plan(predictions, labels, ensemble, choices)
    samples, failed = _samples(cases, draw, quiet=quiet)
    with progress("evaluating", len(samples), quiet=quiet) as advance:
        before, found = cross_fit(
            cases.job, cases.open, samples, _groups(cases.job, samples),
            methods=methods, folds=folds, seed=seed, progress=advance,
        )  # fmt: skip
    if out is not None:
        _write_tables(out, cases.job, before, found)
    if json:
        print_json(before, found, cases.job)
    elif not quiet:
        print_changes(before, found, cases.job)
    raise typer.Exit(3 if failed else 0)


class _Cases(NamedTuple):
    """The cases of one method, and how to open them."""

    job: ScoreJob
    paths: dict[str, CasePaths]
    models: Ensemble_

    def open(self, case_id: str) -> Case:
        """Open a case as `score` does; of an ensemble, its mean."""
        from calibeval.io.cases import open_case, open_reference

        paths, job = self.paths[case_id], self.job
        case = open_case(paths, job.scheme, job.options, separate_masks=job.separate_masks, masked=job.masked)
        if case.source is None:
            return case
        place = open_reference(paths, job.scheme)
        return replace(case, source=self.models.mean(case.source, paths, place, job.scheme, job.options))

    def hashes(self) -> dict[str, str]:
        from calibeval.calibrate.applying import hashes_of

        return hashes_of(self.paths.values())


def _plan(predictions: Path, labels: Path | None, ensemble: list[Path] | None, choices: dict[str, Any]) -> _Cases:
    from calibeval.calibrate.ensemble import Ensemble
    from calibeval.cli.check_score import one_method
    from calibeval.scoring.options import ScoreOptions
    from calibeval.scoring.plan import plan_job, settle_job

    job = plan_job(predictions, labels, ScoreOptions(**choices))
    job = settle_job(replace(job, pairings=one_method(job.pairings, "", predictions)))
    (pairing,) = job.pairings.values()
    return _Cases(job, {paths.case: paths for paths in pairing.cases}, Ensemble.of(predictions, ensemble))


def _note_members(calibrator: Calibrator, models: Ensemble_) -> None:
    fitted, given = calibrator.fitted.get("members", 1), 1 + len(models.others)
    if fitted != given:
        print(
            f"calibeval: the calibrator was fitted on the mean of {fitted} models, and {given} are given",
            file=sys.stderr,
        )


def _samples(cases: _Cases, draw: Draw, *, quiet: bool) -> tuple[dict[str, Sample], int]:
    """A sample of each case, and how many cases failed; what is wrong with a case is said and costs it alone."""
    from calibeval.calibrate.sampling import sample_case

    return _each_case(cases, lambda case: sample_case(case, draw), quiet=quiet)


def _each_case(cases: _Cases, read: Callable[[Case], Read], *, quiet: bool) -> tuple[dict[str, Read], int]:
    found, failed = {}, 0
    with progress("reading", len(cases.paths), quiet=quiet) as advance:
        for case_id in cases.paths:
            try:
                found[case_id] = read(cases.open(case_id))
            except Exception as error:  # whatever one case does must not cost the others
                failed += 1
                print(f"calibeval: {case_id}: {describe(error)}", file=sys.stderr)
            advance(case_id)
    if not found:
        raise UsageError("No case could be read, so there is nothing to fit on.")
    return found, failed


def _fit_conformal(cases: _Cases, alpha: float, out: Path, *, quiet: bool) -> int:
    """Fit thresholds, and give the exit code."""
    from calibeval.calibrate.calibrator import CONFORMAL, Calibrator, write_calibrator
    from calibeval.calibrate.conformal import count_case, thresholds

    counted, failed = _each_case(cases, count_case, quiet=quiet)
    names = next(iter(counted.values()))[0]
    belongs = _groups(cases.job, counted)
    levels: dict[str, Any] = dict(thresholds({case: of for case, (_, of) in counted.items()}, belongs, names, alpha))
    hashes = {case: value for case, value in cases.hashes().items() if case in counted}
    fitted = {"alpha": alpha, "members": 1 + len(cases.models.others), "groups": len(set(belongs.values()))}
    write_calibrator(out, Calibrator(CONFORMAL, cases.job.scheme.names, levels, 1e-7, hashes, fitted))
    if not quiet:
        print_thresholds(levels, fitted, out)
    return 3 if failed else 0


def _groups(job: ScoreJob, samples: Mapping[str, Any]) -> dict[str, str]:
    """Who weighs the same, and stays in one fold."""
    for note in job.notes:
        print(f"calibeval: {note}", file=sys.stderr)
    return {case: job.groups.get(case, case) for case in samples}


def _write_tables(out: Path, job: ScoreJob, before: MethodScore, found: list[Evaluation]) -> None:
    from calibeval.files import inside
    from calibeval.scoring.job import write_method

    (name,) = job.pairings
    for label, score in ((name, before), *((f"{name}+{each.method}", each.score) for each in found)):
        rows = tuple(row._replace(method=label) for row in score.rows)
        write_method(inside(out, f"{label}.csv"), replace(score, method=label, rows=rows), job)
