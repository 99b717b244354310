from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.errors import UsageError
from calibeval.gates.policy import (
    AGGREGATES,
    COUNTS,
    Gate,
    Margin,
    Policy,
    parse_gate,
    parse_margin,
    parse_margin_option,
    read_policy,
)
from calibeval.metrics import METRICS
from tests.gates.helpers import policy_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean(ECE) <= 0.05", Gate("mean", "ECE", "all", False, "<=", "0.05")),
        ("mean(ece)<=.05", Gate("mean", "ECE", "all", False, "<=", ".05")),
        (" p95 ( HD95 [LV] ) < 12 ", Gate("p95", "HD95", "LV", False, "<", "12")),
        ("p97.5(HD95) <= 1e2", Gate("p97.5", "HD95", "mean", False, "<=", "1e2")),
        ("pooled(CECE) <= 0.02", Gate("pooled", "CECE", "all", False, "<=", "0.02")),
        ("max(|gap|) < 0.1", Gate("max", "gap", "all", True, "<", "0.1")),
        ("mean(|VD[left kidney]|) <= 5", Gate("mean", "VD", "left kidney", True, "<=", "5")),
        ("min(DSC[a[1]]) >= 0.5", Gate("min", "DSC", "a[1]", False, ">=", "0.5")),
        ("n_failed <= 0", Gate("n_failed", "", "", False, "<=", "0")),
        ("N_EMPTY(DSC[LV]) == 0", Gate("n_empty", "DSC", "LV", False, "==", "0")),
        ("mean(gap) >= -0.02", Gate("mean", "gap", "all", False, ">=", "-0.02")),
    ],
)
def test_gates_are_read(text, expected):
    assert parse_gate(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean(ECE)", "expected AGGREGATE(METRIC) <= BOUND"),
        ("mean(ECE) =< 0.05", "expected AGGREGATE"),
        ("", "expected AGGREGATE"),
        ("mean(XYZ) <= 1", "unknown metric 'XYZ'. Known: DSC, IoU"),
        ("mean(all) <= 1", "unknown metric 'all'"),
        ("average(ECE) <= 1", "unknown aggregate 'average'. Known: mean, median"),
        ("p0(ECE) <= 1", "unknown aggregate 'p0'"),
        ("p100(ECE) <= 1", "unknown aggregate 'p100'"),
        ("mean <= 1", "mean of which metric?"),
        ("p95 <= 1", "p95 of which metric?"),
        ("ECE <= 1", "expected AGGREGATE(METRIC) <= BOUND"),
        ("pooled(HD95) <= 1", "HD95 has no pooled number"),
        ("mean(ECE) <= five", "the bound 'five' is no number"),
        ("mean(ECE) <= nan", "the bound 'nan' is no number"),
        ("mean(ECE) <= inf", "the bound 'inf' is no number"),
        ("mean(|gap) <= 0.1", "expected AGGREGATE"),
    ],
)
def test_bad_gates_say_what_is_wrong(text, message):
    with pytest.raises(UsageError) as error:
        parse_gate(text)
    assert message in str(error.value)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*AGGREGATES, "p5", "p99.5", *COUNTS]),
    st.sampled_from([name for name, metric in METRICS.items() if metric.pooled]),
    st.one_of(st.just(""), st.text("abc [](){}|_-1", min_size=1).map(str.strip).filter(bool)),
    st.booleans(),
    st.sampled_from(["<=", "<", ">=", ">", "=="]),
    st.floats(-1e6, 1e6),
)
def test_a_gate_reads_back_from_its_own_text(aggregate, metric, class_name, absolute, comparison, bound):
    bar = "|" if absolute else ""
    name = f"{metric}[{class_name}]" if class_name else metric
    gate = parse_gate(f"{aggregate}({bar}{name}{bar}) {comparison} {bound!r}", "warn")
    assert (gate.aggregate, gate.metric, gate.absolute, float(gate.bound)) == (aggregate, metric, absolute, bound)
    assert not class_name or gate.class_name == class_name
    assert parse_gate(str(gate), "warn") == gate


