"""The documentation is true: generated parts are current, commands run as written, outputs are real, links lead on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from calibeval.cli import app
from calibeval.metrics import METRICS
from calibeval.protocol import PROTOCOLS
from tests import ROOT
from tests.generated import DOCS, RENEW, commands, pages, renewed

PAGES = {page.stem: page.read_text(encoding="utf-8") for page in pages()}
each_page = pytest.mark.parametrize("page", PAGES)


@each_page
def test_generated_parts_are_current(page):
    assert renewed(PAGES[page]) == PAGES[page], f"{page}.md is stale; this renews it: {RENEW}"


@each_page
def test_links_lead_to_files(page):
    folder = ROOT if page == "README" else DOCS
    for link in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        assert link.startswith("https://") or (folder / link).exists(), link


@each_page
def test_options_named_exist(page):
    known = set()
    for name, _ in commands(app):
        known |= set(re.findall(r"--[a-z0-9-]+", CliRunner().invoke(app, [*name.split(), "--help"]).stdout))
    assert set(re.findall(r"`(--[a-z0-9-]+)", PAGES[page])) <= known


@pytest.mark.parametrize("name", [*METRICS, *PROTOCOLS, *(name for name, _ in commands(app))])
def test_every_name_has_its_paragraph(name):
    page = "metrics" if name in METRICS else "protocols" if name in PROTOCOLS else "cli"
    heading = f"## calibeval {name}" if page == "cli" else f"### {name}: "
    assert PAGES[page].count(f"\n{heading}") == 1, f"{page}.md wants one heading {heading!r}"


def test_every_loss_has_its_paragraph():
    losses = pytest.importorskip("calibeval.train.losses", exc_type=ImportError).LOSSES
    for name in losses:
        assert PAGES["losses"].count(f"\n### {name}: ") == 1


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder that looks like a clone, as far as commands see, after the README's first one."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    assert run("calibeval score sample_data/preds sample_data/labelsTr --quiet", folder).returncode == 0
    return folder


def run(command, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def tidy(text):
    return [line.rstrip() for line in text.strip().splitlines()]


def sessions(text):
    """Commands and their outputs in the console blocks of a page, in order."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@each_page
def test_console_sessions_print_what_is_pasted(page, clone):
    """In order, since a later command reads what an earlier one wrote."""
    for command, expected in sessions(PAGES[page]):
        result = run(command, clone)
        assert result.returncode in (0, 1), f"{command}\n{result.stderr}"
        assert tidy(result.stdout) == tidy(expected), f"{command} prints now:\n{result.stdout}"


@each_page
def test_python_examples_print_what_is_pasted(page, clone):
    for code, expected in re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGES[page], re.DOTALL):
        if re.search(r"\bimport torch\b", code):
            pytest.importorskip("torch")
        (clone / "example.py").write_text(code)
        result = run(f"{sys.executable} -W error example.py", clone)
        assert result.returncode == 0, result.stderr
        assert tidy(result.stdout) == tidy(expected), f"the example prints now:\n{result.stdout}"


def test_there_are_examples_to_run():
    assert sum(len(list(sessions(text))) for text in PAGES.values()) >= 5
    blocks = [len(re.findall(r"```python\n", text)) for text in PAGES.values()]
    paired = [len(re.findall(r"```python\n[^`]*```\n\n```\n", text)) for text in PAGES.values()]
    assert sum(blocks) >= 4
    assert blocks == paired, "a Python example without its output is not run"
