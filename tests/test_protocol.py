"""Protocols: what each fixes, and that a changed choice changes the signature."""

from dataclasses import fields, replace
from typing import Any

import pytest

from calibeval.errors import UsageError
from calibeval.io.classes import ClassScheme
from calibeval.io.read_options import ReadOptions
from calibeval.protocol import EMPTY_RULES, HD95_DEFINITIONS, PROTOCOLS, Protocol, make_protocol
from calibeval.scoring.plan import ScoreJob


def test_the_papers_settings():
    paper = PROTOCOLS["paper"]
    assert (paper.ece_confidence, paper.ece_domain, paper.ece_bins) == ("top", "foreground", 15)
    assert (paper.cece_classes, paper.cece_domain, paper.cece_threshold, paper.cece_bins) == ("all", "all", 1e-3, 15)
    assert (paper.pece_bins, paper.fp_weight, paper.hd95, paper.empty) == (10, 2.0, "monai", "nan")


def test_the_papers_text_taken_literally():
    text = PROTOCOLS["paper-text"]
    assert (text.ece_domain, text.cece_threshold_on, text.hd95) == ("predicted-foreground", "classes", "paper-text")
    assert not text.zero_in_first_bin
    changed = text.signature.differs(PROTOCOLS["paper"].signature)
    assert all(
        part in changed for part in ("top,predicted-foreground", "mean-p>0.001", "zero-dropped", "paper-text against")
    )


def test_the_released_codes_settings():
    repo = PROTOCOLS["sdc-repo"]
    assert (repo.ece_confidence, repo.ece_domain, repo.ece_bins, repo.cece_bins) == ("foreground", "all", 10, 10)
    assert not repo.zero_in_first_bin
    assert repo.union


_OTHER = {
    "ece_confidence": "foreground",
    "ece_domain": "all",
    "cece_classes": "up-to-reference-maximum",
    "cece_domain": "foreground",
    "cece_threshold_on": "classes",
    "cece_threshold": None,
    "zero_in_first_bin": False,
    "union": True,
    "hd95": "medpy",
    "empty": "worst",
    "min_lesion_mm3": 10.0,
    "crop": "body",
    "crps_limit": 3.0,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Protocol) if field.name != "consensus"])
def test_every_choice_shows_in_the_signature(name):
    paper = PROTOCOLS["paper"]
    old = getattr(paper, name)
    new = _OTHER.get(name, old + "x" if isinstance(old, str) else old and old * 2)
    changes: Any = {name: new}
    assert replace(paper, **changes).signature != paper.signature


def test_the_consensus_shows_where_there_are_several_raters():
    job = ScoreJob({}, ClassScheme(), make_protocol(consensus="staple"), ("DSC",), ReadOptions())
    assert job.signature == PROTOCOLS["paper"].signature
    assert replace(job, rated=True).signature == f"{job.signature}|raters:mean,staple"


def test_signatures_are_one_line_and_differ():
    signatures = [protocol.signature for protocol in PROTOCOLS.values()]
    assert len(set(signatures)) == len(signatures)
    assert not any("\n" in signature for signature in signatures)


def test_none_keeps_the_protocols_choice():
    assert make_protocol("nacl", hd95=None, fp_weight=None) == PROTOCOLS["nacl"]


def test_bins_change_all_three():
    protocol = make_protocol("paper", bins=20)
    assert (protocol.ece_bins, protocol.cece_bins, protocol.pece_bins) == (20, 20, 20)


def test_deepmind_brings_its_own_empty_rule_unless_one_is_given():
    assert make_protocol(hd95="deepmind").empty == "deepmind"
    assert make_protocol(hd95="deepmind", empty="nan").empty == "nan"


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"name": "ours"}, "Unknown protocol 'ours'. Known: paper"),
        ({"hd95": "x"}, "Unknown HD95 definition"),
        ({"empty": "x"}, "Unknown empty rule"),
        ({"bins": 0}, "between 1 and 1000"),
        ({"cece_threshold": 1.0}, r"\[0, 1\)"),
        ({"fp_weight": -1.0}, "zero or more"),
        ({"nsd_tolerance_mm": float("nan")}, "zero or more"),
        ({"boundary_mm": float("inf")}, "zero or more"),
    ],
)
def test_senseless_choices_are_refused(choices, words):
    with pytest.raises(UsageError, match=words):
        make_protocol(**choices)


def test_every_protocol_names_known_definitions():
    for protocol in PROTOCOLS.values():
        assert protocol.hd95 in HD95_DEFINITIONS
        assert protocol.empty in EMPTY_RULES