def test_margins():
    assert parse_margin("DSC", 0.01) == Margin("DSC", "mean", 0.01)
    assert parse_margin("hd95[LV]", "2") == Margin("HD95", "LV", 2.0)
    for name, margin, message in (
        ("DSC", -0.1, "how much worse"),
        ("DSC", "inf", "how much worse"),
        ("DSC", "x", "is no number"),
        ("DSC", True, "how much worse"),
        ("", "DSC", "expected METRIC=NUMBER"),
        ("XYZ", 1, "unknown metric"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_margin(name, margin)


def test_a_later_margin_replaces_and_equal_gates_are_one():
    policy = policy_of("mean(ECE) <= 0.05", margins={"DSC": 0.01, "DSC[LV]": 0.02})
    again = policy.extended([parse_gate("mean(ECE)<=0.05")], [parse_margin("DSC", 0.5)])
    assert again.gates == policy.gates
    assert {margin.class_name: margin.margin for margin in again.margins} == {"mean": 0.5, "LV": 0.02}
    assert again.metrics == ("DSC", "ECE")


TOML = """
fail = ["mean(ECE) <= 0.05"]
warn = ["p95(HD95) <= 12"]
margins = { DSC = 0.01, "HD95[LV]" = 1 }
method = "ours"
signature = "paper|x"
min_cases = 3
alpha = 0.1
score = { protocol = "guo" }
integrity = { argmax = "warn" }
"""


def test_gates_toml(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text(TOML)
    policy = read_policy(path, tmp_path)
    assert [(str(gate), gate.severity) for gate in policy.gates] == [
        ("mean(ECE) <= 0.05", "fail"),
        ("p95(HD95) <= 12", "warn"),
    ]
    assert policy.margins == (Margin("DSC", "mean", 0.01), Margin("HD95", "LV", 1.0))
    assert (policy.method, policy.signature, policy.min_cases, policy.alpha) == ("ours", "paper|x", 3, 0.1)
    assert (policy.score, policy.integrity) == ({"protocol": "guo"}, {"argmax": "warn"})
    assert policy.source == str(path)


def test_pyproject_is_read_where_no_file_is_named(tmp_path):
    assert read_policy(None, tmp_path) == Policy()
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\nname = 'x'\n")
    assert read_policy(None, tmp_path) == Policy()
    project.write_text("[tool.calibeval.gates]" + TOML)
    assert [str(gate) for gate in read_policy(None, tmp_path).gates] == ["mean(ECE) <= 0.05", "p95(HD95) <= 12"]
    other = tmp_path / "other.toml"
    other.write_text('fail = ["n_failed <= 0"]')
    assert [str(gate) for gate in read_policy(other, tmp_path).gates] == ["n_failed <= 0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('fial = ["mean(ECE) <= 1"]', "unknown key 'fial'. Known: fail, warn"),
        ('fail = "mean(ECE) <= 1"', "expected list"),
        ("fail = [1]", "must be a list of gates in quotes"),
        ("min_cases = true", "expected int"),
        ("min_cases = 0", "min_cases must be 1 or more"),
        ("alpha = 0.5", "alpha between 0 and 0.5"),
        ('margins = { DSC = "wide" }', "gates.toml: Margin DSC=wide: 'wide' is no number"),
        ("margins = { DSC = true }", "how much worse"),
        ("margins = { DSC = 1" + "0" * 400 + " }", "is no number"),
        ('fail = ["mean(EC) <= 1"]', "gates.toml: Gate 'mean(EC) <= 1': unknown metric 'EC'"),
        ('integrity = { argmx = "warn" }', "gates.toml: integrity rule argmx = 'warn': expected one of missing"),
        ('integrity = { argmax = "on" }', "integrity rule argmax = 'on'"),
        ("fail = [", "is no valid TOML"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "gates.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_policy(path, tmp_path)
    assert message in str(error.value)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "gates.toml").write_text('fail = ["n_failed <= 0"]', encoding="utf-8-sig")
    assert [str(gate) for gate in read_policy(tmp_path / "gates.toml", tmp_path).gates] == ["n_failed <= 0"]


def test_a_margin_of_the_command_line():
    assert parse_margin_option("DSC[LV]=0.02") == Margin("DSC", "LV", 0.02)
    with pytest.raises(UsageError, match=r"Margin 'DSC 0.1': expected METRIC=NUMBER"):
        parse_margin_option("DSC 0.1")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--init"):
        read_policy(tmp_path / "no.toml", tmp_path)
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.calibeval]\ngates = 3\n")
    with pytest.raises(UsageError, match=r"pyproject.toml \[tool.calibeval.gates\]: expected a table"):
        read_policy(None, tmp_path)
