"""What stands beside a ranking: means of the numbers that are best for a model that says the truth."""

import json

from calibeval.ranking import rank_tables
from calibeval.ranking.formats import to_json, to_markdown, to_table
from tests.ranking.helpers import make_tables

ECE = {"a": [0.1, 0.2, 0.1, 0.2, 0.1, 0.2], "b": [0.3, 0.4, 0.3, 0.4, 0.3, 0.4]}
BRIER = {"a": [0.5, 0.7, 0.6, 0.6, 0.5, 0.7], "b": [0.2, 0.4, 0.3, 0.3, 0.2, 0.4]}


def tables(folder, ece=ECE, brier=BRIER):
    return make_tables(folder, {name: {"ECE": ece[name], "Brier": brier[name]} for name in "ab"})


def test_means_of_what_is_held_and_not_ranked(tmp_path):
    ranking = rank_tables(tables(tmp_path))
    assert ranking.scores.metrics == ("ECE",)
    assert [round(float(mean), 12) for mean in ranking.beside["Brier"]] == [0.6, 0.3]
    assert json.loads(to_json(ranking))["beside"]["Brier"]["a"] == ranking.beside["Brier"][0]
    assert "| a | 0.6000 |" in to_markdown(ranking)
    assert "Beside the ranking, means:" in to_table(ranking)


def test_a_gap_keeps_its_sign(tmp_path):
    gaps = {"a": [-0.1, -0.2, 0.0, -0.1], "b": [0.1, 0.2, 0.0, 0.1]}
    paths = make_tables(tmp_path, {name: {"ECE": ECE[name][:4], "gap": gaps[name]} for name in "ab"})
    assert [round(float(mean), 12) for mean in rank_tables(paths).beside["gap"]] == [-0.1, 0.1]


def test_a_ranking_that_brier_contradicts_says_so(tmp_path):
    said = "ECE puts a first, Brier b: of these only Brier"
    assert any(said in text for text in rank_tables(tables(tmp_path)).warnings)
    other = tables(tmp_path, brier={"a": BRIER["b"], "b": BRIER["a"]})
    assert not any("of these only" in text for text in rank_tables(other).warnings)


def test_tables_without_them_have_nothing_beside(tmp_path):
    paths = make_tables(tmp_path, {name: {"ECE": ECE[name]} for name in "ab"})
    ranking = rank_tables(paths)
    assert ranking.beside == {}
    assert "Beside" not in to_table(ranking)


def test_a_case_that_one_method_lacks_leaves_the_means_of_all(tmp_path):
    paths = tables(tmp_path, brier={"a": BRIER["a"], "b": [*BRIER["b"][:5], float("nan")]})
    assert [round(float(mean), 12) for mean in rank_tables(paths).beside["Brier"]] == [0.58, 0.28]
