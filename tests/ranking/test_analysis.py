"""Whole rankings of score tables: what is said, what is warned of, and what depends on what."""

from __future__ import annotations

import json

import numpy as np
import pytest

from calibeval.errors import UsageError
from calibeval.ranking import RankSettings, rank_tables
from calibeval.table import Row, write_table
from tests.ranking.helpers import SIGNATURE, make_tables

METHOD_KEYS = {"name", "mean_rank", "rank", "rank_low", "rank_high", "p_first"}
FRIEDMAN_KEYS = {
    "chi2", "p", "f", "f_p", "permutation_p", "cluster_permutation_p", "kendall_w", "n_blocks", "n_methods",
}  # fmt: skip


def separated(cases=20, methods=4, gap=1.0, seed=0):
    """Scores in which method i is better than method i + 1."""
    generator = np.random.default_rng(seed)
    level = generator.normal(size=cases)
    return {
        f"m{j}": {
            "ECE": (0.2 + 0.02 * (level + gap * j + generator.normal(size=cases))).tolist(),
            "HD95": (30 + level + gap * j + generator.normal(size=cases)).tolist(),
        }
        for j in range(methods)
    }


def rank_values(folder, values, **settings):
    return rank_tables(make_tables(folder, values), RankSettings(**{"bootstrap": 200} | settings))


@pytest.fixture(scope="module")
def clear(tmp_path_factory):
    return rank_values(tmp_path_factory.mktemp("clear"), separated(gap=1.5))


def test_json_has_the_promised_keys(clear):
    document = clear.to_dict()
    assert [method["name"] for method in document["methods"]] == ["m0", "m1", "m2", "m3"]
    assert all(set(method) == METHOD_KEYS for method in document["methods"])
    assert set(document["friedman"]) == FRIEDMAN_KEYS
    assert document["nemenyi"]["alpha"] == 0.05
    for test in ("nemenyi", "conover", "wilcoxon_holm"):
        assert document[test]["p"]["m0"]["m0"] == 1
        assert document[test]["p"]["m0"]["m3"] == document[test]["p"]["m3"]["m0"] < 0.05
    assert document["nemenyi"]["cd"] > 0
    assert isinstance(document["warnings"], list)
    json.dumps(document, allow_nan=False)


def test_a_clear_difference_is_said(clear):
    assert [method["rank"] for method in clear.to_dict()["methods"]] == [1, 2, 3, 4]
    assert clear.verdict[0].startswith("m0 has the best mean rank")
    assert clear.verdict[1].startswith("The methods differ (cluster-permutation p = .0001, sampled, 20 cases)")
    assert "m0 is better than m2 and m3" in clear.verdict[2] or "m0 is better than m1, m2 and m3" in clear.verdict[2]
    assert "stays first in" in clear.verdict[3]


def test_mean_ranks_over_metrics_average_those_of_the_metrics(clear):
    by_metric = [order.mean_rank for order in clear.per_metric.values()]
    assert clear.overall.mean_rank == pytest.approx(np.mean(by_metric, axis=0))


def test_permutation_of_cases_is_the_cluster_permutation(clear):
    friedman = clear.friedman
    assert friedman.permutation == friedman.cluster_permutation
    assert friedman.n_blocks == friedman.n_clusters == 20


def test_effects_are_in_the_metrics_unit(clear):
    effects = {(e.metric, e.a, e.b): e for e in clear.effects}
    assert len(effects) == 2 * 6
    effect = effects["HD95", "m0", "m3"]
    assert effect.low < effect.difference < effect.high < 0
    assert effect.difference == pytest.approx(-4.5, abs=1)


def test_no_difference_is_not_claimed(tmp_path):
    generator = np.random.default_rng(5)
    values = {f"m{j}": {"ECE": generator.random(12).tolist()} for j in range(3)}
    ranking = rank_values(tmp_path, values)
    assert ranking.friedman.cluster_permutation.p > 0.05
    assert "the order may be chance" in ranking.verdict[1]
    assert not any("apart" in sentence for sentence in ranking.verdict)
    assert not ranking.significant().any()


