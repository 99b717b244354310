from __future__ import annotations

import math
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibeval.errors import TableError, UsageError
from calibeval.gates.baseline import compare
from calibeval.gates.evaluate import evaluate_gates
from calibeval.gates.init import draft
from calibeval.gates.policy import make_policy
from calibeval.gates.report import Report
from calibeval.gates.scores import load_scores, scores_of_rows
from calibeval.metrics import METRICS
from calibeval.metrics.intervals import mean_upper_bound
from calibeval.protocol import PROTOCOLS, make_protocol
from calibeval.table import write_table
from tests.gates.helpers import EMPTY, SIGNATURE, rows_of, scores_of


def policy_of_draft(scores, **options):
    return make_policy(tomllib.loads(draft(scores, **options)), "gates.toml")


def gate_texts(scores):
    return [str(gate) for gate in policy_of_draft(scores).gates]


def test_bounds_are_todays_values_made_worse_by_a_tenth_of_the_way_to_perfect_and_a_little_at_least():
    values = {"DSC": [0.8] * 5, "ECE": [0.08] * 5, "HD95": [4.0] * 5, "gap": [-0.02, 0.02, 0.02, 0.02, 0.02]}
    texts = gate_texts(scores_of(values))
    assert texts[2:5] == ["mean(DSC) >= 0.780", "mean(HD95) <= 4.40", "mean(ECE) <= 0.0880"]
    assert "mean(|gap|) <= 0.0250" in texts
    assert {m.metric: m.margin for m in policy_of_draft(scores_of(values)).margins} == {
        "DSC": 0.02, "HD95": 0.4, "ECE": 0.008,
    }  # fmt: skip


def test_nothing_is_drafted_from_cases_without_values():
    with pytest.raises(TableError, match="no case has a value, so there is nothing to draft gates from"):
        draft(scores_of({"DSC": [EMPTY, EMPTY]}, statuses={0: "failed", 1: "failed"}))


def test_comments_tell_value_interval_and_number_of_cases():
    text = draft(scores_of({"ECE": [0.01, 0.02, 0.03, 0.01, 0.03]}))
    assert '"mean(ECE) <= 0.0250",  # today 0.02, 95% interval 0.007583 to 0.03242, 5 cases' in text
    assert f'signature = "{SIGNATURE}"' in text


def test_classes_and_the_tail_over_cases_only_warn():
    values = {"DSC[LV]": [0.9] * 5, "DSC": [0.9] * 5, "HD95": [1.0, 2.0, 3.0, 4.0, 5.0]}
    policy = policy_of_draft(scores_of(values))
    warned = [str(gate) for gate in policy.gates if gate.severity == "warn"]
    assert warned == ["n_empty_prediction <= 0", "p5(DSC) >= 0.890", "mean(DSC[LV]) >= 0.890", "p95(HD95) <= 5.28"]


@pytest.mark.parametrize(
    ("names", "failing"),
    [
        (["CECE", "ECE", "Brier", "NLL", "DSC", "HD95", "NSD"], ["DSC", "HD95", "Brier"]),
        (["IoU", "NLL", "ECE"], ["IoU", "NLL"]),
        (["CECE", "pECE"], ["CECE"]),
    ],
)
def test_one_metric_of_each_kind_fails_and_has_a_margin(names, failing):
    policy = policy_of_draft(scores_of({name: [0.5] * 5 for name in names}))
    assert [gate.metric for gate in policy.gates if gate.severity == "fail" and gate.metric] == failing
    assert [margin.metric for margin in policy.margins] == failing
    assert {gate.metric for gate in policy.gates if gate.severity == "warn" and gate.percent} == set(names)


def runs_of(*means, metric="DSC", cases=5):
    return [scores_of({metric: [mean] * cases}, name=f"{i}.csv") for i, mean in enumerate(means)]


def test_bounds_of_several_runs_are_prediction_bounds():
    """Mean .82, sd .02; t(.975, 2 df) = 4.3027: .82 - 4.3027 * .02 * sqrt(4/3) = .7206; a margin of .1217."""
    first, *also = runs_of(0.80, 0.82, 0.84)
    text = draft(first, also)
    assert '"mean(DSC) >= 0.720",  # mean over runs 0.82, sd 0.02; 5 cases' in text
    assert "DSC = 0.13\n" in text
    assert "# Each bound is the mean over 3 runs, made worse by 4.3 sqrt(1 + 1/3) standard deviations of a run," in text
    assert "One run cannot tell" in draft(first)
    assert "One run cannot tell" not in text


