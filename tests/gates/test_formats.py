from __future__ import annotations

import html
import json
import math
import re
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from calibeval.errors import MissingExtraError
from calibeval.gates.formats import (
    SUMMARY_BYTES,
    append_step_summary,
    as_github,
    as_json,
    as_markdown,
    as_text,
    shorten,
    verdict,
)
from calibeval.gates.junit import as_junit
from calibeval.gates.report import CaseValue, Finding, Outcome, Report

REPORT = Report(
    "new.csv",
    (
        Outcome("mean(ECE) <= 0.05", "gate", "passed", "0.0095, 12 cases", 0.0095),
        Outcome("mean(|gap|) <= 0.01", "gate", "failed", "0.02, 12 cases", 0.02, cases=(CaseValue("c1", 0.5),)),
        Outcome("p95(HD95[LV]) <= 9", "gate", "warned", "12 mm", 12.0),
        Outcome("mean(NLL) <= 1", "gate", "error", "new.csv holds no NLL"),
        Outcome(
            "DSC not worse by more than 0.01", "baseline", "failed", "worse", 0.1, 0.2, (CaseValue("c1", 0.5, 0.9),)
        ),
        Outcome("finite: no NaN", "integrity", "failed", "a.nii.gz: 1 NaN. And 1 more.", 2.0),
        Outcome("argmax: same", "integrity", "skipped", "no label map"),
        Outcome("no case failed", "cases", "incomplete", "1 of 12", 1.0, cases=(CaseValue("c2", math.nan),)),
    ),
    (
        Finding("a.nii.gz", "finite", "fail", "1 NaN.", "Look."),
        Finding("b.nii.gz", "finite", "fail", "2 NaN.", "Look."),
    ),
    "ours",
    "paper|ECE:top",
    ("a note",),
)

text_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
outcomes = st.builds(
    Outcome,
    text_values,
    st.sampled_from(["gate", "baseline", "integrity", "cases"]),
    st.sampled_from(["passed", "failed", "warned", "error", "incomplete", "skipped"]),
    text_values,
    st.floats(),
    st.floats(),
    st.lists(st.builds(CaseValue, text_values, st.floats(), st.floats(), text_values), max_size=3).map(tuple),
)
findings = st.builds(Finding, text_values, st.sampled_from(["sum", "range"]), st.just("fail"), text_values, text_values)
reports = st.builds(
    Report, text_values, st.lists(outcomes, max_size=14).map(tuple), st.lists(findings, max_size=3).map(tuple)
)


# --- text ------------------------------------------------------------------------------------------------------------


def test_text_has_a_line_for_each_outcome_and_its_cases():
    lines = as_text(REPORT).splitlines()
    assert lines[0] == "new.csv, method ours"
    assert re.match(r"PASSED +mean\(ECE\) <= 0.05 +0.0095, 12 cases$", lines[1])
    assert lines[3].strip() == "c1: 0.5"
    assert lines[7].strip() == "c1: 0.5, was 0.9"
    assert lines[9].strip() == "b.nii.gz: 2 NaN."
    assert lines[-2:] == ["note: a note", verdict(REPORT)]
    assert verdict(REPORT) == "not passed (3 failed, 1 error, 1 incomplete, 1 warned, 1 passed, 1 skipped)"


def test_colours_leave_the_columns_alone():
    painted = as_text(REPORT, lambda status, text: f"<{status}>{text}</>")
    assert re.sub(r"<[a-z/]*>", "", painted) == as_text(REPORT)
    assert "<failed>FAILED" in painted


def test_an_empty_report_passes_nothing():
    assert verdict(Report("x", ())) == "not passed (nothing was checked)"


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_holds_everything_and_no_nan():
    content = json.loads(as_json(REPORT))
    assert (content["exit_code"], content["method"], content["signature"]) == (1, "ours", "paper|ECE:top")
    assert [outcome["status"] for outcome in content["outcomes"]] == [outcome.status for outcome in REPORT.outcomes]
    assert content["outcomes"][3]["value"] is None
    assert content["outcomes"][4]["cases"] == [{"case": "c1", "value": 0.5, "before": 0.9, "note": ""}]
    assert content["findings"][1]["file"] == "b.nii.gz"


