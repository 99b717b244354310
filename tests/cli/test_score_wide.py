"""A wide terminal sees small reliability diagrams; a narrow one, and a pipe, what they saw before."""

import io

import pytest
from rich.console import Console

from calibeval import score_folder
from calibeval.cli.score_table import print_scores
from calibeval.protocol import make_protocol
from tests import SAMPLE


@pytest.fixture(scope="module")
def scores():
    return list(score_folder(SAMPLE / "preds", SAMPLE / "labelsTr", metrics="DSC,gap").methods)


@pytest.mark.parametrize(("width", "terminal", "drawn"), [(120, True, 3), (119, True, 0), (200, False, 0)])
def test_diagrams_are_drawn_on_wide_terminals_alone(scores, width, terminal, drawn, tmp_path):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, soft_wrap=True, highlight=False)
    print_scores(scores, {score.method: tmp_path for score in scores}, make_protocol(), console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("0.5 |") == drawn
    assert "most in MYO, at the boundary; worst phantom_008, phantom_010" in " ".join(text.split())
