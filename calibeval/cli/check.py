"""`calibeval check`: whether a model's outputs may pass, for people and for CI."""

from __future__ import annotations

import io
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from calibeval.cli.options import Channels, Quiet, Workers, limits_memory
from calibeval.cli.outputs import Output, files_of, output_of_name, output_of_path, outputs_of
from calibeval.errors import UsageError
from calibeval.files import check_writable

if TYPE_CHECKING:
    from calibeval.gates.policy import Policy
    from calibeval.gates.report import Report
    from calibeval.gates.scores import ScoreTable


Results = Annotated[
    Path,
    typer.Argument(
        metavar="RESULTS.csv|PREDS",
        help="A table of calibeval score, or predictions: a folder of one method, or of one sub-folder a method.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Argument(metavar="LABELS", help="With PREDS: score them against these labels first.", show_default=False),
]
Gates = Annotated[
    Path | None,
    typer.Option(metavar="TOML", help="Gates and margins. Default: [tool.calibeval.gates] of ./pyproject.toml."),
]
GateTexts = Annotated[
    list[str] | None,
    typer.Option("--gate", metavar="GATE", help="For example 'mean(ECE) <= 0.05', 'p95(HD95[LV]) <= 12'; repeatable."),
]
WarnTexts = Annotated[
    list[str] | None,
    typer.Option("--warn", metavar="GATE", help="A gate that is reported and never fatal; repeatable."),
]
Baseline = Annotated[
    Path | None, typer.Option(metavar="MAIN.csv", help="Table to be no worse than, compared case by case.")
]
Margins = Annotated[
    list[str] | None,
    typer.Option(
        "--margin", metavar="METRIC=NUMBER", help="How much worse than the baseline a mean may be; repeatable."
    ),
]
Method = Annotated[str, typer.Option(metavar="NAME", help="Method to check, where there are several.")]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Images whose names and places the predictions must have.")
]
Integrity = Annotated[
    bool, typer.Option("--integrity", help="With PREDS LABELS: check the files too. Without gates: the files alone.")
]
Protocol_ = Annotated[
    str | None,
    typer.Option("--protocol", metavar="NAME", help="For scoring; all other options: [score] in the gates file."),
]
Table = Annotated[Path | None, typer.Option(metavar="CSV", help="With PREDS LABELS: keep the scored table.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        help=f"Of stdout: {', '.join(outputs_of('check'))}; github adds annotations and a step summary.",
    ),
]
Outs = Annotated[
    list[Path] | None,
    typer.Option("-o", "--out", help=f"Also write the report here: {files_of('check')}; repeatable."),
]
Init = Annotated[
    bool, typer.Option("--init", help="Write a commented gates.toml (or --out TOML) that RESULTS.csv passes today.")
]
Also = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="MORE.csv", help="With --init: a further run (seed) of the model, same cases; give two or more."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="With --init: overwrite.")]


