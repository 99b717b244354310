"""The documentation is true: generated parts are current, commands run as written, outputs are real, links lead on."""

import re
import subprocess
import sys
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from calibeval.cli import app
from calibeval.io.formats import SUFFIXES
from calibeval.metrics import METRICS
from calibeval.protocol import PROTOCOLS
from tests import ROOT
from tests.examples import make_clone, python_examples, run, run_python, sessions, tidy
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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_file_format_stands_in_the_table(suffix):
    assert re.search(rf"^\| [^|]*`{re.escape(suffix)}`", PAGES["formats"], re.MULTILINE)


def test_every_loss_has_its_paragraph():
    losses = pytest.importorskip("calibeval.train.losses", exc_type=ImportError).LOSSES
    for name in losses:
        assert PAGES["losses"].count(f"\n### {name}: ") == 1
        assert re.search(rf"`--loss`.*\b{name}\b", PAGES["cli"]), f"the help of --loss does not name {name}"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return make_clone(tmp_path_factory.mktemp("clone"))


@each_page
def test_console_sessions_print_what_is_pasted(page, clone):
    """In order, since a later command reads what an earlier one wrote."""
    for command, expected in sessions(PAGES[page]):
        result = run(command, clone)
        assert result.returncode in (0, 1), f"{command}\n{result.stderr}"
        assert tidy(result.stdout) == tidy(expected), f"renewed by: python -m tests.examples {page}"


@each_page
def test_python_examples_print_what_is_pasted(page, clone):
    for code, expected in python_examples(PAGES[page]):
        if re.search(r"\bimport torch\b", code):
            pytest.importorskip("torch")
        result = run_python(code, clone)
        assert result.returncode == 0, result.stderr
        assert expected, "an example whose output is not shown"
        assert tidy(result.stdout) == tidy(expected), f"renewed by: python -m tests.examples {page}"


def test_there_are_examples_to_run():
    assert sum(len(list(sessions(text))) for text in PAGES.values()) >= 5
    assert sum(len(python_examples(text)) for text in PAGES.values()) >= 4


def test_the_wheel_ships_every_page_and_the_package_alone(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    files = ZipFile(wheel).namelist()
    assert {f"calibeval/docs/{page.name}" for page in DOCS.glob("*.md")} <= set(files)
    assert {name.split("/")[0].split("-")[0] for name in files} == {"calibeval"}