def test_all_equal(tmp_path):
    ranking = rank_values(tmp_path, {f"m{j}": {"DSC": [0.5] * 4} for j in range(3)})
    document = ranking.to_dict()
    assert [method["rank"] for method in document["methods"]] == [1, 1, 1]
    assert [method["p_first"] for method in document["methods"]] == pytest.approx([1 / 3] * 3)
    assert document["friedman"]["chi2"] is None
    assert document["friedman"]["permutation_p"] == 1
    assert any("tied in every block" in warning for warning in ranking.warnings)
    assert ranking.verdict[0] == "m0, m1 and m2 share the best mean rank (2.00) of 3 methods."


def test_one_case(tmp_path):
    ranking = rank_values(tmp_path, {f"m{j}": {"DSC": [0.5 + j / 10]} for j in range(3)})
    document = ranking.to_dict()
    assert [method["rank"] for method in document["methods"]] == [3, 2, 1]
    assert document["methods"][0]["rank_low"] is None
    assert "With 1 case nothing is repeated independently" in ranking.verdict[1]
    assert any("never below 1" in warning for warning in ranking.warnings)


def test_two_methods(tmp_path):
    ranking = rank_values(tmp_path, separated(cases=15, methods=2, gap=3), metrics="ECE")
    assert ranking.friedman.n_methods == 2
    assert "tells 1 of 1 pairs apart" in ranking.verdict[2]
    assert not any(item.kind == "without method" for item in ranking.alternatives)


def test_one_method_is_nothing_to_compare(tmp_path):
    with pytest.raises(UsageError, match="only method is 'm0'"):
        rank_values(tmp_path, separated(methods=1))


def test_few_cases_cannot_be_significant(tmp_path):
    ranking = rank_values(tmp_path, {f"m{j}": {"ECE": [0.1 + j / 10] * 2} for j in range(2)})
    assert ranking.friedman.cluster_permutation.smallest == 0.5
    assert "this design cannot give a p below 0.05" in ranking.verdict[1]
    assert any("No overall result could be significant" in warning for warning in ranking.warnings)
    assert any("Conover's statistic are infinite" in warning for warning in ranking.warnings)


def test_shuffled_files_and_rows_change_nothing(tmp_path):
    paths = make_tables(tmp_path, separated())
    expected = rank_tables(paths, RankSettings(bootstrap=0))
    for path in paths[1:]:
        lines = path.read_text().splitlines()
        rows = next(i for i, line in enumerate(lines) if not line.startswith("#")) + 1
        path.write_text("\n".join(lines[:rows] + lines[: rows - 1 : -1]) + "\n")
    found = rank_tables(paths, RankSettings(bootstrap=0))
    assert found.overall.mean_rank.tolist() == expected.overall.mean_rank.tolist()
    turned = rank_tables(paths[::-1], RankSettings(bootstrap=0))
    assert turned.overall.mean_rank[::-1] == pytest.approx(expected.overall.mean_rank)


def test_a_seed_gives_the_same_result(tmp_path):
    paths = make_tables(tmp_path, separated(gap=0.1))
    settings = RankSettings(bootstrap=100, seed=5)
    assert rank_tables(paths, settings).to_dict() == rank_tables(paths, settings).to_dict()
    other = rank_tables(paths, RankSettings(bootstrap=100, seed=6)).to_dict()
    assert other["methods"] != rank_tables(paths, settings).to_dict()["methods"]


def test_control(tmp_path):
    ranking = rank_values(tmp_path, separated(gap=2), control="m1", posthoc="wilcoxon-holm")
    document = ranking.to_dict()["control"]
    assert document["method"] == "m1"
    assert set(document["p"]) == {"m0", "m2", "m3"}
    assert "Against the control m1" in ranking.verdict[2]
    assert "better m0; worse m2 and m3" in ranking.verdict[2]
    with pytest.raises(UsageError, match="The control 'm9' is no method"):
        rank_values(tmp_path, separated(), control="m9")