def test_a_margin_of_several_runs_holds_the_interval_over_cases():
    """No spread over runs, but each case differs: the margin is the larger bound of a mean worsening."""
    values = [[0.80, 0.82, 0.84, 0.86, 0.88], [0.82, 0.80, 0.86, 0.84, 0.88], [0.84, 0.86, 0.88, 0.80, 0.82]]
    first, *also = (scores_of({"DSC": of_run}) for of_run in values)
    bounds = [mean_upper_bound(np.subtract(values[0], of_run), 0.05) for of_run in values[1:]]
    assert policy_of_runs(first, also).margins[0].margin == pytest.approx(max(bounds), abs=0.001)


def policy_of_runs(first, also):
    return make_policy(tomllib.loads(draft(first, also)), "gates.toml")


@given(st.lists(st.floats(0.3, 0.9), min_size=3, max_size=12))
@settings(max_examples=30, deadline=None)
def test_every_run_passes_what_all_drafted(means):
    first, *also = runs_of(*means)
    policy = policy_of_runs(first, also)
    for run in (first, *also):
        outcomes = evaluate_gates(run, policy) + compare(run, first, policy)
        assert {outcome.status for outcome in outcomes} == {"passed"}


def test_equal_runs_keep_the_least_distance():
    first, *also = runs_of(0.8, 0.8, 0.8)
    assert "mean(DSC) >= 0.7950" in gate_texts_of(policy_of_runs(first, also))


def gate_texts_of(policy):
    return [str(gate) for gate in policy.gates]


def test_runs_that_tell_nothing_are_refused():
    first, second = runs_of(0.8, 0.9)
    with pytest.raises(UsageError, match="take 3 runs at least"):
        draft(first, [second])
    with pytest.raises(TableError, match=r"0.csv and 0.csv hold different cases: score each run on the same labels"):
        draft(first, runs_of(0.8, 0.9, cases=6))
    other = [run._replace(signature=make_protocol("guo").signature) for run in runs_of(0.1, 0.2, metric="ECE")]
    with pytest.raises(TableError, match="were scored by different protocols"):
        draft(runs_of(0.3, metric="ECE")[0], other)


def test_runs_without_a_metric_draft_no_gate_of_it():
    first, *also = runs_of(0.8, 0.82, 0.81)
    both = scores_of({"DSC": [0.8] * 5, "NSD": [0.9] * 5})
    assert "# mean(NSD): 0.csv holds no NSD, only DSC. Score it with --metrics NSD." in draft(both, [first, *also])


def test_cases_that_fail_today_stay_allowed_and_are_pointed_at():
    scores = scores_of({"DSC": [0.9, EMPTY, 0.8, 0.0]}, statuses={1: "failed", 3: "empty_prediction"})
    text = draft(scores)
    assert '"n_failed <= 1",  # 0 is what you want; 1 today' in text
    assert '"n_missing <= 0",' in text
    assert '"n_empty_prediction <= 1",' in text


def test_no_gate_is_drafted_that_everything_passes():
    rows = rows_of({"DSC": [0.9, 0.8, 0.7]}) + rows_of(
        {"HD95": [EMPTY] * 3}, statuses=dict.fromkeys(range(3), "failed")
    )
    text = draft(scores_of_rows("t.csv", SIGNATURE, rows))
    assert "# n_failed: every case today, so that no bound would say anything" in text
    assert '"n_failed' not in text
    text = draft(scores_of({"DSC": [0.002, 0.004, 0.0], "ECE": [0.99, 1.0, 1.0], "NSD": [0.5] * 3}))
    assert "# mean(DSC): 0.002 today, about as bad as can be, so that no bound would say anything" in text
    assert "# mean(ECE): 0.9967 today, about as bad as can be" in text
    assert '"mean(NSD) >= 0.450"' in text


def test_numbers_that_cannot_exist_are_no_failures(tmp_path):
    lacking = dict.fromkeys(range(3), "not_computed")
    rows = rows_of({"DSC": [0.9, 0.8, 0.7]}) + rows_of({"HD95": [EMPTY] * 3}, statuses=lacking)
    text = draft(scores_of_rows("t.csv", SIGNATURE, rows))
    assert '"n_failed <= 0",' in text
    assert "# mean(HD95): no case has a value today" in text
    old = [
        row._replace(status="failed", note="spacing unknown: give --spacing") if row.status != "ok" else row
        for row in rows
    ]
    write_table(tmp_path / "old.csv", old, signature=SIGNATURE)
    assert '"n_failed <= 0",' in draft(load_scores(tmp_path / "old.csv"))


