"""Groups of cases as the units of a ranking: averages by hand, failures, and what the tables say."""

import numpy as np
import pytest

from calibeval.errors import TableError, UsageError
from calibeval.metrics.intervals import mean_interval
from calibeval.ranking import RankSettings, rank_tables
from calibeval.ranking.groups import settle_groups
from calibeval.ranking.inputs import read_inputs
from calibeval.table import Row, write_table
from tests.ranking.helpers import SIGNATURE

QUICK = RankSettings(bootstrap=50)


def write(folder, method, cases, groups=None, status=None, dataset="A"):
    """A table of DSC by case; `status` gives the cases that are not ok."""
    rows = [
        Row(method, dataset, case, "mean", "DSC", value, status=(status or {}).get(case, "ok"),
            group=(groups or {}).get(case, ""))
        for case, value in cases.items()
    ]  # fmt: skip
    write_table(folder / f"{method}.csv", rows, signature=str(SIGNATURE))
    return folder / f"{method}.csv"


def patients(number):
    return {f"p{i}_{phase}": f"p{i}" for i in range(number) for phase in ("ED", "ES")}


def pair(folder, a, b, **choices):
    """Two methods on ED and ES of patients."""
    of = patients(len(a) // 2)
    return [
        write(folder, name, dict(zip(of, values, strict=True)), of, **choices)
        for name, values in {"a": a, "b": b}.items()
    ]


def test_a_group_is_the_mean_of_its_cases_and_everything_counts_groups(tmp_path):
    """Over p0 a leads by (.9 + .5) / 2 - (.6 + .6) / 2 = .1 though it wins one image of two; p1 to p4 go to b by .1."""
    a, b = [0.9, 0.5] + [0.5, 0.7] * 4, [0.6, 0.6] + [0.7, 0.7] * 4
    found = rank_tables(pair(tmp_path, a, b), QUICK)
    assert [str(unit) for unit in found.design.units] == [f"A/p{i}" for i in range(5)]
    assert found.design.ranks[:, 0].tolist() == [[1, 2]] + [[2, 1]] * 4
    assert found.friedman.n_clusters == 5
    assert found.friedman.cluster_permutation.p == 2 * (1 + 5) / 2**5  # all orders of five pairs
    (effect,) = found.effects
    assert (effect.n, effect.difference) == (5, pytest.approx(-0.06, abs=1e-12))
    differences = [0.1, -0.1, -0.1, -0.1, -0.1]
    assert (effect.low, effect.high) == pytest.approx(mean_interval(differences), abs=1e-9)
    document = found.to_dict()["design"]
    assert (document["n_cases"], document["n_clusters"]) == (10, 5)
    assert any("5 groups of 10 cases" in sentence for sentence in found.verdict)
    assert any("from 5 groups" in warning for warning in found.warnings)
    alone = rank_tables(pair(tmp_path, a, b), RankSettings(bootstrap=0, group_by="none"))
    assert alone.friedman.n_clusters == 10


def test_the_option_replaces_what_the_tables_say(tmp_path):
    paths = pair(tmp_path, [0.5, 0.6] * 3, [0.4, 0.7] * 3)
    (tmp_path / "cases.csv").write_text(
        "case,centre\n" + "\n".join(f"{case},{case[-2:]}" for case in patients(3)), encoding="utf-8"
    )
    by_centre = RankSettings(bootstrap=0, group_by="centre", cases=tmp_path / "cases.csv")
    assert [unit.case for unit in rank_tables(paths, by_centre).design.units] == ["ED", "ES"]
    assert [unit.case for unit in rank_tables(paths, RankSettings(bootstrap=0, group_by=r"p(\d)")).design.units] == [
        "0", "1", "2",
    ]  # fmt: skip


def test_a_group_with_a_failed_case_ranks_last_unless_such_cases_are_dropped(tmp_path):
    failed = {"p0_ES": "failed"}
    of = patients(3)
    paths = [
        write(tmp_path, "a", dict(zip(of, [0.9, np.nan, 0.8, 0.8, 0.8, 0.8], strict=True)), of, failed),
        write(tmp_path, "b", dict(zip(of, [0.1, 0.1, 0.7, 0.7, 0.7, 0.7], strict=True)), of),
    ]
    worst = rank_tables(paths, RankSettings(bootstrap=0, missing="worst")).design
    assert worst.ranks[:, 0].tolist() == [[2, 1], [1, 2], [1, 2]]
    assert worst.values[0, 0].tolist() == [-0.45, -0.1]  # (.9 + 0) / 2: the failed case is as bad as can be
    assert worst.measured[:, 0].tolist() == [[False, True], [True, True], [True, True]]
    drop = rank_tables(paths, RankSettings(bootstrap=0, missing="drop"))
    assert drop.design.values[0, 0].tolist() == [-0.9, -0.1]  # of p0 the other image
    assert drop.design.ranks[:, 0].tolist() == [[1, 2]] * 3
    assert drop.design.n_cases == 5


def test_an_image_that_is_undefined_for_one_method_leaves_its_group_for_all(tmp_path):
    of, empty = patients(2), {"p0_ES": "both_empty"}
    paths = [
        write(tmp_path, "a", dict(zip(of, [0.9, np.nan, 0.8, 0.8], strict=True)), of, empty),
        write(tmp_path, "b", dict(zip(of, [0.5, 1.0, 0.7, 0.7], strict=True)), of),
    ]
    assert rank_tables(paths, RankSettings(bootstrap=0)).design.values[0, 0].tolist() == [-0.9, -0.5]


def test_tables_that_contradict_each_other_are_refused_and_one_without_groups_takes_them(tmp_path):
    cases = dict.fromkeys(patients(2), 0.5)
    paths = [write(tmp_path, "a", cases, patients(2)), write(tmp_path, "b", cases)]
    tables, doubt = settle_groups(read_inputs(paths), None, None)
    assert tables.frame["group"].tolist() == ["p0", "p0", "p1", "p1"] * 2
    assert doubt == ()
    write(tmp_path, "b", cases, {case: case[-2:] for case in cases})
    with pytest.raises(TableError, match="'p0_ED' into different groups: 'p0' and 'ED'"):
        rank_tables(paths, QUICK)
    assert rank_tables(paths, RankSettings(bootstrap=0, group_by="patient")).friedman.n_clusters == 2


def test_one_name_of_a_group_in_two_data_sets_is_two_groups(tmp_path):
    of, cases = patients(2), dict.fromkeys(patients(2), 0.5)
    paths = [
        write(tmp_path, f"{method}{dataset}", {case: value + (method == "a") / 10 for case, value in cases.items()}, of,
              dataset=dataset)
        for method in "ab" for dataset in "AB"
    ]  # fmt: skip
    for path in paths:
        path.write_text(
            path.read_text(encoding="utf-8").replace(f"\n{path.stem},", f"\n{path.stem[0]},"), encoding="utf-8"
        )
    found = rank_tables(paths, QUICK)
    assert [str(unit) for unit in found.design.units] == ["A/p0", "A/p1", "B/p0", "B/p1"]
    assert found.design.strata.tolist() == [0, 0, 1, 1]


def test_names_that_look_like_patients_are_warned_of(tmp_path):
    cases = dict.fromkeys(patients(3), 0.5)
    paths = [write(tmp_path, method, cases) for method in "ab"]
    said = "The 6 cases look like images of 3 patients"
    assert rank_tables(paths, QUICK).warnings[0].startswith(said)
    assert not any(said in text for text in rank_tables(paths, RankSettings(bootstrap=0, group_by="none")).warnings)


@pytest.mark.parametrize("group_by", [None, "none"])
def test_a_table_of_cases_without_a_column_to_take_is_refused(tmp_path, group_by):
    paths = pair(tmp_path, [0.5, 0.6], [0.4, 0.7])
    with pytest.raises(UsageError, match="say which column with --group-by"):
        rank_tables(paths, RankSettings(group_by=group_by, cases=tmp_path / "cases.csv"))


def test_a_published_table_has_no_cases_to_group(tmp_path):
    (tmp_path / "wide.csv").write_text("method,DSC,ECE\na,0.9,0.1\nb,0.8,0.2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="a wide CSV holds no cases"):
        rank_tables([tmp_path / "wide.csv"], RankSettings(group_by="patient"))
