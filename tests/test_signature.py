"""Signatures: one grammar, read in one place, and compared by the choices that the compared metrics use."""

import pytest

from calibeval.metrics import METRICS
from calibeval.protocol import PROTOCOLS, make_protocol
from calibeval.signature import PARTS, Signature

PAPER = (
    "paper|ECE:top,foreground,15bins|CECE:all,all,p>0.001,15bins|pECE:10bins,w2|edges:right,float32,zero-first|"
    "masks:classes|HD95:monai|empty:nan|NSD:2mm|bECE:2mm|NLL:clip1e-07"
)


GAP = "|gap:top,1-p0>0.001"


def test_the_line_is_that_of_the_first_release_and_what_counts_otherwise_since():
    assert PROTOCOLS["paper"].signature == PAPER + GAP
    assert str(Signature.parse(PAPER)) == PAPER
    assert PROTOCOLS["paper"].signature.extended({"map": "4=3", "ignore": "none"}) == PAPER + GAP + "|map:4=3"


def test_the_gap_of_the_first_release_is_another_number():
    """It was over the voxels of ECE; all other metrics go on being compared with tables of then."""
    old, new = Signature.parse(PAPER), PROTOCOLS["paper"].signature
    assert new.differs(old, ["gap"]) == "voxels of gap: top,1-p0>0.001 against as-ECE"
    assert new.differs(old, [name for name in METRICS if name != "gap"]) == ""


def test_every_choice_of_a_protocol_is_a_known_part():
    assert all(set(protocol.signature.parts) <= set(PARTS) for protocol in PROTOCOLS.values())
    assert {name for part in PARTS.values() for name in part.metrics} <= set(METRICS)


@pytest.mark.parametrize(
    ("changes", "metrics", "words"),
    [
        ({"hd95": "medpy"}, ["DSC", "HD95"], "definition of distances: monai against medpy"),
        ({"hd95": "medpy"}, ["DSC", "ECE", "NLL", "Brier"], ""),
        ({"hd95": "medpy"}, ["DSC", "a metric of others"], "definition of distances: monai against medpy"),
        ({"fp_weight": 1.0}, ["pECE"], "bins and false-positive weight of pECE: 10bins,w2 against 10bins,w1"),
        ({"fp_weight": 1.0}, ["ECE", "CECE"], ""),
        ({"empty": "worst"}, ["DSC"], "empty rule: nan against worst"),
        ({"empty": "worst"}, ["ECE", "gap"], ""),
        ({"ece_bins": 10}, ["MCE"], "confidence, voxels and bins of ECE: top,foreground,15bins against top,fore"),
        ({}, None, ""),
    ],
)
def test_only_the_choices_behind_the_metrics_count(changes, metrics, words):
    found = make_protocol().signature.differs(make_protocol(**changes).signature, metrics)
    assert found.startswith(words) if words else found == ""


def test_names_are_labels_and_not_compared():
    assert PROTOCOLS["guo"].signature.differs(PROTOCOLS["paper"].signature, ["DSC", "HD95", "Brier"]) == ""
    assert "top,all,15bins" in PROTOCOLS["guo"].signature.differs(PROTOCOLS["paper"].signature, ["ECE"])


def test_a_part_at_its_default_equals_its_absence(monkeypatch):
    """Later fields are added so, and tables of before stay comparable."""
    monkeypatch.setitem(PARTS, "rater", PARTS["map"]._replace(words="rater", default="mean", of_data=False))
    old, mean, each = Signature(PAPER), Signature(PAPER + "|rater:mean"), Signature(PAPER + "|rater:each")
    assert old.differs(mean) == mean.differs(old) == ""
    assert old.differs(each) == "rater: mean against each"
    assert old.extended({"rater": "mean"}) == PAPER


def test_parts_of_later_versions_are_compared_as_they_are():
    later = Signature(PAPER + "|window:lung")
    assert later.differs(Signature(PAPER), ["DSC"]) == "window: lung against none"
    assert later.differs(Signature(PAPER + "|window:lung|other"), ["DSC"]) == "other: none against given"


def test_how_labels_are_read_is_a_matter_of_the_data_set():
    one, other = Signature(PAPER + "|map:4=3"), Signature(PAPER)
    assert one.differs(other, ["DSC"]) == "renamed labels: 4=3 against none"
    assert one.differs(other, ["DSC"], same_data=False) == ""
    assert one.shared(other) == PAPER


def test_no_signature_equals_none_only():
    assert Signature().differs(Signature()) == ""
    assert "no signature" in Signature(PAPER).differs(Signature(), ["DSC"])