# --- Markdown --------------------------------------------------------------------------------------------------------


def tables_of(markdown):
    """Each table's rows of cell texts, as a reader of GitHub's Markdown sees them."""
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    return [
        [
            [html.unescape(cell) for cell in re.findall(r"<t[dh]>(.*?)</t[dh]>", row, re.DOTALL)]
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", rendered, re.DOTALL)
    ]


def test_markdown_tables_read_back():
    checks, cases, files = tables_of(as_markdown(REPORT))
    assert [row[1:] for row in checks[1:]] == [[outcome.name, outcome.message] for outcome in REPORT.outcomes]
    assert cases[1:] == [
        ["mean(|gap|) <= 0.01", "c1", "0.5", ""],
        ["DSC not worse by more than 0.01", "c1", "0.5", "0.9"],
        ["no case failed", "c2", "", ""],
    ]
    assert files[1] == ["a.nii.gz", "finite (fail)", "1 NaN.", "Look."]


@settings(max_examples=60, deadline=None)
@given(reports)
def test_markdown_survives_any_name(report):
    if not report.outcomes:
        return
    checks, *_ = tables_of(as_markdown(report))
    plain = [[" ".join(o.name.split()), " ".join(o.message.split())] for o in report.outcomes]
    shown = [[cell.replace("\ufffd", "\0") for cell in row[1:]] for row in checks[1:]]
    assert shown == [[cell.replace("\ufffd", "\0") for cell in row] for row in plain]


# --- GitHub ----------------------------------------------------------------------------------------------------------


def annotations_of(text):
    """Level, title and message, parsed as GitHub's runner does: split, then unescaped."""
    found = []
    for line in text.split("\n"):
        match = re.fullmatch(r"::(error|warning) ([^:]*)::(.*)", line)
        if match:
            properties = dict(part.split("=", 1) for part in match[2].split(","))
            found.append((match[1], unescape(properties["title"]), unescape(match[3])))
    return found


def unescape(text):
    for code, mark in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, mark)
    return text


def test_annotations_are_for_outcomes_that_did_not_pass():
    assert annotations_of(as_github(REPORT)) == [
        ("error", "calibeval: gate failed", "mean(|gap|) <= 0.01: 0.02, 12 cases"),
        ("error", "calibeval: gate error", "mean(NLL) <= 1: new.csv holds no NLL"),
        ("error", "calibeval: baseline failed", "DSC not worse by more than 0.01: worse"),
        ("error", "calibeval: integrity failed", "finite: no NaN: a.nii.gz: 1 NaN. And 1 more."),
        ("error", "calibeval: cases incomplete", "no case failed: 1 of 12"),
        ("warning", "calibeval: gate warned", "p95(HD95[LV]) <= 9: 12 mm"),
    ]
    assert as_github(REPORT).startswith(as_text(REPORT))


def test_at_most_ten_annotations_of_a_level():
    outcomes = [Outcome(f"gate {i}", "gate", "failed", "") for i in range(10)]
    assert len(annotations_of(as_github(Report("", tuple(outcomes))))) == 10
    outcomes += [Outcome("one more", "gate", "failed", ""), Outcome("w", "gate", "warned", "")]
    found = annotations_of(as_github(Report("", tuple(outcomes))))
    assert [level for level, _, _ in found] == ["error"] * 10 + ["warning"]
    assert found[9][2] == "2 more; see the step summary"


@settings(max_examples=60, deadline=None)
@given(reports)
def test_annotations_survive_any_name(report):
    found = annotations_of(as_github(report))
    bad = [o for o in report.outcomes if o.status in ("failed", "error", "incomplete")]
    expected = [f"{o.name}: {o.message}" for o in bad]
    if len(expected) > 10:
        expected = expected[:9]
    assert [message for level, _, message in found if level == "error"][: len(expected)] == expected
    assert all(len([1 for level, _, _ in found if level == wanted]) <= 10 for wanted in ("error", "warning"))


