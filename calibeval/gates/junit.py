"""Reports as JUnit XML, which CI servers show as tests: `<failure>` a gate, `<error>` what could not be decided.

One suite for each kind of question, one test case for each question. A gate that only warns passes, with its warning
as the test's output. There are no times in it: equal results give equal bytes.
"""

from __future__ import annotations

import math
from typing import Any

from calibeval import escape
from calibeval.errors import MissingExtraError
from calibeval.gates.report import Finding, Outcome, Report, findings_of


def check_junit() -> None:
    """Refuse, before the work, what could not be written after it.

    Raises:
        MissingExtraError: junitparser is not installed.
    """
    from importlib.util import find_spec

    if find_spec("junitparser") is None:
        raise MissingExtraError("junitparser", "junit")


def as_junit(report: Report) -> str:
    """Give the XML.

    Raises:
        MissingExtraError: junitparser is not installed.
    """
    check_junit()
    from junitparser import JUnitXml, TestSuite

    xml = JUnitXml("calibeval check")
    for kind in dict.fromkeys(outcome.kind for outcome in report.outcomes):
        suite = TestSuite(f"calibeval.{kind}")
        suite.add_testcases([_test_case(o, report.findings) for o in report.outcomes if o.kind == kind])
        xml.add_testsuite(suite)
    text: bytes = xml.tostring()  # type: ignore[no-untyped-call]  # the library is typed but for this
    return text.decode("utf-8") + "\n"


def _test_case(outcome: Outcome, findings: tuple[Finding, ...]) -> Any:
    from junitparser import Error, Failure, Skipped, TestCase

    case = TestCase(escape.xml(outcome.name), f"calibeval.{outcome.kind}", 0)
    message, text = escape.xml(outcome.message), escape.xml(_details(outcome, findings))
    kinds = {"failed": Failure, "error": Error, "incomplete": Error, "skipped": Skipped}
    if outcome.status in kinds:
        result = kinds[outcome.status](message, outcome.status)
        result.text = text
        case.result = [result]
    else:
        case.system_out = f"{'warning: ' if outcome.status == 'warned' else ''}{text}"
    return case


def _details(outcome: Outcome, findings: tuple[Finding, ...]) -> str:
    """The message, and below it the cases or files that explain it."""
    lines = [outcome.message]
    for case in outcome.cases:
        before = "" if math.isnan(case.before) else f" was {case.before:.4g}"
        value = "" if math.isnan(case.value) else f" {case.value:.4g}"
        lines.append(f"{case.case}{value}{before} {case.note}".rstrip())
    lines += [f"{f.file}: {f.problem} {f.advice}".rstrip() for f in findings_of(outcome, findings)]
    return "\n".join(lines)
