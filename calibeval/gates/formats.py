"""Reports as text, Markdown, JSON, and as the annotations and step summary of GitHub Actions.

GitHub shows ten errors and ten warnings of a step at most, and a step summary of 1 MiB at most; so annotations are
for outcomes, never for cases, and a summary ends with a line that says what is left out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from calibeval import escape
from calibeval._version import __version__
from calibeval.errors import UsageError
from calibeval.gates.report import LISTED, CaseValue, Outcome, Report, Status, findings_of

SUMMARY_BYTES = 1 << 20
_ANNOTATIONS = 10  # of each level
_LEVELS: dict[Status, str] = {"failed": "error", "error": "error", "incomplete": "error", "warned": "warning"}
_SIGNS: dict[Status, str] = {
    "failed": "❌",
    "error": "❗",
    "incomplete": "❗",
    "warned": "⚠️",
    "passed": "✅",
    "skipped": "⏭️",
}
Paint = Callable[[str, str], str]


def as_text(report: Report, paint: Paint = lambda _status, text: text) -> str:
    """One line an outcome, the cases that explain it below, and a verdict.

    Args:
        report: of a check.
        paint: colours a text by a status.
    """
    width = max((len(outcome.name) for outcome in report.outcomes), default=0)
    lines = [subject_of(report)]
    for outcome in report.outcomes:
        status = paint(outcome.status, f"{outcome.status.upper():<10}")
        lines.append(f"{status} {outcome.name:<{width}}  {outcome.message}")
        lines += [f"{'':11}  {line}" for line in _explanations(outcome, report)]
    lines += [f"note: {note}" for note in report.notes]
    lines.append(verdict(report))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _explanations(outcome: Outcome, report: Report) -> Iterator[str]:
    """The cases behind an outcome; the files that break a rule, but for the first, which its message names."""
    yield from map(show_case_value, outcome.cases)
    for finding in findings_of(outcome, report.findings)[1:LISTED]:
        yield f"{finding.file}: {finding.problem}"


def as_markdown(report: Report) -> str:
    """A table of the outcomes, then the cases and files behind them."""
    lines = [
        f"### calibeval check: {escape.markdown(verdict(report))}",
        "",
        escape.markdown(subject_of(report)),
        "",
        "| | check | found |",
        "|---|---|---|",
    ]
    lines += [
        f"| {_SIGNS[o.status]} {o.status} | {escape.markdown(o.name)} | {escape.markdown(o.message)} |"
        for o in report.outcomes
    ]
    explained = [outcome for outcome in report.outcomes if outcome.cases]
    if explained:
        lines += ["", "| check | case | value | baseline |", "|---|---|---|---|"]
    for outcome in explained:
        lines += [f"| {escape.markdown(outcome.name)} | {' | '.join(_case_cells(case))} |" for case in outcome.cases]
    if report.findings:
        lines += ["", "| file | rule | problem | advice |", "|---|---|---|---|"]
    for finding in report.findings:
        cells = (finding.file, f"{finding.rule} ({finding.severity})", finding.problem, finding.advice)
        lines.append(f"| {' | '.join(escape.markdown(cell) for cell in cells)} |")
    lines += [f"\n{escape.markdown(note)}" for note in report.notes]
    if report.signature:
        lines += ["", f"<sub>calibeval {__version__}, {escape.markdown(report.signature)}</sub>"]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """Everything, for machines; a number that does not exist is null."""
    content = {
        "version": __version__,
        "subject": report.subject,
        "method": report.method,
        "signature": report.signature,
        "exit_code": report.exit_code,
        "verdict": verdict(report),
        "outcomes": [
            {**outcome._asdict(), "cases": [case._asdict() for case in outcome.cases]} for outcome in report.outcomes
        ],
        "findings": [finding._asdict() for finding in report.findings],
        "notes": list(report.notes),
    }
    return json.dumps(escape.finite(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def as_github(report: Report) -> str:
    """The text, then workflow commands that GitHub turns into annotations: one for each outcome that is not passed."""
    return escape.log(as_text(report)) + "".join(f"{line}\n" for line in _annotations(report))


def append_step_summary(report: Report) -> None:
    """Append the Markdown to the file that `$GITHUB_STEP_SUMMARY` names, if it does, within GitHub's limit.

    Raises:
        UsageError: that file cannot be written.
    """
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    path = Path(name)
    try:
        used = path.stat().st_size if path.exists() else 0
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(shorten(as_markdown(report), SUMMARY_BYTES - used))
    except OSError as error:
        raise UsageError(f"$GITHUB_STEP_SUMMARY names {name}, which cannot be written: {error.strerror}.") from error


def shorten(text: str, limit: int) -> str:
    """Cut a text after whole lines so that it, with a last line that says so, fits into a number of bytes of UTF-8."""
    if len(text.encode()) <= limit:
        return text
    closing = f"\n… cut here: a step summary holds {SUMMARY_BYTES} bytes at most.\n"
    room = limit - len(closing.encode()) - 1
    kept = text.encode()[: max(room, 0)].rpartition(b"\n")[0].decode()
    return f"{kept}\n{closing}" if kept else ""


def verdict(report: Report) -> str:
    """The counts in words, as in `1 failed, 3 passed`."""
    counts = [f"{report.count(status)} {status}" for status in _SIGNS if report.count(status)]
    return f"{'passed' if report.exit_code == 0 else 'not passed'} ({', '.join(counts) or 'nothing was checked'})"


def show_case_value(case: CaseValue) -> str:
    """A case and its numbers in a few words."""
    parts = [f"{case.value:.4g}"] if not math.isnan(case.value) else []
    parts += [f"was {case.before:.4g}"] if not math.isnan(case.before) else []
    parts += [case.note] if case.note else []
    return f"{case.case}: {', '.join(parts)}" if parts else case.case


def subject_of(report: Report) -> str:
    """The files that were checked, and the method."""
    return f"{report.subject}, method {report.method}" if report.method else report.subject


def _case_cells(case: CaseValue) -> Iterator[str]:
    yield escape.markdown(case.case)
    yield escape.markdown(" ".join(filter(None, ("" if math.isnan(case.value) else f"{case.value:.4g}", case.note))))
    yield "" if math.isnan(case.before) else f"{case.before:.4g}"


def _annotations(report: Report) -> Iterator[str]:
    for level in ("error", "warning"):
        outcomes = [outcome for outcome in report.outcomes if _LEVELS.get(outcome.status) == level]
        shown = outcomes if len(outcomes) <= _ANNOTATIONS else outcomes[: _ANNOTATIONS - 1]
        for outcome in shown:
            title = f"calibeval: {outcome.kind} {outcome.status}"
            yield _annotation(level, title, f"{outcome.name}: {outcome.message}")
        if len(shown) < len(outcomes):
            more = f"{len(outcomes) - len(shown)} more; see the step summary"
            yield _annotation(level, "calibeval: and more", more)


def _annotation(level: str, title: str, message: str) -> str:
    """A workflow command; what would end a property or the command is escaped."""
    data = escape.log(message).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    property_ = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title={property_.replace(':', '%3A').replace(',', '%2C')}::{data}"