@limits_memory
def check(
    results: Results,
    labels: Labels = None,
    *,
    gates: Gates = None,
    gate: GateTexts = None,
    warn: WarnTexts = None,
    baseline: Baseline = None,
    margin: Margins = None,
    method: Method = "",
    images: Images = None,
    channels: Channels = None,
    integrity: Integrity = False,
    protocol: Protocol_ = None,
    workers: Workers = None,
    table: Table = None,
    format_: Format = "text",
    out: Outs = None,
    init: Init = False,
    also: Also = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Decide whether a model's outputs may pass: gates on scores, a baseline, and the files themselves.

    RESULTS.csv: gates on a table. PREDS LABELS: score, then gates. PREDS alone: the files only.

    Exit code 0: passed; 1: a gate failed; 2: usage, or something could not be decided; 3: cases failed or are missing
    and no gate speaks of them.
    """
    from calibeval.gates.junit import check_junit
    from calibeval.report.render import need_extra

    inputs = _Inputs(results, labels, images, channels, baseline, table, workers, quiet)
    _refuse_contradictions(inputs, integrity=integrity, protocol=protocol, init=init, margins=margin)
    if init:
        _write_draft(inputs, (out or [gates or Path("gates.toml")])[0], method, also or [], force=force)
        return
    if also:
        raise UsageError("--also gives further runs to draft gates from: use it with --init.")
    printed = output_of_name("check", format_)
    files = {path: output_of_path("check", path) for path in out or []}
    check_writable([*files, *([table] if table else [])])
    wanted = {output.name for output in (printed, *files.values())}
    if "junit" in wanted:
        check_junit()
    if "html" in wanted:
        need_extra()
    policy, notes = _policy(inputs, gates, gate or [], warn or [], margin or [], method)
    if protocol:
        policy = replace(policy, score={**policy.score, "protocol": protocol})
    explicit = bool(gates or gate or warn or baseline)
    if inputs.is_table:
        report = _check_table(inputs, policy)
    else:
        look = integrity or (labels is None and not explicit)
        report = _check_predictions(inputs, policy, files=look, scores=explicit or labels is not None)
    report = replace(report, notes=(*report.notes, *notes))
    _emit(report, printed, files, quiet=quiet)
    raise typer.Exit(report.exit_code)


class _Inputs(NamedTuple):
    """What is read, and how."""

    results: Path
    labels: Path | None
    images: Path | None
    channels: int | None
    baseline: Path | None
    table: Path | None
    workers: int | None
    quiet: bool

    @property
    def is_table(self) -> bool:
        """Results rather than predictions."""
        return self.results.suffix.lower() in (".csv", ".tsv", ".json")


def _refuse_contradictions(
    inputs: _Inputs, *, integrity: bool, protocol: str | None, init: bool, margins: list[str] | None
) -> None:
    for_predictions = {
        "LABELS": inputs.labels, "--images": inputs.images, "--channels": inputs.channels,
        "--table": inputs.table, "--integrity": integrity, "--protocol": protocol,
    }  # fmt: skip
    given = [name for name, value in for_predictions.items() if value]
    if inputs.is_table and given:
        raise UsageError(f"{', '.join(given)} belongs to predictions, and {inputs.results} is a table of results.")
    if init and not inputs.is_table:
        raise UsageError(f"--init drafts gates from a results table (.csv), not from {inputs.results}. Score it first.")
    if inputs.is_table and not inputs.results.exists():
        raise UsageError(f"{inputs.results}: cannot be read (no such file).")
    if margins and inputs.baseline is None:
        raise UsageError("--margin says how much worse than a baseline a metric may be: give --baseline MAIN.csv.")


def _policy(
    inputs: _Inputs, path: Path | None, gates: list[str], warns: list[str], margins: list[str], method: str
) -> tuple[Policy, tuple[str, ...]]:
    """All that is asked for, from a file and beside it from options; and notes on what is passed over."""
    from calibeval.gates.policy import parse_gate, parse_margin_option, read_policy

    found = read_policy(path, Path.cwd())
    policy = found.extended(
        [*(parse_gate(text) for text in gates), *(parse_gate(text, "warn") for text in warns)],
        map(parse_margin_option, margins),
    )
    policy = replace(policy, method=method or policy.method)
    if inputs.baseline is None:
        unused = (f"the margins of {policy.source} need --baseline and were not compared",)
        return replace(policy, margins=()), unused if policy.margins else ()
    if not policy.margins:
        raise UsageError("How much worse than the baseline may what be? Give --margin, as in DSC=0.01, or [margins].")
    return policy, ()


def _refuse_other_files(path: Path) -> None:
    from calibeval.io.arrays import SUFFIXES, suffix_of

    if path.is_file() and not suffix_of(path):
        raise UsageError(f"{path}: expected a results table (.csv), or predictions ({' '.join(SUFFIXES)}).")


def _check_table(inputs: _Inputs, policy: Policy) -> Report:
    from calibeval.gates.scores import load_scores

    _refuse_no_gates(inputs, policy)
    return _decide(load_scores(inputs.results, policy.method), str(inputs.results), inputs, policy)


def _check_predictions(inputs: _Inputs, policy: Policy, *, files: bool, scores: bool) -> Report:
    """Check the files, then score them and decide the gates, as far as each is asked for."""
    from calibeval.gates.report import Report

    _refuse_other_files(inputs.results)
    scores = scores and bool(policy.gates or policy.margins)
    if not files and not scores:
        _refuse_no_gates(inputs, policy)
    subject = str(inputs.results) if inputs.labels is None else f"{inputs.results} against {inputs.labels}"
    notes = () if scores or not policy.gates else (f"the gates of {policy.source} need LABELS and were not decided",)
    report = Report(subject, (), notes=notes)
    if files:
        report = _check_files(report, inputs, policy)
    if not scores:
        return report
    from calibeval.cli.check_score import plan_scoring, score_for_gates

    job = plan_scoring(inputs.results, inputs.labels, policy)
    table = score_for_gates(job, workers=inputs.workers, table=inputs.table, quiet=inputs.quiet)
    decided = _decide(table, subject, inputs, policy)
    return replace(decided, outcomes=report.outcomes + decided.outcomes, findings=report.findings)


def _check_files(report: Report, inputs: _Inputs, policy: Policy) -> Report:
    from calibeval.cli.check_score import one_method
    from calibeval.cli.console import progress
    from calibeval.gates.integrity import check_files, plan_files
    from calibeval.scoring.job import choose_workers

    plan = plan_files(
        inputs.results, inputs.labels, inputs.images, channels=inputs.channels,
        choices=policy.options, severities=policy.integrity,
    )  # fmt: skip
    if policy.method:
        plan = replace(plan, pairings=one_method(plan.pairings, policy.method, inputs.results))
    with progress("checking", len(plan.cases), quiet=inputs.quiet) as advance:
        findings, outcomes = check_files(plan, choose_workers(plan.cases, inputs.workers), advance)
    return replace(report, outcomes=tuple(outcomes), findings=tuple(findings))


def _decide(scores: ScoreTable, subject: str, inputs: _Inputs, policy: Policy) -> Report:
    from calibeval.gates.baseline import compare
    from calibeval.gates.evaluate import evaluate_gates
    from calibeval.gates.report import Report
    from calibeval.gates.scores import load_baseline, ungrouped

    outcomes, notes = evaluate_gates(scores, policy), (*scores.notes, *ungrouped(scores))
    if inputs.baseline is not None:
        baseline = load_baseline(inputs.baseline, policy.method)
        subject += f", baseline {inputs.baseline}"
        outcomes += compare(scores, baseline, policy)
        notes += baseline.notes
    return Report(
        subject, tuple(outcomes), notes=notes, method=scores.method, signature=scores.signature, scores=scores
    )


def _refuse_no_gates(inputs: _Inputs, policy: Policy) -> None:
    if policy.gates or policy.margins:
        return
    where = f" {policy.source} holds none." if policy.source else ""
    draft = (
        " `calibeval check RESULTS.csv --init` drafts some." if inputs.is_table else " Or --integrity, for the files."
    )
    raise UsageError(f"No gate to decide.{where} Give --gate, --gates or --baseline with --margin.{draft}")


def _write_draft(inputs: _Inputs, path: Path, method: str, also: list[Path], *, force: bool) -> None:
    from calibeval.files import write_text
    from calibeval.gates.init import draft
    from calibeval.gates.scores import load_baseline, load_scores

    if path.exists() and not force:
        raise UsageError(f"{path} exists. Give another name with --gates, or --force to overwrite it.")
    scores = load_scores(inputs.results, method)
    text = draft(scores, [load_baseline(run, scores.method) for run in also], named_method=bool(method))
    write_text(path, text)
    if not inputs.quiet:
        print(f"wrote {path}; check with: calibeval check {shlex.quote(str(inputs.results))} --gates {path}")


def _emit(report: Report, printed: Output, files: dict[Path, Output], *, quiet: bool) -> None:
    from calibeval.files import write_text
    from calibeval.gates.formats import append_step_summary, as_text

    if not quiet:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as CI systems read it, whatever the console's own encoding
        on_terminal = printed.name == "text" and sys.stdout.isatty()
        sys.stdout.write(as_text(report, _paint) if on_terminal else _text(report, printed))
    for path, output in files.items():
        write_text(path, _text(report, output))
    if printed.name == "github":
        append_step_summary(report)


def _text(report: Report, output: Output) -> str:
    if not output.takes_rows:
        return output.writer("check")(report)
    if report.scores is None:
        raise UsageError(f"The format {output.name} holds numbers of cases, and only files were checked: give gates.")
    return output.writer("check")(report.scores.rows())


def _paint(status: str, text: str) -> str:
    colour = {"passed": "green", "warned": "yellow", "skipped": "bright_black"}.get(status, "red")
    return typer.style(text, fg=colour)