def test_the_step_summary_is_appended(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    path.write_text("# before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    append_step_summary(REPORT)
    assert path.read_text(encoding="utf-8") == "# before\n" + as_markdown(REPORT)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    append_step_summary(REPORT)
    assert path.read_text(encoding="utf-8") == "# before\n" + as_markdown(REPORT)


def test_the_step_summary_stays_under_githubs_limit(tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    many = [Finding(f"prédiction_{i:06d}.nii.gz", "finite", "fail", "NaN", "Look.") for i in range(30_000)]
    append_step_summary(Report("x", REPORT.outcomes, tuple(many)))
    text = path.read_text(encoding="utf-8")
    assert SUMMARY_BYTES - 200 < len(text.encode()) <= SUMMARY_BYTES
    assert text.endswith("cut here: a step summary holds 1048576 bytes at most.\n")
    lines = text[text.index("| file | rule") :].splitlines()
    assert {len(row) for row in tables_of("\n".join(lines[:9] + lines[-9:]))[0]} == {4}
    append_step_summary(REPORT)
    assert path.stat().st_size <= SUMMARY_BYTES


@settings(max_examples=60, deadline=None)
@given(st.text("aé\n", max_size=200), st.integers(-5, 300))
def test_a_shortened_text_fits_and_is_cut_between_lines(text, limit):
    short = shorten(text, limit)
    assert short == text or len(short.encode()) <= max(limit, 0)
    kept, cut, _ = short.partition("\n… cut here")
    assert not cut or (text + "\n").startswith(kept.rstrip("\n") + "\n")


# --- JUnit -----------------------------------------------------------------------------------------------------------

_ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id",
                  "package"},
    "testcase": {"name", "assertions", "time", "classname", "status"},
    "failure": {"type", "message"}, "error": {"type", "message"}, "skipped": {"type", "message"},
    "system-out": set(), "system-err": set(),
}  # fmt: skip
_CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase", "system-out", "system-err"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}
_NEEDED = {"testsuite": {"name", "tests"}, "testcase": {"name", "classname"}}


def validate_junit(text):
    """Hold XML against what the JUnit schema of Jenkins' xUnit plugin allows and asks for; give the root."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) <= _ATTRIBUTES[element.tag]
        assert _NEEDED.get(element.tag, set()) <= set(element.attrib)
        assert {child.tag for child in element} <= _CHILDREN.get(element.tag, set())
    for suite in root:
        cases = list(suite)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute)) == sum(case.find(tag) is not None for case in cases)
        assert int(suite.get("tests")) == len(cases)
    return root


def results_of(root):
    """The kind of result of each test case; None for a passed one."""
    kinds = ("failure", "error", "skipped")
    return [next((kind for kind in kinds if case.find(kind) is not None), None) for case in root.iter("testcase")]


def test_junit_of_every_status():
    root = validate_junit(as_junit(REPORT))
    assert [suite.get("name") for suite in root] == [
        "calibeval.gate", "calibeval.baseline", "calibeval.integrity", "calibeval.cases",
    ]  # fmt: skip
    assert results_of(root) == [None, "failure", None, "error", "failure", "failure", "skipped", "error"]
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases["p95(HD95[LV]) <= 9"].find("system-out").text == "warning: 12 mm"
    assert cases["mean(|gap|) <= 0.01"].find("failure").text == "0.02, 12 cases\nc1 0.5"
    assert cases["finite: no NaN"].find("failure").text.splitlines()[1:] == [
        "a.nii.gz: 1 NaN. Look.",
        "b.nii.gz: 2 NaN. Look.",
    ]


def test_junit_is_the_same_every_time():
    assert as_junit(REPORT) == as_junit(REPORT)


@settings(max_examples=60, deadline=None)
@given(reports)
def test_junit_is_valid_whatever_the_names(report):
    kinds = {"failed": "failure", "error": "error", "incomplete": "error", "skipped": "skipped"}
    expected = sorted(str(kinds.get(outcome.status)) for outcome in report.outcomes)
    assert sorted(map(str, results_of(validate_junit(as_junit(report))))) == expected


def test_junit_reads_back_with_the_library():
    junitparser = pytest.importorskip("junitparser")
    xml = junitparser.JUnitXml.fromstring(as_junit(REPORT))
    assert (sum(s.tests for s in xml), sum(s.failures for s in xml), sum(s.errors for s in xml)) == (8, 3, 2)


def test_without_junitparser_the_pip_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "junitparser", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'calibeval\[junit\]'"):
        as_junit(REPORT)