@pytest.mark.parametrize("scheme", ["aggregate-then-rank", "test"])
def test_other_schemes_find_the_same_clear_order(tmp_path, scheme):
    ranking = rank_values(tmp_path, separated(gap=3), scheme=scheme, bootstrap=20)
    assert ranking.overall.rank.tolist() == [1, 2, 3, 4]


def test_metric_blocks_of_one_data_set_support_nothing(tmp_path):
    ranking = rank_values(tmp_path, separated(gap=3), blocks="metric")
    assert ranking.friedman.n_blocks == 2
    assert ranking.friedman.n_clusters == 1
    assert "With 1 data set nothing is repeated independently" in ranking.verdict[1]


@pytest.mark.parametrize(
    ("option", "value"),
    [("blocks", "voxel"), ("scheme", "vote"), ("missing", "guess"), ("empty", "zero"), ("posthoc", "t"), ("alpha", 0)],
)
def test_unknown_choices(option, value):
    with pytest.raises(UsageError, match=f"--{option}"):
        RankSettings(**{option: value})


def with_missed_structure(folder):
    """m0 has the better distances but misses a structure in two of six cases; m1 never does."""
    nan = float("nan")
    rows = []
    for c in range(6):
        for name, distance in (("m0", 5.0), ("m1", 8.0)):
            missed = name == "m0" and c >= 4
            status, value = ("empty_prediction", nan) if missed else ("ok", distance)
            note = "diagonal_mm=300" if missed else ""
            rows += [Row(name, "A", f"c{c}", "liver", "HD95", value, "mm", status, note)]
            rows += [Row(name, "A", f"c{c}", "mean", "HD95", value, "mm", status, note)]
            rows += [Row(name, "A", f"c{c}", "mean", "ASSD", distance, "mm")]
    write_table(folder / "scores.csv", rows, signature=SIGNATURE)
    return [folder / "scores.csv"]


def test_dependence_on_the_empty_rule_is_said(tmp_path):
    ranking = rank_tables(with_missed_structure(tmp_path), RankSettings(scheme="aggregate-then-rank", bootstrap=0))
    assert ranking.overall.rank.tolist() == [1, 2]
    assert any("HD95 is undefined in 2 of 6 cases" in warning for warning in ranking.warnings)
    (warning,) = [text for text in ranking.warnings if "empty rule" in text and "depends" in text]
    assert "under worst, m1 is first" in warning
    assert "under sdc-repo, m1 is first" in warning
    worst = rank_tables(
        with_missed_structure(tmp_path), RankSettings(scheme="aggregate-then-rank", bootstrap=0, empty="worst")
    )
    assert worst.overall.rank.tolist() == [2, 1]
    assert worst.design.complete.all()
    assert any("recomputed from the class rows under the empty rule 'worst'" in note for note in worst.notes)


def test_means_over_different_classes_are_counted(tmp_path):
    """A method that misses one of two structures has its mean over the easier one only."""
    nan = float("nan")
    rows = []
    for name in ("m0", "m1"):
        for c in range(3):
            missed = name == "m0" and c == 0
            rows += [Row(name, "A", f"c{c}", "liver", "HD95", 2.0, "mm")]
            rows += [
                Row(name, "A", f"c{c}", "tumour", "HD95", nan, "mm", "empty_prediction", "diagonal_mm=300")
                if missed
                else Row(name, "A", f"c{c}", "tumour", "HD95", 20.0, "mm")
            ]
            rows += [Row(name, "A", f"c{c}", "mean", "HD95", 2.0 if missed else 11.0, "mm")]
    write_table(tmp_path / "s.csv", rows, signature=SIGNATURE)
    ranking = rank_tables([tmp_path / "s.csv"], RankSettings(bootstrap=0))
    assert ranking.overall.rank.tolist() == [1, 2]
    assert any("in 1 of 3 cases the mean over classes leaves out a class" in text for text in ranking.warnings)
    worst = rank_tables([tmp_path / "s.csv"], RankSettings(bootstrap=0, empty="worst"))
    assert worst.overall.rank.tolist() == [2, 1]
    assert not any("leaves out a class" in text for text in worst.warnings)


