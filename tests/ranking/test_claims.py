"""What may be said of a pair of methods: by hand, and through whole rankings."""

import math

import numpy as np
import pytest

from calibeval.errors import UsageError
from calibeval.ranking import RankSettings, rank_tables
from calibeval.ranking.claims import least_differences, pair_claims
from tests.ranking.helpers import make_tables

CASES = 12
DSC = np.random.default_rng(4100).normal(0.85, 0.03, CASES)
FAR = np.full(CASES, 3.0)


def ranked(folder, values, **settings):
    lists = {name: {metric: list(of) for metric, of in metrics.items()} for name, metrics in values.items()}
    return rank_tables(make_tables(folder, lists), RankSettings(**{"bootstrap": 0} | settings))


def said(ranking):
    return " ".join(ranking.verdict)


@pytest.mark.parametrize(
    ("favoured", "gains", "kind"),
    [
        (True, (0.02, 0.0), "better"),
        (True, (0.02, -0.05), "better"),  # HD95 is worse by less than matters
        (True, (0.02, -0.1), "mixed"),
        (True, (0.0, -0.1), "mixed"),
        (True, (0.001, 0.05), "slight"),
        (True, (math.nan, 0.2), "better"),
        (True, (math.nan, math.nan), "slight"),
        (False, (0.5, 5.0), None),
    ],
)
def test_each_pair_is_of_one_kind(favoured, gains, kind):
    pairs = np.array([[False, favoured], [False, False]])
    matrix = np.array([[[math.nan, gain], [-gain, math.nan]] for gain in gains])
    claims = pair_claims(pairs, matrix, np.array([0.01, 0.1]))
    assert [name for name, found in claims._asdict().items() if found[0, 1]] == ([kind] if kind else [])
    assert not any(found[1, 0] for found in claims)


def test_without_a_least_difference_any_one_counts():
    pairs = np.array([[False, True], [False, False]])
    nothing, little = (pair_claims(pairs, np.array([[[0, gain], [-gain, 0]]]), np.zeros(1)) for gain in (0.0, 1e-6))
    assert nothing.slight[0, 1] and not nothing.better[0, 1] and not nothing.mixed[0, 1]
    assert little.better[0, 1]


def test_least_differences_follow_the_unit_or_the_user():
    found = least_differences(("DSC", "HD95", "VD", "NLL", "their_own"), {"DSC": 0.02, "ECE": 1.0})
    assert found == {"DSC": 0.02, "HD95": 0.1, "VD": 0.1, "NLL": 0.005, "their_own": 0.0}


def test_a_difference_too_small_to_matter_makes_nobody_better(tmp_path):
    """In ranks A wins every case, by a millionth of DSC and ten nanometres."""
    values = {"A": {"DSC": DSC, "HD95": FAR}, "B": {"DSC": DSC - 1e-6, "HD95": FAR + 1e-5}}
    ranking = ranked(tmp_path, values)
    assert ranking.significant()[0, 1]
    assert "A differs from B by less than matters in every metric (DSC 0.005, HD95 0.1)." in said(ranking)
    assert "better than" not in said(ranking)
    assert "A is better than B." in said(ranked(tmp_path, values, min_effect=(("DSC", 1e-7),)))


def test_a_method_that_lost_a_case_is_not_better(tmp_path):
    """A is a little better in eleven cases and loses the twelfth altogether."""
    dsc, hd95 = DSC + 0.01, FAR - 0.2
    dsc[0], hd95[0] = 0, 300
    values = {"A": {"DSC": dsc, "HD95": hd95}, "B": {"DSC": DSC, "HD95": FAR}}
    assert "A stands above B, yet is worse in DSC by 0.0617 and HD95 by 24.6: neither is better." in said(
        ranked(tmp_path, values)
    )
    by_average = ranked(tmp_path, values, scheme="aggregate-then-rank")
    assert by_average.verdict[0].startswith("B has the best mean rank")
    assert "The test favours A over B, against this order" in said(by_average)
    assert "better than" not in said(by_average)
    (warning,) = [text for text in by_average.warnings if text.startswith("The first place hangs on the scheme")]
    assert "by rank-then-aggregate, A is first" in warning


def test_the_direction_of_wilcoxons_test_is_that_of_its_ranks(tmp_path):
    """A wins 31 of 60 cases by little and loses 29 by much: the mean rank favours A, the signed ranks B."""
    base = np.random.default_rng(1).normal(0.8, 0.02, 60)
    difference = np.r_[np.linspace(0.0001, 0.001, 31), -np.linspace(0.01, 0.1, 29)]
    values = {"A": {"DSC": base + difference}, "B": {"DSC": base}, "C": {"DSC": base - 0.2}}
    ranking = ranked(tmp_path, values, posthoc="wilcoxon-holm")
    assert ranking.best_first()[0] == 0
    assert ranking.claims().better.tolist() == [[False, False, True], [True, False, True], [False, False, False]]
    assert "A is better than C." in said(ranking)
    assert "The test favours B over A" in said(ranking)
    control = ranked(tmp_path, values, posthoc="wilcoxon-holm", control="A")
    assert "better B; worse C" in said(control)


def test_copies_of_one_metric_are_named(tmp_path):
    copies = ("ECE", "CECE", "ACE", "MCE")
    a = {"DSC": DSC - 0.05, **{name: np.full(CASES, 0.05) for name in copies}}
    b = {"DSC": DSC, **{name: np.full(CASES, 0.056) for name in copies}}
    c = {"DSC": DSC - 0.1, **{name: np.linspace(0.04, 0.07, CASES) for name in copies}}
    ranking = ranked(tmp_path, {"A": a, "B": b, "C": c}, metrics="all")
    (warning,) = [text for text in ranking.warnings if "nearly alike" in text]
    assert warning.startswith("ECE, CECE, ACE and MCE rank the methods nearly alike (rank correlation above 0.9)")
    assert not any("nearly alike" in text for text in ranked(tmp_path, {"A": a, "B": b}, metrics="DSC,ECE").warnings)


def test_an_unknown_metric_or_size_is_refused(tmp_path):
    values = {"A": {"DSC": DSC}, "B": {"DSC": DSC}}
    with pytest.raises(UsageError, match="--min-effect speaks of IoU, which no input holds"):
        ranked(tmp_path, values, min_effect=(("IoU", 0.1),))
    with pytest.raises(UsageError, match="--min-effect DSC=-1"):
        RankSettings(min_effect=(("DSC", -1.0),))


def test_the_command_line_takes_effects(tmp_path, cli):
    tables = make_tables(tmp_path, {"A": {"DSC": list(DSC)}, "B": {"DSC": list(DSC - 1e-6)}})
    assert "A is better than B" in cli("rank", *tables, "--min-effect", "dsc=0").out
    assert cli("rank", *tables, "--min-effect", "DSC=tiny").code == 2
