"""What `check` decided, on top of the page; the file that CI keeps."""

from __future__ import annotations

from calibeval.gates.formats import show_case_value, subject_of, verdict
from calibeval.gates.report import LISTED, Report, findings_of
from calibeval.report.page import Gates


def gates_of(report: Report) -> Gates:
    """The gates with the cases and files behind them."""
    rows = (
        (
            outcome.status,
            outcome.name,
            outcome.message,
            (
                *map(show_case_value, outcome.cases),
                *(
                    f"{each.file}: {each.problem} {each.advice}"
                    for each in findings_of(outcome, report.findings)[:LISTED]
                ),
            ),
        )
        for outcome in report.outcomes
    )
    return Gates(report.exit_code == 0, verdict(report), subject_of(report), tuple(rows), report.notes)
