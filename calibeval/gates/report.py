"""What a check found: one outcome for each question, and the exit code that follows.

A question is a gate, a metric compared with a baseline, a rule for prediction files, or whether all cases were scored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from calibeval.gates.scores import ScoreTable

Status = Literal["passed", "failed", "warned", "error", "incomplete", "skipped"]
Kind = Literal["gate", "baseline", "integrity", "cases"]

# Exit codes, the gravest first: what is known to be bad counts more than what is not known.
EXIT_CODES: dict[Status, int] = {"failed": 1, "error": 2, "incomplete": 3}
LISTED = 5  # cases that are named beside an outcome


class CaseValue(NamedTuple):
    """A case that explains an outcome.

    Attributes:
        case: id, after the data set where there are several.
        value: its number; NaN where there is none.
        before: its number in the baseline; NaN without one.
        note: its status, where it is not `ok`.
    """

    case: str
    value: float
    before: float = math.nan
    note: str = ""


class Finding(NamedTuple):
    """Something wrong with a prediction file.

    Attributes:
        file: path, or the case whose file is missing.
        rule: key of `integrity.RULES`.
        severity: `fail` or `warn`.
        problem: what was found.
        advice: what to do.
    """

    file: str
    rule: str
    severity: str
    problem: str
    advice: str


class Outcome(NamedTuple):
    """The answer to one question.

    Attributes:
        name: the gate, the metric, or the rule.
        kind: of the question.
        status: `passed`, `failed`, `warned` (does not hold, but need not), `error` (cannot be decided),
            `incomplete` (cases failed, and no gate speaks of them), `skipped` (not asked).
        message: the numbers behind it, in words.
        value: the aggregate, the mean worsening, or the number of findings; NaN where there is none.
        limit: upper bound of the mean worsening (`baseline` only); NaN elsewhere.
        cases: that explain it, worst first.
        power: chance that a model that has not changed passes (`baseline` only); NaN elsewhere.
    """

    name: str
    kind: Kind
    status: Status
    message: str
    value: float = math.nan
    limit: float = math.nan
    cases: tuple[CaseValue, ...] = ()
    power: float = math.nan


@dataclass(frozen=True)
class Report:
    """All outcomes of one check.

    Attributes:
        subject: the files that were checked, for people.
        outcomes: in the order of the questions.
        findings: of the integrity rules.
        method: checked; may be empty.
        signature: of the numbers; empty when only files were checked.
        notes: what a reader should know beside.
        scores: the numbers; None when only files were checked.
    """

    subject: str
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...] = ()
    method: str = ""
    signature: str = ""
    notes: tuple[str, ...] = ()
    scores: ScoreTable | None = None

    @property
    def exit_code(self) -> int:
        """0 passed, 1 a gate failed, 2 something could not be decided, 3 cases failed and no gate speaks of them."""
        found = {outcome.status for outcome in self.outcomes}
        if not found & {"passed", "warned", *EXIT_CODES}:
            return EXIT_CODES["error"]
        return next((code for status, code in EXIT_CODES.items() if status in found), 0)

    def count(self, status: Status) -> int:
        """Number of outcomes with a status."""
        return sum(outcome.status == status for outcome in self.outcomes)


def findings_of(outcome: Outcome, findings: tuple[Finding, ...]) -> list[Finding]:
    """The findings behind an integrity outcome, whose name begins with its rule; none for other kinds."""
    rule = outcome.name.partition(":")[0] if outcome.kind == "integrity" else ""
    return [finding for finding in findings if finding.rule == rule]