def test_other_definitions_in_the_table_are_tried(tmp_path):
    values = {"m0": {"HD95": [1.0, 2, 3], "ASSD": [9.0, 9, 9]}, "m1": {"HD95": [2.0, 3, 4], "ASSD": [1.0, 1, 1]}}
    ranking = rank_values(tmp_path, values)
    assert ranking.design.metrics == ("HD95",)
    assert any("with ASSD for HD95, m1 is first" in warning for warning in ranking.warnings)
    same = {name: of | {"ASSD": of["HD95"]} for name, of in values.items()}
    assert "The order is the same with ASSD for HD95." in rank_values(tmp_path, same).notes


def test_metrics_that_contradict_each_other_are_told_from_ties(tmp_path):
    values = {"m0": {"DSC": [0.9] * 6, "ECE": [0.3] * 6}, "m1": {"DSC": [0.8] * 6, "ECE": [0.2] * 6}}
    ranking = rank_values(tmp_path, values)
    assert "since the metrics contradict each other" in ranking.verdict[1]
    assert not any("too wide" in text for text in ranking.warnings)
    ranking = rank_values(tmp_path, {name: {"DSC": [0.5] * 6, "ECE": [0.3] * 6} for name in values})
    assert ranking.verdict[1] == "All methods are tied in every block: nothing here tells them apart."


def test_a_direction_of_an_unheld_metric_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--direction speaks of latncy, which no input holds. Held: HD95, ECE"):
        rank_values(tmp_path, separated(), direction=(("latncy", "lower"),))


def test_empty_rule_needs_statuses(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("method,DSC\nx,.5\ny,.6\n")
    with pytest.raises(UsageError, match="--empty needs score tables"):
        rank_tables([path], RankSettings(empty="worst"))
    notes = rank_values(tmp_path, separated(), empty="worst").notes
    assert "No mask is empty, so the empty rule 'worst' changes nothing." in notes


def test_pece_is_explained_wherever_it_is_ranked(tmp_path):
    values = {"m0": {"pECE": [0.1, 0.2]}, "m1": {"pECE": [0.2, 0.3]}}
    assert any("pECE is not 0 for a calibrated model" in note for note in rank_values(tmp_path, values).notes)


def test_pooled_data_sets_are_said(tmp_path):
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
    paths = [path for name in ("A", "B") for path in make_tables(tmp_path / name, separated(cases=5), dataset=name)]
    ranking = rank_tables(paths, RankSettings(bootstrap=20))
    assert ranking.friedman.n_blocks == 10
    assert any("cases of 2 data sets are pooled" in note for note in ranking.notes)
    assert {item.name for item in ranking.alternatives if item.kind == "without data set"} == {"A", "B"}
    by_metric = rank_tables(paths, RankSettings(bootstrap=20, blocks="metric"))
    assert (by_metric.friedman.n_blocks, by_metric.friedman.n_clusters) == (4, 2)


def test_progress_names_its_steps(tmp_path):
    steps = set()
    rank_tables(
        make_tables(tmp_path, separated()), RankSettings(bootstrap=50), lambda step, done, total: steps.add(step)
    )
    assert {"reading tables", "bootstrap", "permutations", "permutations of ECE", "other choices"} <= steps


def test_dropped_cases_are_counted(tmp_path):
    paths = make_tables(tmp_path, {"x": {"DSC": [0.9] * 4}, "y": {"DSC": [0.8] * 6}})
    ranking = rank_tables(paths, RankSettings(bootstrap=0, missing="drop"))
    assert "Failed or missing cases, left out for every method: x 2." in ranking.warnings
    assert ranking.to_dict()["design"]["n_cases"] == 4
