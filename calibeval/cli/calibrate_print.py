"""What `calibeval calibrate` prints of what was fitted and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from calibeval.calibrate.calibrator import Calibrator
    from calibeval.calibrate.evaluate import Evaluation
    from calibeval.calibrate.sampling import Sample
    from calibeval.scoring.job import MethodScore
    from calibeval.scoring.plan import ScoreJob


def print_fit(fitted: Calibrator, samples: Mapping[str, Sample], out: Path) -> None:
    """Say what was fitted, and how sure it is."""
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


def print_thresholds(levels: Mapping[str, Any], fitted: Mapping[str, Any], out: Path) -> None:
    """Say which masks will be made, and what they promise."""
    alpha = fitted["alpha"]
    for name, level in levels.items():
        print(f"{name}: outer mask p > {level['outer']:g}, inner mask p > {level['inner']:g}")
    print(f"on new cases like these, on average, at most {alpha:g} of a class is missed by the outer mask, and at")
    print(f"most {alpha:g} of the inner mask is wrong ({fitted['groups']} groups)")
    print(f"wrote {out}")


def print_json(before: MethodScore, found: list[Evaluation], job: ScoreJob) -> None:
    """Print before and after of every metric, and the points of the reliability diagrams."""
    from calibeval.calibrate.evaluate import reliability
    from calibeval.escape import finite

    def points(score: MethodScore) -> list[dict[str, float]]:
        named = ("voxels", "confidence", "right")
        return [dict(zip(named, point, strict=True)) for point in reliability(score, job.protocol)]

    content = [
        {
            "method": each.method,
            "changed_voxels": each.changed,
            "parameters": [calibrator.parameters for calibrator in each.calibrators],
            "reliability": points(each.score),
            "metrics": [{key: finite(value) for key, value in change._asdict().items()} for change in each.changes],
        }
        for each in found
    ]
    print(dumps({"methods": content, "reliability_before": points(before)}, indent=2, allow_nan=False))


def print_changes(before: MethodScore, found: list[Evaluation], job: ScoreJob) -> None:
    """Print before and after of every metric, and how reliable both are."""
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
    console.print(_reliability_table(before, found, job))
    for each in found:
        console.print(f"{each.method}: the predicted class changed in {each.changed} voxels", style="dim")
        if each.method == "temperature":
            steps = [part["temperature"] for fold in each.calibrators for part in fold.parameters.values()]
            console.print(f"temperature: T from {min(steps):.3g} to {max(steps):.3g} over the folds", style="dim")


def _reliability_table(before: MethodScore, found: list[Evaluation], job: ScoreJob) -> Table:
    """How far the share of right voxels is from the mean confidence, bin by bin of it."""
    from rich.table import Table

    from calibeval.calibrate.evaluate import reliability

    bins = job.protocol.ece_bins
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("confidence", "right - confidence before", *(each.method for each in found)):
        table.add_column(title, justify="right", no_wrap=True)
    columns = [
        {
            min(int(confidence * bins), bins - 1): right - confidence
            for _, confidence, right in reliability(score, job.protocol)
        }
        for score in (before, *(each.score for each in found))
    ]
    for b in sorted(set().union(*columns)):
        gaps = (f"{column[b]:+.3f}" if b in column else "-" for column in columns)
        table.add_row(f"{b / bins:.2f} to {(b + 1) / bins:.2f}", *gaps)
    return table