def test_metrics_without_a_finite_value_become_comments():
    text = draft(scores_of({"HD95": [math.inf] * 3, "NSD": [EMPTY] * 3}))
    assert "# mean(HD95): infinite in some case today" in text
    assert "# mean(NSD): no case has a value today" in text
    assert policy_of_draft(scores_of({"HD95": [math.inf] * 3})).margins == ()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_protocol_is_named_for_scoring(name):
    scores = scores_of({"ECE": [0.1]}, signature=PROTOCOLS[name].signature)
    assert policy_of_draft(scores).score == {"protocol": name}


def test_the_method_is_a_comment_unless_it_was_named():
    scores = scores_of({"ECE": [0.1]}, method='a "b"')
    assert policy_of_draft(scores).method == ""
    assert policy_of_draft(scores, named_method=True).method == 'a "b"'


values = st.one_of(st.floats(0, 1), st.just(0.0), st.just(1.0), st.just(EMPTY))


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.sampled_from(sorted(METRICS)), min_size=1, max_size=5),
    st.lists(values, min_size=5, max_size=8).filter(lambda numbers: not all(map(math.isnan, numbers))),  # see above
    st.floats(1e-6, 1000),
    st.text("aβ \"'[](){}|\\#,", min_size=1, max_size=6).map(str.strip).filter(bool),
    st.sampled_from(["ok", "empty_prediction", "failed", "missing"]),
)
def test_the_drafted_file_passes_on_its_table(metrics, numbers, scale, class_name, status):
    def scaled(name):
        metric = METRICS[name]
        factor = scale if metric.high == math.inf else 1.0
        return [(-value if metric.low < 0 and i % 2 else value) * factor for i, value in enumerate(numbers)]

    statuses = {i: status if status != "ok" else "empty_reference" for i, v in enumerate(numbers) if math.isnan(v)}
    by_name = {}
    for name in sorted(metrics):
        by_name[name] = scaled(name)
        if "class" in METRICS[name].rows:
            by_name[f"{name}[{class_name}]"] = scaled(name)
    scores = scores_of_rows("t.csv", SIGNATURE, rows_of(by_name, statuses=statuses))
    policy = policy_of_draft(scores)
    assert policy.gates
    assert Report("", tuple(evaluate_gates(scores, policy))).exit_code == 0
    paired = compare(scores, scores, policy)
    assert {outcome.status for outcome in paired} <= {"passed", "error"}
    if not statuses:
        assert {outcome.status for outcome in paired} == {"passed"}


def score_block(scores):
    return tomllib.loads(draft(scores))["score"]


def test_every_choice_of_the_tables_command_stands_in_the_score_block():
    scores = scores_of({"DSC": [0.8] * 5})
    command = (
        "calibeval score p l --protocol paper --map 255=1 --classes 'background,my lesion' --spacing 1,1,3 --bins=9"
    )
    assert score_block(scores._replace(command=f"{command} --fp-weight 2.5 --metrics all --pattern '{{case}}_x'")) == {
        "protocol": "paper", "map": "255=1", "classes": "background,my lesion", "spacing": "1,1,3", "bins": 9,
        "fp_weight": 2.5, "pattern": "{case}_x",
    }  # fmt: skip


def test_without_a_command_the_signature_tells_the_choices():
    changed = make_protocol("paper", hd95="medpy", empty="worst", fp_weight=1.5, nsd_tolerance_mm=3)
    signature = changed.signature.extended({"map": "4=3;5=0", "ignore": "9", "regions": "WT=1+2;ET=2"})
    assert score_block(scores_of({"DSC": [0.8] * 5}, signature=signature)) == {
        "protocol": "paper", "hd95": "medpy", "empty": "worst", "fp_weight": 1.5, "nsd_tolerance": 3.0,
        "map": "4=3,5=0", "ignore_label": 9, "regions": "WT=1,2;ET=2",
    }  # fmt: skip
    for policy in (policy_of_draft(scores_of({"DSC": [0.8] * 5}, signature=signature)),):
        assert policy.options.numbers.signature.differs(changed.signature) == ""
