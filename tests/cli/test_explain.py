"""`calibeval explain`: pages, paragraphs, near names."""

import os
import pty
import subprocess
import sys

import pytest

from calibeval.cli.explain import find, read_sections
from calibeval.errors import UsageError


def test_without_a_topic_it_lists_the_pages_with_their_first_paragraph(cli):
    outcome = cli("explain")
    assert outcome.code == 0
    assert "limits      What calibeval does not do, and what its numbers cannot say.\n" in outcome.out


def test_a_page_is_printed_as_markdown_into_a_pipe(cli):
    out = cli("explain", "exit-codes").out
    assert out.startswith("# Exit codes\n")
    assert "| 130 | interrupted" in out


def test_a_metric_in_any_case_leads_to_its_paragraph_alone(cli):
    out = cli("explain", "pece").out
    assert out.startswith("### pECE: pixel-wise expected calibration error\n")
    assert out.count("#") == 3


def test_a_name_of_two_things_leads_to_both(cli):
    out = cli("explain", "nacl").out
    assert "### nacl: neighbour-aware calibration loss" in out
    assert "### nacl: the code that the paper says it follows" in out


def test_a_command_leads_to_its_options_and_words_to_a_heading(cli):
    assert cli("explain", "rank").out.startswith("## calibeval rank\n")
    assert cli("explain", "an", "empty", "mask").out.startswith("## An empty mask\n")


@pytest.mark.parametrize(("word", "names"), [("pce", "pECE"), ("dice", "DSC"), ("trainings", "training")])
def test_an_unknown_name_suggests_near_ones(cli, word, names):
    outcome = cli("explain", word)
    assert outcome.code == 2
    assert f"Nothing is called '{word}' here. Did you mean" in outcome.err
    assert names in outcome.err


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(UsageError, match="listed by: calibeval explain"):
        find("xyzzy", list(read_sections()))


def test_a_comment_in_a_code_block_is_no_heading(tmp_path):
    for section in read_sections():
        assert section.text.count("```") % 2 == 0, section.title


def test_on_a_terminal_it_is_laid_out_and_paged():
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "calibeval", "explain", "pECE"]
    environment = {**os.environ, "PAGER": "cat", "TERM": "xterm-256color", "COLUMNS": "60"}
    subprocess.run(command, stdout=inner, stdin=inner, env=environment, check=True, timeout=60)
    os.close(inner)
    shown = os.read(outer, 100_000).decode()
    assert "\x1b[" in shown
    assert "###" not in shown
    assert "pixel-wise expected calibration error" in shown
