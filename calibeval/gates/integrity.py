"""Are prediction files what they should be? Rules that need no reference labels, or only their place and names.

Files are opened as `calibeval score` opens them, and read once, plane by plane. Each thing that is wrong is a
`Finding`: file, rule, problem, advice. A rule that nothing allows to decide (the place, without image or label) is
`skipped` and says so; it is never counted as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calibeval.engine import run_tasks
from calibeval.gates.case_files import Problem, Task, check_case, died, find_place
from calibeval.gates.report import Finding, Outcome, Status
from calibeval.gates.rules import BLOCKING, RULES, check_severities
from calibeval.io.classes import ClassScheme, home_folders
from calibeval.io.pairing import CasePaths, Pairing, case_names, find_methods, pair_files, pair_images
from calibeval.io.raters import find_rated
from calibeval.io.read_options import ReadOptions
from calibeval.io.readings import settle
from calibeval.io.structures import name_parts
from calibeval.scoring.options import ScoreOptions
from calibeval.wording import count_of


@dataclass(frozen=True)
class FilePlan:
    """What will be looked at.

    Attributes:
        pairings: method name to its cases.
        scheme: classes, as far as known before reading.
        options: how to read predictions.
        expected: the cases follow from images or labels, so that missing and extra ones can be told.
        severities: of every rule.
    """

    pairings: dict[str, Pairing]
    scheme: ClassScheme
    options: ReadOptions
    expected: bool
    severities: Mapping[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> list[CasePaths]:
        """Of all methods."""
        return [case for pairing in self.pairings.values() for case in pairing.cases]


def plan_files(
    predictions: Path,
    labels: Path | None = None,
    images: Path | None = None,
    *,
    choices: ScoreOptions | None = None,
    channels: int | None = None,
    severities: Mapping[str, str] | None = None,
) -> FilePlan:
    """Find the files and the cases they belong to; reads headers at most.

    Args:
        predictions: folder of one method, or of one sub-folder a method; or one file.
        labels: folder or file whose names and places the predictions must have.
        images: the same, as far as there are no labels.
        choices: as for scoring; of these, classes, reading and (with labels) names count.
        channels: files an image, where the names of the images do not tell.
        severities: of rules, where not their own: `fail`, `warn` or `off`.

    Raises:
        UsageError: nothing there, or names that fit in more than one way; an unknown rule or severity.
    """
    given, choices = severities or {}, choices or ScoreOptions()
    check_severities(given)
    known = choices.scheme(home_folders(labels, images, predictions))
    rated = None if choices.raters is None else find_rated(labels, choices.raters)[0]
    methods = find_methods(predictions, case_names(labels, known.names) if rated is None else rated)
    scheme = known if known.names else choices.scheme(home_folders(*methods.values()))
    names = (*scheme.names, *scheme.regions)
    pairings = {
        method: pair_files(folder, labels, pattern=choices.pattern, classes=names, rated=rated)
        if labels
        else pair_images(folder, images, channels)
        for method, folder in methods.items()
    }
    return FilePlan(
        pairings,
        name_parts(scheme, pairings.values()),
        choices.reading,
        bool(labels or images),
        {name: given.get(name, rule.severity) for name, rule in RULES.items()},
    )


def check_files(
    plan: FilePlan, workers: int = 1, progress: Callable[[str], None] = lambda case: None
) -> tuple[list[Finding], list[Outcome]]:
    """Look at all files.

    Args:
        plan: from `plan_files`.
        workers: processes.
        progress: called with each case's name.

    Returns:
        Findings in the order of the rules and files, and one outcome for each rule.
    """
    cases = [
        paths
        for pairing in plan.pairings.values()
        for paths in settle(pairing.cases, plan.scheme, plan.options, find_place)
    ]
    tasks = [Task(paths, plan.scheme, plan.options) for paths in cases]
    problems: dict[int, list[Problem]] = {}
    for index, found in run_tasks(check_case, tasks, workers, died):
        problems[index] = found
        progress(tasks[index].paths.case)
    pairs = [(_file(tasks[i].paths), problem) for i in sorted(problems) for problem in problems[i]]
    pairs += [(name, _EXTRA) for pairing in plan.pairings.values() for name in pairing.extra]
    findings = [
        Finding(file, problem.rule, plan.severities[problem.rule], problem.text, problem.advice)
        for rule in RULES
        for file, problem in pairs
        if problem.rule == rule and plan.severities[rule] != "off"
    ]
    broken = {i: {problem.rule for problem in found} for i, found in problems.items()}
    return findings, [_outcome(rule, plan, findings, _looked_at(rule, broken)) for rule in RULES]


_EXTRA = Problem("extra", "no case expects this prediction.", "Remove it, or add its image or label.")


def _file(paths: CasePaths) -> str:
    return str(paths.prediction[0] if paths.prediction else paths.reference or paths.case)


def _looked_at(rule: str, broken: Mapping[int, set[str]]) -> int:
    """Number of cases that a rule was asked of: those that broke no earlier rule that ends the look at a case."""
    if rule == "extra":  # asked of the folder
        return len(broken)
    names = list(RULES)
    earlier = set(names[: names.index(rule)]) & set(BLOCKING)
    return sum(not rules & earlier for rules in broken.values())


def _outcome(rule: str, plan: FilePlan, findings: list[Finding], looked_at: int) -> Outcome:
    name = f"{rule}: {RULES[rule].text}"
    found = [finding for finding in findings if finding.rule == rule]
    if reason := _not_asked(rule, plan):
        return Outcome(name, "integrity", "skipped", reason)
    if not found and not looked_at:
        return Outcome(name, "integrity", "skipped", "no case came so far; see the rules above")
    if not found:
        partly = "" if looked_at == len(plan.cases) else f"{looked_at} of "
        return Outcome(name, "integrity", "passed", partly + count_of(len(plan.cases), "case"), 0.0)
    first = f"{found[0].file}: {found[0].problem}" + (f" {found[0].advice}" if found[0].advice else "")
    more = f" And {len(found) - 1} more." if len(found) > 1 else ""
    status: Status = "failed" if plan.severities[rule] == "fail" else "warned"
    return Outcome(name, "integrity", status, first + more, float(len(found)))


def _not_asked(rule: str, plan: FilePlan) -> str:
    """Why a rule says nothing; empty when it does."""
    if plan.severities[rule] == "off":
        return "switched off"
    if rule in ("missing", "extra") and not plan.expected:
        return "nothing tells which cases are expected: give LABELS or --images"
    beside = any(paths.segmentation for paths in plan.cases)
    if rule == "argmax" and not beside:
        return "no label map lies beside the probabilities"
    if rule == "geometry" and not plan.expected and not beside:
        return "nothing tells where predictions should lie: give LABELS or --images"
    return ""
